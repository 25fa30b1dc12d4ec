"""What a container's own program is called with; pure."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from string import Template

SHELLS = ("sh", "bash", "dash", "ash")


def words(command: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The words of a command line; those of a text for a shell as it would read them, as far as that is simple.

    Variables are filled in from the container's environment; what a shell would have to run first stays as it is.
    """
    names = [PurePosixPath(word).name for word in command]
    for place, (name, option) in enumerate(zip(names, command[1:], strict=False)):
        if name in SHELLS and option == "-c" and len(command) > place + 2:
            return (*command[:place], *_read(command[place + 2], environment))
    return tuple(command)


def _read(text: str, environment: Mapping[str, str]) -> list[str]:
    try:
        parts = shlex.split(text)
    except ValueError:
        return []
    return [Template(part).safe_substitute(environment) for part in parts]
