"""The whole vocabulary of a strategy's author.

A strategy never talks to Docker. It declares probes (argv) that are asked in the target at discovery, and turns
container, facts and options into a `Plan`, and for the way back into a `Restore`: data, that can be printed, compared
and tested. What runs them, seals their streams and stores what comes out is `controller`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar, Generic, Literal, TypeVar

from config.fields import Model

Argv = tuple[str, ...]
Command = str | Argv
"""A string is run by a shell, a tuple is argv without one."""
Shell = Literal["bash", "sh-pipefail", "sh"]
"""What the target offers: bash; a `sh` that knows `pipefail`; a `sh` that does not."""


class Unsuitable(Exception):
    """The target cannot be backed up in this way; says what was looked for and the user's next step."""

    def __init__(self, message: str, hint: str, code: str = "unsuitable") -> None:
        self.message, self.hint, self.code = message, hint, code
        super().__init__(message)


class NeedsHelper(Unsuitable):
    """The target lacks what reads its data, but a helper container would do, if the operator allows one.

    That is a throw-away container of the sidecar's own image, in which the target's volumes are mounted read-only at
    their places. The probes are asked in it, and `plan` once more, with `Facts.helper`: then whatever the plan runs
    runs there. A drill asks for `restore` into one without volumes.
    """


class Incomplete(Exception):
    """A stream that arrived is not a whole dump; raised by a check."""


class Unsafe(Exception):
    """An artifact holds what may not be applied, such as a path that leads out of its folder; raised by a guard."""


class Options(Model):
    """A strategy's own settings, from `backup.<strategy>.<option>`; kebab-case outside, snake_case inside."""


@dataclass(frozen=True, slots=True)
class Container:
    """What a strategy may know of the target's container."""

    id: str
    name: str
    image: str
    """Image reference as the user wrote it."""
    user: str = ""
    """User of the target's execs (`backup.user`, else the image's); empty for root."""
    workdir: str = "/"
    mounts: tuple[str, ...] = ()
    """Absolute paths in the container at which volumes and binds are mounted, without tmpfs; sorted."""
    tmpfs: tuple[str, ...] = ()
    held: bool = False
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
        """The last line on standard error, where a tool says why it failed; else the exit code."""
        return (self.stderr.strip().splitlines() or [f"exit code {self.code}"])[-1]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probes found out about a target."""

    shell: Shell | None
    """None: the target has no `sh`; its streams get no seal."""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    """By the names that `Strategy.probes` gave."""
    helper: bool = False
    """They are of a helper container: see `NeedsHelper`."""


@dataclass(frozen=True, slots=True)
class Exec:
    """A command in the target whose standard output is the stream."""

    argv: Argv
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Archive:
    """A path in the target read by the engine's archive endpoint, as a tar; for targets without `tar` or a shell."""

    path: str


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
class Dump:
    """One stream to capture; becomes one artifact."""

    name: str
    """File name of the artifact before compression, `[A-Za-z0-9._%-]`, unique in the plan: `shop.pgdump`."""
    format: str
    """What the bytes are: `pg_custom`, `pg_globals`, `mysql`, `tar`, `raw`."""
    source: Exec | Archive
    restore: str
    """The plain command that restores the decompressed stream from its standard input, for the manifest."""
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
    count: "Count | None" = None
    """What is counted beside the dump, for the manifest, and compared after a restore. None: nothing can be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, decided before anything is done."""

    dumps: tuple[Dump, ...]
    warnings: tuple[str, ...] = ()
    """Worth telling at discovery and in every report, but no reason to refuse."""


