"""The whole vocabulary of a strategy's author.

A strategy never talks to Docker. It declares probes (argv) that are asked in the target at discovery, and turns
container, facts and options into a `Plan`: data, that can be printed, compared and tested. What runs the plan, seals
its streams and stores what comes out is `controller`.
"""

import hashlib
import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, BinaryIO, ClassVar, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict

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


class Incomplete(Exception):
    """A stream that arrived is not a whole dump; raised by a check."""


def _listed(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [item for part in value.split(",") if (item := part.strip())]


CommaList = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Commas or a JSON array in a label (the array for items that hold a comma), a list in the file."""


class Options(BaseModel):
    """A strategy's own settings, from `backup.<strategy>.<option>`; kebab-case outside, snake_case inside."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        alias_generator=lambda name: name.replace("_", "-"),
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


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


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, decided before anything is done."""

    dumps: tuple[Dump, ...]
    warnings: tuple[str, ...] = ()
    """Worth telling at discovery and in every report, but no reason to refuse."""


OptionsType = TypeVar("OptionsType", bound=Options)


class Strategy(ABC, Generic[OptionsType]):
    """How one kind of data is dumped, checked and restored. One file in this folder, found by being there."""

    names: ClassVar[tuple[str, ...]]
    """What `backup.strategy` may say; the first is the canonical name and that of the options' labels."""
    options: ClassVar[type[Options]]

    @abstractmethod
    def probes(self, options: OptionsType) -> Mapping[str, Argv]:
        """Read-only questions, at most about a second each, asked at discovery and again before each run."""

    @abstractmethod
    def plan(self, container: Container, facts: Facts, options: OptionsType) -> Plan:
        """Decide what a run does. Pure. Raises `Unsuitable`, naming what was looked for and the remedy."""


def choose(what: str, named: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    """Those that the options name, else all that a probe found. Raises `Unsuitable` for a name that was not found."""
    if missing := sorted(set(named) - set(found)):
        hint = f"There is {some(found)}." if found else "There is none at all."
        raise Unsuitable(f"there is no {what} {some(missing)}", hint, f"unknown-{what}")
    return tuple(sorted(set(named) or set(found)))


def some(names: Sequence[str]) -> str:
    """For a message: the first ten, and how many more."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


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
