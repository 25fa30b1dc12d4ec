"""Redis and Valkey, by the target's own client: the whole server as one RDB file, as a replica would get it.

Every client runs under `CONNECT`, which takes the password from the target's own environment or configuration, so that
it stays there. An RDB holds keys and functions; users (ACL) belong to the server's configuration.
"""

import re
import shlex
from collections.abc import Mapping
from typing import BinaryIO

from pydantic import Field

from strategies.base import Answer, Container, Facts, Options, Strategy, Unsuitable
from strategies.checks import CHUNK, read_counts
from strategies.plan import Argv, Check, Count, Dump, Exec, ExecCheck, Feed, Incomplete, Plan, Restore, RestoreRequest
from strategies.servers import no_client, not_ready, refused

# The client's own variable, then those of Bitnami's images and of many compose files, then the usual configurations.
ACCOUNT = r"""
file() { [ -z "$1" ] || cat "$1"; }
: "${REDISCLI_AUTH:=${REDIS_PASSWORD:-$(file "${REDIS_PASSWORD_FILE:-}")}}"
: "${REDISCLI_AUTH:=${VALKEY_PASSWORD:-$(file "${VALKEY_PASSWORD_FILE:-}")}}"
: "${REDISCLI_AUTH:=$(cat /usr/local/etc/redis/*.conf /etc/redis/*.conf /usr/local/etc/valkey/*.conf 2>/dev/null |
    sed -n 's/^ *requirepass *"\{0,1\}\([^"]*\)"\{0,1\} *$/\1/p')}"
if [ -n "$REDISCLI_AUTH" ]; then export REDISCLI_AUTH; else unset REDISCLI_AUTH; fi
client=$(command -v redis-cli || command -v valkey-cli)
"""
CONNECT = f"""{ACCOUNT}exec "$client" "$@\""""
FIND_PROGRAM = 'command -v "redis-$0" || command -v "valkey-$0"'

KEYSPACE = rf"""{ACCOUNT}
answer=$("$client" "$@" INFO keyspace | tr -d '\r')
case $answer in "# Keyspace"*) ;; *) echo "$answer" >&2; exit 1 ;; esac
"""
# Functions are known from Redis 7 on; before that, the question and the order are errors that say nothing here.
OCCUPIED = rf"""{KEYSPACE}
echo "$answer" | sed -n 's/^\(db[0-9]*\):keys=\([0-9]*\).*/\1 (\2 keys)/p'
"$client" "$@" FUNCTION LIST 2>/dev/null |
    sed -n '/^library_name$/{{n;s/^/the functions of /p;}}'
"""
FLUSH = f"""{ACCOUNT}
answer=$("$client" "$@" FLUSHALL)
[ "$answer" = OK ] || {{ echo "$answer" >&2; exit 1; }}
"$client" "$@" FUNCTION FLUSH >/dev/null 2>&1
"""
# Keys that expire are gone some day, from the server and from a restored dump alike, so only the others are counted.
COUNT = f"""{KEYSPACE}echo "$answer" | while IFS=':=,' read -r database _ keys _ expires _; do
    [ "$((${{keys:-0}} - ${{expires:-0}}))" = 0 ] || printf '%s\\t%s\\n' "$((keys - expires))" "keys in $database"
done"""

PORT = 46379
# A second server loads the file, and the first one becomes its replica for a moment: so a running Redis takes a whole
# RDB. The second one listens on the loopback only, and does not wait for more replicas.
LOAD = rf"""{ACCOUNT}
first() {{ "$client" $options "$@" 2>/dev/null; }}
second() {{ "$client" -p {PORT} "$@" 2>/dev/null; }}
options=$*
server=$(command -v redis-server || command -v valkey-server)
folder=$(mktemp -d "${{TMPDIR:-/tmp}}/rdb.XXXXXX") || exit
joined=
trap '[ -z "$joined" ] || first REPLICAOF NO ONE >/dev/null; kill -KILL $pid 2>/dev/null; rm -rf "$folder"' EXIT
trap 'exit 143' TERM
cat >"$folder/dump.rdb" || exit
cd "$folder"
"$server" --bind 127.0.0.1 --port {PORT} --save '' --appendonly no --repl-diskless-sync-delay 0 </dev/null >log 2>&1 &
pid=$!
until [ "$(second PING)" = PONG ]; do
    kill -0 $pid 2>/dev/null || {{ tail -n 5 log >&2; exit 1; }}
    sleep 0.1
done
joined=yes
answer=$(first REPLICAOF 127.0.0.1 {PORT})
[ "$answer" = OK ] || {{ echo "$answer" >&2; exit 1; }}
until first INFO replication | grep -q '^master_link_status:up'; do sleep 0.1; done
[ "$(first REPLICAOF NO ONE)" = OK ]
"""

