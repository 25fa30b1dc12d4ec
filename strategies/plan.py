"""What a strategy answers with: what a run or a restore will do, as data that can be printed, compared and tested."""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import quote

from config.wording import is_unsafe, spelled

Argv = tuple[str, ...]
Command = str | Argv
"""A string is run by a shell, a tuple is argv without one."""


RESTART: Argv = ("restart the container",)
"""Stands for a command in a step of a restore or its undo: the engine starts the container anew, for a server that
reads at its start alone what was put in its place."""


class Incomplete(Exception):
    """A stream that arrived is not a whole dump; raised by a check."""


class Unsafe(Exception):
    """An artifact holds what may not be applied, such as a path that leads out of its folder; raised by a guard."""


@dataclass(frozen=True, slots=True)
class Exec:
    """A command in the target whose standard output is the stream."""

    argv: Argv


@dataclass(frozen=True, slots=True)
class Archive:
    """A path in the target read by the engine's archive endpoint, as a tar; for targets without `tar` or a shell."""

    path: str


Rewrite = Callable[[Iterator[bytes]], Iterator[bytes]]
"""Makes another stream of one, chunk by chunk; raises `Unsafe` for what it cannot read."""

CHUNK = 1 << 20
"""Bytes that whoever reads a stream takes at a time."""

Check = Callable[[BinaryIO, Mapping[str, str]], Sequence[str]]
"""Reads the plain stream once and to its end; the mapping holds the standard output of each of the dump's witnesses.

Gives warnings for the report, raises `Incomplete`.
"""


@dataclass(frozen=True, slots=True)
class ExecCheck:
    """A command in the target that reads the plain stream from standard input and exits 0 only for a whole dump."""

    argv: Argv
    head: bytes = b""
    """What the stream has to begin with; looked at before the command is started."""


@dataclass(frozen=True, slots=True)
class Count:
    """Numbers that tell whether everything is there: rows for each table, keys, files and bytes.

    A count whose source is the dump's own is taken from the dump's stream, and is exact. Any other is asked just before
    and just after the dump, or a few small ones: what did not change meanwhile is exact, the rest is approximate.
    After a restore it is asked once more; a name that is missing or new, or an exact number that differs, fails it.
    """

    source: Exec | Archive
    """Read-only; gives what `read` counts."""
    read: Callable[[BinaryIO], Mapping[str, int]]
    """Reads a stream of the source to its end; of the dump's own stream it demands whatever `Dump.check` does."""
    still: Argv | None = None
    """A cheap question, asked before the first count and after the dump: where its answer is the same, nothing that is
    counted has changed meanwhile, and one count is enough."""
    covers: Callable[[str], bool] = lambda what: True
    """What of all that was counted at the dump this count answers for; the rest is compared by another one."""
    tells: str = ""
    """How those lines of the answer begin that are no numbers, which `read` passes over: they are the answer to
    `Dump.left_out`, which is asked only where nothing is counted, since each question costs a connection."""
    remade: Callable[[str, int, Mapping[str, int]], str] = lambda what, counted, restored: ""
    """Why what was counted has another number after a restore, of all that was counted then, and nothing is lost: the
    server makes it anew. Such a difference is a warning; empty for what has to come back as it was."""


