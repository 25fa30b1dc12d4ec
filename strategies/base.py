"""What a strategy is, what it may know of a target, and how it refuses one.

A strategy never talks to Docker. It declares probes (argv) that are asked in the target at discovery, and turns
container, facts and options into a `Plan`, and for the way back into a `Restore` (see `plan.py`). What runs them, seals
their streams and stores what comes out is `controller`.
"""

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, TypeVar

from config.fields import Model
from config.wording import quoted
from strategies.plan import Argv, Check, Command, Plan, Restore, RestoreRequest

MOST_DUMPS = 2000
"""Of one run."""
ERROR = re.compile(r"\b(ERROR|FATAL|PANIC)\b")
"""What the servers' tools begin the line with that says why."""
Shell = Literal["bash", "sh-pipefail", "sh"]
"""What the target offers: bash; a `sh` that knows `pipefail`; a `sh` that does not."""


class Unsuitable(Exception):
    """The target cannot be backed up in this way; says what was looked for and the user's next step."""

    def __init__(self, message: str, hint: str, code: str = "unsuitable") -> None:
        self.message, self.hint, self.code = message, hint, code
        super().__init__(message)


class NotReady(Unsuitable):
    """The server starts or stops: a passing state."""


class NeedsHelper(Unsuitable):
    """The target lacks what reads its data, but a helper container would do, if the operator allows one.

    That is a throw-away container of the sidecar's own image, in which the target's volumes are mounted read-only at
    their places. The probes are asked in it, and `plan` once more, with `Facts.helper`: then whatever the plan runs
    runs there. A drill asks for `restore` into one without volumes.
    """


class Options(Model):
    """A strategy's own settings, from `backup.<strategy>.<option>`; kebab-case outside, snake_case inside."""


@dataclass(frozen=True, slots=True)
class Container:
    """What a strategy may know of the target's container."""

    id: str
    name: str
    image: str
    """Image reference as the user wrote it."""
    mounts: tuple[str, ...] = ()
    """Absolute paths in the container at which volumes and binds are mounted, without tmpfs; sorted."""
    tmpfs: tuple[str, ...] = ()
    command: tuple[str, ...] = field(default=(), repr=False)
    """Words of the command line of its own program, as a shell among them would pass them on; may hold a password."""
    quiesced: bool = False
    """It is paused or stopped while it is read (`backup.quiesce`), so that nothing can be run in it then."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe said."""

    code: int
    """Exit code; 126 or 127 also when the engine could not start the command."""
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def complaint(self) -> str:
        """The line on standard error that says why it failed, the error or the last one; else the exit code."""
        lines = self.stderr.strip().splitlines() or [f"exit code {self.code}"]
        return next((line for line in lines if ERROR.search(line)), lines[-1])[:1000]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probes found out about a target."""

    shell: Shell | None
    """None: the target has no `sh`; its streams get no seal."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By the names that `Strategy.probes` gave."""
    helper: bool = False
    """They are of a helper container: see `NeedsHelper`."""


OptionsType = TypeVar("OptionsType", bound=Options)


class Strategy(ABC, Generic[OptionsType]):
    """How one kind of data is dumped, checked and restored. One file in this folder, found by being there."""

    names: ClassVar[tuple[str, ...]]
    """What `backup.strategy` may say; the first is the canonical name and that of the options' labels."""
    options: ClassVar[type[Options]]
    reads_paused: ClassVar[bool] = False
    """Whether it can read a container that is paused or stopped, so that `backup.quiesce` makes sense."""
    has_search_path: ClassVar[bool] = False
    """Whether `RestoreRequest.search_path` makes sense."""
    into_folders: ClassVar[bool] = False
    """Whether a restore goes into a folder, so that `RestoreRequest.into` and `RestoreRequest.in_place` make sense."""
    serves: ClassVar[bool] = True
    """Whether the data is behind a program of the target, which a drill has to start before it can restore."""
    passwords: ClassVar[tuple[str, ...]] = ()
    """Variables of the images, for each `NAME` a `NAME_FILE` too, whose password a fresh server may have otherwise."""
    gone: ClassVar[str] = ""
    """What the tools print where the server closed their connection, or takes none at the moment: a regular expression.
    A run that fails so is tried again."""

    @abstractmethod
    def probes(self, options: OptionsType) -> Mapping[str, Argv]:
        """Read-only questions, at most about a second each, asked at discovery and again before each run."""

    def environment(self, container: Container) -> Mapping[str, str]:
        """Variables for every command in the target, of what only its own command line tells; `BACKUP_<NAME>*`."""
        return {}

    @abstractmethod
    def plan(self, container: Container, facts: Facts, options: OptionsType) -> Plan:
        """Decide what a run does. Pure. Raises `Unsuitable` (or `NeedsHelper`), naming what was looked for and the
        remedy.
        """

    def formats(self) -> Mapping[str, Check]:
        """How a dump of each format that can be checked at all is checked without its target, when it comes from
        elsewhere; the answers of witnesses are empty then.
        """
        return {}

    def restore(self, container: Container, facts: Facts, options: OptionsType, request: RestoreRequest) -> Restore:
        """Decide what a restore into this container does; the probes were asked in it. Pure. Raises `Unsuitable`.

        The container may be a fresh one, in which nothing is that `plan` would look for.
        """
        hint = "Write the dump to a file with --to-file, and follow the line `restore` of its manifest."
        raise Unsuitable(f"{self.names[0]} has no restore of its own", hint, "no-restore")


def script(commands: Sequence[Command], shell: Shell | None) -> Argv:
    """Join commands into one argv that stops at the first failure.

    A single argv needs no shell. Strings run under bash with `pipefail` where there is one, else under `sh` with
    `pipefail` where that is known, else plainly. Raises `Unsuitable` for a string in a target without a shell.
    """
    if len(commands) == 1 and not isinstance(commands[0], str):
        return commands[0]
    if shell is None:
        raise Unsuitable(
            "the target has no shell (looked for bash and sh), so a command given as a string cannot run",
            'Give it as an argv list, for example ["/bin/tool","--flag"].',
            "no-shell",
        )
    lines = "\n".join(
        f"{{ {command}\n}} || exit" if isinstance(command, str) else f"{shlex.join(command)} || exit"
        for command in commands
    )
    pipefail = "" if shell == "sh" else "set -o pipefail\n"
    return ("bash" if shell == "bash" else "sh", "-c", f"{pipefail}{lines}")


def unreadable(question: str, answer: Answer) -> Unsuitable:
    """What its client said is not what that client says."""
    message = f"{question} was answered by {quoted(answer.stdout.strip())}, which is no such answer"
    hint = "Look which programs and start-up files the container has in the place of the image's own."
    return Unsuitable(message, hint, "unreadable-answer")


def demand_few(names: Sequence[str], option: str) -> None:
    """Raises `Unsuitable` for more dumps than one run can hold in mind."""
    if len(names) > MOST_DUMPS:
        message = f"there are {len(names)} to back up, one target takes up to {MOST_DUMPS}"
        raise Unsuitable(message, f"Name them by backup.{option}, in several targets.", "too-many")
