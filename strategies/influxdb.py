"""InfluxDB 1.x, by its own backup: each database as the folder that `influxd backup -portable` writes, as a tar.

The backup is made shard by shard while the server goes on. A manifest in it names every shard with its size, and is
compared with what has come. Continuous queries, which are no part of it, are added as the statements that make them.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from pydantic import Field

from config.fields import CommaList
from config.wording import shortened
from strategies.base import Answer, Container, Facts, Options, Strategy, unreadable
from strategies.checks import read_counts, safe_tar
from strategies.influxdb_swap import ASK, PLACE, Swap, by_hand, script
from strategies.plan import (
    CHUNK,
    Argv,
    Check,
    Count,
    Dump,
    Exec,
    Incomplete,
    Plan,
    Restore,
    RestoreRequest,
    file_name,
    shell_line,
)
from strategies.servers import choose, databases_in, no_client, refused
from strategies.tar import contents

TOOLS = "command -v influxd && command -v influx && command -v tar"
DUMP = f"""{ASK}{PLACE}
folder=$(mktemp -d "$place/.backup.XXXXXX") || exit
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM
influxd backup -portable $backup -db "$1" "$folder/it" >"$folder/said" 2>&1 ||
    {{ tail -n 3 "$folder/said" >&2; exit 1; }}
queries "$1" >"$folder/it/queries" && tar -cf - -C "$folder/it" .
"""
COUNT = rf"""{ASK}
found=$(ask "SHOW SERIES EXACT CARDINALITY ON $(quoted "$1")") || exit
echo "$found" | sed -n 's/^\(.*\),\([0-9]\{{1,\}}\)$/\2\tseries of \1/p'
found=$(ask "SHOW RETENTION POLICIES ON $(quoted "$1")") || exit
printf '%s\tretention policies\n' "$(echo "$found" | sed 1d | grep -c .)"
"""
ROOM = f'{ASK}{PLACE}df -Pk "$place"'
OCCUPIED = f"""{ASK}
for base; do
    found=$(ask "SHOW MEASUREMENTS ON $(quoted "$base") LIMIT 1" 2>/dev/null)
    [ -z "$found" ] || echo "the database $base"
done
"""
MANIFEST_BYTES, MOST_FILES = 8 << 20, 100_000
TAR_NAME = 100
TOMBSTONE = re.compile(rb"([^\0/]{1,80})/[^\0]{1,80}/[0-9]{1,18}/[0-9]{9,12}-[0-9]{9,12}\.tombstone\0")
"""Beside a file of data, which of it is deleted: its name in a shard's own tar."""
DELETED = (
    "deleted-comes-back: what was deleted from {} lies in its files until the server compacts them, and is restored"
    " with them"
)
GZIP_WINDOW = 31
"""That of zlib for what gzip has written."""
GONE = "connection refused|Failed to connect|EOF|timeout"
ACCOUNT = "Set INFLUX_USERNAME and INFLUX_PASSWORD (or INFLUXDB_ADMIN_USER and INFLUXDB_ADMIN_PASSWORD) there."
NOT_KEPT = re.compile(r"^[^,]+,(?:true|false)$", re.MULTILINE)


