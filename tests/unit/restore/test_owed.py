"""What restores owe their containers: kept, made good, or given up; the engine is played."""

from pathlib import Path

import pytest

from controller.core.errors import EngineLost, SidecarError, TargetPaused, UnknownTarget
from controller.core.key import Key
from controller.engine.context import ExecContext
from controller.restore import owed
from controller.restore.owed import TO_BE_UNDONE, OwedUndo, OwedUndos, interrupted, made_good
from controller.targets.session import Session
from tests.unit.api.test_restore_api import UNDER_WAY
from tests.unit.restore.test_apply import PlayedEngine

OWED = OwedUndo(
    restore=UNDER_WAY.id,
    target=UNDER_WAY.target,
    strategy="postgres",
    container="c1",
    keys=(UNDER_WAY.target, Key(project="shop", service="db", name="other")),
    commands=(("drop",), ("back",)),
)


def session(engine: PlayedEngine) -> Session:
    return Session(engine, ExecContext("c1", "sh", run=OWED.restore), str)  # type: ignore[arg-type]


def raising(error: SidecarError) -> Session:
    raise error


def test_what_is_owed_is_known_after_a_restart_until_it_is_settled(tmp_path: Path) -> None:
    OwedUndos(lambda _: None, tmp_path).owe(OWED)
    later = OwedUndos(lambda _: None, tmp_path)
    assert later.all() == [OWED]
    assert later.of(OWED.restore) == OWED
    later.settle(OWED.restore)
    assert later.all() == []


def test_a_note_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"restore": 7}')
    found = OwedUndos(lambda _: None, tmp_path)
    found.owe(OWED)
    assert found.all() == [OWED]


def test_what_still_runs_is_ended_first_then_each_command_is_run_in_order(tmp_path: Path) -> None:
    engine = PlayedEngine()
    assert OwedUndos(lambda _: session(engine), tmp_path).make_good(OWED) == (OWED, ())
    assert engine.done == ["end", "drop", "back"]


def test_what_the_place_says_is_done_is_cleared_up_and_not_undone(tmp_path: Path) -> None:
    engine = PlayedEngine(says={"settled": "yes\n"})
    owed = OWED.model_copy(update={"settled": ("settled",), "finish": (("tidy",),)})
    good = OwedUndos(lambda _: session(engine), tmp_path).make_good(owed)
    assert engine.done == ["end", "settled", "tidy"]
    assert good
    assert (good[0].whole, good[1]) == (True, ())


def test_what_an_undo_tells_is_told_and_is_no_failure(tmp_path: Path) -> None:
    engine = PlayedEngine(says={"drop": "done\n", "back": "written-meanwhile: it is in /kept\n"})
    owed, told = OwedUndos(lambda _: session(engine), tmp_path).make_good(OWED) or (None, ())
    assert (owed, told) == (OWED, ("written-meanwhile: it is in /kept",))
    report = made_good(interrupted(UNDER_WAY, OWED), OWED, told)
    assert (report.undone, report.warnings) == (True, told)
    assert not made_good(interrupted(UNDER_WAY, OWED), OWED, ("left-running: 7 tar", *told)).undone


@pytest.mark.parametrize("error", [EngineLost("away"), TargetPaused("paused")])
def test_a_container_that_is_away_is_waited_for_without_end(
    error: SidecarError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owed, "GIVE_UP_SECONDS", -1.0)
    assert OwedUndos(lambda _: raising(error), tmp_path).make_good(OWED) is None


@pytest.mark.parametrize("error", [UnknownTarget("no target"), None])
def test_one_that_refuses_is_given_up_in_the_end(
    error: SidecarError | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = OwedUndos(lambda _: raising(error) if error else session(PlayedEngine("drop")), tmp_path)
    assert found.make_good(OWED) is None
    monkeypatch.setattr(owed, "GIVE_UP_SECONDS", -1.0)
    _, (left,) = found.make_good(OWED) or (OWED, ())
    assert left.startswith("not-undone: ")


def test_a_container_that_was_removed_is_owed_nothing(tmp_path: Path) -> None:
    assert OwedUndos(lambda _: None, tmp_path).make_good(OWED) == (
        OWED,
        ("not-undone: the container was removed, or another one has its place",),
    )


def test_a_report_says_what_has_become_of_it() -> None:
    cut = interrupted(UNDER_WAY.model_copy(update={"safety": "20260301T025900Z-aaaaaaaa"}), OWED)
    assert (cut.state, cut.undone) == ("interrupted", False)

    good = made_good(cut, OWED, ())
    stays = {"kept": ("files.tar",), "leaves": ("the database shop was dropped",)}
    kept = made_good(cut, OWED.model_copy(update=stays), ())
    whole = made_good(cut, OWED.model_copy(update={"whole": True}), ())
    gone = made_good(cut, OWED, ("not-undone: the container was removed",))

    assert (good.undone, good.warnings, good.failure and good.failure.hint) == (True, (), "Restore again.")
    assert not kept.undone
    assert kept.warnings == ("not-undone: what files.tar has done stays", "not-undone: the database shop was dropped")
    assert kept.failure
    command = f"restore {cut.target} --run 20260301T025900Z-aaaaaaaa --replace"
    assert command in kept.failure.hint
    assert whole.failure
    assert "restored and compared" in whole.failure.message
    assert (whole.undone, gone.undone) == (False, False)
    assert gone.warnings == ("not-undone: the container was removed",)


def test_what_failed_first_and_was_undone_later_is_no_longer_warned_of() -> None:
    failed = UNDER_WAY.model_copy(
        update={"state": "failed", "warnings": ("approximate: x", "not-undone: y", TO_BE_UNDONE)}
    )
    later = made_good(failed, OWED, ())
    assert (later.state, later.undone, later.warnings) == ("failed", True, ("approximate: x",))
