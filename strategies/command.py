"""A user's own backup command: what it writes to standard output is the backup, in a format of its own; and the command
that takes it back.
"""

from collections.abc import Mapping

from pydantic import Field

from strategies.base import Container, Facts, Options, Strategy, Unsuitable, script
from strategies.plan import Argv, Command, Dump, Exec, Feed, Plan, Restore, RestoreRequest, shell_line

RESTORE = "cat # your own format: give it to the program that reads what your command wrote"
NO_PIPEFAIL = "no-pipefail: the target's shell does not tell of a failure in a pipe, unless its last command fails"

NOT_COMPARED = "not-compared: nobody but commands.restore itself can tell whether everything is there"
LEAVES = "what commands.restore had done until then stays"


class CommandOptions(Options):
    """`commands.backup`."""

    commands: tuple[Command, ...] = Field(min_length=1)
    """The commands whose joined standard output is the backup, in order; the first that fails ends it. No default."""

    restore: tuple[Command, ...] = ()
    """The commands, joined like those, that read the backup from standard input. Default: none, so by hand only."""


class CommandStrategy(Strategy[CommandOptions]):
    """Run the commands; the seal proves that everything arrived, nothing can prove that it makes sense."""

    names = ("command",)
    options = CommandOptions

    def probes(self, options: CommandOptions) -> Mapping[str, Argv]:
        return {}

    def plan(self, container: Container, facts: Facts, options: CommandOptions) -> Plan:
        restore = _by_hand(script(options.restore, facts.shell)) if options.restore else RESTORE
        dump = Dump("backup", "raw", Exec(script(options.commands, facts.shell)), restore)
        blind = facts.shell == "sh" and any(isinstance(command, str) for command in options.commands)
        return Plan((dump,), (NO_PIPEFAIL,) if blind else ())

    def restore(self, container: Container, facts: Facts, options: CommandOptions, request: RestoreRequest) -> Restore:
        """Nothing is known of the data, so nothing is asked before and nothing compared afterwards."""
        if not options.restore:
            hint = "Set commands.restore, or write the backup --to-file for the program that reads it."
            raise Unsuitable("commands.restore is not set", hint, "no-restore")
        argv = script(options.restore, facts.shell)
        steps = tuple(Feed(stored.name, argv, leaves=LEAVES) for stored in request.artifacts)
        return Restore("wherever commands.restore puts it", unseen=True, steps=steps, warnings=(NOT_COMPARED,))


def _by_hand(argv: Argv) -> str:
    """Runs in the container in any case: only what begins with `docker` is left to the host."""
    return shell_line(("env", *argv) if argv[0].startswith("docker") else argv)
