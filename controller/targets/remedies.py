"""The next step after a command of a restore has failed, by the kind of failure that its exit code and words tell."""

import re
from collections.abc import Callable
from typing import NamedTuple

Remedy = Callable[[int, str], str]
"""Gives the next step for an exit code and the reason that the command gave, whose lines `; ` joins."""


class Kind(NamedTuple):
    """One kind of failure."""

    words: re.Pattern[str]
    """What the tools print then."""
    step: str
    codes: range = range(0)
    """Exit codes that tell it without a word."""


def kind(words: str, step: str, codes: range = range(0)) -> Kind:
    return Kind(re.compile(words, re.IGNORECASE), step, codes)


OTHER = "Mend what it complains of and restore again, or take another run with --run."

# The first one that fits. Words are of PostgreSQL 17 (errcodes.txt, libpq), MariaDB 11.8 (errmsg-utf8.txt), MySQL 8.4
# (messages_to_clients.txt), Redis 8 (networking.c, acl.c), SQLite 3.46 (main.c), and of the C library (strerror).
KINDS: dict[str, Kind] = {
    "memory": kind(
        r"killed something in the container for memory|(^|; )killed(;|$)|\bout of memory\b|cannot allocate memory",
        "Raise the container's memory limit, or stop what else needs memory there; then restore again.",
        range(137, 138),
    ),
    "server's memory": kind(
        r"command not allowed when used memory > 'maxmemory'",
        "Raise the server's maxmemory, since the data does not fit; then restore again.",
    ),
    "shared memory": kind(
        r"could not (resize|allocate|map|create) shared memory segment",
        "Give the container more shared memory (`shm_size`); then restore again.",
    ),
    "disk": kind(
        r"no space left on device|disk quota exceeded|database or disk is full|\bdisk full\b|table '.*' is full"
        r"|errno: 28\b|wrote only \d+ of \d+ bytes|short write",
        "Make room where the container keeps its data (`df -h` in it shows where); then restore again.",
    ),
    "read-only file system": kind(
        r"read-only file system|attempt to write a readonly database",
        "Mount it without `:ro`, so that it can be written; then restore again.",
    ),
    "read-only server": kind(
        r"in a read-only transaction|\bREADONLY you can't write|--read-only option|super-read-only"
        r"|recovery is in progress",
        "Restore into the primary: this server is a replica, or takes no writes. --to names another container.",
    ),
    "password": kind(
        r"(password|peer|ident|gssapi|sspi|certificate|scram) authentication failed|no pg_hba\.conf entry"
        r"|access denied for user .*\(using password|\bWRONGPASS\b|\bNOAUTH\b|invalid password",
        "Correct the account that the container's variables name, or give it by `backup.env.*`; then restore again.",
    ),
    "right": kind(
        r"permission denied|operation not permitted|must be (owner|superuser|member|able to|a member)|access denied"
        r"|command denied to user|\bNOPERM\b|must have privilege|only (roles|superusers?) (with|can|may)",
        "Let the account that restores do what is named, or restore as one that may (`backup.user` for files); then"
        " restore again.",
    ),
    "connection": kind(
        r"server closed the connection|connection has been closed unexpectedly|terminating connection due to"
        r"|lost connection to (server|mysql)|server has gone away|can't connect to .*server|could not connect to"
        r"|connection to server .*failed|connection (reset by peer|refused)|broken pipe"
        r"|the database system is (starting up|shutting down|in recovery mode|not yet accepting)",
        "Look in the server's log why it ended or takes no connection; restore again once it answers.",
    ),
    "in use": kind(
        r"lock wait timeout exceeded|deadlock (detected|found)|is being accessed by other users|database( table)? is"
        r" (locked|busy)|canceling statement due to lock timeout|text file busy|device or resource busy"
        r"|\bthey are in use by session",
        "Restore again with --stop, which stops the services that use it for the while.",
    ),
    "time limit": kind(
        r"canceling statement due to (statement timeout|user request)|max_statement_time exceeded"
        r"|query execution was interrupted",
        "Look who or what ends long statements on the server, and let this one last; then restore again.",
    ),
    "lacking": kind(
        r"extension \S+ is not available|could not open extension control file|could not access file \S+: no such file"
        r"|unknown (storage engine|table engine)|unsupported storage engine|plugin '.*' is not loaded"
        r"|no such (module|tokenizer|collation sequence|function)|module .* not found|can't load the module"
        r"|access method .* does not exist",
        "Add what is named to the container's image, as the run's had it; then restore again.",
    ),
    "version": kind(
        r"syntax error|error in your sql syntax|unrecognized configuration parameter|unsupported version"
        r"|unknown (collation|character set|system variable|data type)|can't handle rdb format"
        r"|malformed database schema|unsupported file format|(invalid|unrecognized|unknown|illegal) option",
        "Restore into the version that the run is from, which its manifest names as `image`, or a later one (--to).",
    ),
    "damaged": kind(
        r"unexpected (end of file|eof)|not appear to be a valid archive|file is not a database|image is malformed"
        r"|wrong signature trying to load|bad file format|integrity check",
        "Take another run with --run: what is in this one cannot be loaded.",
    ),
    "no program": kind(
        r"(executable file |command )?not found in \$path|exec: .*not found",
        "Use an image that has this program, as the run's had it, whose name is in its manifest; then restore again.",
        range(126, 128),
    ),
    "signal": kind(
        r"(^|; )terminated(;|$)",
        "Look who ended it: the container's log tells what was stopped; then restore again.",
        range(129, 193),
    ),
}
"""By the name of each kind."""


def restoring(code: int, reason: str) -> str:
    """The next step of whoever restores."""
    name = kind_of(code, reason)
    return KINDS[name].step if name else OTHER


def kind_of(code: int, reason: str) -> str:
    """The name of the kind of failure; empty for any other. Words go before exit codes, which many causes share."""
    by_words = (name for name, each in KINDS.items() if each.words.search(reason))
    by_code = (name for name, each in KINDS.items() if code in each.codes)
    return next(by_words, "") or next(by_code, "")


def unknown(code: int, reason: str) -> str:
    """No next step: the error has one."""
    return ""


def always(step: str) -> Remedy:
    """The same next step, whatever has failed."""
    return lambda code, reason: step
