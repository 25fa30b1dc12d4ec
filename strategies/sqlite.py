"""SQLite, by the client in the target: each database file as SQLite's own backup of it, checked before it is sent.

The copy is made inside one read transaction, so it is the database as it was at one moment, with all that was only in
its write-ahead log, while the application goes on. Where the target has no client, `sqlite_reader` does the same in a
helper container.
"""

from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import quote

from config.fields import AbsolutePaths
from config.wording import shortened
from strategies.base import (
    Container,
    Facts,
    NeedsHelper,
    Options,
    Strategy,
    Unsuitable,
)
from strategies.checks import read_counts
from strategies.plan import (
    CHUNK,
    Argv,
    Check,
    Count,
    Dump,
    Exec,
    Feed,
    Incomplete,
    Plan,
    Restore,
    RestoreRequest,
    Step,
    file_name,
    shell_line,
)
from strategies.sqlite_check import CHECK, CLIENT, COUNTING, EXPENDABLE, PARTLY, UNCHECKED
from strategies.sqlite_find import FIND_DATABASES, databases, found_paths
from strategies.sqlite_swap import Swap, script

# A folder for a copy of so many KiB, where there is room for it. What lies in memory is the target's own, so that a
# copy there takes at most a tenth of what is left of its limit, caches that can be dropped left out.
SHELF = r"""
memory() {
    free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) free=${free:-0}
    while read -r limit used stat cache; do
        limit=$(cat "$limit" 2>/dev/null) && [ "$limit" != max ] || continue
        left=$(((limit - $(cat "$used") + $(sed -n "s/^$cache //p" "$stat")) / 1024))
        [ "$left" -ge "$free" ] || free=$left
    done <<END
/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory.stat inactive_file
$old/memory.limit_in_bytes $old/memory.usage_in_bytes $old/memory.stat total_inactive_file
END
    echo "$free"
}
shelf() {
    old=/sys/fs/cgroup/memory
    for place in "$TMPDIR" /tmp /var/tmp "$2" /dev/shm; do
        [ -d "$place" ] && [ -w "$place" ] || continue
        room=$(df -Pk "$place" | { read -r _; read -r kind _ _ room _; echo "$kind ${room:-0}"; })
        kind=$(stat -f -c %T "$place" 2>/dev/null || echo "${room% *}") room=${room##* } spare=65536
        case $kind in tmpfs | ramfs | shm | none)
            spare=0 tenth=$(($(memory) / 10))
            [ "$room" -le "$tenth" ] || room=$tenth ;;
        esac
        [ "$room" -lt $(($1 + $1 / 10 + spare)) ] || { echo "$place"; return; }
        seen="$seen, $room KiB in $place"
    done
    seen=${seen#, }
    echo "a copy of the database takes $1 KiB, and there is room for ${seen:-none, since nothing can be written};" \
        'name another folder by backup.env.TMPDIR' >&2
    return 1
}
"""
# A copy that has to be whole, in a folder that goes away however this ends.
COPY = rf"""{EXPENDABLE}{CHECK}
made() {{ folder=$(mktemp -d "$1/.sqlite.XXXXXX"); }}
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM
"""
# The copy is unlinked before its first byte is sent. `$1` is the database's address, `$2` its path.
DUMP = rf"""{SHELF}{COPY}
path=$2 there=${{2%/*}} read='SELECT count(*) FROM sqlite_master'
unread() {{
    case $1 in *'unable to open'* | *readonly*)
        [ -w "$there/" ] || wrong "$1: it has a write-ahead log, and its folder is mounted read-only, or may not be" \
            "written by this user; mount it without :ro, or set backup.user" ;;
    esac
    wrong "$1"
}}
size=$(said "$1" '.timeout 10000' 'PRAGMA page_count' 'PRAGMA page_size') || unread "$size"
size=$(echo "$size" | {{ read -r pages; read -r page; echo $((pages * page / 1024)); }})
place=$(shelf "$size" "$there/") && made "$place" || exit
copied=$(said "$1" '.timeout 10000' BEGIN "$read" ".backup '$folder/copy'") || unread "$copied"
check "$folder/copy"
exec 4<"$folder/copy"
rm -rf "$folder"
cat <&4 || exit
[ -z "$lacking" ] || {{ echo "$lacking" >&2; exit {PARTLY}; }}
"""  # noqa: S608  # All of it is ours.

OCCUPIED = 'for path; do [ ! -s "$path" ] || echo "$path"; done'
# SQLite's own locks let an app go on meanwhile.
BY_CLIENT = rf"""{COPY}
there=$(dirname "$1")
mkdir -p "$there" && made "$there" && cat >"$folder/copy" || exit
path=$1
check "$folder/copy"
[ -e "$1" ] || new=yes
sqlite3 -init /dev/null -bail -batch "$1" '.timeout 10000' ".restore '$folder/copy'" || exit
[ -z "$new" ] || chown "$(stat -c %u:%g "$there")" "$1"
"""

