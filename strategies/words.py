"""Words of people as what can be run, stored and told: scripts, names of files, lists for messages."""

import hashlib
import shlex
from collections.abc import Sequence
from urllib.parse import quote

from strategies.base import Argv, Command, Shell, Unsuitable


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


def file_name(text: str, suffix: str) -> str:
    """A dump's name for whatever users call their data: percent-encoded, below 255 bytes, its own for each text.

    A dot or a dash at the beginning is encoded as well: the file is neither hidden nor taken for an option.
    """
    encoded = quote(text, safe="").replace("~", "%7E")
    if encoded.startswith((".", "-")):
        encoded = f"%{ord(encoded[0]):X}{encoded[1:]}"
    if len(encoded) > 200:
        encoded = f"{encoded[:160]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    return encoded + suffix


def some(names: Sequence[str]) -> str:
    """For a message: the first ten, and how many more."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
