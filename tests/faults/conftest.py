"""A sidecar whose engine is behind the fault proxy, for the tests of a module."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.kit import stage
from tests.kit.fault_proxy import FaultProxy
from tests.kit.stage import App, Sidecar, eventually


@dataclass(frozen=True)
class Behind:
    """The proxy, the sidecar behind it, and the sidecar's app, which is not."""

    proxy: FaultProxy
    sidecar: Sidecar
    app: App

    @property
    def ready(self) -> bool:
        return self.sidecar.http.get("/readyz").is_success

    @property
    def reconnects(self) -> int:
        return int(metric(self.sidecar, "backup_engine_reconnects_total"))


def metric(sidecar: Sidecar, name: str) -> float:
    text = sidecar.http.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return next(sample.value for sample in samples if sample.name == name)


def config_folder(folder: Path, token: str, **settings: object) -> Path:
    """The operator's folder."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"schema": 1, "defaults": {"timeout": "90s"}, **settings}))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    return folder


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    folder = tmp_path_factory.mktemp("proxy")
    folder.chmod(0o755)
    config = config_folder(folder / "config", token)
    options = ("--volume", f"{folder}:/proxy", "--env", "DOCKER_HOST=unix:///proxy/proxy.sock")
    with (
        FaultProxy(folder) as proxy,
        stage.sidecar(f"faults-{secrets.token_hex(3)}", config, token, *options) as (sidecar, app),
    ):
        yield Behind(proxy, sidecar, app)


@pytest.fixture
def behind(stand: Behind) -> Iterator[Behind]:
    """Without a fault before and after; what a test starts in the app goes away with it."""
    with App(stand.sidecar.project) as app:
        yield Behind(stand.proxy, stand.sidecar, app)
        stand.proxy.calm()
        eventually(lambda: stand.ready and is_over(stand.sidecar.log()), what="ready again, and told")
    stand.sidecar.forgets(app.started)


def is_over(log: str) -> bool:
    """Whether the sidecar has seen the end of the last trouble too: until then it does not tell the same one again."""
    return log.rfind("the engine is being watched again") >= log.rfind("cannot watch the engine")