@dataclass(frozen=True, slots=True)
class Count:
    """Numbers that tell whether everything is there: rows for each table, keys, files and bytes.

    A count whose source is the dump's own is taken from the dump's stream, and is exact. Any other is asked just before
    and just after the dump: what did not change meanwhile is exact, the rest is approximate. After a restore it is
    asked once more; a name that is missing or new, or an exact number that differs, fails the restore.
    """

    source: Exec | Archive
    """Read-only; gives what `read` counts."""
    read: Callable[[BinaryIO], Mapping[str, int]]
    """Reads a stream of the source to its end; of the dump's own stream it demands whatever `Dump.check` does."""
    still: Argv | None = None
    """A cheap question, asked before the first count and after the dump: where its answer is the same, nothing that is
    counted has changed meanwhile, and one count is enough."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a strategy may know of an artifact that is to be restored."""

    name: str
    """The dump's name, without the compression's suffix."""
    format: str
    subject: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A restore as somebody asked for it."""

    run: str
    """Id of the run that is restored; a good part of a name for what must not be there yet."""
    artifacts: tuple[Stored, ...]
    replace: bool = False
    """What is there may go; the caller backs it up before."""
    in_place: bool = False
    """Files go where they came from, not into a new folder."""
    into: str | None = None
    """Absolute path of the folder for files."""


@dataclass(frozen=True, slots=True)
class Run:
    """A command in the container, whose input is empty."""

    argv: Argv
    undo: Argv | None = None
    """Makes good what this step did, when it, a later one or the comparison fails; also runs when it did nothing."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The plain stream of an artifact goes to the standard input of a command in the container."""

    artifact: str
    """The dump's name, as `Stored` has it."""
    argv: Argv
    undo: Argv | None = None
    """As `Run.undo`."""


@dataclass(frozen=True, slots=True)
class Put:
    """The plain stream of an artifact, a tar, is unpacked in a folder by the engine's archive endpoint.

    For containers without `tar`. The folder is made, with those above it, where it is missing.
    """

    artifact: str
    folder: str


Step = Run | Feed | Put


@dataclass(frozen=True, slots=True)
class Restore:
    """What a restore will do, decided before anything is done, in the order of the fields."""

    where: str
    """The destination, for people: `the new folder /restore-20260301T030000Z-1a2b3c4d`."""
    guards: Mapping[str, Callable[[BinaryIO], object]] = field(default_factory=dict)
    """By artifact: reads its plain stream before anything is applied; raises `Unsafe`."""
    occupied: tuple[Exec | Archive, ...] = ()
    """Questions whose answer is a line for each thing that is in the way; of an archive, whether the path is there.
    Whatever they name stops a restore that may not replace."""
    steps: tuple[Step, ...] = ()
    counts: Mapping[str, Count] = field(default_factory=dict)
    """By artifact: asked after the steps and compared with what was counted at the dump. `Count.source` is of the
    place that was restored to."""
    finish: tuple[Argv, ...] = ()
    """Commands that clear up once everything has been compared; nothing can be undone after them."""
    warnings: tuple[str, ...] = ()


OptionsType = TypeVar("OptionsType", bound=Options)


class Strategy(ABC, Generic[OptionsType]):
    """How one kind of data is dumped, checked and restored. One file in this folder, found by being there."""

    names: ClassVar[tuple[str, ...]]
    """What `backup.strategy` may say; the first is the canonical name and that of the options' labels."""
    options: ClassVar[type[Options]]
    reads_paused: ClassVar[bool] = False
    """Whether it can read a container that is paused or stopped, so that `backup.quiesce` makes sense."""
    into_folders: ClassVar[bool] = False
    """Whether a restore goes into a folder, so that `Wanted.into` and `Wanted.in_place` make sense."""
    serves: ClassVar[bool] = True
    """Whether the data is behind a program of the target, which a drill has to start before it can restore."""
    passwords: ClassVar[tuple[str, ...]] = ()
    """Variables of the images, for each `NAME` a `NAME_FILE` too, whose password a fresh server may have otherwise."""
    emptied_variables: ClassVar[tuple[str, ...]] = ()
    """Variables by which the target would change what the tools do; probes and whatever a plan runs get them empty."""

    @abstractmethod
    def probes(self, options: OptionsType) -> Mapping[str, Argv]:
        """Read-only questions, at most about a second each, asked at discovery and again before each run."""

    @abstractmethod
    def plan(self, container: Container, facts: Facts, options: OptionsType) -> Plan:
        """Decide what a run does. Pure. Raises `Unsuitable` (or `NeedsHelper`), naming what was looked for and the
        remedy.
        """

    def restore(self, container: Container, facts: Facts, options: OptionsType, wanted: Wanted) -> Restore:
        """Decide what a restore into this container does; the probes were asked in it. Pure. Raises `Unsuitable`.

        The container may be a fresh one, in which nothing is that `plan` would look for.
        """
        hint = "Write the dump to a file with --to-file, and follow the line `restore` of its manifest."
        raise Unsuitable(f"{self.names[0]} has no restore of its own", hint, "no-restore")
