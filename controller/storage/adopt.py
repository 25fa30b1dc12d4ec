"""Runs of another store, out of a tar: what lies where in it, and whether it is a backup that may be taken in.

Nothing that an archive or a manifest says is believed: names of members lead nowhere but into a folder of our own, and
a manifest is data, whose key, names, sizes, digests and formats are looked at before its run is entered.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pydantic_core import from_json

from config.wording import is_unsafe, quoted
from controller.core.errors import Damaged, IncompleteDump, NotAdopted
from controller.core.key import RUN_ID, Key, encode
from controller.core.manifest import SCHEMA, Manifest, weakest
from controller.core.run import CLOCK_TOLERANCE, SAFETY
from controller.storage import marks
from controller.storage.codecs import SUFFIX
from controller.storage.draft import MANIFEST
from controller.storage.files import PARTIAL
from controller.storage.marks import succeeded
from controller.storage.source import Source
from controller.storage.staging import Staging
from controller.storage.store import DELETED, PURGED
from strategies.plan import Check, Incomplete
from strategies.tar import Member, contents

CheckOf = Callable[[str, str], Check | None]
"""By strategy and format."""
NAME = re.compile(r"[A-Za-z0-9_%~-][A-Za-z0-9._%~-]{0,254}")
"""Of an artifact."""
RESERVED = {MANIFEST, DELETED, PURGED, marks.DRILL, marks.FOLDER}
FOLDER, FILES = b"5", (b"0", b"\0")
KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
"""What a store never holds, by the tar's type."""
MOST_FILES = 500_000
LONGEST_NAME = 4096
MOST_MANIFEST_BYTES = 16 << 20
MOST_MARK_BYTES = 64 << 10
MARKS = ("report", "accepted")
"""Of those that come along some fields are taken over: see `kept_marks`."""
TRIGGERS = ("schedule", "cli", "api", "export", SAFETY)


@dataclass(slots=True)
class Arrival:
    """The files of one folder that came along, and its marks, by their names."""

    folder: Path
    place: str = ""
    """Where it lay in the archive."""
    names: set[str] = field(default_factory=set)
    marks: dict[str, bytes] = field(default_factory=dict)


def arrivals(stream: BinaryIO, staging: Staging, check: Callable[[], None]) -> Iterator[Arrival]:
    """Unpack a tar, and give each of its folders that holds a manifest, by name; nothing is given before its end.

    `check` is called for each member, and may raise. Raises `NotAdopted` for an archive that is cut, or holds what no
    store does; `StoreError`.
    """
    folders: dict[tuple[str, ...], Arrival] = {}
    try:
        for number, (member, pieces) in enumerate(contents(stream)):
            check()
            if number == MOST_FILES:
                raise NotAdopted(f"the archive holds more than {MOST_FILES} files", hint="Take it in in parts.")
            *above, name = placed(member)
            if member.kind == FOLDER:
                continue
            is_mark = bool(above) and above[-1] == marks.FOLDER
            place = tuple(above[:-1] if is_mark else above)
            if not is_wanted(name, is_mark):
                continue
            if place not in folders:
                folders[place] = Arrival(staging.run(), "/".join(place))
            arrival = folders[place]
            if not is_mark:
                take(arrival, name, member.size, pieces, staging)
            elif member.size <= MOST_MARK_BYTES:
                arrival.marks[name.removesuffix(marks.SUFFIX)] = b"".join(pieces)
    except Incomplete as error:
        raise NotAdopted(f"this is no whole archive: {error}") from error
    except Damaged as error:
        raise NotAdopted(f"this is no whole archive: {error.message}") from error
    yield from (arrival for _, arrival in sorted(folders.items()) if MANIFEST in arrival.names)


def placed(member: Member) -> list[str]:
    """The parts of a member's path; raises `NotAdopted` for whatever has no place in a store."""
    try:
        path = member.name.decode()
    except UnicodeDecodeError:
        raise NotAdopted(f"{member.name[:80]!r} is no name of a file of ours") from None
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or is_unsafe(path, "") or len(path) > LONGEST_NAME:
        raise NotAdopted(f"{quoted(path, 200)} leads out of the archive, or is no name of a file")
    if member.kind not in (FOLDER, *FILES) or member.sparse:
        kind = KINDS.get(member.kind, "no plain file")
        raise NotAdopted(f"{quoted(path, 200)} is {kind}", hint="A store holds only files and folders: leave it out.")
    return parts or ["."]


def is_wanted(name: str, is_mark: bool) -> bool:
    """Whether a file may belong to a run; what lies beside runs is passed over."""
    if is_mark:
        return name.removesuffix(marks.SUFFIX) in MARKS
    return name == MANIFEST or is_name(name)


