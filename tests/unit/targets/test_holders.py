"""Who has a key that several containers claim."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from controller.engine.models import Listed
from controller.targets.discovery import Strategies, find
from controller.targets.holders import Holders, seats_of
from controller.targets.origin import NUMBER
from controller.targets.scope import Scope
from strategies import discover
from tests.kit.world import POSTGRES, World, listed

SCOPE = Scope(frozenset({"n1"}), "shop", None)


def container(name: str, number: str = "1", state: str = "running") -> Listed:
    """One that says that it is of the service `db`."""
    made = listed("db", POSTGRES | ({NUMBER: number} if number else {}))
    return replace(made, id=f"id-{name}", name=name, state=state)


OWN, NEXT, FORGED = container("own"), container("next"), container("forged")


class Shop:
    """What one sidecar after the other sees of the service."""

    def __init__(self, folder: Path) -> None:
        self.world, self.folder = World(folder), folder
        self.strategies: Strategies = discover()
        self.restart()

    def restart(self) -> None:
        self.holders = Holders(self.folder)

    def states(self, *containers: Listed) -> dict[str, tuple[str, str]]:
        """State and container, or code of the problem, by key without the project."""
        found = find(self.world.loaded, SCOPE, containers, self.strategies, holders=self.holders)
        return {
            key.removeprefix("shop/"): (
                target.container.name,
                target.problems[0].code if target.problems else target.state,
            )
            for key, target in found.items()
        }


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


HELD = {"db": ("own", "pending"), "db@forged": ("forged", "key-taken")}


@pytest.mark.parametrize("number", ["1", "", "0"])
def test_who_has_a_key_keeps_it_also_over_a_restart(shop: Shop, number: str) -> None:
    forged = replace(container("forged", number), created=0)
    assert shop.states(OWN) == {"db": ("own", "pending")}
    assert shop.states(forged, OWN) == HELD
    shop.restart()
    assert shop.states(forged, OWN) == HELD
    assert shop.states(forged, replace(OWN, state="exited"))["db"] == ("own", "absent")
    assert shop.states(forged, OWN) == HELD


def test_in_no_step_of_a_deploy_does_another_one_take_the_key(shop: Shop) -> None:
    created, exited = replace(NEXT, state="created"), replace(OWN, state="exited")
    assert shop.states(OWN, FORGED) != {}
    shop.states(OWN)
    steps: Sequence[tuple[Listed, ...]] = [(OWN, created), (exited, created), (created,), (NEXT,)]
    for step in steps:
        assert shop.states(FORGED, *step).get("db") != ("forged", "pending")
    found = shop.states(FORGED, NEXT)
    assert found == {"db": ("forged", "key-taken"), "db@next": ("next", "key-taken")}
    shop.restart()
    assert shop.states(FORGED, NEXT) == found
    assert shop.states(NEXT) == {"db": ("next", "pending")}


def test_nobody_has_a_key_that_two_claim_until_one_is_left(shop: Shop) -> None:
    assert {code for _, code in shop.states(OWN, FORGED).values()} == {"key-taken"}
    assert shop.states(OWN) == {"db": ("own", "pending")}


def test_the_problem_names_both(shop: Shop) -> None:
    shop.states(OWN)
    found = find(shop.world.loaded, SCOPE, [FORGED, OWN], shop.strategies, holders=shop.holders)
    (problem,) = found["shop/db@forged"].problems
    assert problem.place == "container forged"
    assert "which own has and keeps" in problem.message
    both = find(shop.world.loaded, SCOPE, [FORGED, NEXT], shop.strategies)["shop/db"]
    assert "forged" in both.problems[0].place
    assert "as next does" in both.problems[0].message
    assert both.described is None


def test_each_replica_keeps_its_number(shop: Shop) -> None:
    second, third, forged = container("second", "2"), container("third", "3"), container("forged", "2")
    assert shop.states(OWN, second) == {"db": ("own", "pending"), "db@second": ("second", "replica")}
    assert shop.states(forged, OWN, second)["db@forged"] == ("forged", "key-taken")
    assert shop.states(forged, replace(OWN, state="exited"), second, third)["db"] == ("second", "pending")
    assert shop.states(forged, OWN, third)["db@forged"] == ("forged", "replica")


def test_a_place_is_remembered_while_the_containers_are_out_of_sight(shop: Shop) -> None:
    shop.states(OWN)
    shop.states(replace(OWN, networks={}))
    assert shop.states(FORGED, OWN) == HELD
    shop.states()
    assert shop.holders._known == {}


def test_a_claimant_whose_labels_say_no_to_backups_is_not_listed_and_takes_nothing(shop: Shop) -> None:
    silent = replace(FORGED, labels=FORGED.labels | {"backup.enable": "false"})
    shop.states(OWN)
    assert shop.states(silent, OWN) == {"db": ("own", "pending")}


def test_what_is_only_stopped_stands_in_nobodys_way() -> None:
    seats = seats_of([replace(FORGED, state="exited"), NEXT], frozenset())
    assert (seats.seated, seats.rivals) == ((NEXT,), ())


def test_the_operators_secrets_go_to_who_has_the_key_and_to_no_other_claimant(shop: Shop) -> None:
    (shop.folder / "config/.env").write_text("DATABASE_URL=postgres://shop:s3cret-s3cret@db/shop\n")
    commands = "{backup: [pg_dump]}"
    shop.world.configure(f"secrets: [DATABASE_URL]\ntargets: {{shop/db: {{commands: {commands}}}}}\n")

    def given(*containers: Listed) -> set[str]:
        """Containers in which the command of the file would see the secret."""
        found = find(shop.world.loaded, SCOPE, containers, shop.strategies, holders=shop.holders).values()
        able = [target.runnable() for target in found if target.state == "pending"]
        return {one.container.name for one in able if one.secrets_for("backup", shop.world.loaded.secrets)}

    assert given(OWN) == {"own"}
    assert given(FORGED, OWN) == {"own"}
    assert given(FORGED, NEXT) == set(), "the holder has gone, and two claim its key"
    assert given(FORGED) == {"forged"}, "which is the operator's word: it is the only one left"
