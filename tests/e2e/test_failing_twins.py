"""What goes wrong in a target fails the run with its own code, and leaves nothing that could be taken for a backup."""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.kit import stage
from tests.kit.fault_proxy import QUIET, Fault, FaultProxy
from tests.kit.few import few
from tests.kit.stage import App, Sidecar, docker, eventually, within

pytestmark = pytest.mark.e2e

ENDLESS = "while :; do head -c 1000000 /dev/zero; sleep 0.05; done"
MEBIBYTE = 1 << 20


def failed(sidecar: Sidecar, service: str, report: dict[str, Any], code: str) -> dict[str, Any]:
    """Why a run failed; it has this code, and nothing of it is left."""
    failure: dict[str, Any] = report["failure"] or {}
    assert (report["state"], failure.get("code")) == ("failed", code), report
    assert failure["hint"], report
    nothing_left(sidecar, service, report)
    return failure


def nothing_left(sidecar: Sidecar, service: str, report: dict[str, Any]) -> None:
    assert report["artifacts"] == []
    assert report["proof"] is None
    assert sidecar.stored(service) == []
    assert not sidecar.http.get(f"/v1/runs/{report['id']}/artifacts").is_success


def processes(container: str) -> str:
    """What runs in a container, but for its own main program."""
    return "\n".join(
        line for line in docker("top", container, "-eo", "pid,args").splitlines()[1:] if "infinity" not in line
    )


# --- each strategy and its client -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A strategy, and a container that stands beside the shared server and can dump from it."""

    client: str
    of: str
    labels: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)

    def target(self, app: App, service: str, shared: Sidecar, password: str, **labels: str) -> str:
        """Start it in an app; `password` is what the container believes."""
        options = [f"--env={name}={value or password}" for name, value in self.environment.items()]
        options += [f"--volume={shared.project}_{volume}:{path}" for volume, path in self.volumes.items()]
        more = {key.replace("__", "."): value for key, value in labels.items()}
        return app.target(service, self.labels | more, *options, of=self.of)

    def replace_client(self, container: str, script: str) -> None:
        """Put a program in the client's place; `"$REAL"` is the real one. What only asks what it can do is told."""
        found = within(container, f"command -v {self.client}")
        head = f'#!/bin/sh\nREAL={found}.real\ncase "$*" in *--version | *null*) exec "$REAL" "$@";; esac\n'
        move = (
            f"mv $(readlink -f {found}) {found}.real; cat >/tmp/client; chmod 755 /tmp/client; cp /tmp/client {found}"
        )
        docker("exec", "--user", "0", "--interactive", container, "sh", "-c", move, input=f"{head}{script}\n".encode())


KINDS = {
    "filesystem": Kind("tar", "DEBIAN", {"strategy": "filesystem", "filesystem.paths": "/usr/share"}),
    "postgres": Kind(
        "pg_dump",
        "POSTGRES",
        {"strategy": "postgres", "postgres.databases": "bank"},
        {"POSTGRES_USER": "keeper", "POSTGRES_PASSWORD": ""},
        {"postgres_socket": "/var/run/postgresql"},
    ),
    "mariadb": Kind(
        "mariadb-dump",
        "MARIADB",
        {"strategy": "mariadb", "mysql.databases": "shop"},
        {"MARIADB_ROOT_PASSWORD": ""},
        {"mariadb_socket": "/run/mysqld"},
    ),
    "command": Kind("", "BUSYBOX", {"commands.backup": "head -c 300000 /dev/zero"}),
}
DATABASES = ("postgres", "mariadb")
HALF_WAY = '"$REAL" "$@" | head -c 30000; exit'
INCOMPLETE = pytest.mark.fault(
    25,
    "the tool fails but exits 0",
    "fails `incomplete-dump`; a user's command without a known format has `proof: sealed`, never `full`",
)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """By its name; the server that it stands beside is there."""
    if request.param in DATABASES:
        request.getfixturevalue(request.param)
    return KINDS[request.param]


@pytest.mark.parametrize("kind", few(["filesystem", *DATABASES], "mariadb"), indirect=True)
def test_a_client_that_exits_1_half_way_fails_the_run(kind: Kind, sidecar: Sidecar, app: App, password: str) -> None:
    container = kind.target(app, "twin", sidecar, password)
    sidecar.wait("twin")
    kind.replace_client(container, f"{HALF_WAY} 3")

    failure = failed(sidecar, "twin", sidecar.run("twin"), "command-failed")

    assert failure["exit_code"] == 3


