"""What is listed, what is remembered, and what is told of it."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from controller.core.errors import EngineUnreachable, UnknownTarget
from controller.core.events import Bus, TargetChanged
from controller.core.key import Key
from controller.targets import inventory
from controller.targets.inventory import Inventory
from controller.targets.scope import Scope
from controller.targets.target import Target
from tests.kit.world import World

KEY = Key(project="shop", service="db")
SCOPE = Scope(frozenset({"n1"}), None, None)


class Listing:
    """An inventory, and what it has told."""

    def __init__(self, pending: Target) -> None:
        self.pending, self.is_remembered, self.states = pending, False, list[str]()
        self.is_forgotten = False
        events = Bus()
        events.subscribe(TargetChanged, lambda event: self.states.append(event.state))
        self.inventory = Inventory(lambda _: self.is_remembered, lambda _: self.is_forgotten, events)

    def take(self, *targets: Target) -> None:
        self.inventory.take(SCOPE, {str(target.key): target for target in targets})


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    world = World(tmp_path)
    (target,) = world.targets()
    world.close()
    return Listing(replace(target, state="pending"))


def test_each_change_is_told_once(listing: Listing) -> None:
    listing.take(listing.pending)
    listing.take(listing.pending)
    assert listing.inventory.enter(listing.pending, replace(listing.pending, state="ready"))
    listing.take(listing.pending)
    listing.take()
    assert listing.states == ["pending", "ready", "gone"]


def test_what_has_a_backup_stays_as_absent_until_it_comes_back_and_is_asked_anew(listing: Listing) -> None:
    listing.is_remembered = True
    listing.take(replace(listing.pending, state="pending"))
    listing.inventory.enter(listing.pending, replace(listing.pending, state="ready"))
    listing.take()
    assert listing.inventory.target(KEY).state == "absent"
    listing.take(listing.pending)
    assert listing.states == ["pending", "ready", "absent", "pending"]


def test_what_is_forgotten_is_listed_again_only_when_its_container_runs(listing: Listing) -> None:
    listing.is_remembered = True
    listing.take(listing.pending)
    listing.inventory.let_go(KEY)
    assert listing.inventory.targets() == [listing.pending], "its container runs"
    listing.take()
    listing.is_forgotten = True

    listing.inventory.let_go(KEY)

    assert listing.inventory.targets() == []
    listing.take()
    stopped = replace(listing.pending, state="absent", container=replace(listing.pending.container, state="exited"))
    listing.take(stopped)
    listing.take(replace(stopped, state="problem"))
    assert listing.inventory.targets() == []
    listing.take(listing.pending)
    listing.take(replace(listing.pending, state="disabled"))
    assert listing.states == ["pending", "absent", "gone", "pending", "disabled"]


def test_an_answer_of_a_container_that_was_replaced_or_is_gone_is_not_entered(listing: Listing) -> None:
    ready = replace(listing.pending, state="ready")
    assert not listing.inventory.enter(listing.pending, ready)

    listing.take(replace(listing.pending, container=replace(listing.pending.container, id="another")))

    assert not listing.inventory.enter(listing.pending, ready)
    assert listing.inventory.target(KEY).state == "pending"


def test_an_unknown_target_names_the_nearest(listing: Listing) -> None:
    listing.take(listing.pending)
    with pytest.raises(UnknownTarget) as raised:
        listing.inventory.target(Key(project="shop", service="bd"))
    assert "shop/db" in raised.value.hint


def test_who_asks_before_the_first_look_waits_for_it(listing: Listing) -> None:
    looks = threading.Timer(0.2, listing.take, [listing.pending])
    looks.start()
    assert listing.inventory.target(KEY) == listing.pending
    looks.join()


def test_where_the_engine_tells_nothing_no_target_is_called_unknown(
    listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "FIRST_LOOK_SECONDS", 0.1)
    with pytest.raises(EngineUnreachable, match="`check` says why"):
        listing.inventory.target(KEY)
