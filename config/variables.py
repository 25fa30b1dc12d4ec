"""Reads variables: the process environment goes before the `.env` files, whose errors are told like the file's.

python-dotenv takes an unquoted multi-line key for many variables and only logs a missing quote. Since a line may be a
piece of a key, no message repeats anything but the name of a well-formed variable.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from config.fields import invalid
from config.files import read_text
from config.problems import Problem
from config.wording import is_variable_name

KEY_BEGIN, KEY_END = "-----BEGIN", "-----END"
QUOTES = {'"', "'"}


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A file of variables."""

    path: Path
    name: str
    """The path by which its operator knows it, for messages."""
    copied: bool = False
    """Whether Compose reads it too, and may have copied what it holds into the environment."""


@dataclass(frozen=True, slots=True)
class Variables:
    """What is set, and where; a variable that is set to nothing counts as unset."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the files set; the earlier file goes first."""
    places: Mapping[str, str] = field(default_factory=dict)
    """File and line of each name in a file."""
    home: str = ".env"
    """The file to name when a variable is missing."""
    copies: frozenset[str] = frozenset()
    """Names that stood in the environment only because Compose had copied them there out of a file."""
    problems: tuple[Problem, ...] = ()

    def get(self, name: str) -> str | None:
        return self.environment.get(name) or self.file.get(name) or None

    def names(self) -> Iterator[str]:
        """Every name that is set, sorted."""
        return (name for name in sorted({*self.environment, *self.file}) if self.get(name))

    def place(self, name: str) -> str:
        """`environment SIDECAR_API_PORT` or `config/.env:3 SIDECAR_API_PORT`."""
        if not self.environment.get(name) and name in self.places:
            return f"{self.places[name]} {name}"
        return f"environment {name}"


def read(files: Sequence[EnvFile], environment: Mapping[str, str], copies: Collection[str] = ()) -> Variables:
    """Read those files that are there, without filling in `${...}`; the earlier one goes first.

    Compose copies once, when it makes the container, and loses dollars. So a copy gives way to the file itself;
    `copies` are names that are known to be one, though the file has changed since.
    """
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    known = set(copies)
    problems: list[Problem] = []
    for file in reversed(files):
        own = _read(file)
        problems[:0] = own.problems
        values |= own.file
        places |= own.places
        if file.copied:
            known |= {name for name, value in own.file.items() if is_copy(environment.get(name, ""), value)}
    environment = {name: value for name, value in environment.items() if name not in known}
    home = next((file.name for file in files if file.path.is_file()), files[0].name if files else ".env")
    return Variables(environment, values, places, home, frozenset(known), tuple(problems))


def is_copy(value: str, original: str) -> bool:
    """Whether a value is what Compose makes of an original, where `$$` is `$` and a `$NAME` that is not set nothing."""
    literals = _DOLLARS.split(original)
    return any(literals) and re.fullmatch(r"\$?".join(map(re.escape, literals)), value) is not None


_DOLLARS = re.compile(r"\$\$|\$\{[^}]*\}|\$\w+")


def _read(file: EnvFile) -> Variables:
    """What one file sets to something."""
    text = read_text(file.path, file.name)
    if isinstance(text, Problem):
        return Variables(problems=(text,))
    if text is None:
        return Variables()
    if "\0" in text:
        place = f"{file.name}:{text.count(chr(10), 0, text.index(chr(0))) + 1}"
        return Variables(problems=(Problem("bad-characters", place, "holds NUL", "Save the file as UTF-8."),))
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    for line, entry in _entries(parse_stream(StringIO(text)), file.name):
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        name, value = entry
        if name in lines:
            message = f"{name} is set in line {lines[name]} already"
            place = f"{file.name}:{line}"
            problems.append(Problem("duplicate-variable", place, message, "Remove one of the two."))
        values[name], lines[name] = value, line
    places = {name: f"{file.name}:{line}" for name, line in lines.items() if values[name]}
    return Variables(file={name: values[name] for name in places}, places=places, problems=tuple(problems))