REPLICA = re.compile(rf"^role:slave\b(?!.*^master_port:{PORT}\b)", re.MULTILINE | re.DOTALL)
"""A replica of somebody else than our second server, as which a restore that was cut may have left it."""
END_MARK = re.compile(rb"[0-9a-f]{40}\Z")
"""By which a stream without a length ends; the client leaves it in what it writes to standard output (redis-cli 8.0).
Servers ignore what follows the checksum."""
HEAD = re.compile(rb"REDIS\d{4}|VALKEY\d{3}")
"""Valkey's own name stands there since its release 9."""
END = b"\xff"
TAIL_SIZE = 64
"""Bytes, more than end, checksum and mark together."""


class RedisOptions(Options):
    """`backup.redis.*`. There is no host: a label reaches no further than its own container."""

    user: str | None = Field(default=None, pattern=r"^\S+$")
    """ACL user to connect as. Default: `default`."""

    port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the server in the target. Default: 6379."""


class Redis(Strategy[RedisOptions]):
    """`redis-cli --rdb -`; then the target's `redis-check-rdb` reads every value, or its checksum is computed here."""

    names = ("redis", "valkey")
    options = RedisOptions
    passwords = ("REDIS_PASSWORD", "VALKEY_PASSWORD")
    gone = "Server closed the connection|Connection (refused|reset by peer)|I/O error|LOADING Redis|SYNC failed"

    def probes(self, options: RedisOptions) -> Mapping[str, Argv]:
        return {
            "client": ("sh", "-c", FIND_PROGRAM, "cli"),
            "checker": ("sh", "-c", FIND_PROGRAM, "check-rdb"),
            "program": ("sh", "-c", FIND_PROGRAM, "server"),
            "server": _connected(options, "INFO"),
        }

    def plan(self, container: Container, facts: Facts, options: RedisOptions) -> Plan:
        warnings = _checked_server(container, facts)
        checker = facts.answers["checker"]
        check = ExecCheck((checker.stdout.strip(), "/dev/stdin")) if checker.ok else whole_rdb
        source, restore = Exec(_connected(options, "--rdb", "-")), shlex.join(_script(LOAD, options))
        return Plan((Dump("dump.rdb", "rdb", source, restore, check, count=_count(options)),), warnings)

    def formats(self) -> Mapping[str, Check]:
        return {"rdb": whole_rdb}

    def restore(self, container: Container, facts: Facts, options: RedisOptions, request: RestoreRequest) -> Restore:
        _checked_server(container, facts)
        if not facts.answers["program"].ok:
            hint = "Restore into the container that runs the server."
            raise Unsuitable(f"{container.image} lacks redis-server and valkey-server", hint, "no-server")
        if REPLICA.search(facts.answers["server"].stdout):
            hint = "Restore into its master, which it follows."
            raise Unsuitable("the server is a replica, which a restore would cut from its master", hint, "replica")
        undo = None if request.replace else _script(FLUSH, options)
        steps = tuple(Feed(stored.name, _script(LOAD, options), undo) for stored in request.artifacts)
        counts = {stored.name: _count(options) for stored in request.artifacts}
        occupied = (Exec(_script(OCCUPIED, options)),)
        return Restore("the whole server", occupied=occupied, steps=steps, counts=counts)