@dataclass(frozen=True, slots=True)
class Dump:
    """One stream to capture; becomes one artifact."""

    name: str
    """File name of the artifact before compression, `[A-Za-z0-9._%-]`, unique in the plan: `shop.pgdump`."""
    format: str
    """What the bytes are: `pg_custom`, `pg_globals`, `mysql`, `tar`, `raw`."""
    source: Exec | Archive
    restore: str
    """The plain command that restores the decompressed stream from its standard input, for the manifest: one line of
    shell, which one that begins with `docker ` leaves to the host, and any other to the container. People run it, so
    whatever is not ours in it is a word of `shell_line`."""
    check: Check | ExecCheck | None = None
    """None: a command of the user's own; the proof is `sealed`."""
    warning_codes: Mapping[int, str] = field(default_factory=dict)
    """Exit codes besides 0 that are a warning, with what they mean; the tail of stderr is added in the report."""
    witnesses: Mapping[str, Argv] = field(default_factory=dict)
    """Read-only questions asked just before the dump whose answers the check compares; a failing one fails the run."""
    min_size: int = 1
    """Bytes of the plain stream below which it cannot be whole."""
    subject: str = ""
    """What it is a dump of, as its owner calls it: a database's name, a path; a restore needs it again."""
    count: Count | None = None
    """What is counted beside the dump, for the manifest, and compared after a restore. None: nothing can be."""
    schema: Argv | None = None
    """A question whose answer changes with the structure of the data, beyond the names of what is counted: a digest."""
    disk: Argv | int | None = None
    """How many bytes the data takes where it lives, so that a restore knows its room: as the probes found, or a
    question whose answer it is. None: nobody knows. What is known to be small is measured together with others."""
    left_out: Argv | None = None
    """A question whose answer is a line for each thing that the dump does not hold, or not exactly: a warning of the
    report each."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, decided before anything is done."""

    dumps: tuple[Dump, ...]
    """In the order in which a person restores them, which is that of the manifest. They are made from the last to the
    first, so that what the later ones refer to, such as a role that is new, is in the earlier ones."""
    warnings: tuple[str, ...] = ()
    """Worth telling at discovery and in every report, but no reason to refuse."""


@dataclass(frozen=True, slots=True)
class StoredDump:
    """What a strategy may know of an artifact that is to be restored."""

    name: str
    """The dump's name, without the compression's suffix."""
    format: str
    subject: str


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """A restore as somebody asked for it."""

    run: str
    """Id of the run that is restored; a good part of a name for what must not be there yet."""
    artifacts: tuple[StoredDump, ...]
    replace: bool = False
    """What is there may go; the caller backs it up before."""
    in_place: bool = False
    """Files go where they came from, not into a new folder."""
    mirror: bool = False
    """What is there and not in the run goes; only with `in_place`."""
    into: str | None = None
    """Absolute path of the folder for files."""
    with_passwords: bool = False
    """Roles and accounts that exist get the run's passwords, too; else they keep theirs."""
    force: bool = False
    """Sessions that are in the way are ended where they would be waited for."""
    drop_first: bool = False
    """What is there is dropped before anything is loaded, since there is no room for both; never without `replace`."""
    unsaved: bool = False
    """No backup is made of what is replaced: who can, keeps it as it is under another name, and tells which."""
    search_path: str = ""
    """Where the functions of a database look for what they name without its schema, while it is loaded."""
    restore: str = ""
    """Id of the restore: a good part of a name for what goes again at its end."""


@dataclass(frozen=True, slots=True)
class Run:
    """A command in the container, whose input is empty."""

    argv: Argv
    undo: Argv | None = None
    """Makes good what this step did, when it, a later one or the comparison fails; also runs when it did nothing."""
    tells: bool = False
    """Each line that it prints is a warning of the report."""
    leaves: str = ""
    """What nothing undoes, as a sentence: `the database shop was dropped`."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The plain stream of an artifact goes to the standard input of a command in the container."""

    artifact: str
    """The dump's name, as `StoredDump` has it."""
    argv: Argv
    undo: Argv | None = None
    """As `Run.undo`."""
    rewrite: Rewrite | None = None
    """What the command reads is not the artifact's stream, but what this makes of it."""
    hear: Callable[[str], None] | None = None
    """Hears each line on its standard error that is a warning, such as `tablespace-missing: ...`, once it ended well:
    later steps may depend on it, and the report has it."""
    again: Callable[[str], "Feed | None"] | None = None
    """What is fed in its place where its command has failed, by what that printed on standard error; None: nothing
    would help."""
    leaves: str = ""
    """As `Run.leaves`."""


