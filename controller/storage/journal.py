"""Small facts that must survive a crash, one JSON file each in the work folder, beside the catalog, which can be lost.

A file that is no such fact, whatever it holds, keeps nothing from starting: it is set aside under another name, named
in the log, and told as a problem until somebody has looked at it and removed it.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from config.problems import Problem
from controller.core.errors import StoreError
from controller.storage import files
from controller.storage.files import store_error, without_links

SUFFIX, BAD = ".json", ".bad-"
MOST_BYTES = 64 << 20
NAME_BYTES = 200
"""How much of a name is kept in that of a file that is set aside, so that it is not too long."""
Fact = TypeVar("Fact", bound=BaseModel)
Parsed = TypeVar("Parsed")
NO_ROOM_OF_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors that say nothing of the file."""
REMEDIES = {
    "quiesced": "If the container of that id is still paused or stopped, let it run again; then remove the file.",
    "owed": "Look whether a restore was left half done, and restore again with --replace; then remove the file.",
}
"""By folder."""


def write(path: Path, fact: BaseModel | Mapping[str, object]) -> None:
    """Durable when it returns; an older fact at the same path is replaced whole. Raises `StoreError`."""
    files.write(path, to_json(fact, indent=2))


def load(path: Path) -> dict[str, Any] | None:
    """The fields of a fact without a schema; None where there is none. Raises `StoreError` for what is no fact."""
    try:
        fields = from_json(content(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store_error(error, path) from error
    except ValueError as error:
        raise StoreError(f"{path} is no JSON", hint="Look at it, then remove it.") from error
    return fields if isinstance(fields, dict) else {}


def read(path: Path, schema: type[Fact]) -> Fact | None:
    """As `parsed`."""
    return parsed(path, partial(schema.model_validate_json, strict=True))


def parsed(path: Path, parse: Callable[[bytes], Parsed]) -> Parsed | None:
    """What `parse` makes of a file; where that raises ValueError, the file is set aside as if there were none.

    Raises `StoreError` only for what may be read later.
    """
    try:
        return parse(content(path))
    except FileNotFoundError as error:
        if path.is_symlink():
            set_aside(path, error.strerror or str(error))
    except OSError as error:
        if error.errno in NO_ROOM_OF_OURS:
            raise store_error(error, path) from error
        set_aside(path, error.strerror or str(error))
    except (ValueError, OverflowError):
        set_aside(path, "it does not hold what it should")
    return None


def facts(folder: Path, schema: type[Fact], field: str) -> Iterator[Fact]:
    """Every fact of a folder, by name; `field` is the one that gives each its name. Raises what `read` raises."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if fact := read(path, schema):
            if getattr(fact, field) == path.stem:
                yield fact
            else:
                set_aside(path, f"it is about another {field} than its name says")


def content(path: Path) -> bytes:
    """What a file of a sensible size holds; raises `OSError`."""
    with open(path, "rb", opener=without_links) as file:  # Path.open has no opener.
        return file.read(MOST_BYTES)


def set_aside(path: Path, reason: str) -> None:
    """Give a file, whatever it is, a name under which nobody looks for a fact."""
    name = os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])
    aside = path.with_name(f"{name}{BAD}{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    bound = logger.bind(code="bad-fact")
    try:
        path.rename(aside)
    except OSError as error:
        bound.error("{} cannot be used: {}; nor can it be set aside: {}", shown(path), reason, error.strerror)
    else:
        bound.error("{} cannot be used: {}; it was set aside as {}", shown(path), reason, shown(aside))


def problems(workdir: Path) -> tuple[Problem, ...]:
    """What was set aside and is still there."""
    paths = (path for depth in ("", "*/", "*/*/") for path in workdir.glob(f"{depth}*{BAD}*"))
    message = "could not be used and was set aside; what it held is not known any more"
    hints = ((path, REMEDIES.get(path.parent.name, "Look at it, then remove it.")) for path in sorted(paths))
    return tuple(Problem("bad-fact", shown(path), message, hint, "warning") for path, hint in hints)


def shown(path: Path) -> str:
    """A path as it can be printed and sent, whatever its name holds."""
    return repr(str(path))[1:-1]
