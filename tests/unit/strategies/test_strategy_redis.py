import contextlib
import io
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from strategies.base import Answer, Container, Facts, Unsuitable
from strategies.plan import Exec, ExecCheck, Incomplete, RestoreRequest
from strategies.redis import Crc64, Redis, RedisOptions, whole_rdb
from strategies.redis_client import CONNECT
from strategies.redis_command import told

CONTAINER = Container("1f", "shop-cache-1", "redis:8")
CLIENT, CHECKER = Answer(0, "/usr/bin/redis-cli\n"), Answer(0, "/usr/bin/redis-check-rdb\n")
ABSENT = Answer(127)
SOCKET = "port 0\nunixsocket /data/r.sock"
INFO = Answer(0, "# Server\r\nredis_version:8.0.2\r\n# Cluster\r\ncluster_enabled:0\r\n")
RDB = (Path(__file__).parents[2] / "contract/samples/shop.rdb").read_bytes()[:-40]


def plan(*, shell="sh", client=CLIENT, checker=CHECKER, server=INFO, **options):
    facts = Facts(shell, {"client": client, "checker": checker, "program": CLIENT, "server": server})
    return Redis().plan(CONTAINER, facts, RedisOptions(**options))


def check(content):
    return whole_rdb(io.BytesIO(content), {})


