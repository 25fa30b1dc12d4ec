"""etcd, by its own client: one snapshot of everything, with the checksum that the server has sent behind it."""

import hashlib
from collections.abc import Mapping
from typing import BinaryIO

from strategies.base import Container, Facts, Strategy, Unsuitable, unreadable
from strategies.etcd_client import TOOLS, EtcdOptions, Place, asked, count, script
from strategies.etcd_swap import Swap, by_hand
from strategies.plan import CHUNK, Argv, Check, Dump, Exec, Incomplete, Plan, Restore, RestoreRequest, shell_line
from strategies.servers import refused

# The client writes a file alone. It is unlinked before its first byte is sent.
DUMP = r"""
umask 077
folder=$(mktemp -d "${TMPDIR:-$data}/.snapshot.XXXXXX") || exit
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM
etcdctl snapshot save "$folder/it" >"$folder/said" 2>&1 || { tail -n 3 "$folder/said" >&2; exit 1; }
utility snapshot status "$folder/it" >"$folder/said" 2>&1 || { tail -n 3 "$folder/said" >&2; exit 1; }
exec 4<"$folder/it"
rm -rf "$folder"
cat <&4
"""
OCCUPIED = r"""
keys=$(keys) || exit
[ "$keys" = 0 ] || echo "$keys keys"
"""
PLACE = '[ -d "$data/member" ] && printf "%s\\n" "$url" "$data"'
ROOM = 'df -Pk "$data"'
MAGIC_AT, MAGIC = 16, (0xED0CDAED).to_bytes(4, "little")
"""Of bbolt, behind the header of the first page (bbolt, db.go and internal/common/meta.go)."""
PAGE_SIZE, DIGEST_SIZE = 512, 32
GONE = "connection refused|context deadline exceeded|no leader|leader changed|Unavailable|transport is closing|EOF"


class Etcd(Strategy[EtcdOptions]):
    """`etcdctl snapshot save`, whose SHA-256 is computed anew here."""

    names = ("etcd",)
    options = EtcdOptions
    passwords = ("ETCD_ROOT_PASSWORD",)
    gone = GONE

    def probes(self, options: EtcdOptions) -> Mapping[str, Argv]:
        return {
            "tools": ("sh", "-c", TOOLS),
            "health": script("etcdctl endpoint health", asked(options)),
            "members": script("etcdctl member list", asked(options)),
            "place": script(PLACE, asked(options)),
        }

    def plan(self, container: Container, facts: Facts, options: EtcdOptions) -> Plan:
        place = _place(container, facts)
        source, line = Exec(script(DUMP, place)), shell_line(by_hand(place))
        return Plan((Dump("snapshot.db", "etcd", source, line, whole_snapshot, count=count(place)),))

    def formats(self) -> Mapping[str, Check]:
        return {"etcd": whole_snapshot}

    def restore(self, container: Container, facts: Facts, options: EtcdOptions, request: RestoreRequest) -> Restore:
        place = _place(container, facts)
        members = facts.answers["members"]
        if not members.ok:
            raise refused(members.complaint, _ACCOUNT, GONE)
        if len(members.stdout.splitlines()) != 1:
            hint = "Write the snapshot to a file with --to-file, and restore each member as etcd's manual says."
            raise Unsuitable("one member of a cluster takes no other data than the others have", hint, "clustered")
        swap = Swap(request, place)
        return Restore(
            "the whole server",
            "the container is started anew at the end, so that they have to connect again",
            occupied=(Exec(script(OCCUPIED, place)),),
            steps=tuple(swap.steps()),
            counts=swap.counts(),
            present={stored.name: count(place) for stored in request.artifacts},
            swap=tuple(swap.swap()),
            finish=swap.finish(),
            room=script(ROOM, place),
        )


_ACCOUNT = "Set ETCDCTL_USER and ETCDCTL_PASSWORD (or ETCD_ROOT_PASSWORD) in the container's environment."


def whole_snapshot(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand pages of a database, and behind them the SHA-256 of all before it (etcd, server/etcdserver/api/v3rpc)."""
    digest, size, held, begin = hashlib.sha256(), 0, b"", b""
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        begin = begin if len(begin) >= MAGIC_AT + 4 else (begin + chunk)[: MAGIC_AT + 4]
        held += chunk
        digest.update(held[:-DIGEST_SIZE])
        held = held[-DIGEST_SIZE:]
    if begin[MAGIC_AT:] != MAGIC:
        raise Incomplete("it does not begin as a database of etcd does")
    if size % PAGE_SIZE != DIGEST_SIZE or digest.digest() != held:
        raise Incomplete("it does not end with the SHA-256 of its content")
    return ()


def _place(container: Container, facts: Facts) -> Place:
    """Where the server is. Raises `Unsuitable` when one of the probes found a reason against a dump."""
    answers = facts.answers
    if facts.shell is None or not answers["tools"].ok:
        hint = "Use an image that has a shell beside etcd and its clients; the project's own ones have none any more."
        raise Unsuitable(f"{container.image} lacks sh, etcdctl, or etcdutl", hint, "no-client")
    if not answers["health"].ok:
        raise refused(answers["health"].complaint, _ACCOUNT, GONE)
    if not answers["place"].ok:
        hint = "Name it by ETCD_DATA_DIR in the container's environment, and a user who may read it by backup.user."
        raise Unsuitable("the server's data folder is not where its command line says", hint, "no-folder")
    url, _, data = answers["place"].stdout.rstrip("\n").partition("\n")
    if not url.startswith("http") or not data.startswith("/") or "\0" in url + data:
        raise unreadable("the question for its folder", answers["place"])
    return Place(url, data)