@INCOMPLETE
@pytest.mark.parametrize("kind", few(["filesystem", *DATABASES], "postgres"), indirect=True)
def test_a_client_that_stops_half_way_with_exit_code_0_fails_the_run(
    kind: Kind, sidecar: Sidecar, app: App, password: str
) -> None:
    container = kind.target(app, "twin", sidecar, password)
    sidecar.wait("twin")
    kind.replace_client(container, f"{HALF_WAY} 0")

    failed(sidecar, "twin", sidecar.run("twin"), "incomplete-dump")


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_only_what_changes_during_a_dump_is_counted_as_approximate(
    kind: Kind, sidecar: Sidecar, app: App, password: str
) -> None:
    container = kind.target(app, "moving", sidecar, password)
    psql = 'PGPASSWORD="$POSTGRES_PASSWORD" psql --quiet --username=keeper --dbname=bank --command='
    within(container, f'{psql}"create table moved (n int)"')
    try:
        still = sidecar.backup("moving")
        kind.replace_client(container, f'"$REAL" "$@" && {psql}"insert into moved values (1)" >&2')
        moving = sidecar.backup("moving")
    finally:
        within(container, f'{psql}"drop table moved"')

    (quiet,), (busy,) = ([one for one in run["artifacts"] if one["format"] == "pg_custom"] for run in (still, moving))
    assert (quiet["approximate"], busy["approximate"]) == ([], ["rows of public.moved"])
    assert quiet["counts"] == busy["counts"]


@INCOMPLETE
@pytest.mark.parametrize(
    ("kind", "client", "script", "told"),
    [
        ("postgres", "pg_dumpall", '"$REAL" "$@" | head -n -3; exit 0', "cluster dump complete"),
        ("mariadb", "mariadb-dump", '"$REAL" "$@" | head -n -1; exit 0', "Dump completed"),
        ("mariadb", "mariadb-dump", '"$REAL" "$@" | sed "/^CREATE TABLE .audit/d"; exit 0', "audit"),
    ],
    ids=["globals without trailer", "mysql without trailer", "mysql without a table"],
    indirect=["kind"],
)
def test_a_client_that_leaves_something_out_with_exit_code_0_fails_the_run(
    kind: Kind, client: str, script: str, told: str, sidecar: Sidecar, app: App, password: str
) -> None:
    container = kind.target(app, "twin", sidecar, password)
    sidecar.wait("twin")
    replace(kind, client=client).replace_client(container, script)

    failure = failed(sidecar, "twin", sidecar.run("twin"), "incomplete-dump")

    assert told in failure["message"]


@INCOMPLETE
def test_a_users_command_that_fails_but_exits_0_is_sealed_and_never_full(sidecar: Sidecar, app: App) -> None:
    app.target("own", {"commands.backup": "echo '-- PostgreSQL database dump'; false; exit 0"})

    report = sidecar.backup("own")

    assert report["proof"] == "sealed"
    assert [artifact["proof"] for artifact in report["artifacts"]] == ["sealed"]


@pytest.mark.fault(1, "target killed after at least 1 MiB", "fails `target-died` within 5 s, with exit code and state")
@pytest.mark.parametrize("kind", few(["filesystem", *DATABASES], "filesystem"), indirect=True)
def test_a_container_that_is_killed_in_the_middle_fails_the_run(
    kind: Kind, sidecar: Sidecar, app: App, password: str
) -> None:
    container = kind.target(app, "twin", sidecar, password)
    sidecar.wait("twin")
    kind.replace_client(container, ENDLESS)

    run = sidecar.start("twin")
    sidecar.reaches(run, MEBIBYTE)
    docker("kill", container)

    failure = failed(sidecar, "twin", sidecar.ended(run, seconds=15), "target-died")
    assert "137" in failure["message"]
    eventually(lambda: sidecar.states()["twin"] == "absent")


