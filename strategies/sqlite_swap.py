"""Restores SQLite so that nobody sees half a database, and what fails leaves the old one as it was.

The new database is loaded into a folder beside the old one, checked and counted. Under SQLite's lock the old file gets
a second name there, and the new one takes its place by one rename. Where somebody has the old one open, or only the
file itself is mounted, SQLite writes the new content into it in one transaction instead, so that an app that keeps its
connection goes on; then the old one was copied before, and what fails after that brings back its content rather than
its bytes.
"""

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from strategies.plan import Argv, Count, Feed, RestoreRequest, Run, Step
from strategies.sqlite_check import CHECK, CLIENT, EXPENDABLE

# `$1` is the database, `$2` the restore's own folder beside it, `$3` a name for an old one that is in no backup.
PATHS = rf"""{EXPENDABLE}
export path="$1" work="${{1%/*}}/$2"
kept=$3 there=${{1%/*}} logs='-wal -shm -journal'
[ -n "$there" ] || there=/
[ ! -L "$path" ] || path=$(readlink -f "$path")
owned() {{ chown "$(stat -c %u:%g "$1")" "$2" && chmod "$3" "$2"; }}
moved() {{
    for log in $logs; do [ ! -e "$1$log" ] || mv -f "$1$log" "$2$log" || exit; done
}}
written() {{ cd "$work" && {CLIENT} "$path" '.timeout 10000' ".restore $1"; }}
held() {{ {CLIENT} "$path" '.timeout 10000' 'BEGIN EXCLUSIVE' '.system eval $ASIDE' >&2; }}
"""
LOAD = rf"""{PATHS}{CHECK}
made=
folder=$there
while [ ! -d "$folder" ]; do made=$folder folder=$(dirname "$folder"); done
mkdir -p "$there" && mkdir -m 700 "$work" && printf %s "$made" >"$work/made" || exit
cat >"$work/new" || exit
check "$work/new"
"""
# Whoever has it open in WAL mode keeps its page size (sqlite3_backup_step), so that the new one gets that too.
# Whoever cannot be looked at may have it open; a command that just begins in the container cannot be, for a moment.
SWAP = rf"""{PATHS}
open() {{ seen && sleep 0.1 && seen && sleep 0.3 && seen; }}
seen() {{
    for process in /proc/[0-9]*; do
        [ -e "$process/cwd" ] || [ -z "$(tr -d '\0' 2>/dev/null <"$process/cmdline")" ] || return 0
        for file in "$process"/fd/*; do [ ! "$file" -ef "$path" ] || return 0; done
    done
    return 1
}}
if [ ! -e "$path" ]; then
    owned "$there" "$work/new" 644 2>/dev/null
    moved "$path" "$work/old" && : >"$work/none" && mv "$work/new" "$path"
    exit
fi
[ -z "$kept" ] || echo "kept: what was there is $path.$kept now"
set_aside() {{
    held || {{ [ -n "$kept" ] && eval "$ASIDE"; }} || exit
    [ -e "$1" ] || return 0
    echo "$path could not be $2" >&2
    exit 1
}}
named_twice() {{
    ! open && owned "$path" "$work/new" "$(stat -c %a "$path")" && ln "$path" "$work/old"
}} 2>/dev/null
if named_twice; then
    export ASIDE='for log in -wal -shm -journal; do
        [ ! -e "$path$log" ] || mv -f "$path$log" "$work/old$log" || exit;
        done; mv -f "$work/new" "$path"'
    set_aside "$work/new" replaced
    exit
fi
: >"$work/uncopied"
export ASIDE='cp -p "$path" "$work/copy" && {{ [ ! -e "$path-wal" ] || cp -p "$path-wal" "$work/copy-wal"; }} &&
    rm "$work/uncopied"'
set_aside "$work/uncopied" copied
size() {{ {CLIENT} "$1" 'PRAGMA page_size'; }}
pages=$(size "$path")
[ "$pages" = "$(size "$work/new")" ] ||
    {CLIENT} "$work/new" 'PRAGMA journal_mode = delete' "PRAGMA page_size = $pages" VACUUM >/dev/null || exit
: >"$work/writing"
written new
"""
# A log in which nothing is, the lock itself has made.
BACK = rf"""{PATHS}
read='SELECT count(*) FROM sqlite_master'
[ -d "$work" ] || exit 0
[ -s "$work/old-wal" ] || rm -f "$work/old-wal" "$work/old-shm"
if [ -e "$work/none" ]; then
    rm -f "$path" "$path-wal" "$path-shm" "$path-journal" "$work/none"
elif [ -e "$work/old" ] && [ ! "$path" -ef "$work/old" ]; then
    rm -f "$path-wal" "$path-shm" "$path-journal"
    mv -f "$work/old" "$path" || exit
elif [ -e "$work/writing" ]; then
    {CLIENT} "$path" '.timeout 10000' "$read" >/dev/null
    cmp -s "$path" "$work/copy" && {{ [ ! -s "$path-wal" ] || cmp -s "$path-wal" "$work/copy-wal"; }} ||
        written copy || exit
fi
moved "$work/old" "$path"
rm -f "$work/old" "$work/writing"
"""  # noqa: S608  # all of it is ours
CLEAR = rf"""{PATHS}
for aside in none old writing; do
    [ ! -e "$work/$aside" ] || {{ echo "what was set aside is not back yet: it is in $work" >&2; exit 1; }}
done
made=$(cat "$work/made" 2>/dev/null)
rm -rf "$work" || exit
[ -z "$made" ] || while rmdir "$there" && [ "$there" != "$made" ]; do there=${{there%/*}}; done 2>/dev/null
exit 0
"""
FINISH = rf"""{PATHS}
if [ -n "$kept" ]; then
    for name in old copy; do
        [ ! -e "$work/$name" ] || {{ moved "$work/$name" "$path.$kept"; mv "$work/$name" "$path.$kept" || exit; }}
    done
fi
rm -rf "$work"
"""
ROOM = """
for path; do
    folder=${path%/*}
    while [ ! -d "$folder/" ]; do folder=${folder%/*}; done
    df -Pk "$folder/" || exit
done | grep -v '^Filesystem' | sort -n -k 4 | head -n 1
"""


