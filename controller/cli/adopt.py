"""Taking in what was backed up elsewhere: this command reads it, and the running `serve` looks at it and keeps it."""

import os
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import httpx
import typer

from controller.app import program
from controller.cli.terminal import (
    AsJson,
    Failed,
    address_of,
    amount,
    answered,
    as_key,
    client,
    err,
    out,
    show,
    show_json,
)
from controller.cli.times import when
from controller.core.copy_errors import NotACopy
from controller.core.key import RUN_ID, Key

CHUNK_BYTES = 1 << 20
MANIFEST, MARKS = "manifest.json", "marks"
Source = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER|FILE|-|DESTINATION", help="A store or a run of one, a tar, `-` for stdin, or copies elsewhere."
    ),
]
Keys = Annotated[list[str] | None, typer.Argument(metavar="KEY", help="Copies: of these targets; else of all.")]
Identity = Annotated[
    str | None, typer.Option(metavar="-", help="The recovery kit on standard input: `-`. Nothing of it is kept.")
]
Everything = Annotated[bool, typer.Option("--all", help="Copies: every run, and not only the newest of each target.")]
As = Annotated[str | None, typer.Option("--as", metavar="KEY", help="It is a bare file: a dump of this target.")]
At = Annotated[
    str | None,
    typer.Option(help="When the bare file was made, else by its name or its own time. Copies: none that began later."),
]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="TIME", help="Copies, in a bucket with versions: as they were then, by its clock."),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which copies are taken back."""

    keys: Sequence[Key] = ()
    """Empty: of all targets."""
    run: str = ""
    """Empty: the newest of each target."""
    at: datetime | None = None
    """None that began later."""
    all: bool = False
    as_of: datetime | None = None
    """From what the destination had then, by its clock; None: now."""


def adopt(
    source: Source,
    keys: Keys = None,
    *,
    identity: Identity = None,
    all_: Everything = False,
    as_: As = None,
    at: At = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
) -> int:
    """Take in backups from elsewhere while the sidecar serves: check them, and enter them as of there."""
    path, moment = Path(source), when(at)
    if identity or (not path.exists() and names_copies(source)):
        wanted = Wanted([as_key(key) for key in keys or ()], at=moment, all=all_, as_of=when(as_of))
        rows = adopted_copies(source, identity, wanted)
        show_json(rows) if as_json else show_runs(rows)
        return program.FAILED if any(row["error"] for row in rows) else program.OK
    if as_of:
        raise Failed("--as-of is only for copies", "Name a destination of `copies.destinations`.", program.USAGE)
    if as_:
        report = adopted_file(as_, path, moment or made(path))
        show_json(report) if as_json else show_runs([{"outcome": "adopted", "run": report["id"], **report}])
        return program.OK
    if moment:
        raise Failed("--at is only for a bare file", "Give --as as well.", program.USAGE)
    shut = list[OSError]()
    rows = [row for tar in tars(path, shut.append) for row in adopted_runs(tar, source)]
    show_json(rows) if as_json else show_runs(rows)
    for error in shut:
        err.print(f"error: cannot read {error.filename}: {error.strerror}", style="red")
    return program.FAILED if shut or any(row["error"] for row in rows) else program.OK


def tars(path: Path, shut: Callable[[OSError], object]) -> Iterator[Iterator[bytes]]:
    """One for each run of a folder, else the only one; raises `Failed` for a folder without runs."""
    if not path.is_dir():
        yield read(path)
        return
    runs = [Path(folder) for folder, _, names in os.walk(path, onerror=shut) if MANIFEST in names]
    if not runs:
        raise Failed(f"no run lies in {path}", "It needs the folders of runs, each with its manifest.json.")
    yield from map(packed, sorted(runs))


def names_copies(name: str) -> bool:
    from controller.cli.comeback import is_destination  # noqa: PLC0415  # As below.

    return is_destination(name)


def adopted_copies(name: str, identity: str | None, wanted: Wanted) -> list[dict[str, Any]]:
    """Of a destination; raises `Failed`, `SidecarError`."""
    from controller.cli.comeback import taken  # noqa: PLC0415  # Only here what decrypts is needed.

    rows, wrong = list[dict[str, Any]](), list[NotACopy]()
    for key, choices in taken(name, identity, wanted):
        if not choices:
            wrong.append(NotACopy(f"there is no such copy of {key} that can be believed"))
            rows.append(refused_copy("", str(key), wrong[-1]))
        for offered in choices:
            try:
                rows += adopted_runs(offered.tar(), name)
            except NotACopy as error:
                wrong.append(error)
                rows.append(refused_copy(offered.run.run, str(offered.run.key), error))
            if not rows[-1]["error"]:
                break
    if wrong and len(wrong) == len(rows):
        raise wrong[0]  # As by an identity that opens none of them.
    return rows


def refused_copy(run: str, key: str, error: NotACopy) -> dict[str, Any]:
    """As the sidecar answers for a run that it does not take."""
    told = {"code": error.code, "message": error.message, "hint": error.hint, "transient": error.transient}
    return {"outcome": "refused", "run": run, "key": key, "size": None, "folder": None, "error": told}


def taken_from(rows: Sequence[dict[str, Any]]) -> str:
    """The run that was adopted; those that were refused before it are told. Raises `Failed` where all were."""
    for row in rows:
        if not row["error"]:
            return str(row["run"])
        err.print(f"warning: {row['error']['message']}", style="yellow")
    raise Failed(rows[-1]["error"]["message"], rows[-1]["error"]["hint"])


def adopted_runs(tar: Iterator[bytes], origin: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = sent("/v1/adopt", tar, origin)["runs"]
    return runs


def adopted_file(key: str, path: Path, moment: datetime) -> Any:
    query = {"name": path.name, "made": moment.isoformat()}
    return sent(f"{address_of(key)}/adopt", read(path), str(path), **query)


def sent(address: str, content: Iterator[bytes], origin: str, **query: str) -> Any:
    """The answer to what is sent, which comes when everything was looked at."""
    name = "standard input" if origin == "-" else origin[-200:]
    with client() as connection:
        timeout = httpx.Timeout(None, connect=30)
        return answered(connection.post(address, params={"origin": name, **query}, content=content, timeout=timeout))


def made(path: Path) -> datetime:
    """When a bare file was made, by its name as downloads have it, else by its own time; raises `Failed`."""
    if run := RUN_ID.search(path.name):
        return datetime.fromisoformat(run[0][:16])
    if not path.is_file():
        raise Failed(f"nothing tells when {path} was made", "Give --at: 2026-03-01T03:00Z.", program.USAGE)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def read(path: Path) -> Iterator[bytes]:
    """A file, or standard input; raises `Failed`."""
    try:
        if str(path) == "-":
            yield from pieces(sys.stdin.buffer)
        else:
            with path.open("rb") as file:
                yield from pieces(file)
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}", "Name a file in the sidecar's container.") from error


def packed(run: Path) -> Iterator[bytes]:
    """The plain files of a run's folder as a tar; what else lies there stays."""
    for folder in (run, run / MARKS):
        for path in sorted(folder.glob("*")):
            if path.is_file() and not path.is_symlink():
                yield from member(path, f"{run.name}/{path.relative_to(run)}")
    yield bytes(2 * tarfile.BLOCKSIZE)


def member(path: Path, name: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            header = tarfile.TarInfo(name)
            header.size = os.fstat(file.fileno()).st_size
            yield header.tobuf(tarfile.PAX_FORMAT)
            left = header.size
            for piece in pieces(file):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror}") from error
    if left:
        raise Failed(f"{path} changed while it was read", "Adopt it when nobody writes there.")
    yield bytes(-header.size % tarfile.BLOCKSIZE)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece


def show_runs(rows: list[dict[str, Any]]) -> None:
    cells = [(named(row), row["key"], amount(row["size"]), row["outcome"]) for row in rows]
    show(cells, "RUN", "TARGET", "SIZE", "OUTCOME")
    for row in rows:
        if error := row.get("error"):
            err.print(f"error: {named(row)}: {error['message']}. {error['hint']}", style="red")
    out.print(f"{sum(row['outcome'] == 'adopted' for row in rows)} of {len(rows)} runs adopted")


def named(row: dict[str, Any]) -> str:
    """By its id; where its manifest tells none, by its folder."""
    return str(row["run"] or row["folder"] or "a run")