@pytest.mark.parametrize("kind", few(DATABASES, "postgres"), indirect=True)
def test_a_wrong_password_is_known_when_the_container_starts_and_fails_the_run(
    kind: Kind, sidecar: Sidecar, app: App
) -> None:
    kind.target(app, "twin", sidecar, "wrong and never shown")
    found = sidecar.wait("twin", "problem")

    failure = failed(sidecar, "twin", sidecar.run("twin"), "refused")

    assert [problem["code"] for problem in found["problems"]] == ["refused"]
    assert "PASSWORD" in failure["hint"]
    assert "never shown" not in str(found) + str(failure) + sidecar.log()


@pytest.mark.parametrize("strategy", few(DATABASES, "mariadb"))
def test_a_missing_client_is_known_when_the_container_starts_and_fails_the_run(
    strategy: str, sidecar: Sidecar, app: App
) -> None:
    app.target("clientless", {"strategy": strategy})
    found = sidecar.wait("clientless", "problem")

    failed(sidecar, "clientless", sidecar.run("clientless"), "no-client")

    assert [problem["code"] for problem in found["problems"]] == ["no-client"]
    assert found["problems"][0]["hint"]


# --- a connection that is cut ---------------------------------------------------------------------------------------


DUMP = 50_000
"""Bytes from which on an exec's stream is a dump and no question."""


class TailEater(FaultProxy):
    """Reads a dump ahead, answers its seal as if all had arrived, and gives only a part of it away, in whole frames.

    So the engine says that the command has ended with exit code 0, and the stream's end looks like any other.
    """

    def _spoil(self, engine: socket.socket, client: socket.socket) -> None:
        passed = b""
        while len(passed) < DUMP:
            data = engine.recv(65536)
            if not data:
                return
            client.sendall(data)
            passed += data
        stream = passed + b"".join(read_ahead(engine))
        engine.sendall(b"\n")
        while engine.recv(65536):
            pass
        client.sendall(stream[len(passed) : whole_frames(stream, len(passed) + DUMP)])


def read_ahead(engine: socket.socket) -> Iterator[bytes]:
    """All that an exec says before it waits for an answer."""
    engine.settimeout(QUIET)
    with contextlib.suppress(TimeoutError):
        while data := engine.recv(65536):
            yield data
    engine.settimeout(None)


def whole_frames(stream: bytes, least: int) -> int:
    """Where the first frame ends behind so many bytes; a frame has eight bytes, with its size, before it."""
    end = stream.index(b"\r\n\r\n") + 4
    while end < least:
        end += 8 + int.from_bytes(stream[end + 4 : end + 8], "big")
    assert end < len(stream), "the dump is too small to be cut"
    return end


@pytest.fixture(scope="module")
def behind_a_liar(
    sidecar: Sidecar, config_folder: Path, token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Sidecar, App]]:
    """A further sidecar, whose engine is behind a proxy that cuts dumps."""
    folder = tmp_path_factory.mktemp("proxy")
    with TailEater(folder, Fault()) as proxy:
        proxy.path.chmod(0o666)
        folder.chmod(0o755)
        options = ("--volume", f"{folder}:/proxy", "--env", "DOCKER_HOST=unix:///proxy/proxy.sock")
        with stage.sidecar(f"{sidecar.project}-cut", config_folder, token, *options) as (behind, app):
            yield behind, app


@pytest.mark.parametrize("kind", few(KINDS, "postgres", "command"), indirect=True)
def test_a_cut_connection_fails_the_run_though_the_exit_code_reads_0(
    kind: Kind, behind_a_liar: tuple[Sidecar, App], sidecar: Sidecar, password: str
) -> None:
    behind, app = behind_a_liar
    service = f"cut-{kind.client or 'command'}"
    with app:
        kind.target(app, service, sidecar, password)
        behind.wait(service)

        failure = failed(behind, service, behind.run(service), "stream-truncated")

    assert "code is 0" in failure["message"]


# --- commands -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "shell"),
    [
        pytest.param("DEBIAN", "bash", id="bash"),
        pytest.param("DEBIAN", "dash", id="dash", marks=pytest.mark.slow),
        pytest.param("BUSYBOX", "busybox", id="BusyBox"),
    ],
)
@pytest.mark.parametrize("command", ["echo begun; false | cat", "head -c 3000000 /dev/zero; exit 1"])
def test_a_command_that_fails_after_some_output_fails_the_run(
    command: str, of: str, shell: str, sidecar: Sidecar, app: App
) -> None:
    main = "rm /bin/bash; exec sleep infinity" if shell == "dash" else "exec sleep infinity"
    app.target("pipe", {"commands.backup": command}, of=of, command=("sh", "-c", main))

    failure = failed(sidecar, "pipe", sidecar.run("pipe"), "command-failed")

    assert failure["exit_code"] == 1