@dataclass(frozen=True, slots=True)
class Swap:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    paths: dict[str, str]
    """By artifact."""

    def steps(self) -> Iterator[Step]:
        """What is done before the comparison."""
        for artifact, path in self.paths.items():
            yield Feed(artifact, self._run(LOAD, path), undo=self._run(CLEAR, path))

    def counts(self, count: Callable[[str], Count]) -> dict[str, Count]:
        """Of what was loaded; `count` gives that of a path."""
        folders = {artifact: (posixpath.dirname(path), self._name(path)) for artifact, path in self.paths.items()}
        return {artifact: count(posixpath.join(*folder, "new")) for artifact, folder in folders.items()}

    def swap(self) -> Iterator[Step]:
        for path in self.paths.values():
            yield Run(self._run(SWAP, path), undo=self._run(BACK, path), tells=self.request.unsaved)

    def finish(self) -> Iterator[Argv]:
        for path in self.paths.values():
            yield self._run(FINISH, path)

    def room(self) -> Argv:
        return script(ROOM, *self.paths.values())

    def _run(self, text: str, path: str) -> Argv:
        kept = f"before-{self._id}" if self.request.unsaved else ""
        return script(text, path, self._name(path), kept)

    def _name(self, path: str) -> str:
        return f".restore-{self._id}-{sorted(self.paths.values()).index(path)}"

    @property
    def _id(self) -> str:
        return self.request.restore or self.request.run


def script(text: str, *arguments: str) -> Argv:
    """A script with its arguments; messages call it `sqlite3`."""
    return ("sh", "-c", text, "sqlite3", *arguments)
