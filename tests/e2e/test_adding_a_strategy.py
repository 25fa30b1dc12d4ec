"""The strategy of `docs/adding-a-strategy.md`, put among the others, backs up, drills and restores a real container."""

import secrets
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_drill import drilled
from tests.e2e.test_strategies import artifact
from tests.kit import stage
from tests.kit.stage import docker, restored, said
from tests.unit.strategies.test_adding_a_strategy import code

pytestmark = pytest.mark.e2e

PROGRAM = "import dbm\nwith dbm.open('/srv/stock', 'c') as stock:\n    {}"
FILL = PROGRAM.format("stock.update({f'item {n}'.encode(): str(n).encode() for n in range(500)})")
SEEN = "import dbm; stock = dbm.open('/srv/stock'); print(sorted((key, stock[key]) for key in stock.keys()))"
WHERE = "import strategies; print(strategies.__path__[0])"


def test_the_pages_strategy_backs_up_drills_and_restores(sidecar_image: str, token: str, tmp_path: Path) -> None:
    for name, content in {
        "dbm.py": code()["strategies/dbm.py"],
        "config/config.yaml": yaml.safe_dump({"schema": 1, "policy": {"create-containers": True}}),
        "config/.env": f"BACKUP_API_TOKEN={token}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    folder = said("docker", "run", "--rm", "--entrypoint", "python", sidecar_image, "-c", WHERE).stdout.strip()
    mounted = ("--volume", f"{tmp_path / 'dbm.py'}:{folder}/dbm.py:ro")
    with (
        stage.sidecar(f"sidecar-page-{secrets.token_hex(3)}", tmp_path / "config", token, *mounted) as (sidecar, app),
        app,
    ):
        container = app.target("stock", {"strategy": "dbm", "dbm.paths": "/srv/stock"}, of="PYTHON")
        docker("exec", container, "python3", "-c", FILL)
        before = docker("exec", container, "python3", "-c", SEEN)

        report = sidecar.backup("stock")
        found = drilled(sidecar, "stock")
        fresh = app.start("fresh", {}, of="PYTHON")
        restored(sidecar.fetch(report, tmp_path), artifact(tmp_path / report["id"], "srv%2Fstock.jsonl.zst"), fresh)

        assert report["proof"] == "full"
        assert found["state"] == "passed", found
        assert [(row["what"], row["dumped"], row["restored"]) for row in found["compared"]] == [("keys", 500, 500)]
        assert docker("exec", fresh, "python3", "-c", SEEN) == before
