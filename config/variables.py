"""Reads variables: the process environment goes before `.env`, whose errors are told like those of the file.

python-dotenv takes an unquoted multi-line key for many variables and only logs a missing quote. Since a line may be a
piece of a key, no message repeats anything but the name of a well-formed variable.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
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
class Variables:
    """What is set, and where; a variable that is set to nothing counts as unset."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: Mapping[str, str] = field(default_factory=dict, repr=False)
    lines: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def get(self, name: str) -> str | None:
        return self.environment.get(name) or self.file.get(name) or None

    def names(self) -> Iterator[str]:
        """Every name that is set, sorted."""
        return (name for name in sorted({*self.environment, *self.file}) if self.get(name))

    def place(self, name: str) -> str:
        """`environment SIDECAR_API_PORT` or `.env:3 SIDECAR_API_PORT`."""
        if not self.environment.get(name) and name in self.lines:
            return f".env:{self.lines[name]} {name}"
        return f"environment {name}"


def read(path: Path, environment: Mapping[str, str]) -> Variables:
    """Read `.env` if there is one, without filling in `${...}`."""
    text = read_text(path)
    if isinstance(text, Problem):
        return Variables(environment, problems=(text,))
    if text is None:
        return Variables(environment)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        problem = _problem(line, "bad-characters", "holds NUL", "Save the file as UTF-8.")
        return Variables(environment, problems=(problem,))
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    for line, entry in _entries(parse_stream(StringIO(text))):
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        name, value = entry
        if name in lines:
            message = f"{name} is set in line {lines[name]} already"
            problems.append(_problem(line, "duplicate-variable", message, "Remove one of the two."))
        values[name], lines[name] = value, line
    return Variables(environment, values, lines, tuple(problems))


def _entries(bindings: Iterable[Binding]) -> Iterator[tuple[int, Problem | tuple[str, str]]]:
    """Line and variable, or line and problem; the pieces of a cut key are one problem."""
    within_key = False
    for binding in bindings:
        text = binding.original.string
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if within_key:
            within_key = KEY_END not in text and not _begins_anew(binding)
            if within_key or KEY_END in text:
                continue
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if binding.error:
            yield line, _unreadable(line, text)
        elif binding.key is None or not is_variable_name(binding.key):
            yield line, _problem(line, "bad-variable", "is not of the form NAME=value", "Use letters, digits and `_`.")
        elif binding.value is None:
            hint = 'Write NAME=value; quote values of many lines: NAME="...".'
            yield line, _problem(line, "bad-variable", "has no `=`", hint)
        elif lacks_end(binding.value):
            within_key, place = not _is_quoted_line(text), f".env:{line} {binding.key}"
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


def _unreadable(line: int, text: str) -> Problem:
    value = text.partition("=")[2].lstrip()
    if value[:1] in QUOTES:
        message = f"a value begins with {value[0]} and is not closed, or goes on after the closing quote"
        return _problem(line, "open-quote", message, f"Close the value with {value[0]} and write nothing behind it.")
    return _problem(line, "bad-variable", "is not of the form NAME=value", 'Quote values of many lines: NAME="...".')


def _problem(line: int, code: str, message: str, hint: str) -> Problem:
    return Problem(code, f".env:{line}", message, hint)


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
            hint = f"Set {name} in `.env` or the environment, or write `${{{name}:-default}}`. {_ESCAPE}"
            raise invalid(f"needs the variable {name}, which is not set", hint, "unset-variable")
        if lacks_end(value):
            hint = f"Put the whole key into {name}, or remove the reference."
            raise invalid(f"fills in {name}, a private key without its END line", hint, "cut-key")
        return value

    return _REFERENCE.sub(filled, text)