def test_a_command_that_says_nothing_fails_the_run(sidecar: Sidecar, app: App) -> None:
    app.target("silent", {"commands.backup": "true"})

    failed(sidecar, "silent", sidecar.run("silent"), "incomplete-dump")


@pytest.mark.fault(2, "target removed during the dump", "fails `target-gone`; listed as absent")
def test_a_container_that_is_removed_in_the_middle_fails_the_run(sidecar: Sidecar, app: App) -> None:
    container = app.target("removed", {"commands.backup": ENDLESS})
    sidecar.wait("removed")

    run = sidecar.start("removed")
    sidecar.reaches(run, MEBIBYTE)
    docker("rm", "--force", container)

    report = sidecar.ended(run, seconds=15)
    # The engine kills it first: whoever asks then finds it dead and not yet gone.
    assert report["failure"]["code"] in ("target-gone", "target-died")
    failed(sidecar, "removed", report, report["failure"]["code"])
    eventually(lambda: sidecar.states().get("removed") in (None, "absent"), what="no longer a target")


@pytest.mark.fault(3, "its process 1 exits 0 during the dump", "fails all the same")
def test_a_container_whose_main_program_ends_well_in_the_middle_fails_the_run(sidecar: Sidecar, app: App) -> None:
    main = ("sh", "-c", "while [ ! -e /tmp/enough ]; do sleep 0.1; done")
    container = app.target("ends", {"commands.backup": ENDLESS}, command=main)
    sidecar.wait("ends")

    run = sidecar.start("ends")
    sidecar.reaches(run, MEBIBYTE)
    within(container, "touch /tmp/enough")

    failed(sidecar, "ends", sidecar.ended(run, seconds=15), "target-died")


@pytest.mark.fault(
    4, "Compose re-creates the target during the dump", "fails `target-replaced`; a retry uses the new one"
)
def test_a_container_that_is_replaced_in_the_middle_fails_the_run_and_the_new_one_is_backed_up(
    sidecar: Sidecar, app: App
) -> None:
    old = app.target("replaced", {"commands.backup": f"[ -e /tmp/new ] || {{ {ENDLESS}; }}; echo new"})
    sidecar.wait("replaced")

    run = sidecar.start("replaced")
    sidecar.reaches(run, MEBIBYTE)
    new = app.target("replaced", {"commands.backup": "echo new"})
    docker("rm", "--force", old)

    failure = failed(sidecar, "replaced", sidecar.ended(run, seconds=15), "target-replaced")
    assert new in failure["message"]
    assert failure["transient"]
    assert sidecar.backup("replaced")["state"] == "succeeded"


def test_what_a_dump_left_behind_is_ended_and_what_pre_and_post_started_lives(sidecar: Sidecar, app: App) -> None:
    left = (
        "setsid sleep 4341 >/dev/null 2>&1 & setpriv --reuid=65534 --clear-groups setsid sleep 4342 >/dev/null 2>&1 &"
    )
    commands = {
        "commands.pre": "setsid sleep 4343 & sleep 4344 >/dev/null 2>&1 &",
        "commands.backup": f"{left} echo data",
        "commands.post": "setsid sleep 4345 & sleep 4346 &",
    }
    container = app.target("leaves", commands)

    report = sidecar.backup("leaves")

    alive = {line.split()[-1] for line in processes(container).splitlines()} & {
        str(number) for number in range(4341, 4347)
    }
    assert alive == {"4343", "4344", "4345", "4346"}, report["warnings"]
    assert not [warning for warning in report["warnings"] if "left" in warning]


def test_a_failing_pre_command_prevents_the_dump_and_post_is_told(sidecar: Sidecar, app: App) -> None:
    commands = {
        "commands.pre": '["sh","-c","echo not today >&2; exit 7"]',
        "commands.backup": "touch /tmp/dumped; echo data",
        "commands.post": 'echo "$BACKUP_OUTCOME" >/tmp/outcome',
    }
    container = app.target("pre", commands)

    failure = failed(sidecar, "pre", sidecar.run("pre"), "command-failed")

    assert failure["exit_code"] == 7
    assert "not today" in failure["message"]
    assert within(container, "ls /tmp") == "outcome"
    assert within(container, "cat /tmp/outcome") == "failed"


