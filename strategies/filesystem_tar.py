"""The words of a target's own tar, GNU's or another one, for what reads and what unpacks files."""

from collections.abc import Iterable
from typing import Literal

from strategies.base import Facts
from strategies.plan import Argv

Tar = Literal["gnu", "other"]

GNU_CREATE = (
    "--format=posix",
    "--pax-option=delete=atime,delete=ctime",
    "--numeric-owner",
    "--acls",
    "--xattrs",
    "--sparse",
    "--wildcards",
    "--no-wildcards-match-slash",
)
"""pax headers, for times below a second and names of any length, without the two times that no restore can set."""

GNU_EXTRACT = ("--preserve-permissions", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*")


def which_tar(facts: Facts) -> Tar | None:
    answer = facts.answers["tar"]
    if answer.code in (126, 127):
        return None
    return "gnu" if "GNU tar" in answer.stdout else "other"


def create(tar: Tar, folder: str, names: Iterable[str], exclude: Iterable[str] = ()) -> Argv:
    """Names and patterns are relative to the folder, which is written into the archive nowhere."""
    patterns = [f"--exclude={'.' if pattern.startswith('/') else ''}{pattern}" for pattern in exclude]
    if tar == "other":
        return ("tar", "-c", "-f", "-", "-C", folder, *patterns, *names)
    return ("tar", "--create", "--file=-", f"--directory={folder}", *GNU_CREATE, *patterns, *names)


def extract(tar: Tar, folder: str) -> Argv:
    if tar == "other":
        return ("tar", "-x", "-p", "-f", "-", "-C", folder)
    return ("tar", "--extract", "--file=-", f"--directory={folder}", *GNU_EXTRACT)


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
