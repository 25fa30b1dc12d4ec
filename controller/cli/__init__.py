"""The commands, for people and for programs.

`serve` owns store, catalog and streams; the acting commands are clients of its API over the unix socket in the work
folder, also by `docker exec`. `check`, `explain`, `token`, `version`, `catalog rebuild`, `copies keys`,
`copies rehearse` and `restore --to-file` work alone. One file of this folder for each group.
"""

import os
import sys
import threading
from importlib import import_module

import typer

from config.problems import ConfigurationError
from controller.app import program
from controller.cli.terminal import Failed, err, show_problems
from controller.core.errors import SidecarError

HELP = "`backup-sidecar --help` lists the commands."
OTHER_SERVICE = "If the app has a service called `sidecar` too, add this one by `extends` under another name."

cli = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@cli.command("serve")
def serving() -> int:
    """Watch the engine, serve the API, run backups, until SIGTERM."""
    from controller.app.serve import serve  # noqa: PLC0415  # The commands are its clients, and need nothing of it.

    return serve(threading.Event())


COMMANDS = {
    "check": "offline",
    "targets": "runs",
    "explain": "offline",
    "run": "runs",
    "cancel": "activities",
    "runs": "runs",
    "artifacts": "runs",
    "restore": "restore",
    "restores": "restore",
    "adopt": "adopt",
    "copies": "copies",
    "prune": "prune",
    "delete": "prune",
    "undelete": "prune",
    "keep": "prune",
    "status": "status",
    "verify": "status",
    "accept": "status",
    "forget": "forget",
    "drill": "drill",
    "drills": "drill",
    "proof": "drill",
    "catalog": "catalog",
    "token": "offline",
    "version": "offline",
}
"""Each command, in the order of `--help`, and the module with the function of its name."""


def load(arguments: list[str]) -> None:
    """Add the command that is asked for, or all of them: whoever asks for one does not wait for the others' imports."""
    for command in arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS:
        cli.command()(getattr(import_module(f"controller.cli.{COMMANDS[command]}"), command))


def main() -> int:
    """Run the command that the arguments name; gives the exit code, and tells every error in plain words."""
    try:
        load(sys.argv[1:])
        return cli(standalone_mode=False) or program.OK
    except ConfigurationError as error:
        show_problems(error.problems)
        return program.CONFIGURATION
    except Failed as error:
        return refused(str(error), error.code)
    except SidecarError as error:
        return refused(str(error), program.FAILED)
    except typer.TyperException as error:
        return refused(f"{str(error).rstrip('.')}. {OTHER_SERVICE if os.getpid() == 1 else HELP}", program.USAGE)
    except (KeyboardInterrupt, typer.Abort):
        return program.INTERRUPTED


def refused(message: str, code: int) -> int:
    err.print(f"error: {message}", style="red")
    return code