def test_post_is_told_of_a_failing_dump_and_its_own_failure_does_not_hide_it(sidecar: Sidecar, app: App) -> None:
    post = 'echo "$BACKUP_OUTCOME" >/tmp/outcome; exit 9'
    container = app.target("post", {"commands.backup": "echo half; exit 4", "commands.post": post})

    failure = failed(sidecar, "post", sidecar.run("post"), "command-failed")

    assert failure["exit_code"] == 4
    assert within(container, "cat /tmp/outcome") == "failed"


def test_a_failing_post_command_is_a_warning_beside_a_good_backup(sidecar: Sidecar, app: App) -> None:
    app.target("late", {"commands.backup": "echo data", "commands.post": "exit 9"})

    report = sidecar.backup("late")

    assert any(warning.startswith("post-failed") and "9" in warning for warning in report["warnings"])


def test_a_dump_below_its_expected_size_fails_the_run(sidecar: Sidecar, app: App) -> None:
    app.target("small", {"commands.backup": "head -c 1000 /dev/zero", "expect.min-size": "1KiB"})

    failure = failed(sidecar, "small", sidecar.run("small"), "incomplete-dump")

    assert "1000" in failure["message"]
    assert "1024" in failure["message"]


TRAPPING = f"trap '' TERM; (trap '' TERM; sleep 300) & {ENDLESS}"


@pytest.mark.parametrize(
    ("command", "labels", "code"),
    [
        pytest.param(
            *(TRAPPING, {"timeout": "2s"}, "timeout"),
            id="timeout",
            marks=pytest.mark.fault(18, "run beyond its timeout, the command traps TERM", "ended by KILL"),
        ),
        pytest.param(
            *("echo begun; sleep 300 | cat", {"stall-timeout": "1s"}, "stalled"),
            id="stall",
            marks=pytest.mark.fault(
                17, "command silent beyond the stall timeout", "fails `stalled`; no process is left"
            ),
        ),
    ],
)
def test_a_command_without_an_end_is_ended_and_leaves_no_process(
    command: str, labels: dict[str, str], code: str, sidecar: Sidecar, app: App
) -> None:
    container = app.target("endless", {"commands.backup": command, **labels})
    began = time.monotonic()

    failed(sidecar, "endless", sidecar.run("endless"), code)

    assert time.monotonic() - began < 20
    eventually(lambda: not processes(container), what="no process is left")


def test_a_cancelled_run_ends_soon_and_leaves_no_process(sidecar: Sidecar, app: App) -> None:
    container = app.target("cancelled", {"commands.backup": ENDLESS, "commands.post": "touch /tmp/post"})
    sidecar.wait("cancelled")
    run = sidecar.start("cancelled")
    sidecar.reaches(run, MEBIBYTE)

    answer = sidecar.http.post(f"/v1/runs/{run}/cancel")
    report = sidecar.ended(run, seconds=15)

    assert answer.status_code == 202
    assert (report["state"], report["failure"]["code"]) == ("cancelled", "cancelled")
    nothing_left(sidecar, "cancelled", report)
    assert within(container, "ls /tmp") == "post"
    eventually(lambda: not processes(container), what="no process is left")
    assert sidecar.http.post(f"/v1/runs/{run}/cancel").status_code == 409


def test_a_failure_of_one_target_leaves_the_others_and_the_earlier_backups_alone(sidecar: Sidecar, app: App) -> None:
    container = app.target("again", {"commands.backup": "cat /tmp/data"})
    app.target("neighbour", {"commands.backup": "echo neighbour"})
    within(container, "echo data >/tmp/data")
    good = sidecar.backup("again")
    within(container, "rm /tmp/data")

    bad = sidecar.run("again")

    assert bad["state"] == "failed"
    assert sidecar.backup("neighbour")["state"] == "succeeded"
    kept = sidecar.stored("again")
    assert all(good["id"] in path for path in kept)
    assert {path.rpartition(good["id"])[2] for path in kept} == {"/backup.zst", "/manifest.json", "/marks/report.json"}
