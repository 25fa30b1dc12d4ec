"""Restores Redis or Valkey so that nobody sees half of it, and what fails leaves everything as it was.

A second server in the container loads the file, on the loopback only, and is compared. Then clients' writes wait, what
is there is set aside as a file, and the first server becomes the second one's replica for a moment. Where it can it
loads aside, too, and swaps when all has come (`repl-diskless-load swapdb`, Redis 6). If anything fails the file that
was set aside comes back in the same way.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from strategies.plan import Argv, Count, Feed, RestoreRequest, Run, Step
from strategies.redis_client import ACCOUNT, RedisOptions, count, script

PORT = 46379
"""Of the second server."""
STILL_SECONDS = 40
"""After which a server that takes nothing more is given up, so that the first one is its own master within a minute."""
PAUSE_SECONDS = 60
"""For which clients' writes wait, if not told before that it is over."""
MARK_SECONDS = 7 * 24 * 3600
"""After which a mark that nobody took away goes by itself."""

CHANGED = (
    "repl-diskless-load",
    "repl-diskless-sync",
    "repl-diskless-sync-delay",
    "replica-read-only",
    "tls-replication",
)
"""Settings of the first server that are others for the while."""

# `$1` is the restore's own folder, the rest what the client needs. The first server may send a password to whoever
# becomes its master (masterauth), so the second one takes it. A mark among the new keys tells them from the old ones.
SERVERS = rf"""{ACCOUNT}
umask 077
work=${{TMPDIR:-/tmp}}/$1 mark=backup-sidecar:$1 secret=
shift
options=$*
server=$(command -v redis-server || command -v valkey-server)
first() {{ ask $options "$@" 2>/dev/null; }}
second() {{ REDISCLI_AUTH=$secret "$client" -p {PORT} "$@" 2>/dev/null; }}
set_to() {{ first CONFIG GET "$1" | sed -n 2p; }}
runs() {{
    pid=$(cat pid 2>/dev/null)
    kill -0 "$pid" 2>/dev/null && ! grep -q '^State:.[ZX]' "/proc/$pid/status" 2>/dev/null
}}
moved() {{
    first INFO all | sed -n '/^master_sync_read_bytes/p;/^loading_loaded_bytes/p'
    second INFO persistence | grep '^loading_loaded_bytes'
}}
# Until $1 is true; something has to move meanwhile.
await() {{
    seen= since=$(date +%s)
    until "$1"; do
        runs || {{ echo "the second server has ended: $(tail -n 3 log)" >&2; exit 1; }}
        now=$(date +%s) moved=$(moved)
        [ "$moved" = "$seen" ] || seen=$moved since=$now
        [ $((now - since)) -lt {STILL_SECONDS} ] ||
            {{ echo "$2: nothing moved for {STILL_SECONDS} s; $(tail -n 1 log)" >&2; exit 1; }}
        [ -z "$paused" ] || first CLIENT PAUSE {PAUSE_SECONDS}000 WRITE >/dev/null
        sleep 0.1
    done
}}
answers() {{ [ "$(second PING)" = PONG ]; }}
linked() {{ first INFO replication | grep -q '^master_link_status:up'; }}
marked() {{ [ "$(first EXISTS "$mark")" = 1 ]; }}
filled() {{ first INFO keyspace | grep -q '^db'; }}
counted() {{
    "$1" INFO keyspace | tr -d '\r' | while IFS=':=,' read -r name _ keys _ expires _; do
        [ "$((${{keys:-0}} - ${{expires:-0}}))" = 0 ] || echo "$name $((keys - expires))"
    done
}}
start() {{
    cd "$work" || exit
    dbs=$(set_to databases)
    set -- --bind 127.0.0.1 --port {PORT} --databases "${{dbs:-16}}" --dir "$work" --dbfilename "$1"
    for module in $(first MODULE LIST | sed -n '/^path$/{{n;/^\//p;}}'); do set -- "$@" --loadmodule "$module"; done
    set -- "$@" --save '' --appendonly no --repl-diskless-sync yes --repl-diskless-sync-delay 0
    # It notes its own process: whoever undoes this has to find it. In an unknown locale it would end (server.c).
    LC_ALL=C sh -c 'echo $$ >pid && exec "$@"' sh "$server" "$@" </dev/null >log 2>&1 &
    echo $! >pid
    await answers 'the second server did not load the file'
}}
# Until then its port is not free for the next one.
end() {{
    ! runs || kill -KILL "$pid"
    tries=0
    while runs && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
    rm -f pid
}}
lets_in() {{
    password=$(set_to masterauth) user=$(set_to masteruser)
    [ -n "$password" ] || return 0
    case $user in
        '' | default) printf %s "$password" | second -x CONFIG SET requirepass && secret=$password ;;
        *) printf '>%s' "$password" | second -x ACL SETUSER "$user" on allkeys allcommands ;;
    esac >/dev/null
}}
# The first server takes what the second one has.
follow() {{
    lets_in
    answer=$(first REPLICAOF 127.0.0.1 {PORT})
    case $answer in OK*) ;; *) echo "$answer" >&2; exit 1 ;; esac
    await linked 'the server did not take the data'
    there=$(counted first) wanted=$(counted second)
    [ "$there" = "$wanted" ] || {{ echo "the server has $there, and should have $wanted" >&2; exit 1; }}
    [ "$(first REPLICAOF NO ONE)" = OK ] || {{ echo 'the server does not become its own master' >&2; exit 1; }}
}}
prepare() {{
    trap settle EXIT
    trap 'exit 143' TERM
    [ -e settings ] || for name in {" ".join(CHANGED)}; do
        value=$(set_to "$name")
        [ -z "$value" ] || echo "$name $value"
    done >settings
    first CONFIG SET repl-diskless-load swapdb >/dev/null
    first CONFIG SET repl-diskless-sync yes >/dev/null
    first CONFIG SET repl-diskless-sync-delay 0 >/dev/null
    first CONFIG SET tls-replication no >/dev/null
    [ "$(first CLIENT PAUSE {PAUSE_SECONDS}000 WRITE)" = OK ] || return 0
    paused=yes  # Else a replica would refuse what is written, instead of letting it wait.
    first CONFIG SET replica-read-only no >/dev/null
}}
settle() {{
    first INFO replication | grep -q '^master_port:{PORT}' && first REPLICAOF NO ONE
    [ ! -e settings ] || while read -r name value; do first CONFIG SET "$name" "$value"; done <settings
    first CLIENT UNPAUSE
}} >/dev/null
"""

