"""`restore --all` takes of each target the newest good run that was adopted, and nothing that the new host has made."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.cli import main
from controller.cli.restore_all import adopted
from controller.cli.terminal import client
from controller.core.key import Key
from controller.core.run import SAFETY, Report
from tests.kit.world import POSTGRES, World, serving

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DB, WEB = Key(project="shop", service="db"), Key(project="shop", service="web")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, services={"db": POSTGRES, "web": POSTGRES})
    monkeypatch.setenv("SIDECAR_PATHS_WORKDIR", str(made.folder))
    monkeypatch.setenv("SIDECAR_CONFIG", str(made.folder / "nowhere"))
    with serving(made):
        yield made


def kept(world: World, days: int, key: Key = DB, **facts: Any) -> str:
    """A run of so many days ago, adopted unless it is said otherwise; gives its id."""
    made = NOW - timedelta(days=days)
    name = f"{made:%Y%m%dT%H%M%SZ}-0123abcd"
    known = {"id": name, "target": key, "state": "succeeded", "trigger": "schedule", "created": made, "origin": "nas"}
    world.catalog.keep(Report.model_validate(known | {"started": made, "finished": made} | facts))
    return name


def chosen(at: datetime | None = None) -> dict[str, str]:
    with client() as connection:
        return adopted(connection, at)


def test_the_newest_good_run_of_each_target_is_taken(world: World) -> None:
    kept(world, 5)
    newest, web = kept(world, 4), kept(world, 6, WEB)
    kept(world, 3, suspicious=("shrunk",))
    kept(world, 2, damaged="another digest")
    kept(world, 1, trigger=SAFETY)

    assert chosen() == {"shop/db": newest, "shop/web": web}


def test_what_the_new_host_has_made_itself_is_never_taken(world: World) -> None:
    mine = kept(world, 4)
    kept(world, 1, origin="")
    kept(world, 1, WEB, origin="")

    assert chosen() == {"shop/db": mine}


def test_a_suspicious_run_that_was_accepted_is_good(world: World) -> None:
    kept(world, 4)
    looked_at = kept(world, 3, suspicious=("shrunk",), accepted=True)
    assert chosen() == {"shop/db": looked_at}


def test_what_began_later_is_left_out(world: World) -> None:
    old = kept(world, 4)
    kept(world, 1)
    assert chosen(NOW - timedelta(days=2)) == {"shop/db": old}
    assert chosen(NOW - timedelta(days=9)) == {}


def test_a_target_whose_runs_are_all_in_doubt_is_told_and_fails(world: World, told: Callable[..., Any]) -> None:
    kept(world, 3, suspicious=("shrunk",))

    code, printed = told("restore", "--all")

    assert code == 1
    assert "no-good-run" in printed
    assert "0 of 1 targets came back" in printed


@pytest.mark.parametrize("arguments", [(), ("shop/db", "--all"), ("--all", "--run", "x"), ("--all", "--mirror")])
def test_it_is_one_target_or_all(world: World, told: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    code, printed = told("restore", *arguments)
    assert code == 2
    assert "one target, or all" in printed


def test_without_anything_adopted_there_is_nothing_to_restore(world: World, told: Callable[..., Any]) -> None:
    kept(world, 1, origin="")
    code, printed = told("restore", "--all")
    assert code == 1
    assert "no run was adopted" in printed


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the program; gives its exit code, and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["backup-sidecar", *arguments])
        capsys.readouterr()
        code = main()
        return code, "".join(capsys.readouterr())

    return run
