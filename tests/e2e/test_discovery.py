"""What starts, stops, moves or is renamed is followed at once, and what is wrong breaks only its own target."""

import secrets
import time
from collections.abc import Callable, Iterator

import pytest
from pytest_docker.plugin import Services

from tests.kit.stage import LABEL, App, Sidecar, docker, eventually

pytestmark = pytest.mark.e2e

NOTE = {"commands.backup": "echo note"}


def soon(question: Callable[[], bool], what: str) -> None:
    """Within a second on a quiet machine, as `make bench` measures; here it is only told."""
    began = time.monotonic()
    eventually(question, what=what)
    print(f"{what}: after {time.monotonic() - began:.2f} s")


def container_of(sidecar: Sidecar, service: str) -> str:
    """Name of the container that a target stands for."""
    target = sidecar.targets().get(sidecar.key(service))
    return str(target["container"]["name"]) if target else ""


# --- following ------------------------------------------------------------------------------------------------------


def test_a_container_is_listed_at_its_start_and_leaves_when_it_stops(sidecar: Sidecar, app: App) -> None:
    container = app.target("comes", NOTE)
    soon(lambda: "comes" in sidecar.states(), "listed after its start")
    soon(lambda: sidecar.states()["comes"] == "ready", "ready after its start")

    docker("kill", container)
    soon(lambda: sidecar.states().get("comes") in (None, "absent"), "gone after its end")

    docker("start", container)
    soon(lambda: sidecar.states().get("comes") == "ready", "ready again")


def test_a_target_with_a_backup_stays_listed_as_absent_when_its_container_is_gone(sidecar: Sidecar, app: App) -> None:
    container = app.target("kept", NOTE)
    run = sidecar.backup("kept")["id"]

    docker("rm", "--force", container)
    soon(lambda: sidecar.states().get("kept") == "absent", "absent")

    assert sidecar.target("kept")["last_good"]["id"] == run
    answer = sidecar.http.post(f"/v1/targets/{sidecar.key('kept')}/runs")
    assert (answer.status_code, answer.json()["type"]) == (409, "target-gone")


def test_a_renamed_container_is_followed(sidecar: Sidecar, app: App) -> None:
    container = app.target("renamed", NOTE)
    sidecar.wait("renamed")

    docker("rename", container, f"{container}-other")
    try:
        soon(lambda: container_of(sidecar, "renamed") == f"{container}-other", "its new name")
        assert sidecar.backup("renamed")["state"] == "succeeded"
    finally:
        docker("rename", f"{container}-other", container)


def test_a_container_that_joins_or_leaves_the_network_is_followed(sidecar: Sidecar, app: App) -> None:
    container = app.target("joins", NOTE)
    sidecar.wait("joins")

    docker("network", "disconnect", app.network, container)
    soon(lambda: "joins" not in sidecar.states(), "gone from the network")

    docker("network", "connect", app.network, container)
    soon(lambda: "joins" in sidecar.states(), "on the network again")
    sidecar.wait("joins")


