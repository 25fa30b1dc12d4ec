"""Redis wherever it listens, and with a password that only its command line has: found without a word in a label."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.test_restore import succeeded
from tests.e2e.test_strategies import artifact
from tests.kit.few import few
from tests.kit.stage import App, Sidecar, eventually, restored, within

pytestmark = pytest.mark.e2e

PASSWORD = "hunter2-of-the-line"
SOCKET = ("--port", "0", "--unixsocket", "/data/redis.sock", "--repl-diskless-sync-delay", "0")
TLS = (
    "--repl-diskless-sync-delay",
    "0",
    "--port",
    "0",
    "--tls-port",
    "6390",
    "--tls-cert-file",
    "/tls/both.crt",
    "--tls-key-file",
    "/tls/both.key",
)
TLS += ("--tls-ca-cert-file", "/tls/both.crt", "--tls-replication", "yes")
SECRET = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
BY_SOCKET = f"redis-cli -a {PASSWORD} --no-auth-warning -s /data/redis.sock"
BY_TLS = "redis-cli --tls -p 6390 --cacert /tls/both.crt --cert /tls/both.crt --key /tls/both.key"


@dataclass(frozen=True)
class Server:
    """How it is started, how a client reaches it, and the labels that it needs."""

    command: tuple[str, ...]
    client: str
    labels: dict[str, str] = field(default_factory=dict)
    has_password: bool = True


SERVERS = {
    "socket": Server(("redis-server", *SOCKET, *SECRET), BY_SOCKET),
    "tls": Server(("redis-server", *TLS), BY_TLS, has_password=False),
    "file": Server(("redis-server", "/tls/my.conf"), BY_SOCKET),
    "shell": Server(("sh", "-c", f'redis-server --requirepass "$PW" {" ".join(SOCKET)}'), BY_SOCKET),
    "labels": Server(
        ("sh", "-c", "printf 'port 0\\nunixsocket /data/redis.sock\\n' | redis-server -"),
        "redis-cli -s /data/redis.sock",
        {"redis.socket": "/data/redis.sock"},
        has_password=False,
    ),
}
QUICK = ("socket",)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subject = ("-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:TRUE", "-days", "2")
    files = ("-keyout", f"{folder}/both.key", "-out", f"{folder}/both.crt")
    subprocess.run(("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *subject), check=True)
    (folder / "my.conf").write_text(f"port 0\nunixsocket /data/redis.sock\nrequirepass {PASSWORD}\n")
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


FILL = """for n in $(seq 2000); do echo "HSET user:$n name n$n"; done | {0} --pipe >/dev/null
{0} XADD log 1-1 what happened; {0} -n 3 SET other yes"""
SEEN = """for n in 0 3; do {0} -n $n EVAL "local found = {{}}
    for _, key in ipairs(redis.call('KEYS', '*')) do
        found[#found + 1] = key .. redis.sha1hex(redis.call('DUMP', key))
    end
    table.sort(found); return #found .. ' ' .. redis.sha1hex(table.concat(found, ' '))" 0; done"""


def started(app: App, kind: Server, folder: Path, service: str, labels: dict[str, str]) -> str:
    """A server that answers."""
    options = ("--volume", f"{folder}:/tls:ro", "--env", f"PW={PASSWORD}")
    container = app.start(service, labels, *options, of="REDIS", command=kind.command)
    eventually(lambda: "PONG" in within(container, f"{kind.client} PING || true"), what="Redis answers")
    return container


@pytest.mark.parametrize("name", few(SERVERS, *QUICK))
def test_a_server_is_found_and_brought_back_wherever_it_listens(
    name: str, sidecar: Sidecar, app: App, certificates: Path, tmp_path: Path
) -> None:
    kind, service = SERVERS[name], f"reach-{name}"
    container = started(app, kind, certificates, service, {"enable": "true", "strategy": "redis", **kind.labels})
    within(container, FILL.format(kind.client))
    before = within(container, SEEN.format(kind.client))

    report = sidecar.backup(service)

    assert report["proof"] == "full"
    assert report["warnings"] == []
    assert report["artifacts"][0]["counts"] == {"keys in db0": 2001, "keys in db3": 1}
    assert PASSWORD not in json.dumps(report) + sidecar.cli("explain", sidecar.key(service), "--verbose").stdout
    within(container, f"{kind.client} FLUSHALL; {kind.client} SET later 1")
    succeeded(sidecar, service, "--replace", "--run", report["id"])
    assert within(container, SEEN.format(kind.client)) == before
    fresh = started(app, kind, certificates, "by-hand", {})
    folder = sidecar.fetch(report, tmp_path)
    given = [f"REDISCLI_AUTH={PASSWORD}"] if kind.has_password else []
    restored(folder, artifact(folder, "dump.rdb.zst"), fresh, *given)
    assert within(fresh, SEEN.format(kind.client)) == before
