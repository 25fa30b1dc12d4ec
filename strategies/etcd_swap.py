"""Restores etcd: the snapshot becomes a data folder beside the old one, is compared, and put in its place by a rename.

What is compared is served by a second server, on the loopback only, from a folder of its own, since a server that
serves lets leases end. Then old and new change places, and the container is started anew. If anything fails the old
data comes back, and the server is started with that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from strategies.etcd_client import OWN, Place, count, script
from strategies.plan import Argv, Count, Feed, RestoreRequest, Step
from strategies.servers import restarted

PORT, PEER_PORT = 42379, 42380
"""Of the second server."""
READY_SECONDS = 120

# `$1` is the restore's own folder, within the server's, so that both are on one volume.
PLACES = rf"""
umask 077
work=$data/$1
runs() {{ kill -0 "$(cat "$work/pid" 2>/dev/null)"; }} 2>/dev/null
end() {{
    ! runs || kill -KILL "$(cat "$work/pid")"
    rm -rf "$work/pid" "$work/compared"
}}
patiently() {{
    tries=0
    until etcdctl endpoint health >/dev/null 2>&1; do
        tries=$((tries + 1))
        connect
        [ $tries -lt {READY_SECONDS * 2} ] && $1 || return
        sleep 0.5
    done
}}
member() {{
    [ -z "$(setting wal-dir ETCD_WAL_DIR)" ] || {{ echo 'a wal-dir is not known here' >&2; exit 1; }}
    etcdctl member list | {{ IFS=, read -r _ _ name peers _ && echo "${{name# }} ${{peers# }}"; }}
}}
folder() {{
    utility snapshot restore "$work/snapshot.db" --data-dir "$work/$1" --name "${{own% *}}" \
        --initial-cluster "${{own% *}}=${{own#* }}" --initial-advertise-peer-urls "${{own#* }}" >"$work/said" 2>&1 ||
        {{ tail -n 3 "$work/said" >&2; exit 1; }}
}}
exchange() {{
    chown -R "$(stat -c %u:%g "$data/member")" "$work/new" && mkdir "$work/old" &&
        mv "$data/member" "$work/old/" && mv "$work/new/member" "$data/"
}}
"""
LOAD = rf"""{PLACES}
own=$(member) && [ -n "$own" ] && mkdir "$work" && cat >"$work/snapshot.db" || exit
folder new
folder compared
url={OWN.format(PORT)}
# It notes its own process: whoever undoes this has to find it.
env -i PATH="$PATH" HOME="$work" sh -c 'echo $$ >"$HOME/pid" && exec "$@"' sh \
    etcd --data-dir "$work/compared" --name "${{own% *}}" \
    --listen-client-urls "$url" --advertise-client-urls "$url" --listen-peer-urls http://127.0.0.1:{PEER_PORT} \
    </dev/null >"$work/log" 2>&1 &
echo $! >"$work/pid"
export ETCDCTL_ENDPOINTS="$url"
patiently runs || {{ tail -n 3 "$work/log" >&2; echo 'the second server does not serve what was loaded' >&2; exit 1; }}
"""
LOOK = f"""{PLACES}
end
[ -d "$work/new/member" ]
"""
SWAP = f"""{PLACES}
exchange
"""
BACK = f"""{PLACES}
[ -e "$work/old/member" ] || exit 0
rm -rf "$data/member" && mv "$work/old/member" "$data/" && rmdir "$work/old"
"""
AWAIT = f"""{PLACES}
patiently true || {{ echo 'the server does not serve; see its log' >&2; exit 1; }}
"""
CLEAR = f"""{PLACES}
[ -d "$work" ] || exit 0
[ ! -e "$work/old/member" ] || {{ echo "what was set aside is not back yet: it is in $work/old" >&2; exit 1; }}
end
rm -rf "$work"
"""
FINISH = f"""{PLACES}
rm -rf "$work"
"""
BY_HAND = f"""{PLACES}
own=$(member) && [ -n "$own" ] && mkdir "$work" || exit
trap 'rm -rf "$work"' EXIT
cat >"$work/snapshot.db" && folder new && exchange || exit
echo 'Now restart the container.' >&2
"""


@dataclass(frozen=True, slots=True)
class Swap:
    """One restore; every step may be undone more than once."""

    request: RestoreRequest
    place: Place

    def steps(self) -> Iterator[Step]:
        """What is done before the comparison."""
        for stored in self.request.artifacts:
            yield Feed(stored.name, self._run(LOAD), undo=self._run(CLEAR))

    def counts(self) -> dict[str, Count]:
        """Of the second server."""
        return {stored.name: count(Place(OWN.format(PORT), self.place.data)) for stored in self.request.artifacts}

    def swap(self) -> Iterator[Step]:
        return restarted(*map(self._run, (LOOK, SWAP, BACK, AWAIT)))

    def finish(self) -> tuple[Argv, ...]:
        return (self._run(FINISH),)

    def _run(self, text: str) -> Argv:
        return script(text, self.place, f".restore-{self.request.restore or self.request.run}")


def by_hand(place: Place) -> Argv:
    """All of it at once, but for the restart, for the manifest."""
    return script(BY_HAND, place, ".restore")
