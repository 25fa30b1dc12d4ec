"""`forget` as a person types it, against a real server."""

import json
from pathlib import Path

import pytest

from tests.kit.world import POSTGRES
from tests.unit.cli.test_activities import Cli, cli
from tests.unit.upkeep.test_forgetting import KEY, MONTH, NOW, Shop

__all__ = ("cli",)


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    """Whose only target is gone."""
    shop = Shop(tmp_path, db=POSTGRES | MONTH)
    for days in (0, 1):
        shop.past(days)
    del shop.services["db"]
    shop.look()
    return shop


def test_a_target_is_forgotten_after_it_was_shown_what_that_means(world: Shop, cli: Cli) -> None:
    code, printed = cli("forget", "shop/db", "--dry-run", "--delete")
    assert code == 0
    assert "shop/db  would be forgotten" in printed
    assert "would be deleted, `undelete` brings them back: 2 runs, 40 B" in printed
    assert world.inventory.targets()

    code, printed = cli("forget", "shop/db")
    assert (code, world.inventory.targets()) == (0, [])
    assert "shop/db  is forgotten, until a container of it runs again" in printed
    assert "stay, by keep-within 0s, " in printed
    assert "max-age 30d: 2 runs, 40 B" in printed


def test_what_cannot_be_deleted_is_told(world: Shop, cli: Cli) -> None:
    with world.leases.held(world.listed[0]):
        code, printed = cli("forget", "shop/db", "--delete")
    assert code == 1
    assert "deleted, `undelete` brings them back: 1 run, 20 B" in printed
    assert "error: run" in printed


def test_a_run_is_forgotten_by_its_id_and_what_is_neither_key_nor_id_is_told(world: Shop, cli: Cli) -> None:
    run = world.listed[0]
    assert "neither lost nor damaged" in cli("forget", run)[1]
    world.catalog.amend(run, damaged="rot")

    told = json.loads(cli("forget", run, "--json")[1])

    assert (told["id"], told["forgotten"]) == (run, f"{NOW:%Y-%m-%dT%H:%M:%S}.000Z")
    assert "damaged, forgotten" in cli("runs")[1]
    assert f"shop/db  {run}  forgotten: rot" in cli("forget", run)[1]
    assert f"shop/db  {run}  deleted: rot" in cli("forget", run, "--delete")[1]
    assert run not in world.listed
    assert cli("forget", "shop/nobody")[0] == 1
    assert cli("forget", "nonsense")[0] == 2
    assert str(KEY) in cli("forget", "shop/bd")[1]
