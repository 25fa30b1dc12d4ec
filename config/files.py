"""Reads a small text file that somebody wrote, or says what is wrong with it."""

import os
from pathlib import Path

from config.problems import Problem

MOST_BYTES = 1 << 20


def read_text(path: Path, name: str, limit: int = MOST_BYTES) -> str | Problem | None:
    """The text of a UTF-8 file, with LF line ends and without byte order mark; None if there is no such file.

    `name` is how problems call it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return Problem("not-a-file", name, "is a folder, and a file is wanted", "Mount the folder that holds the file.")
    except OSError as error:
        hint = f"Make it readable for the sidecar: `chown {os.getuid()} {name}`."
        return Problem("unreadable", name, f"cannot be read: {error.strerror}", hint)
    if len(data) > limit:
        return Problem("too-large", name, f"is larger than {limit >> 10} KiB", "Check that it is the right file.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Problem("not-utf-8", f"{name}:{line}", "holds bytes that are not UTF-8", "Save the file as UTF-8.")
