"""Reads what RabbitMQ exports as definitions, object by object: pure, in bounded memory however many there are.

An object is known by what makes it what it is; fields that other versions of the server add, and passwords, are no part
of that.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from strategies.plan import Incomplete

PIECE = 256 << 10
MOST_OBJECT_BYTES = 1 << 20
MOST_OBJECTS = 200_000
BLANK = re.compile(r"[ \t\r\n]*")
KINDS: Mapping[str, tuple[str, ...]] = {
    "vhosts": ("name",),
    "users": ("name",),
    "permissions": ("user", "vhost", "configure", "write", "read"),
    "topic_permissions": ("user", "vhost", "exchange", "write", "read"),
    "parameters": ("vhost", "component", "name", "value"),
    "global_parameters": ("name", "value"),
    "policies": ("vhost", "name", "pattern", "apply-to", "definition", "priority"),
    "queues": ("vhost", "name", "durable", "auto_delete", "arguments"),
    "exchanges": ("vhost", "name", "type", "durable", "auto_delete", "internal", "arguments"),
    "bindings": ("vhost", "source", "destination", "destination_type", "routing_key", "arguments"),
}
"""What an object of each kind is known by."""


def whole_definitions(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand one whole document of definitions, with virtual hosts and users."""
    read_definitions(stream)
    return ()


def read_definitions(stream: BinaryIO) -> Mapping[str, int]:
    """How many objects there are of each kind; demands what `whole_definitions` does."""
    numbers = Counter(kind for kind, _ in objects(_Text(stream)))
    if not numbers["vhosts"] or not numbers["users"]:
        raise Incomplete("it holds no virtual hosts or no users")
    return {kind.replace("_", " "): number for kind, number in numbers.items()}


def read_kept(stream: BinaryIO) -> Mapping[str, int]:
    """Of two documents, one behind the other, how many objects of the first are in the second as well."""
    text, wanted, numbers = _Text(stream), set[bytes](), Counter[str]()
    for kind, known in objects(text, more=True):
        wanted.add(known)
        numbers[kind] += 0
        if len(wanted) > MOST_OBJECTS:
            raise Incomplete(f"it holds more than {MOST_OBJECTS} objects, which nobody can keep in mind")
    for kind, known in objects(text):
        numbers[kind] += known in wanted
    return {kind.replace("_", " "): number for kind, number in numbers.items()}


def objects(text: "_Text", *, more: bool = False) -> Iterator[tuple[str, bytes]]:
    """The objects of one document, each by its kind and a digest; raises `Incomplete` for what is no whole document.

    Unless there may be `more` behind it, nothing else may follow.
    """
    text.demand("{")
    while (key := text.value()) is not None:
        text.demand(":")
        if key in KINDS and isinstance(key, str):
            yield from _listed(text, key)
        else:
            text.value()
        if text.next(",}") == "}":
            break
    if not more:
        text.end()


def _listed(text: "_Text", kind: str) -> Iterator[tuple[str, bytes]]:
    text.demand("[")
    if text.peek() == "]":
        text.demand("]")
        return
    while True:
        found = text.value()
        if not isinstance(found, dict):
            raise Incomplete(f"one of its {kind} is no object")
        told = json.dumps([kind, [_same(found.get(field), field) for field in KINDS[kind]]], sort_keys=True)
        yield kind, hashlib.blake2b(told.encode(errors="replace"), digest_size=16).digest()
        if text.next(",]") == "]":
            return


def _same(value: Any, field: str) -> Any:
    """Objects within parameters are exported as lists of pairs, or as objects, by how they came in; a newer broker
    adds the type of queues that are of the usual one.
    """
    if isinstance(value, dict) and field == "arguments" and value.get("x-queue-type") == "classic":
        return {name: argument for name, argument in value.items() if name != "x-queue-type"}
    if isinstance(value, dict) and "definition" in value:
        return value | {"definition": _object(value["definition"])}
    return _object(value)


def _object(value: Any) -> Any:
    pairs = isinstance(value, list) and value and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
    return dict(value) if pairs and all(isinstance(pair[0], str) for pair in value) else value


class _Text:
    """JSON that arrives piece by piece."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._decoder = stream, json.JSONDecoder()
        self._text, self._at = "", 0
        self._rest = b""

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            blank = BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at < len(self._text) or not self._read():
                return self._text[self._at : self._at + 1]

    def next(self, allowed: str) -> str:
        """Raises `Incomplete` for any other."""
        found = self.peek()
        if not found or found not in allowed:
            raise Incomplete(f"it has {found!r} where one of {allowed!r} has to be")
        self._at += 1
        return found

    def demand(self, character: str) -> None:
        self.next(character)

    def value(self) -> Any:
        """Raises `Incomplete` for none, and for one that is larger than any object."""
        self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MOST_OBJECT_BYTES or not self._read():
                    raise Incomplete("it is no whole JSON, or holds an object that is larger than any") from error
                continue
            if end < len(self._text) or not self._read():  # A number may go on.
                self._at = end
                return found

    def end(self) -> None:
        if self.peek():
            raise Incomplete("something follows its end")

    def _read(self) -> bool:
        piece = self._stream.read(PIECE)
        whole = self._rest + piece
        cut = len(whole) - _unfinished(whole)
        self._rest = whole[cut:]
        try:
            self._text, self._at = self._text[self._at :] + whole[:cut].decode(), 0
        except UnicodeDecodeError as error:
            raise Incomplete("it is no UTF-8") from error
        if not piece and self._rest:
            raise Incomplete("it ends within a character")
        return bool(piece)


def _unfinished(text: bytes) -> int:
    """How many bytes at the end are the begin of a character."""
    for length in range(1, min(4, len(text)) + 1):
        byte = text[-length]
        if byte >= 0xC0:
            return length if length < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            return 0
    return 0
