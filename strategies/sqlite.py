"""SQLite, by the client in the target: each database file as SQLite's own backup of it, checked before it is sent.

The copy is made inside one read transaction, so it is the database as it was at one moment, with all that was only in
its write-ahead log, while the application goes on. Where the target has no client, `sqlite_reader` does the same in a
helper container.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import quote

from config.fields import AbsolutePaths
from strategies.base import Container, Facts, NeedsHelper, Options, Strategy, Unsuitable, shortened
from strategies.checks import CHUNK, read_counts
from strategies.plan import Argv, Check, Count, Dump, Exec, Feed, Incomplete, Plan, Restore, RestoreRequest, file_name

# A line for each path: `database`, `missing`, `folder` or `other`, and the path. Without paths
# everything is looked through that is mounted, but for the kernel's file systems and what the engine mounts itself.
FIND_DATABASES = r"""
head() { dd if="$1" bs=15 count=1 2>/dev/null; }
look() {
    if [ ! -e "$1" ]; then echo "missing $1"
    elif [ -d "$1" ]; then echo "folder $1"
    elif [ "$(head "$1")" = "SQLite format 3" ]; then echo "database $1"
    else echo "other $1"; fi
}
for path; do look "$path"; done
[ $# = 0 ] || exit 0
while read -r _ _ _ _ mounted rest; do
    case "$mounted ${rest#* - }" in
        "/ "* | /proc* | /sys* | /dev* | "/etc/resolv.conf "* | "/etc/hosts "* | "/etc/hostname "* | *" tmpfs "*) ;;
        *) printf '%b\n' "$(printf %s "$mounted" | sed 's/\\/\\0/g')" ;;
    esac
done </proc/self/mountinfo | while IFS= read -r folder; do
    find "$folder" -xdev -type f \( -name '*.db' -o -name '*.sqlite' -o -name '*.sqlite3' -o -name '*.db3' \)
done | while IFS= read -r path; do
    [ "$(head "$path")" != "SQLite format 3" ] || echo "database $path"