COUNT = rf"""{EXPENDABLE}
each=$({CLIENT} "$1" '.timeout 10000' "$2") || exit
{CLIENT} "$1" '.timeout 10000' "BEGIN; $each COMMIT"
"""

SCHEMA = f"""{CLIENT} "$1" '.timeout 10000' 'SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2' | cksum"""  # noqa: S608

READER = ("python", "-m", "strategies.sqlite_reader")
# While the application stands still, from any container that sees its volumes: it may have no shell.
BY_HELPER = r"""
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
        return {"client": ("sqlite3", "--version"), "databases": script(FIND_DATABASES, *options.paths)}

    def plan(self, container: Container, facts: Facts, options: SqliteOptions) -> Plan:
        if facts.helper:
            _demand_mounted(container, facts, options.paths)
        elif not _has_client(facts):
            hint = "Use an image that has it, or let commands.backup write the application's own dump."
            raise NeedsHelper(f"{container.image} lacks sh or sqlite3", hint, "no-client")
        found = databases(container, facts, options.paths)
        return Plan(tuple(_dump(path, container, facts) for path in found.paths), found.warnings)

    def formats(self) -> Mapping[str, Check]:
        return {"sqlite": whole_database}

    def restore(self, container: Container, facts: Facts, options: SqliteOptions, request: RestoreRequest) -> Restore:
        if not (facts.helper or _has_client(facts)):
            hint = "Restore --to a container that has them, or write the dump --to-file and follow its line `restore`."
            raise Unsuitable(f"{container.image} lacks sh or sqlite3", hint, "no-client")
        paths = {stored.name: stored.subject for stored in request.artifacts}
        swap = Swap(request, paths)
        if facts.helper:  # It has a place of its own for them.
            steps: tuple[Step, ...] = tuple(Feed(name, (*READER, "load", path)) for name, path in paths.items())
            return Restore(
                "a helper container", steps=steps, counts={name: _count(paths[name], facts) for name in paths}
            )
        return Restore(
            f"the databases {shortened(sorted(paths.values()))}",
            "they go on; who has a database open waits up to 10 s while it is replaced",
            occupied=(Exec(script(OCCUPIED, *paths.values())),),
            steps=tuple(swap.steps()),
            counts=swap.counts(lambda path: _count(path, facts)),
            present={name: _count(path, facts) for name, path in paths.items()},
            swap=tuple(swap.swap()),
            finish=tuple(swap.finish()),
            room=swap.room(),
        )


def _dump(path: str, container: Container, facts: Facts) -> Dump:
    source = Exec((*READER, "copy", path) if facts.helper else script(DUMP, _url(path), path))
    restore = _by_hand(path, container) if facts.helper else shell_line(script(BY_CLIENT, path))
    name, count = file_name(path.strip("/"), ".sqlite"), _count(path, facts)
    return Dump(
        name,
        "sqlite",
        source,
        restore,
        whole_database,
        warning_codes={PARTLY: UNCHECKED},
        min_size=HEADER_SIZE,
        subject=path,
        count=count,
        schema=None if facts.helper else script(SCHEMA, _url(path)),
    )


def _by_hand(path: str, container: Container) -> str:
    """It stops the application, since nothing in the target knows SQLite's locks."""
    stop, start = (shell_line(("docker", verb, container.name)) for verb in ("stop", "start"))
    run = ("docker", "run", "--rm", "--interactive", "--volumes-from", container.name, "busybox")
    return f"({stop} && {shell_line((*run, 'sh', '-c', BY_HELPER, 'sh', path))} && {start})"


def _count(path: str, facts: Facts) -> Count:
    by_client = script(COUNT, _url(path), COUNTING)
    return Count(Exec((*READER, "count", path) if facts.helper else by_client), read_counts)


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


def _has_client(facts: Facts) -> bool:
    return facts.shell is not None and facts.answers["client"].ok


def _demand_mounted(container: Container, facts: Facts, named: tuple[str, ...]) -> None:
    """Raises `Unsuitable` for what a helper does not see with all that belongs to it."""
    if not (answer := facts.answers["databases"]).ok:
        hint = "Use an image that has sqlite3."
        raise Unsuitable(f"the helper container could not look: {answer.complaint}", hint, "no-helper")
    for path in named or [path for kind, path in found_paths(answer) if kind == "database"]:
        if path in container.mounts:
            message = f"of {path} only the file itself is mounted, and not what may lie beside it"
            raise Unsuitable(message, "Mount its folder, or use an image that has sqlite3.", "not-mounted")
        if not any(path.startswith(folder.rstrip("/") + "/") for folder in container.mounts):
            hint = "Put it on a volume, or use an image that has sqlite3."
            raise Unsuitable(f"{path} is on no volume, so that no helper container sees it", hint, "not-mounted")
