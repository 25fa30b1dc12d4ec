"""An SSH key counts as a recipient only once somebody has decrypted a copy with it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.copies import Copies
from controller.core.copy import fingerprint
from controller.storage.copies.orders import RehearsedCopy
from controller.upkeep.copy_keys import TriedKeys
from tests.unit.config.test_copies import ONE, SSH, TWO

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def copies(*recipients: str, one: bool = False) -> Copies:
    places = {"nas": {"path": "/copies/nas"}}
    return Copies.model_validate({"recipients": recipients, "one-recipient": one, "destinations": places})


def rehearsal(recipient: str) -> RehearsedCopy:
    return RehearsedCopy(run="r", recipient=fingerprint(recipient), rehearsed=NOW, drilled=False)


def test_an_ssh_key_counts_once_it_was_tried(tmp_path: Path) -> None:
    keys, settings = TriedKeys(tmp_path / "tried.json"), copies(ONE, SSH)
    (problem,) = keys.problems(settings)

    keys.take([rehearsal(SSH)])

    assert (problem.code, problem.severity) == ("untried-recipient", "error")
    assert "rehearse" in problem.hint
    assert list(keys.problems(settings)) == []
    assert list(TriedKeys(tmp_path / "tried.json").problems(settings)) == []
    assert keys.when(SSH) == NOW


@pytest.mark.parametrize(
    ("recipients", "one", "problems"),
    [((ONE, TWO), False, 0), ((ONE, TWO, SSH), False, 0), ((ONE, SSH), True, 0), ((SSH,), True, 1)],
)
def test_what_is_sure_without_it_is_no_problem(
    tmp_path: Path, recipients: tuple[str, ...], one: bool, problems: int
) -> None:
    assert len(list(TriedKeys(tmp_path / "tried.json").problems(copies(*recipients, one=one)))) == problems


def test_the_latest_rehearsal_is_the_one_that_is_kept(tmp_path: Path) -> None:
    keys = TriedKeys(tmp_path / "tried.json")
    keys.take([rehearsal(ONE)])
    keys.take([rehearsal(ONE).model_copy(update={"rehearsed": NOW.replace(year=2025)})])
    assert keys.when(ONE) == NOW
    assert keys.when(TWO) is None
