"""The name of a target."""

import re
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import AfterValidator

from controller.core.records import Record

RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
"""What a run is called: when it was asked for, and a random number."""

KEYS_NAMED = 20


class Key(Record):
    """Names a target: `project/service` or `project/service/name`; `_` is the project without Compose."""

    project: str
    service: str
    name: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.project, self.service, *([self.name] if self.name else []))

    @property
    def folders(self) -> tuple[str, ...]:
        """The parts percent-encoded outside `[a-z0-9_-]`, so that none can be `..`, hidden or a path."""
        return tuple(encode(part) for part in self.parts)

    @classmethod
    def parse(cls, text: str) -> "Key":
        """From `str(key)`; raises ValueError for anything but two or three parts."""
        parts = [unquote(part) for part in text.split("/")]
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"a target's key is project/service or project/service/name, not {text[:80]!r}")
        return cls(project=parts[0], service=parts[1], name=parts[2] if len(parts) == 3 else None)

    def __str__(self) -> str:
        return "/".join(quote(part, safe="") if "/" in part or "%" in part else part for part in self.parts)


def runs_of(keys: Iterable[object]) -> str:
    """A hint for a key without runs: which keys have some."""
    named = list(map(str, keys))
    more = f" and {len(named) - KEYS_NAMED} more" if len(named) > KEYS_NAMED else ""
    return f"The store has runs of {', '.join(named[:KEYS_NAMED])}{more}." if named else "The store has no runs."


def encode(part: str) -> str:
    """Percent-encode every byte outside `[a-z0-9_-]`."""
    return "".join(
        chr(byte) if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789_-" else f"%{byte:02X}" for byte in part.encode()
    )


KeyText = Annotated[str, AfterValidator(lambda text: str(Key.parse(text)))]
"""`str(key)`, as JSON has it where keys name the members of an object."""