def test_a_container_that_compose_creates_anew_is_backed_up_as_the_same_target(
    sidecar: Sidecar, docker_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = docker_services._docker_compose
    before = sidecar.wait("web")["container"]["id"]
    sidecar.backup("web")

    monkeypatch.setenv("TEST_REVISION", secrets.token_hex(4))
    compose.execute("up --detach --no-deps web")
    soon(lambda: sidecar.target("web")["container"]["id"] != before, "its new container")
    sidecar.backup("web")

    targets = [key for key in sidecar.targets() if key.startswith(sidecar.key("web"))]
    assert targets == [sidecar.key("web")]


def test_of_a_scaled_service_the_first_container_is_the_target_and_the_others_are_replicas(
    sidecar: Sidecar, docker_services: Services
) -> None:
    compose = docker_services._docker_compose
    first = sidecar.wait("web")["container"]["name"]

    compose.execute("up --detach --no-deps --scale web=2 web")
    soon(lambda: "replica" in sidecar.states().values(), "a replica")
    assert container_of(sidecar, "web") == first
    replica = next(target for target in sidecar.targets().values() if target["state"] == "replica")
    assert replica["container"]["name"] == f"{sidecar.project}-web-2"

    compose.execute("up --detach --no-deps --scale web=1 web")
    soon(lambda: "replica" not in sidecar.states().values(), "no replica any more")
    sidecar.wait("web")


def test_a_burst_of_containers_is_listed_whole(sidecar: Sidecar, app: App) -> None:
    names = [f"burst-{number}" for number in range(12)]
    for name in names:
        app.target(name, NOTE)

    soon(lambda: set(names) <= set(sidecar.states()), "all are listed")


# --- scope ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(sidecar: Sidecar) -> Iterator[str]:
    """A network that is not the sidecar's."""
    name = f"{sidecar.project}-elsewhere"
    docker("network", "create", "--label", f"{LABEL}={sidecar.project}", name)
    yield name
    docker("network", "rm", name)


def test_containers_of_other_projects_other_networks_and_one_off_ones_are_no_targets(
    sidecar: Sidecar, app: App, elsewhere: str
) -> None:
    with App("another-project", app.network) as other, App(sidecar.project, elsewhere) as outside:
        other.target("foreign", NOTE)
        outside.target("outside", NOTE)
        app.target("once", NOTE, "--label", "com.docker.compose.oneoff=True")
        app.start("unlabelled", {})
        app.target("last", NOTE)
        sidecar.wait("last")

        listed = {key.rpartition("/")[2] for key in sidecar.targets()}

    assert listed.isdisjoint({"foreign", "outside", "once", "unlabelled", "sidecar"})


def test_a_container_without_compose_labels_is_no_target_of_the_projects_sidecar(sidecar: Sidecar, app: App) -> None:
    with App("", app.network) as plain:
        plain.target("stray", NOTE, name=f"{sidecar.project}-stray")
        app.target("last", NOTE)
        sidecar.wait("last")

        assert not [key for key in sidecar.targets() if "stray" in key]


# --- problems -------------------------------------------------------------------------------------------------------

BAD_LABELS = [
    ("unknown-label", {"stratgy": "filesystem", **NOTE}, "backup.stratgy", "strategy"),
    ("unknown-strategy", {"strategy": "postgers"}, "backup.strategy", "postgres"),
    ("bad-value", {**NOTE, "schedule": "0 3 * *"}, "backup.schedule", "five fields"),
    ("bad-value", {**NOTE, "retention.keep-last": "0"}, "backup.retention.keep-last", "7"),
    ("operator-only", {**NOTE, "artifacts": "/tmp"}, "backup.artifacts", "paths.artifacts"),
    ("operator-only", {**NOTE, "api.token": "stolen"}, "backup.api.token", "config.yaml"),
    ("locked-label", {**NOTE, "workdir": "/tmp"}, "backup.workdir", "config.yaml"),
    ("bad-value", {**NOTE, "timeout": "90"}, "backup.timeout", "90s"),
    ("bad-value", {"strategy": "filesystem", "filesystem.paths": "../etc"}, "backup.filesystem.paths", ""),
    ("bad-enable", {**NOTE, "enable": "yse"}, "backup.enable", "true"),
    ("bad-value", {"commands.backup": '["echo"'}, "backup.commands.backup", ""),
    ("unused-option", {"strategy": "filesystem", "postgres.port": "1"}, "backup.postgres.port", ""),
    ("unknown-key", {"strategy": "filesystem", "filesystem.pahts": "/etc"}, "backup.filesystem.pahts", "paths"),
]


@pytest.mark.parametrize(("code", "labels", "label", "remedy"), BAD_LABELS)
def test_a_bad_label_is_a_problem_with_its_place_and_remedy(
    code: str, labels: dict[str, str], label: str, remedy: str, sidecar: Sidecar, app: App
) -> None:
    container = app.target("bad", labels)
    soon(lambda: sidecar.states().get("bad") == "problem", "the problem")

    problem = next(found for found in sidecar.target("bad")["problems"] if found["severity"] == "error")
    answer = sidecar.http.post(f"/v1/targets/{sidecar.key('bad')}/runs")

    assert problem["code"] == code
    assert container in problem["place"]
    assert label in problem["place"]
    assert remedy in problem["hint"]
    assert problem["hint"]
    assert answer.status_code == 409
    assert code in sidecar.log()


def test_a_bad_target_does_not_stop_the_others_also_not_those_of_its_own_container(sidecar: Sidecar, app: App) -> None:
    labels = {"targets.good.commands.backup": "echo good", "targets.bad.strategy": "postgers"}
    app.target("mixed", labels)
    sidecar.wait("mixed/bad", "problem")

    assert sidecar.backup("mixed/good")["state"] == "succeeded"


@pytest.mark.parametrize("value", ["[" * 10_000, '{"a":' * 10_000], ids=["lists", "maps"])
@pytest.mark.parametrize("label", ["filesystem.paths", "filesystem.exclude", "commands.pre"])
def test_a_label_that_is_nested_too_deep_is_its_own_problem(label: str, value: str, sidecar: Sidecar, app: App) -> None:
    labels = {"strategy": "filesystem", "filesystem.paths": "/data", label: value}
    bad, good = f"deep-{secrets.token_hex(2)}", f"beside-{secrets.token_hex(2)}"
    app.target(bad, labels)
    app.target(good, NOTE)

    assert sidecar.wait(bad, "problem")["problems"]
    sidecar.wait(good)


def test_labels_without_enable_are_listed_as_disabled(sidecar: Sidecar, app: App) -> None:
    app.start("sleeping", {"strategy": "filesystem"})

    found = sidecar.wait("sleeping", "disabled")

    assert [problem["code"] for problem in found["problems"]] == ["not-enabled"]


def test_a_missing_path_is_a_problem_that_heals_itself(sidecar: Sidecar, app: App) -> None:
    container = app.target("heals", {"strategy": "filesystem", "filesystem.paths": "/srv/data"})
    found = sidecar.wait("heals", "problem")
    assert [problem["code"] for problem in found["problems"]] == ["missing-path"]

    docker("exec", container, "mkdir", "-p", "/srv/data")

    sidecar.wait("heals", "ready")


def test_the_sidecar_is_idle_when_nothing_happens(sidecar: Sidecar) -> None:
    """Each question to a target is three events; they must not make it look again and again."""
    eventually(lambda: set(sidecar.states().values()) <= {"ready", "absent"}, what="all is quiet")
    used = cpu_seconds(sidecar)
    time.sleep(2)
    assert cpu_seconds(sidecar) - used < 0.5


def cpu_seconds(sidecar: Sidecar) -> float:
    fields = docker("exec", sidecar.container, "cat", "/proc/1/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
