"""What lies at a destination is offered target by target; one of which nothing can be believed hides no other."""

import io
from pathlib import Path

import pytest
import yaml

from controller.cli import comeback
from controller.cli.adopt import Wanted
from controller.cli.terminal import Failed
from controller.core.copy_errors import WrongKey
from controller.core.key import Key
from controller.storage.copies import sealing
from controller.storage.copies.layout import run_name
from controller.storage.copies.signing import Signer
from tests.unit.storage.copies_stand import KEY, Stand, noise, run_id, stand

OTHER = Key(project="shop", service="web")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Two copies of one target, one of another; their kit is given on standard input."""
    made = stand(tmp_path).prepared()
    for number, key in ((1, KEY), (2, KEY), (3, OTHER)):
        made.send(made.publish(number, noise(10), key=key))
    recipients = [made.recipient, sealing.new_identity()[1]]
    places = {"nas": {"path": str(tmp_path / "nas"), "same-disk": True}}
    (tmp_path / "config").mkdir()
    words = yaml.safe_dump({"copies": {"recipients": recipients, "destinations": places}})
    (tmp_path / "config/config.yaml").write_text(words)
    monkeypatch.setenv("SIDECAR_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("SIDECAR_PATHS_WORKDIR", str(tmp_path / "work"))
    kit = f"{made.identity}\nverify: {Signer(made.signing_key).public}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(kit))
    comeback.given.cache_clear()
    return made


def offered(wanted: Wanted) -> dict[str, list[str]]:
    return {str(key): [each.run.run for each in choices] for key, choices in comeback.taken("nas", "-", wanted)}


def spoil(here: Stand, key: Key, number: int) -> None:
    name = run_name(key, run_id(number))
    here.destination.put(name, b"".join(here.destination.get(name)).replace(b"schedule", b"cchedule"))


def test_the_newest_of_each_target_comes_first_and_those_before_it_are_choices(here: Stand) -> None:
    assert offered(Wanted()) == {str(KEY): [run_id(2), run_id(1)], str(OTHER): [run_id(3)]}


def test_a_target_of_which_nothing_can_be_believed_hides_no_other(here: Stand) -> None:
    spoil(here, OTHER, 3)
    assert offered(Wanted()) == {str(KEY): [run_id(2), run_id(1)], str(OTHER): []}
    with pytest.raises(Failed, match="no such copy"):
        offered(Wanted([OTHER]))


def test_a_list_that_cannot_be_believed_is_passed_over(here: Stand) -> None:
    spoil(here, KEY, 2)
    assert offered(Wanted([KEY])) == {str(KEY): [run_id(1)]}


def test_the_kit_is_read_once_for_all_steps_of_a_command(here: Stand) -> None:
    """As `drill --from` adopts first, and rehearses then."""
    first, _ = comeback.entered("nas", "-", None)
    second, _ = comeback.entered("nas", "-")
    assert first.names() == second.names() != []


def test_without_a_kit_nothing_is_opened(here: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    comeback.given.cache_clear()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(WrongKey):
        offered(Wanted())
    with pytest.raises(Failed, match="encrypted"):
        list(comeback.taken("nas", None, Wanted()))