done
"""

# A folder that goes away however this ends, for a copy that has to be whole.
COPY = r"""
folder=$(mktemp -d "${TMPDIR:-/tmp}/sqlite.XXXXXX") || exit
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM
check() {
    report=$(sqlite3 -init /dev/null -bail -batch "$folder/copy" 'PRAGMA integrity_check(5)') || exit
    [ "$report" = ok ] || { echo "integrity check: $report" >&2; exit 1; }
}
"""
# The copy is unlinked before its first byte is sent.
DUMP = rf"""{COPY}
read='SELECT count(*) FROM sqlite_master'
sqlite3 -init /dev/null -bail -batch "$1" '.timeout 10000' BEGIN "$read" ".backup '$folder/copy'" >/dev/null || exit
check
exec 4<"$folder/copy"
rm -rf "$folder"
cat <&4
"""  # noqa: S608  # All of it is ours.

OCCUPIED = 'for path; do [ ! -s "$path" ] || echo "$path"; done'
LOAD = rf"""{COPY}
cat >"$folder/copy" || exit
check
there=$(dirname "$1")
mkdir -p "$there"
[ -e "$1" ] || new=yes
sqlite3 -init /dev/null -bail -batch "$1" '.timeout 10000' ".restore '$folder/copy'" || exit
[ -z "$new" ] || chown "$(stat -c %u:%g "$there")" "$1"
"""

# Rows of each table that is a tree of its own; virtual ones hold theirs in others.
COUNT = r"""
each=$(sqlite3 -init /dev/null -bail -batch "$1" '.timeout 10000' "SELECT 'SELECT count(*) || char(9) || '
    || quote(replace(replace(name, char(10), ' '), char(9), ' ')) || ' FROM \"' || replace(name, '\"', '\"\"') || '\";'
    FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND substr(name, 1, 7) <> 'sqlite_'") || exit
sqlite3 -init /dev/null -bail -batch "$1" '.timeout 10000' "BEGIN; $each COMMIT"
"""

READER = ("python", "-m", "strategies.sqlite_reader")
# While the application stands still, from any container that sees its volumes: it may have no shell.
BY_HAND = r"""
mkdir -p "${1%/*}"
[ -e "$1" ] || new=yes
cat >"$1" && rm -f "$1-wal" "$1-shm" "$1-journal"
[ -z "$new" ] || chown "$(stat -c %u:%g "${1%/*}")" "$1"
"""

MAGIC = b"SQLite format 3\0"
HEADER_SIZE = 100


class SqliteOptions(Options):
    """`backup.sqlite.*`."""

    paths: AbsolutePaths = ()
    """Absolute paths of database files in the target. Default: all databases in its mounts that are named `*.db`,
    `*.db3`, `*.sqlite` or `*.sqlite3`; they are found anew for each run."""


class Sqlite(Strategy[SqliteOptions]):
    """`.backup` and `PRAGMA integrity_check` for each database."""

    names = ("sqlite", "sqlite3")
    options = SqliteOptions
    serves = False

    def probes(self, options: SqliteOptions) -> Mapping[str, Argv]:
        return {"client": ("sqlite3", "--version"), "databases": ("sh", "-c", FIND_DATABASES, "sh", *options.paths)}

    def plan(self, container: Container, facts: Facts, options: SqliteOptions) -> Plan:
        if facts.helper:
            _demand_mounted(container, facts)
        elif not _has_client(facts):
            hint = "Use an image that has it, or let commands.backup write the application's own dump."
            raise NeedsHelper(f"{container.image} lacks sh or sqlite3", hint, "no-client")
        return Plan(tuple(_dump(path, container, facts) for path in _databases(facts)))

    def formats(self) -> Mapping[str, Check]:
        return {"sqlite": whole_database}

    def restore(self, container: Container, facts: Facts, options: SqliteOptions, request: RestoreRequest) -> Restore:
        if not (facts.helper or _has_client(facts)):
            hint = "Restore --to a container that has them, or write the dump --to-file and follow its line `restore`."
            raise Unsuitable(f"{container.image} lacks sh or sqlite3", hint, "no-client")
        paths = {stored.name: stored.subject for stored in request.artifacts}
        return Restore(
            f"the databases {shortened(sorted(paths.values()))}",
            occupied=(Exec(("sh", "-c", OCCUPIED, "sh", *paths.values())),),
            steps=tuple(Feed(name, _load(path, facts), _undo(path, request)) for name, path in paths.items()),
            counts={name: _count(path, facts) for name, path in paths.items()},
        )


def _dump(path: str, container: Container, facts: Facts) -> Dump:
    source = Exec((*READER, "copy", path) if facts.helper else ("sh", "-c", DUMP, "sh", _url(path)))
    restore = _by_hand(path, container) if facts.helper else shlex.join(_load(path, facts))
    name, count = file_name(path.strip("/"), ".sqlite"), _count(path, facts)
    return Dump(name, "sqlite", source, restore, whole_database, min_size=HEADER_SIZE, subject=path, count=count)


def _by_hand(path: str, container: Container) -> str:
    """It stops the application, since nothing in the target knows SQLite's locks."""
    script, owner = shlex.join(("sh", "-c", BY_HAND, "sh", path)), shlex.quote(container.name)
    run = f"docker run --rm --interactive --volumes-from {owner} busybox {script}"
    return f"(docker stop {owner} && {run} && docker start {owner})"


def _load(path: str, facts: Facts) -> Argv:
    return (*READER, "load", path) if facts.helper else ("sh", "-c", LOAD, "sh", path)


def _count(path: str, facts: Facts) -> Count:
    return Count(Exec((*READER, "count", path) if facts.helper else ("sh", "-c", COUNT, "sh", _url(path))), read_counts)


def _url(path: str) -> str:
    """So that a missing database is an error, and no new one."""
    return f"file:{quote(path)}?mode=rw"


def whole_database(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand as many bytes as the header tells (SQLite's file format, 1.3: page size at 16, pages at 28)."""
    header = stream.read(HEADER_SIZE)
    if not header.startswith(MAGIC) or len(header) < HEADER_SIZE:
        raise Incomplete("it does not begin as a SQLite database does")
    size = len(header)
    while chunk := stream.read(CHUNK):
        size += len(chunk)
    page, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    expected = (65536 if page == 1 else page) * pages
    if size != expected:
        raise Incomplete(f"it has {size} bytes, its header tells of {expected}")
    return ()


def _undo(path: str, request: RestoreRequest) -> Argv | None:
    """A database that was not there before goes away again."""
    return None if request.replace else ("rm", "-f", path, f"{path}-wal", f"{path}-shm", f"{path}-journal")


def _has_client(facts: Facts) -> bool:
    return facts.shell is not None and facts.answers["client"].ok


def _demand_mounted(container: Container, facts: Facts) -> None:
    """Raises `Unsuitable` for what a helper does not see with all that belongs to it."""
    if not (answer := facts.answers["databases"]).ok:
        hint = "Use an image that has sqlite3."
        raise Unsuitable(f"the helper container could not look: {answer.complaint}", hint, "no-helper")
    for _, path in _found_paths(facts):
        if path in container.mounts:
            message = f"of {path} only the file itself is mounted, and not what may lie beside it"
            raise Unsuitable(message, "Mount its folder, or use an image that has sqlite3.", "not-mounted")
        if not any(path.startswith(folder.rstrip("/") + "/") for folder in container.mounts):
            hint = "Put it on a volume, or use an image that has sqlite3."
            raise Unsuitable(f"{path} is on no volume, so that no helper container sees it", hint, "not-mounted")


def _found_paths(facts: Facts) -> Iterator[tuple[str, str]]:
    for line in facts.answers["databases"].stdout.splitlines():
        kind, _, path = line.partition(" ")
        yield kind, path


def _databases(facts: Facts) -> Iterable[str]:
    """Paths, sorted; raises `Unsuitable` for a named one that is none, and where there is none at all."""
    paths: list[str] = []
    for kind, path in _found_paths(facts):
        if kind == "missing":
            hint = "Check backup.sqlite.paths, and what backup.user may see."
            raise Unsuitable(f"{path} is not there", hint, "missing-path")
        if kind != "database":
            hint = "Name the file itself; an encrypted one needs commands.backup and its own client."
            raise Unsuitable(f"{path} is not a SQLite database", hint, "no-database")
        paths.append(path)
    if not paths:
        hint = "Name them: backup.sqlite.paths=/data/app.db."
        raise Unsuitable("nothing that is mounted holds a SQLite database", hint, "no-database")
    return sorted(set(paths))