def is_name(name: str) -> bool:
    """Whether an artifact may be called so."""
    return bool(NAME.fullmatch(name)) and name not in RESERVED and not name.endswith(PARTIAL)


def take(arrival: Arrival, name: str, size: int, pieces: Iterator[bytes], staging: Staging) -> None:
    """Write one file where it belongs."""
    if name in arrival.names:
        raise NotAdopted(f"{name} is twice in one folder of the archive")
    arrival.names.add(name)
    staging.write(arrival.folder / name, pieces, size)


def manifest_of(arrival: Arrival, now: datetime) -> Manifest:
    """What a folder that came along says of itself; raises `NotAdopted` where that cannot be."""
    path = arrival.folder / MANIFEST
    if path.stat().st_size > MOST_MANIFEST_BYTES:
        raise NotAdopted(f"its manifest is larger than {MOST_MANIFEST_BYTES} bytes")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValueError:
        raise NotAdopted("its manifest cannot be read") from None
    if manifest.schema_ > SCHEMA:
        message = f"its manifest has schema {manifest.schema_}, this program reads up to {SCHEMA}"
        raise NotAdopted(message, hint="Adopt it with the release that wrote it, or a later one.")
    for fault in faults(manifest, now):
        raise NotAdopted(f"its manifest {fault}")
    return manifest


def faults(manifest: Manifest, now: datetime) -> Iterator[str]:
    """What no manifest of ours says."""
    if not RUN_ID.fullmatch(manifest.run) or not is_date(manifest.run):
        yield "names no run"
    elif succeeded(manifest).is_future(now) or manifest.finished > now + CLOCK_TOLERANCE:
        yield "tells of a time that has not come"
    if manifest.finished < manifest.started:
        yield "tells of an end before its start"
    if not is_key(manifest.target):
        yield "names no target"
    names = [artifact.name for artifact in manifest.artifacts]
    if not names or len(set(names)) < len(names):
        yield "lists no artifacts, or one twice"
    for artifact in manifest.artifacts:
        if not is_name(artifact.name) or artifact.compression not in SUFFIX:
            yield f"lists an artifact that cannot be: {quoted(artifact.name)}"
    if names and manifest.proof != weakest(artifact.proof for artifact in manifest.artifacts):
        yield "claims a proof that its artifacts do not have"


def is_date(run: str) -> bool:
    try:
        return bool(datetime.fromisoformat(run[:16]))
    except ValueError:
        return False


def is_key(key: Key) -> bool:
    """Whether its parts are names that folders can have."""
    try:
        same = Key.parse(str(key)) == key
    except ValueError:
        return False
    return same and all(len(encode(part)) <= 255 and not is_unsafe(part, "") for part in key.parts)


def verify(arrival: Arrival, manifest: Manifest, check_of: CheckOf, check: Callable[[], None]) -> None:
    """Read every artifact to its end; raises `Damaged`, `IncompleteDump`, and `NotAdopted` for one that is not there,
    or whose format is said to have been checked and is nobody's here.
    """
    for artifact in manifest.artifacts:
        path, whole = arrival.folder / artifact.name, check_of(manifest.strategy, artifact.format)
        if artifact.name not in arrival.names or path.stat().st_size != artifact.size:
            raise NotAdopted(f"{artifact.name} is not there with its {artifact.size} bytes")
        if whole is None and artifact.proof in ("full", "framed"):
            format_ = f"{quoted(manifest.strategy)} has no format {quoted(artifact.format)} here"
            raise NotAdopted(f"{artifact.name} cannot be checked: {format_}", hint="Adopt it where that is known.")
        try:
            Source(artifact, path).verify(partial(read, whole), check)
        except IncompleteDump as error:
            raise IncompleteDump(f"{artifact.name} is not a whole {artifact.format}: {error.message}") from error
        except Damaged as error:
            raise Damaged(error.message, hint="Take it from where it lies once more.") from error


def read(check: Check | None, stream: BinaryIO) -> Sequence[str]:
    """Check the format, where somebody can; nothing is known of what the server held."""
    return check(stream, defaultdict(str)) if check else ()


def fields_of(mark: bytes) -> dict[str, object]:
    try:
        fields = from_json(mark)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def kept_marks(arrival: Arrival) -> dict[str, dict[str, object]]:
    """What comes along of how the run went: who had asked for it, and that somebody takes it for good."""
    found = {name: fields_of(data) for name, data in arrival.marks.items()}
    trigger = found.get("report", {}).get("trigger")
    kept: dict[str, dict[str, object]] = {"report": {"trigger": trigger if trigger in TRIGGERS else "adopt"}}
    if found.get("accepted", {}).get("accepted") is True:
        kept["accepted"] = {"accepted": True}
    return kept
