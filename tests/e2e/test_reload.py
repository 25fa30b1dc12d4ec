"""The operator changes config.yaml and .env of a running sidecar."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import stage
from tests.kit.stage import App, Sidecar, eventually

pytestmark = pytest.mark.e2e


class Operator:
    """The folder, the sidecar that reads it, and its app."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, secrets.token_hex(16)
        self.folder.mkdir()  # By its mode the sidecar, which is not root, can read it.
        self.sidecar: Sidecar
        self.app: App

    def write(self, text: str) -> None:
        """As an editor does: a new file in the old one's place."""
        new = self.folder / "config.yaml.new"
        new.write_text(f"schema: 1\n{text}\n")
        new.rename(self.folder / "config.yaml")

    def change_token(self, token: str) -> None:
        (self.folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")

    def problems(self) -> list[str]:
        found = self.sidecar.http.get("/v1/status")
        return [problem["code"] for problem in found.json()["problems"]] if found.is_success else []

    def timeout(self, service: str) -> str:
        return str(self.sidecar.target(service)["settings"]["timeout"])


@pytest.fixture(scope="module")
def operator(sidecar_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    found = Operator(tmp_path_factory.mktemp("reload") / "config")
    found.write("defaults: {timeout: 50m}")
    found.change_token(found.token)
    project = f"sidecar-reload-{secrets.token_hex(3)}"
    with stage.sidecar(project, found.folder, found.token) as (found.sidecar, found.app):
        yield found


def test_a_good_change_holds_within_seconds_and_cuts_no_run(operator: Operator) -> None:
    operator.app.target("steady", {"commands.backup": "sleep 8; echo data"})
    operator.sidecar.wait("steady")
    assert operator.timeout("steady") == "50m"
    run = operator.sidecar.start("steady")
    eventually(lambda: operator.sidecar.report(run)["state"] == "running", what="the run has begun")

    operator.write("defaults: {timeout: 40m}")

    eventually(lambda: operator.timeout("steady") == "40m", what="the new words hold")
    assert not operator.sidecar.report(run)["finished"]
    assert operator.sidecar.ended(run)["state"] == "succeeded"


def test_a_bad_change_is_refused_loudly_and_the_last_good_one_stays(operator: Operator) -> None:
    operator.app.target("calm", {"commands.backup": "echo data"})
    operator.sidecar.wait("calm")
    before = operator.timeout("calm")

    operator.write("defaults: {timeout: 10}")

    eventually(lambda: "reload-refused" in operator.problems(), what="it is refused")
    told = operator.sidecar.cli("status")
    assert "config.yaml:2" in told.stdout
    assert 'code="reload-refused"' in operator.sidecar.http.get("/metrics").text
    assert "reload-refused" in operator.sidecar.log()
    assert operator.timeout("calm") == before
    operator.sidecar.backup("calm")

    operator.write("defaults: {timeout: 30m}\napi: {port: 8001}")

    eventually(lambda: "needs-restart" in operator.problems(), what="what cannot change is told")
    assert "reload-refused" not in operator.problems()
    eventually(lambda: operator.timeout("calm") == "30m", what="the rest holds")


def test_a_new_token_holds_and_the_old_one_no_longer(operator: Operator) -> None:
    new = secrets.token_hex(16)
    operator.change_token(new)

    def refused() -> bool:
        return operator.sidecar.http.get("/v1/targets").status_code == 401

    eventually(refused, what="the old token is refused")
    operator.sidecar.http.headers["Authorization"] = f"Bearer {new}"
    assert operator.sidecar.http.get("/v1/targets").is_success


def test_a_file_that_is_broken_at_a_start_is_told_and_the_last_good_one_holds(operator: Operator) -> None:
    operator.app.target("lasting", {"commands.backup": "echo data"})
    operator.sidecar.wait("lasting")
    operator.write("defaults: {timeout: 20m}")
    eventually(lambda: operator.timeout("lasting") == "20m", what="the good words hold")
    operator.write("defaults: {timeout: 10}")

    stage.docker("restart", operator.sidecar.container)

    operator.sidecar.is_back()
    told = operator.sidecar.cli("status").stdout
    assert "[last-good-holds]" in told
    assert "config.yaml:2 defaults.timeout" in told
    assert operator.sidecar.cli("check").returncode == 78
    operator.sidecar.wait("lasting")
    assert operator.timeout("lasting") == "20m"
