"""Redis and Valkey, by the target's own client: the whole server as one RDB file, as a replica would get it.

Every client runs under `CONNECT`, which takes the password from the target's own environment or configuration, so that
it stays there. An RDB holds keys and functions; users (ACL) belong to the server's configuration.
"""

import re
from collections.abc import Mapping
from typing import BinaryIO

from strategies.base import Answer, Container, Facts, Strategy, Unsuitable
from strategies.plan import (
    CHUNK,
    Argv,
    Check,
    Dump,
    Exec,
    ExecCheck,
    Incomplete,
    Plan,
    Restore,
    RestoreRequest,
    shell_line,
)
from strategies.redis_client import ACCOUNT, KEYSPACE, RedisOptions, connected, count, script
from strategies.redis_command import SETTINGS, told
from strategies.redis_swap import PORT, RESERVE_BYTES, ROOM, Swap, by_hand
from strategies.servers import no_client, not_ready, refused

FIND_PROGRAM = 'command -v "redis-$0" || command -v "valkey-$0"'
CHECK = ExecCheck(("sh", "-c", f'exec "$({FIND_PROGRAM})" /dev/stdin', "check-rdb"))

# Functions are known from Redis 7 on; before that, the question and the order are errors that say nothing here.
OCCUPIED = rf"""{KEYSPACE}
echo "$answer" | sed -n 's/^\(db[0-9]*\):keys=\([0-9]*\).*/\1 (\2 keys)/p'
ask "$@" FUNCTION LIST 2>/dev/null |
    sed -n '/^library_name$/{{n;s/^/the functions of /p;}}'
"""
MEMORY = f"""{ACCOUNT}ask "$@" INFO memory | sed -n 's/^used_memory:\\([0-9]*\\).*/\\1/p'"""

REPLICA = re.compile(r"^role:slave\b", re.MULTILINE)
OURS = re.compile(rf"^master_port:{PORT}\b", re.MULTILINE)
"""It follows our second server, as which a restore that was cut may have left it."""
CLUSTERED = re.compile(r"^cluster_enabled:1", re.MULTILINE)
END_MARK = re.compile(rb"[0-9a-f]{40}\Z")
"""By which a stream without a length ends; the client leaves it in what it writes to standard output (redis-cli 8.0).
Servers ignore what follows the checksum."""
HEAD = re.compile(rb"REDIS\d{4}|VALKEY\d{3}")
"""Valkey's own name stands there since its release 9."""
END = b"\xff"
TAIL_SIZE = 64
"""Bytes, more than end, checksum and mark together."""


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
            "server": connected(options, "INFO"),
        }

    def environment(self, container: Container) -> Mapping[str, str]:
        return told(container.command)

    def plan(self, container: Container, facts: Facts, options: RedisOptions) -> Plan:
        warnings = _checked_server(container, facts)
        checker = facts.answers["checker"]
        check = CHECK if checker.ok else whole_rdb
        source, restore = Exec(connected(options, "--rdb", "-")), shell_line((*_started(container), *by_hand(options)))
        size = script(MEMORY, options)
        return Plan((Dump("dump.rdb", "rdb", source, restore, check, count=count(options), disk=size),), warnings)

    def formats(self) -> Mapping[str, Check]:
        return {"rdb": whole_rdb}

    def restore(self, container: Container, facts: Facts, options: RedisOptions, request: RestoreRequest) -> Restore:
        _checked_server(container, facts)
        if not facts.answers["program"].ok:
            hint = "Restore into the container that runs the server."
            raise Unsuitable(f"{container.image} lacks redis-server and valkey-server", hint, "no-server")
        server = facts.answers["server"].stdout
        if REPLICA.search(server) and not OURS.search(server):
            hint = "Restore into its master, which it follows."
            raise Unsuitable("the server is a replica, which a restore would cut from its master", hint, "replica")
        if CLUSTERED.search(server):
            hint = "Write the dump to a file with --to-file, and load it as your version's manual says."
            raise Unsuitable("a node of a cluster takes no data from another server", hint, "clustered")
        swap = Swap(request, options)
        return Restore(
            "the whole server",
            "they stay connected; once all is compared, what they write waits until it is in place",
            occupied=(Exec(script(OCCUPIED, options)),),
            steps=tuple(swap.steps()),
            counts=swap.counts(),
            present={stored.name: count(options) for stored in request.artifacts},
            swap=tuple(swap.swap()),
            finish=swap.finish(),
            room=("sh", "-c", ROOM),
            reserve=RESERVE_BYTES,
        )


def _started(container: Container) -> Argv:
    """What tells a command that nobody but its line tells anything how the server was started; never its password."""
    settings = told(container.command).get(SETTINGS)
    return ("env", f"{SETTINGS}={settings}") if settings else ()


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
    if CLUSTERED.search(server.stdout):
        return ("one-of-a-cluster: only the keys of this node are part of the backup",)
    return ()


def _refusal(server: Answer) -> str:
    return (server.stdout.strip() or server.complaint).splitlines()[-1][:1000]
