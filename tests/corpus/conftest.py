"""One sidecar for each module, which may create containers."""

import secrets
from collections.abc import Iterator

import pytest
import yaml

from tests.corpus.rows import State
from tests.corpus.stand import Outcome, ended
from tests.kit import stage
from tests.kit.stage import App, Json, Sidecar


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    folder = tmp_path_factory.mktemp("corpus")
    settings = {"schema": 1, "policy": {"create-containers": True}, "defaults": {"retries": 0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / ".env").write_text(f"BACKUP_API_TOKEN={token}\n")
    with stage.sidecar(f"corpus-{secrets.token_hex(3)}", folder, token) as (sidecar, app), app:
        yield sidecar, app


@pytest.fixture(scope="module")
def drilled(stand: tuple[Sidecar, App], source: tuple[str, Json, State]) -> Outcome:
    """Of a module's `source`: the drill of its run."""
    done = ended(stand[0], "drill", stand[0].key("source"), "--run", source[1]["id"])
    return Outcome(tuple(done["remarks"]), {}, {one["what"]: one["restored"] for one in done["compared"]})
