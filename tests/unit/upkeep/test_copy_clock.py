"""A clock that nobody may believe deletes no copy."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from config.target import Retention
from controller.core.key import Key
from controller.storage.copies.orders import List, Listed, ListedCopy, Prune
from controller.upkeep.copy_chores import Daily, Retiring

DB = Key(project="shop", service="db")
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ONE = Retention(keep_last=1, keep_daily=None, keep_weekly=None, keep_within=timedelta(days=30))
AGES = (1, 2, 400)
"""Days."""


def copies() -> Listed:
    made = [NOW - timedelta(days=age) for age in AGES]
    return Listed(
        copies=tuple(
            ListedCopy(
                name=f"runs/shop/db/{each:%Y%m%dT%H%M%SZ}-0123abcd/run.json",
                run=f"{each:%Y%m%dT%H%M%SZ}-0123abcd",
                target=DB,
                series="scheduled",
                trigger="schedule",
                accepted=False,
                started=each,
                finished=each,
            )
            for each in made
        )
    )


def decided(folder: Path, now: datetime, *, trusted: bool) -> Prune:
    chore = Retiring(
        Daily(folder / "pruned.json", lambda: now),
        rules=lambda key: (ONE, ZoneInfo("UTC")),
        known=lambda run: None,
        safety=lambda: timedelta(days=7),
        trusted=lambda: trusted,
        take=lambda pruned: None,
    )
    assert chore.order() == List()
    chore.done(copies())
    order = chore.order()
    assert isinstance(order, Prune)
    return order


@pytest.mark.fault(44, "the clock goes a year back or ahead", "no copy is deleted by its age")
@pytest.mark.parametrize("days", [-365, 365])
def test_a_clock_that_jumped_deletes_no_copy(tmp_path: Path, days: int) -> None:
    assert decided(tmp_path, NOW + timedelta(days=days), trusted=False).go == ()


def test_a_clock_that_is_right_lets_copies_go(tmp_path: Path) -> None:
    (gone,) = decided(tmp_path, NOW, trusted=True).go
    assert gone.startswith("runs/shop/db/2025")
