"""Reads `config.yaml` into plain values with the line of every key.

PyYAML keeps the last of two equal keys in silence, reads `no` as false and `08:30` as 510, and unfolds a kilobyte of
aliases into gigabytes. So its node graph is walked here: equal keys are a problem, only `true` and `false` are
booleans, only decimal digits are numbers, and the number of values is bounded.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from config.files import read_text
from config.problems import Location, Problem
from config.wording import UNSAFE, dotted, is_unsafe, quoted

MOST_VALUES = 20_000
MOST_LEVELS = 30


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and where."""

    name: str
    """Name of the file, for messages."""
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Location, int] = field(default_factory=dict)
    """Line of each key and list entry, from 1."""
    problems: tuple[Problem, ...] = ()
    readable: bool = True
    """False: the file could not be taken apart, so that what is missing in it says nothing."""


class _Loader(yaml.SafeLoader):
    """YAML with the few plain types that cannot be mistaken."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"0|-?[1-9][0-9]*", "-0123456789"),
    ("float", r"-?(0|[1-9][0-9]*)\.[0-9]+", "-0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    _firsts = ["" if first == "\0" else first for first in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _firsts)


_CONVERT: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(text) if len(text) < 20 else text,
    "float": float,
    "null": lambda text: None,
}


def read(path: Path) -> Document:
    """Read a file; a missing one is an empty document. Never raises for what is in the file."""
    text = read_text(path, path.name)
    if text is None:
        return Document(path.name)
    if isinstance(text, Problem):
        return Document(path.name, problems=(text,), readable=False)
    return parse(text, path.name)


def parse(text: str, name: str) -> Document:
    """Read a text; see `read`."""
    reader = _Reader(name)
    try:
        node = yaml.compose(text, Loader=_Loader)
        values = reader.whole(node) if node is not None else {}
    # PyYAML lets the number of a character or of a version through that Python has no room for.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        return Document(name, problems=(_broken(error, text, name),), readable=False)
    except RecursionError:
        problem = Problem("too-deep", name, "is nested too deeply", "Flatten it.")
        return Document(name, problems=(problem,), readable=False)
    except _Refused as error:
        return Document(name, problems=(*reader.problems, error.problem), readable=False)
    return Document(name, values, reader.lines, tuple(reader.problems))


class _Refused(Exception):
    """The document is hostile, far too large or no mapping; reading stops."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Reader:
    """Walks the node graph, gathering lines and problems."""

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []

    def problem(self, node: yaml.Node, code: str, message: str, hint: str) -> Problem:
        return Problem(code, f"{self.name}:{node.start_mark.line + 1}", message, hint)

    def add(self, node: yaml.Node, code: str, message: str, hint: str) -> None:
        self.problems.append(self.problem(node, code, message, hint))

    def whole(self, node: yaml.Node) -> dict[str, Any]:
        """The value of the document's root; raises `_Refused`."""
        values = self.value(node, ())
        if not isinstance(values, dict | None):
            message = "holds no keys at its top level"
            raise _Refused(self.problem(node, "bad-value", message, "Write `key: value` lines."))
        return values or {}

    def value(self, node: yaml.Node, path: Location) -> Any:
        self.count += 1
        if self.count > MOST_VALUES or len(path) > MOST_LEVELS:
            what = "nested too deeply" if len(path) > MOST_LEVELS else f"unfolded to more than {MOST_VALUES} values"
            message = f"is {what}, perhaps by aliases"
            raise _Refused(self.problem(node, "too-many-values", message, "Write it without aliases."))
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if is_unsafe(text):
            self.add(node, "bad-characters", f"holds {UNSAFE}", "Remove them.")
            return ""
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in _CONVERT:
            self.add(node, "bad-value", "carries a YAML tag, and tags are not supported", "Remove the word with `!`.")
            return text
        return _CONVERT[kind](text)

    def _mapping(self, node: yaml.MappingNode, path: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        seen: dict[str, yaml.Node] = {}
        for key, item in self._pairs(node):
            if not isinstance(key, yaml.ScalarNode) or is_unsafe(key.value, ""):
                self.add(key, "bad-key", "is not a plain key", "Write `key: value`.")
            elif key.value in seen:
                lines = f"line {seen[key.value].start_mark.line + 1} and line {key.start_mark.line + 1}"
                message = f"the key {quoted(key.value)} stands twice, in {lines}"
                self.add(key, "duplicate-key", message, "Remove one of them.")
            else:
                seen[key.value] = key
                self.lines[*path, key.value] = key.start_mark.line + 1
                values[key.value] = self.value(item, (*path, key.value))
        return values | {key: item for key, item in self._merged(node, path).items() if key not in values}

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        return ((key, item) for key, item in node.value if key.tag != "tag:yaml.org,2002:merge")

    def _merged(self, node: yaml.MappingNode, path: Location) -> dict[str, Any]:
        """What `<<` brings in: the first mapping that has a key wins."""
        values: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                continue
            for source in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                mapping = self.value(source, path)
                if not isinstance(mapping, dict):
                    self.add(key, "bad-value", "`<<` takes a mapping or a list of mappings", "Name one with `*alias`.")
                else:
                    values = mapping | values
        return values


def _broken(error: Exception, text: str, name: str) -> Problem:
    """What YAML says with line and column, but without the line's text, which may hold a secret."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Problem("bad-characters", f"{name}:{line}", "holds a character that YAML forbids", "Remove it.")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return Problem("broken-yaml", name, "is not YAML", "Check it with an editor that knows YAML.")
    place = f"{name}:{mark.line + 1}"
    lines = text.split("\n")
    if mark.line < len(lines) and "\t" in re.split(r"[^\s-]", lines[mark.line], maxsplit=1)[0]:
        message = f"is indented with a tab, at column {mark.column + 1}"
        return Problem("broken-yaml", place, message, "Indent with spaces: YAML forbids tabs.")
    message = f"is not YAML at column {mark.column + 1}{_reason(error)}"
    return Problem("broken-yaml", place, message, "Check quotes and indentation.")


_REASONS = {
    "mapping values are not allowed": "a `: ` stands where no key can be",
    "expected a single document": "a second document begins",
    "undefined alias": "an alias has no anchor",
    "expected <block end>": "the indentation does not fit the lines above",
    "unexpected end of stream": "a quote or bracket is not closed",
    "expected ',' or": "a comma or closing bracket is missing",
    "could not find expected ':'": "a `:` is missing",
    "cannot start any token": "a value that begins with this character needs quotes",
}


def _reason(error: Exception) -> str:
    words = f"{getattr(error, 'context', '')} {getattr(error, 'problem', '')}"
    return next((f": {reason}" for phrase, reason in _REASONS.items() if phrase in words), "")


class Places:
    """Says where a setting was written: line of the file, or the variable that overrides it."""

    def __init__(self, document: Document, overrides: Mapping[Location, str]) -> None:
        self._document, self._overrides = document, overrides

    def of(self, path: Location) -> str:
        """`config.yaml:12 defaults.schedule` or `environment SIDECAR_API_PORT`; for a missing key its section."""
        for length in range(len(path), 0, -1):
            section = path[:length]
            if section in self._overrides:
                return self._overrides[section]
            if section in self._document.lines:
                return f"{self._document.name}:{self._document.lines[section]} {dotted(path)}"
        return f"{self._document.name} {dotted(path)}".rstrip()
