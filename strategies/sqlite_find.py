"""Where a target's SQLite databases are: every mount is looked through, whatever its path, and nothing that looks like
one is left out without a word.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from config.wording import shortened
from strategies.base import Answer, Container, Facts, Unsuitable, demand_few, unreadable

# A line for each path: what it is, and the path. Without paths every mount is looked through, but for the container's
# own root and the kernel's file systems, which are told by their types (proc(5), mountinfo).
FIND_DATABASES = r"""
head() { dd if="$1" bs=15 count=1 2>/dev/null; }
look() {
    if [ ! -e "$1" ]; then echo "missing $1"  # Or the beginning of a name with a line break.
    elif [ -d "$1" ]; then echo "folder $1"
    elif [ ! -r "$1" ] || [ "$(head "$1")" = "SQLite format 3" ]; then echo "${2:-database} $1"
    elif [ ! -s "$1" ] && [ -s "$1-wal" ]; then echo "${2:-database} $1"
    elif [ ! -s "$1" ]; then echo "empty $1"
    else echo "other $1"; fi
}
for path; do look "$path"; done
[ $# = 0 ] || exit 0
while read -r _ _ _ _ mounted rest; do
    kind=${rest#* - } kind=${kind%% *} found=database
    case "$mounted $kind" in "/ "*) continue ;; esac
    case $kind in
        proc | sysfs | devpts | mqueue | cgroup* | debugfs | tracefs | securityfs | pstore | bpf) continue ;;
        tmpfs | ramfs) found=memory ;;
    esac
    printf '%s %b\n' "$found" "$(printf %s "$mounted" | sed 's/\\/\\0/g')"
done </proc/self/mountinfo | while read -r found folder; do
    find "$folder" -xdev -type f \( -name '*.[dD][bB]' -o -name '*.[dD][bB]3' \
        -o -name '*.[sS][qQ][lL][iI][tT][eE]' -o -name '*.[sS][qQ][lL][iI][tT][eE]3' \) 2>&1 |
    while IFS= read -r path; do
        case $path in
            /*) look "$path" "$found" ;;
            find:*) echo "unseen $path" ;;
            *) echo "odd $folder/...$path" ;;  # The rest of a name with a line break.
        esac
    done
done
"""
MEMORY = ("/dev",)
"""Where the engine itself mounts memory."""
UNREADABLE = "\ufffd"
"""Stands for what is no text (UTF-8) in an answer."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the question for databases was answered by."""

    paths: tuple[str, ...]
    """Of databases, sorted."""
    warnings: tuple[str, ...] = ()


def databases(container: Container, facts: Facts, named: tuple[str, ...]) -> Found:
    """Raises `Unsuitable` for a named path that is no database, and where there is none at all."""
    by_kind: dict[str, list[str]] = {}
    for kind, path in found_paths(facts.answers["databases"]):
        in_volume = kind == "memory" and not _is_memory(path, container)
        by_kind.setdefault("database" if in_volume else kind, []).append(path)
    if named:
        _demand_databases(by_kind)
    paths = sorted({*by_kind.get("database", ())})
    warnings = tuple(_warnings(by_kind))
    if not paths:
        seen = f" ({'; '.join(warnings)})" if warnings else ""
        hint = "Name them: backup.sqlite.paths=/data/app.db."
        raise Unsuitable(f"nothing that is mounted holds a SQLite database{seen}", hint, "no-database")
    demand_few(paths, "sqlite.paths")
    return Found(tuple(paths), warnings)


def found_paths(answer: Answer) -> Iterator[tuple[str, str]]:
    """What each path is, and the path; raises `Unsuitable` for what is no such answer."""
    for line in filter(None, answer.stdout.split("\n")):
        kind, _, path = line.partition(" ")
        if (not path.startswith("/") and kind != "unseen") or "\0" in path:
            raise unreadable("the question for its databases", answer)
        yield ("odd" if UNREADABLE in path else kind), path


def _demand_databases(by_kind: dict[str, list[str]]) -> None:
    for path in by_kind.get("missing", ()):
        hint = "Check backup.sqlite.paths, and what backup.user may see."
        raise Unsuitable(f"{path} is not there", hint, "missing-path")
    for path in (path for kind, paths in by_kind.items() if kind != "database" for path in paths):
        hint = "Name the file itself; an encrypted one needs commands.backup and its own client."
        raise Unsuitable(f"{path} is not a SQLite database", hint, "no-database")


def _warnings(by_kind: dict[str, list[str]]) -> Iterator[str]:
    told = {
        "other": (
            "not-sqlite",
            "called like a database, but encrypted or of another kind, so not in the run",
        ),
        "empty": ("empty", "empty, so that there is nothing of it in the run"),
        "memory": ("in-memory", "in memory (tmpfs), where nothing lasts; backup.sqlite.paths can name it"),
        "odd": ("odd-name", "not in the run, since its name is no UTF-8, or more than a line; rename it"),
        "unseen": ("not-searched", "what backup.user may not see"),
    }
    for kind, (code, meaning) in told.items():
        if paths := sorted({*by_kind.get(kind, ())}):
            yield f"{code}: {shortened(paths)}: {meaning}"


def _is_memory(path: str, container: Container) -> bool:
    """Whether the innermost mount around a path is memory, and no volume that lies on such a file system."""
    return _depth(path, (*container.tmpfs, *MEMORY)) > _depth(path, container.mounts)


def _depth(path: str, folders: tuple[str, ...]) -> int:
    return max((len(folder) for folder in folders if f"{path}/".startswith(f"{folder.rstrip('/')}/")), default=0)