def only_told(line: str) -> None:
    """Hears a line that is a warning, and has no more to do with it."""


@dataclass(frozen=True, slots=True)
class Put:
    """The plain stream of an artifact, a tar, is unpacked in a folder by the engine's archive endpoint.

    For containers without `tar`. The folder is made, with those above it, where it is missing.
    """

    artifact: str
    folder: str
    leaves: str = ""
    """As `Run.leaves`."""


Step = Run | Feed | Put


@dataclass(frozen=True, slots=True)
class Restore:
    """What a restore will do, decided before anything is done, in the order of the fields."""

    where: str
    """The destination, for people: `the new folder /restore-20260301T030000Z-1a2b3c4d`."""
    clients: str = ""
    """What whoever uses the data notices, for people: `they stay connected`. Empty: nobody knows."""
    guards: Mapping[str, Callable[[BinaryIO], Sequence[str] | None]] = field(default_factory=dict)
    """By artifact: reads its plain stream before anything is applied, and gives warnings; raises `Unsafe`."""
    occupied: tuple[Exec | Archive, ...] = ()
    """Questions whose answer is a line for each thing that is in the way; of an archive, whether the path is there.
    Whatever they name stops a restore that may not replace."""
    unseen: bool = False
    """Nobody can tell whether anything is in the way: what is there is backed up before a restore that may replace."""
    steps: tuple[Step, ...] = ()
    counts: Mapping[str, Count] = field(default_factory=dict)
    """By artifact: asked after the steps and compared with what was counted at the dump. `Count.source` is of the
    place that was restored to."""
    present: Mapping[str, Count] = field(default_factory=dict)
    """By artifact: the same of what is there now, where `counts` is of another place; for who looks before."""
    swap: tuple[Step, ...] = ()
    """Steps after the comparison, which put what was loaded in the place of what was there."""
    swapped: Mapping[str, Count] = field(default_factory=dict)
    """By artifact: what can be compared only now, before the last of these steps, after which nothing is undone."""
    settled: Argv | None = None
    """A question whose answer is `yes` once the last of these is done: from then on nothing is undone, also where
    nobody could tell any more that it was done."""
    belated: tuple[Callable[[], Feed | None], ...] = ()
    """What can only be loaded where everything is in place, asked for then; None: nothing. Nothing is undone by then,
    so that one that fails is told as a warning, with its complaint."""
    finish: tuple[Argv, ...] = ()
    """Commands that clear up once everything is in place; nothing can be undone after them, and one that fails is told
    as a warning."""
    warnings: tuple[str, ...] = ()
    notices: tuple[Argv, ...] = ()
    """Questions before anything is done, whose answer is a line for each thing that somebody ought to know."""
    room: Argv | None = None
    """A question whose answer is that of `df -Pk` for the folder into which the data goes. None: nobody knows it."""
    growth: float = 3.0
    """What the data takes there, of what its plain dump takes, where nobody had asked for it at the dump."""
    reserve: int = 256 << 20
    """Bytes that stay free there in any case: logs, and what the app writes meanwhile."""
    frees: Argv | None = None
    """A question whose answer is how many bytes there `RestoreRequest.drop_first` gives back. None: it cannot."""


NEWLINE, QUOTES = "\n", "\"'\\"


def shell_line(argv: Argv) -> str:
    """As one line of shell without a control character, whatever is in it: each word is quoted, none is code."""
    return " ".join(map(_word, argv))


def _word(word: str) -> str:
    if not is_unsafe(word, ""):
        return shlex.quote(word)
    return f"\"$(printf %b '{spelled(word.strip(NEWLINE), _octal, also=QUOTES)}')\""


def _octal(character: str) -> str:
    """As `printf %b` reads it (POSIX, printf)."""
    return "\\n" if character == NEWLINE else "".join(f"\\0{byte:03o}" for byte in character.encode(errors="replace"))


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