def _entries(bindings: Iterable[Binding], name: str) -> Iterator[tuple[int, Problem | tuple[str, str]]]:
    """Line and variable, or line and problem; the pieces of a cut key are one problem."""
    within_key = False
    for binding in bindings:
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        place = f"{name}:{line}"
        if within_key:
            within_key = KEY_END not in text and not _begins_anew(binding)
            if within_key or KEY_END in text:
                continue
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if binding.error:
            yield line, _unreadable(place, text)
        elif binding.key is None or not is_variable_name(binding.key):
            hint = "Use letters, digits and `_`."
            yield line, Problem("bad-variable", place, "is not of the form NAME=value", hint)
        elif binding.value is None:
            hint = 'Write NAME=value; quote values of many lines: NAME="...".'
            yield line, Problem("bad-variable", place, "has no `=`", hint)
        elif lacks_end(binding.value):
            within_key, place = not _is_quoted_line(text), f"{place} {binding.key}"
            yield line, cut_key(place) if within_key else key_without_end(place)
            if not within_key:
                yield line, (binding.key, binding.value)
        else:
            yield line, (binding.key, binding.value)


def _begins_anew(binding: Binding) -> bool:
    """Whether a line after a cut key is clearly a variable of its own: base64 has no `_`."""
    return bool(binding.key and re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", binding.key) and binding.value is not None)


def _is_quoted_line(text: str) -> bool:
    """Whether a value is one line in quotes, so that nothing behind it can be a piece of it."""
    return text.partition("=")[2].lstrip()[:1] in QUOTES and "\n" not in text.strip()


def lacks_end(value: str) -> bool:
    """Whether a value begins as a private key does, and does not end as one."""
    return value.startswith(KEY_BEGIN) and KEY_END not in value


def key_without_end(place: str) -> Problem:
    """The warning of a key that is a line in quotes, as examples have it; an error for whatever gets it."""
    hint = "Put the whole key between the quotes, or remove it here and from `secrets`."
    return Problem("cut-key", place, "is a private key without its END line", hint, "warning")


def cut_key(place: str) -> Problem:
    """The problem of a key of which only the first line arrived."""
    message = "is a key of many lines that was cut after its first, because it is not in quotes"
    hint = 'Put the whole key into double quotes: NAME="-----BEGIN ... END ...-----".'
    return Problem("cut-key", place, message, hint)


def _unreadable(place: str, text: str) -> Problem:
    value = text.partition("=")[2].lstrip()
    if value[:1] in QUOTES:
        message = f"a value begins with {value[0]} and is not closed, or goes on after the closing quote"
        hint = f"Close the value with {value[0]} and write nothing behind it."
        return Problem("open-quote", place, message, hint)
    hint = 'Quote values of many lines: NAME="...".'
    return Problem("bad-variable", place, "is not of the form NAME=value", hint)


# --- ${VAR} ---------------------------------------------------------------------------------------------------------

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|)")
_ESCAPE = "To leave it to the shell in the target, write `$${...}`."


def fill(text: str, variables: Variables, secret: Iterable[str] = ()) -> str:
    """Fill `${VAR}` and `${VAR:-default}`; `$${` stays as `${`, and other dollars are left alone.

    Raises what `invalid` makes. A name in `secret` is refused: its value would stand in a text that is shown.
    """

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise invalid("holds a `${` that is neither `${VAR}` nor `${VAR:-default}`", _ESCAPE, "bad-reference")
        if name in secret:
            hint = f"Write `${name}` in a command of this file, which gets it as a variable. {_ESCAPE}"
            raise invalid(f"fills in the secret {name}, which would show in logs and argv", hint, "secret-in-text")
        if (value := variables.get(name) or match[2]) is None:
            hint = f"Set {name} in `{variables.home}` or the environment, or write `${{{name}:-default}}`. {_ESCAPE}"
            raise invalid(f"needs the variable {name}, which is not set", hint, "unset-variable")
        if lacks_end(value):
            hint = f"Put the whole key into {name}, or remove the reference."
            raise invalid(f"fills in {name}, a private key without its END line", hint, "cut-key")
        return value

    return _REFERENCE.sub(filled, text)