# A folder that another restore left has another name.
LOAD = """
mkdir "$work" || exit
cat >"$work/new.rdb" || exit
start new.rdb
"""
SWAP = f"""
cd "$work" || exit
prepare
ask $options --rdb old.part >said 2>&1 || {{ cat said >&2; exit 1; }}
if filled; then echo yes; fi >filled
mv old.part old.rdb || exit
answer=$(second SET "$mark" 1 EX {MARK_SECONDS})
[ "$answer" = OK ] || {{ echo "$answer" >&2; exit 1; }}
follow
"""
# A server that was killed meanwhile has what it had on its own disk; one that keeps nothing there is empty.
BACK = """
cd "$work" 2>/dev/null || exit 0
while answer=$(first PING); [ "${answer%% *}" = LOADING ]; do sleep 0.1; done
[ "$answer" = PONG ] || { echo "the server does not answer: $answer" >&2; exit 1; }
settle
if [ -e old.rdb ] && { marked || { [ -s filled ] && ! filled; }; }; then
    end
    prepare
    start old.rdb
    follow
    end
fi
rm -f old.rdb
"""
CLEAR = r"""
cd "$work" 2>/dev/null || exit 0
[ ! -e old.rdb ] || { echo "what was set aside is not back yet: $work/old.rdb" >&2; exit 1; }
end
cd / && rm -rf "$work"
"""
# What the server keeps on its disk has to be the new data, too.
FINISH = r"""
cd "$work" 2>/dev/null || exit 0
idle() {
    while first INFO persistence | grep -qE '^(rdb_bgsave_in_progress|aof_rewrite_(in_progress|scheduled)):1'; do
        sleep 0.2
    done
}
end
first DEL "$mark" >/dev/null
cd / && rm -rf "$work"
idle
saves=$(set_to save)
[ -z "$saves" ] || { first BGSAVE >/dev/null; idle; }
failed=$(first INFO persistence | sed -n "/^${saves:+rdb_last_bgsave_status:err\\|^}aof_last_bgrewrite_status:err/p")
[ -z "$failed" ] || { echo 'the server could not save the data on its disk: see its log' >&2; exit 1; }
"""
BY_HAND = f"""
outer=$(mktemp -d "${{TMPDIR:-/tmp}}/rdb.XXXXXX") || exit
work=$outer/restore whole=
trap '[ -n "$whole" ] || {{ ({BACK}); ({CLEAR}); }}; rmdir "$outer"' EXIT
trap 'exit 143' TERM
({LOAD}) && ({SWAP}) && whole=yes && ({FINISH})
"""

# What lets a container of little memory die would take the data along: the second server holds all of it, and for a
# moment the first one once more. Answers as `df -Pk` does.
ROOM = r"""
free=$(sed -n 's/^MemAvailable: *\([0-9]*\).*/\1/p' /proc/meminfo)
for folder in /sys/fs/cgroup /sys/fs/cgroup/memory; do
    limit=$(cat $folder/memory.max $folder/memory.limit_in_bytes 2>/dev/null)
    used=$(cat $folder/memory.current $folder/memory.usage_in_bytes 2>/dev/null)
    cache=$(sed -n 's/^\(total_\)\{0,1\}inactive_file //p' $folder/memory.stat 2>/dev/null | tail -n 1)
    case $limit in '' | max | ????????????????*) continue ;; esac
    left=$(((limit - used + ${cache:-0}) / 1024))
    [ "$left" -gt "${free:-$left}" ] || free=$left
done
disk=$(df -Pk "${TMPDIR:-/tmp}" | { read -r _; read -r _ _ _ disk _ && echo "$disk"; })
[ -n "$free" ] && [ -n "$disk" ] || exit
free=$((free / 2))
[ "$free" -lt "$disk" ] || free=$disk
echo "memory 0 0 $free 0% /"
"""
RESERVE_BYTES = 16 << 20
"""Of memory, that stays free."""


@dataclass(frozen=True, slots=True)
class Swap:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    options: RedisOptions

    def steps(self) -> Iterator[Step]:
        """What is done before the comparison."""
        for stored in self.request.artifacts:
            yield Feed(stored.name, self._run(LOAD), undo=self._run(CLEAR))

    def counts(self) -> dict[str, Count]:
        """Of the second server."""
        return {stored.name: count(RedisOptions(port=PORT)) for stored in self.request.artifacts}

    def swap(self) -> Iterator[Step]:
        yield Run(self._run(SWAP), undo=self._run(BACK))

    def finish(self) -> tuple[Argv, ...]:
        return (self._run(FINISH),)

    def _run(self, text: str) -> Argv:
        return script(SERVERS + text, self.options, f"restore-{self.request.restore or self.request.run}")


def by_hand(options: RedisOptions) -> Argv:
    """All of it at once, for the manifest."""
    return script(SERVERS + BY_HAND, options, "restore")