def by_the_table(data):
    """The same checksum, bit by bit."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x95AC9329AC4BC9B5 if value & 1 else 0)
    return value


def test_the_checksum_is_that_of_redis():
    crc = Crc64()
    crc.update(b"123456789")
    assert crc.value() == 0xE9C6D914C4B8D9CA


@given(st.lists(st.binary(max_size=9000), max_size=4))
def test_the_checksum_does_not_depend_on_how_the_stream_arrives(parts):
    crc = Crc64()
    for part in parts:
        crc.update(part)
    assert crc.value() == by_the_table(b"".join(parts))


@pytest.mark.parametrize("size", [64 * 4096 - 1, 64 * 4096, 65 * 4096 + 5, 300 * 4096])
def test_the_checksum_holds_beyond_the_64_blocks_that_remain(size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    crc = Crc64()
    crc.update(data)
    assert crc.value() == by_the_table(data)


@given(st.integers(0, len(RDB) - 1), st.integers(1, 255))
def test_one_changed_byte_is_found(place, change):
    damaged = bytearray(RDB)
    damaged[place] ^= change
    with pytest.raises(Incomplete):
        check(bytes(damaged))


def test_a_server_that_writes_no_checksum_is_told():
    (warning,) = check(RDB[:-8] + bytes(8))
    assert warning.startswith("no-checksum")


def test_zeros_in_place_of_the_checksum_are_no_end():
    with pytest.raises(Incomplete):
        check(RDB[:200] + bytes(8))


def test_valkeys_own_name_is_known():
    body = b"VALKEY080" + RDB[9:-8]
    crc = Crc64()
    crc.update(body)
    assert check(body + crc.value().to_bytes(8, "little")) == ()


def test_memory_does_not_grow_with_the_stream():
    class Endless(io.RawIOBase):
        left = 24 << 20

        def read(self, size=-1):
            size = min(size, self.left)
            self.left -= size
            return b"REDIS0012"[:size] if size == 9 else bytes(size)

    tracemalloc.start()
    with pytest.raises(Incomplete):
        whole_rdb(Endless(), {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_the_targets_own_checker_is_used_where_there_is_one():
    check = plan().dumps[0].check
    assert isinstance(check, ExecCheck)
    assert check.argv[-1] == "check-rdb", "and messages call it so"
    assert plan(checker=ABSENT).dumps[0].check is whole_rdb


def test_user_and_port_are_given_to_the_client():
    source = plan(user="keeper", port=6380).dumps[0].source
    assert isinstance(source, Exec)
    assert source.argv[4:] == ("--user", "keeper", "-p", "6380", "--rdb", "-")


def test_a_users_name_is_one_word():
    with pytest.raises(ValidationError):
        RedisOptions(user="keeper -h elsewhere")


def test_a_node_of_a_cluster_is_told():
    clustered = Answer(0, INFO.stdout.replace("cluster_enabled:0", "cluster_enabled:1"))
    assert plan().warnings == ()
    assert plan(server=clustered).warnings[0].startswith("one-of-a-cluster")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"client": ABSENT}, "no-client"),
        ({"shell": None}, "no-client"),
        ({"server": Answer(1, "", "Could not connect to Redis at 127.0.0.1:6379: Connection refused\n")}, "not-ready"),
        ({"server": Answer(0, "LOADING Redis is loading the dataset in memory\n")}, "not-ready"),
        ({"server": Answer(0, "NOAUTH Authentication required.\n")}, "refused"),
        ({"server": Answer(0, "NOPERM User keeper has no permissions to run the 'info' command\n")}, "refused"),
    ],
)
def test_what_keeps_a_dump_from_working_is_known_beforehand(change, code):
    with pytest.raises(Unsuitable) as refused:
        plan(**change)
    assert refused.value.code == code


SERVER = "docker-entrypoint.sh", "redis-server"


@pytest.mark.parametrize(
    ("command", "settings", "password"),
    [
        ((*SERVER, "--requirepass", "p w", "--port", "0", "--unixsocket", "/data/r.sock"), SOCKET, "p w"),
        ((*SERVER, "--Port", "0", "--UNIXSOCKET", "/data/r.sock", "--save", "60", "1"), SOCKET, None),
        ((*SERVER, "/etc/my.conf", "--tls-port", "6380"), "file /etc/my.conf\ntls-port 6380", None),
        (("/usr/bin/valkey-server", "--user", "default on >secret ~* +@all"), None, "secret"),
        (("docker-entrypoint.sh", "--requirepass", "x"), None, "x"),
        ((*SERVER, "--requirepass", "$(cat", "/run/pw)"), None, None),
        ((*SERVER,), None, None),
        ((), None, None),
    ],
)
def test_a_servers_command_line_tells_where_it_listens_and_its_password(command, settings, password):
    said = told(command)
    assert (said.get("BACKUP_REDIS"), said.get("BACKUP_REDIS_PASSWORD")) == (settings, password)


@pytest.mark.parametrize(
    ("configuration", "argv", "client"),
    [
        ("", (), "-x"),
        ("port 7000", (), "-p 7000 -x"),
        ("port 7000", ("-p", "1"), "-p 1 -x"),
        ("port 0\nunixsocket /r.sock", (), "-s /r.sock -x"),
        ('  Port  0\nport 0\nunixsocket "/r.sock"', (), "-s /r.sock -x"),
        ("port 0\nunixsocket /r.sock", ("-s", "/o.sock"), "-s /o.sock -x"),
        ("port 0\ntls-port 7", (), "--tls -p 7 --insecure -x"),
        ("tls-port 7\ntls-ca-cert-file /ca", ("--tls",), "--tls -p 7 --cacert /ca --tls -x"),
        (
            "port 0\ntls-port 7\ntls-ca-cert-file /ca\ntls-cert-file /c\ntls-key-file '/k'",
            (),
            "--tls -p 7 --cacert /ca --cert /c --key /k -x",
        ),
        ("port 0\ntls-port 7\ntls-cert-file /c\ntls-auth-clients no", (), "--tls -p 7 --insecure -x"),
    ],
)
def test_the_client_goes_where_the_server_listens(configuration, argv, client, tmp_path):
    (tmp_path / "my.conf").write_text(configuration)
    (tmp_path / "redis-cli").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "redis-cli").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BACKUP_REDIS": f"file {tmp_path}/my.conf"}
    done = subprocess.run(
        ["sh", "-c", CONNECT, "sh", *argv, "-x"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{client}\n"


def test_how_to_reach_it_stands_in_the_line_for_people_and_the_password_nowhere():
    command = (*SERVER, "--requirepass", "hunter2", "--port", "0", "--unixsocket", "/data/r.sock")
    facts = Facts("sh", {"client": CLIENT, "checker": CHECKER, "program": CLIENT, "server": INFO})
    container = Container("1f", "cache", "redis:8", command=command)
    (dump,) = Redis().plan(container, facts, RedisOptions()).dumps
    assert "/data/r.sock" in dump.restore
    assert "hunter2" not in f"{dump} {container}"


@pytest.mark.parametrize(
    "environment",
    [
        {"REDISCLI_AUTH": "p'w \"$x\\ y"},
        {"REDIS_PASSWORD": "p'w \"$x\\ y"},
        {"REDIS_PASSWORD_FILE": "password"},
        {"VALKEY_PASSWORD": "p'w \"$x\\ y"},
        {"VALKEYCLI_AUTH": "p'w \"$x\\ y"},
        {"BACKUP_REDIS_PASSWORD": "p'w \"$x\\ y"},
    ],
)
def test_the_password_is_the_targets_own_and_never_an_argument(environment, tmp_path):
    (tmp_path / "password").write_text("p'w \"$x\\ y\n")
    client = tmp_path / "redis-cli"
    client.write_text('#!/bin/sh\nprintf "%s\\n" "$REDISCLI_AUTH" "$@"\n')
    client.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"} | environment
    argv = ["sh", "-c", CONNECT, "sh", "--rdb", "-"]
    done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "p'w \"$x\\ y\n--rdb\n-\n"


@pytest.mark.parametrize(("port", "refused"), [(6379, True), (463790, True), (46379, False)])
def test_a_replica_is_not_cut_from_its_master(port, refused):
    server = Answer(0, f"{INFO.stdout}role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:{port}\r\n")
    facts = Facts("sh", {"client": CLIENT, "checker": CHECKER, "program": CLIENT, "server": server})
    with pytest.raises(Unsuitable, match="is a replica") if refused else contextlib.nullcontext():
        Redis().restore(CONTAINER, facts, RedisOptions(), RestoreRequest("r", ()))


def test_a_node_of_a_cluster_is_not_made_anybodys_replica():
    server = Answer(0, INFO.stdout.replace("cluster_enabled:0", "cluster_enabled:1"))
    facts = Facts("sh", {"client": CLIENT, "checker": CHECKER, "program": CLIENT, "server": server})
    with pytest.raises(Unsuitable, match="node of a cluster"):
        Redis().restore(CONTAINER, facts, RedisOptions(), RestoreRequest("r", ()))


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("p@ss", "p@ss"),
        ('"p w"', "p w"),
        ("'p w'", "p w"),
        ('"it\'s"', "it's"),
        ('"a \\"q\\" \\\\ $x"', 'a "q" \\ $x'),
        ("'it\\'s \"q\"'", 'it\'s "q"'),
        ("\"'x'\"", "'x'"),
        ("a'b", "a'b"),
    ],
)
def test_a_password_in_the_servers_configuration_is_read_as_the_server_reads_it(written, password, tmp_path):
    (tmp_path / "my.conf").write_text(f"port 7000\n  requirepass {written} \nmasterauth other\n")
    (tmp_path / "redis-cli").write_text('#!/bin/sh\nprintf %s "$REDISCLI_AUTH"\n')
    (tmp_path / "redis-cli").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "BACKUP_REDIS": f"file {tmp_path}/my.conf"}
    done = subprocess.run(["sh", "-c", CONNECT, "sh"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == password