def whole_rdb(stream: BinaryIO, witnesses: Mapping[str, str]) -> tuple[str, ...]:
    """Demand the name, the end and the checksum over everything before it (Redis, rdb.c and crc64.c)."""
    crc, held = Crc64(), stream.read(9)
    if not HEAD.fullmatch(held):
        raise Incomplete("it does not begin as an RDB does")
    while chunk := stream.read(CHUNK):
        held += chunk
        crc.update(held[:-TAIL_SIZE])
        held = held[-TAIL_SIZE:]
    end = END_MARK.sub(b"", held)
    body, checksum = end[:-8], int.from_bytes(end[-8:], "little")
    if not body.endswith(END):
        raise Incomplete("it does not end as an RDB does")
    if not checksum:
        return ("no-checksum: the server is configured to write none (rdbchecksum)",)
    crc.update(body)
    if crc.value() != checksum:
        raise Incomplete("its checksum is not that of its content")
    return ()


class Crc64:
    """Jones' CRC-64 of a stream, in bounded memory and without a loop over its bytes: about 100 MiB/s.

    Over GF(2) P(x) divides P(x)^n, which is P(x^n) for n = 2^k. So blocks of n bits are divided as if each was one bit;
    what remains of any number of blocks are 64, and only these go through the usual table, byte by byte.
    """

    POLYNOMIAL = 0xAD93D23594C935A9
    BLOCK = 4096

    def __init__(self) -> None:
        self._terms = [power for power in range(64) if self.POLYNOMIAL >> power & 1]
        self._blocks = [0] * 64
        self._first = 0
        """Index of the block with the highest power."""
        self._rest = b""

    def update(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) - len(data) % self.BLOCK
        for at in range(0, whole, self.BLOCK):
            self._divide(int.from_bytes(data[at : at + self.BLOCK], "little"))
        self._rest = data[whole:]

    def value(self) -> int:
        order = (self._blocks[(self._first + index) % 64] for index in range(64))
        table, value = self._table(), 0
        remaining = b"".join(block.to_bytes(self.BLOCK, "little") for block in order) + self._rest
        for byte in remaining.lstrip(b"\0"):  # Zeros at the beginning change nothing.
            value = table[(value ^ byte) & 0xFF] ^ value >> 8
        return value

    def _divide(self, block: int) -> None:
        """One step: everything moves up by a power, and what leaves at the top comes back by the polynomial."""
        blocks, first = self._blocks, self._first
        top, blocks[first] = blocks[first], block
        self._first = (first + 1) % 64
        for power in self._terms:
            blocks[(first - power) % 64] ^= top

    def _table(self) -> list[int]:
        """What each byte contributes, bits reflected."""
        reflected = int(f"{self.POLYNOMIAL:064b}"[::-1], 2)
        table = list(range(256))
        for _ in range(8):
            table = [value >> 1 ^ (reflected if value & 1 else 0) for value in table]
        return table


def _connected(options: RedisOptions, *arguments: str) -> Argv:
    return (*_script(CONNECT, options), *arguments)


def _script(script: str, options: RedisOptions) -> Argv:
    user = ("--user", options.user) if options.user else ()
    port = ("-p", str(options.port)) if options.port else ()
    return ("sh", "-c", script, "sh", *user, *port)


def _count(options: RedisOptions) -> Count:
    return Count(Exec(_script(COUNT, options)), read_counts)


def _checked_server(container: Container, facts: Facts) -> tuple[str, ...]:
    """Gives warnings; raises `Unsuitable` when one of the probes found a reason against a dump."""
    client, server = facts.answers["client"], facts.answers["server"]
    if facts.shell is None or not client.ok:
        raise no_client(container, "sh, or both redis-cli and valkey-cli")
    if not server.ok or server.stdout.startswith("LOADING"):
        raise not_ready()
    if "redis_version:" not in server.stdout:
        hint = "Set REDIS_PASSWORD (or REDISCLI_AUTH) in the container's environment, or backup.redis.user."
        raise refused(_refusal(server), hint)
    if re.search(r"^cluster_enabled:1", server.stdout, re.MULTILINE):
        return ("one-of-a-cluster: only the keys of this node are part of the backup",)
    return ()


def _refusal(server: Answer) -> str:
    return (server.stdout.strip() or server.complaint).splitlines()[-1]