class InfluxdbOptions(Options):
    """`backup.influxdb.*`."""

    databases: CommaList = ()
    """Names of the databases to dump. Default: all except `_internal`; the list is read anew for each run."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the server's HTTP interface in the target. Default: 8086."""

    backup_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of its backup service (`bind-address` of its configuration). Default: 8088."""


class Influxdb(Strategy[InfluxdbOptions]):
    """`influxd backup -portable` for each database."""

    names = ("influxdb",)
    options = InfluxdbOptions
    passwords = ("INFLUXDB_ADMIN_PASSWORD", "INFLUX_PASSWORD")
    gone = GONE

    def probes(self, options: InfluxdbOptions) -> Mapping[str, Argv]:
        return {
            "tools": ("sh", "-c", TOOLS),
            "databases": _script(f"{ASK}ask 'SHOW DATABASES'", options),
            "users": _script(f"{ASK}ask 'SHOW USERS'", options),
        }

    def plan(self, container: Container, facts: Facts, options: InfluxdbOptions) -> Plan:
        there = [name for name in _databases(container, facts) if name != "_internal"]
        users = NOT_KEPT.findall(facts.answers["users"].stdout) if facts.answers["users"].ok else []
        warnings = (f"left-out: {len(users)} users, which no backup of InfluxDB 1 holds",) if users else ()
        return Plan(tuple(_dump(name, options) for name in choose(options.databases, there)), warnings)

    def formats(self) -> Mapping[str, Check]:
        return {"influxdb": whole_backup}

    def restore(self, container: Container, facts: Facts, options: InfluxdbOptions, request: RestoreRequest) -> Restore:
        _databases(container, facts)
        bases = databases_in(request, "influxdb", ".influxdb.tar")
        swap = Swap(request, bases, _ports(options))
        return Restore(
            f"the databases {', '.join(sorted(bases.values()))}",
            "they stay connected; while a database is exchanged, nothing can be read from it or written to it",
            guards=dict.fromkeys(bases, safe_tar),
            occupied=(Exec(_script(OCCUPIED, options, *bases.values())),),
            steps=tuple(swap.steps()),
            counts={name: _count(swap.beside(base), options) for name, base in bases.items()},
            present={name: _count(base, options) for name, base in bases.items()},
            swap=tuple(swap.swap()),
            finish=swap.finish(),
            room=_script(ROOM, options),
        )


def whole_backup(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand a whole tar with each file that the backup's manifest names, in its size."""
    there: dict[str, int] = {}
    wanted: dict[str, int] = {}
    deleted: set[str] = set()
    manifests = 0
    for member, pieces in contents(stream):
        name = member.name.decode(errors="backslashreplace").rpartition("/")[2]
        if member.is_file and name.endswith(".manifest"):
            wanted |= _listed(b"".join(_bounded(pieces)))
            manifests += 1
        elif member.is_file and len(there) < MOST_FILES:
            there[name] = _unpacked(pieces, deleted) if name.endswith(".gz") else 0
    lacking = [name for name, size in wanted.items() if there.get(name) != size]
    if not manifests or lacking:
        raise Incomplete(f"the backup has no manifest, or lacks what that names: {shortened(lacking)[:1000]}")
    return tuple(DELETED.format(base) for base in sorted(deleted))


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Raises `Incomplete` for a manifest that is larger than any."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > MANIFEST_BYTES:
            raise Incomplete(f"its manifest is larger than {MANIFEST_BYTES} bytes")
        yield piece


def _unpacked(pieces: Iterable[bytes], deleted: set[str]) -> int:
    """How many bytes are compressed in it, whole and with their checksum; -1 for what is not. Notes the databases of
    which it holds deletions.
    """
    unpacking, size, end = zlib.decompressobj(GZIP_WINDOW), 0, b""
    for piece in pieces:
        packed = piece
        while packed:
            try:
                text = unpacking.decompress(packed, CHUNK)
            except zlib.error:
                return -1
            size += len(text)
            deleted.update(found[1].decode(errors="replace") for found in TOMBSTONE.finditer(end + text))
            packed, end = unpacking.unconsumed_tail, text[-TAR_NAME:]
    return size if unpacking.eof else -1


def _listed(manifest: bytes) -> dict[str, int]:
    """Files by name with the sizes of what is compressed in them; of what describes the database there is none."""
    try:
        told = json.loads(manifest)
        sizes = {str(file["fileName"]): int(file["size"]) for file in told["files"] or ()}
        return sizes | {str(told["meta"]["fileName"]): 0}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Incomplete("its manifest is none") from error


def _databases(container: Container, facts: Facts) -> list[str]:
    """Raises `Unsuitable` when one of the probes found a reason against a dump."""
    if facts.shell is None or not facts.answers["tools"].ok:
        raise no_client(container, "sh, influxd, influx or tar")
    answer = facts.answers["databases"]
    if not answer.ok:
        raise refused(answer.complaint, ACCOUNT, GONE)
    return list(_names(answer))


def _names(answer: Answer) -> Iterator[str]:
    """Of the client's CSV."""
    for line in answer.stdout.splitlines():
        kind, comma, name = line.partition(",")
        if not comma or kind not in ("name", "databases") or "\0" in name:
            raise unreadable("SHOW DATABASES", answer)
        if kind == "databases":
            yield name[1:-1].replace('""', '"') if name.startswith('"') else name


def _dump(name: str, options: InfluxdbOptions) -> Dump:
    line = shell_line(by_hand(name, _ports(options)))
    source = Exec(_script(DUMP, options, name))
    file = file_name(name, ".influxdb.tar")
    return Dump(file, "influxdb", source, line, whole_backup, subject=name, count=_count(name, options))


def _count(name: str, options: InfluxdbOptions) -> Count:
    return Count(Exec(_script(COUNT, options, name)), read_counts)


def _ports(options: InfluxdbOptions) -> tuple[int, int]:
    return options.port or 8086, options.backup_port or 8088


def _script(text: str, options: InfluxdbOptions, *arguments: str) -> Argv:
    return script(text, _ports(options), *arguments)
