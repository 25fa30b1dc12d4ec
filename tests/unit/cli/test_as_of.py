"""`--as-of`: what a bucket had at a time is listed and offered, and nothing else takes the option."""

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from controller.cli import comeback
from controller.cli.adopt import Wanted, adopt
from controller.cli.copies import What, copies
from controller.cli.copies_then import copies_in
from controller.cli.restore import restore
from controller.cli.terminal import Failed
from controller.core.copy_errors import DestinationForeign
from controller.storage.copies import sealing
from controller.storage.copies.layout import run_name
from controller.storage.copies.signing import Signer
from controller.storage.copies.then import Then
from controller.storage.destinations.s3 import S3Destination
from tests.kit.s3_server import KEY as SECRET
from tests.kit.s3_server import KEY_ID, S3Server, s3_server
from tests.unit.storage.copies_stand import KEY, Stand, noise, run_id, stand

NOW = datetime.now(UTC)
BEFORE = NOW - timedelta(hours=1)


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server(locks=True) as running:
        yield running


@pytest.fixture
def here(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Two copies, which somebody deleted a while later; the kit is given on standard input."""
    with closing(S3Destination(server.options)) as place:
        made = stand(tmp_path, place).prepared()
        for number in (1, 2):
            made.send(made.publish(number, noise(10)))
        server.passes(timedelta(hours=2))
        for name in [found.name for found in place.list("")]:
            place.delete(name)
        s3 = {name.replace("_", "-"): value for name, value in server.options.items() if "key" not in name}
        recipients = [made.recipient, sealing.new_identity()[1]]
        words = yaml.safe_dump({"copies": {"recipients": recipients, "destinations": {"cloud": {"s3": s3}}}})
        (tmp_path / "config").mkdir()
        (tmp_path / "config/config.yaml").write_text(words)
        for name, value in {"SIDECAR_CONFIG": tmp_path / "config", "S3_KEY_ID": KEY_ID, "S3_KEY": SECRET}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("SIDECAR_PATHS_WORKDIR", str(tmp_path / "work"))
        kit = f"{made.identity}\nverify: {Signer(made.signing_key).public}\n"
        monkeypatch.setattr("sys.stdin", io.StringIO(kit))
        comeback.given.cache_clear()
        yield made


def test_what_was_there_then_is_offered_and_now_there_is_nothing(here: Stand) -> None:
    offered = {str(key): choices for key, choices in comeback.taken("cloud", "-", Wanted(as_of=BEFORE))}

    assert {key: [each.run.run for each in choices] for key, choices in offered.items()} == {
        str(KEY): [run_id(2), run_id(1)]
    }
    assert all(list(each.tar()) for each in offered[str(KEY)])
    with pytest.raises(DestinationForeign):
        list(comeback.taken("cloud", "-", Wanted()))


def test_what_was_there_then_is_listed_without_a_kit(here: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    code = copies(What.show, "cloud", as_of=BEFORE.isoformat())

    shown = capsys.readouterr().out
    assert code == 0
    assert [run_id(number) in shown for number in (1, 2)] == [True, True]
    assert "not known" in shown


def test_a_list_that_was_changed_is_told_where_the_key_is_known(here: Stand) -> None:
    then = Then(here.destination, BEFORE)
    good = list(copies_in(then, here.kit.verifier))
    data = b"".join(then.get(run_name(KEY, run_id(1)))).replace(b"scheduled", b"by-hand")
    for name in ("backup-sidecar-copies.json", run_name(KEY, run_id(2))):
        here.destination.put(name, b"".join(then.get(name)))
    here.destination.put(run_name(KEY, run_id(1)), data)

    bad = list(copies_in(here.destination, here.kit.verifier))

    assert [(row["run"], row["series"], row["signed"]) for row in good] == [
        (run_id(2), "scheduled", True),
        (run_id(1), "scheduled", True),
    ]
    assert [(row["run"], row["signed"]) for row in bad] == [(run_id(2), True), (run_id(1), False)]
    assert "not signed" in str(bad[1]["why"])


def test_nothing_else_takes_a_time(here: Stand, tmp_path: Path) -> None:
    moment = BEFORE.isoformat()

    with pytest.raises(Failed, match="only for copies"):
        restore(str(KEY), as_of=moment)
    with pytest.raises(Failed, match="only for copies"):
        adopt(str(tmp_path), as_of=moment)
    with pytest.raises(Failed, match="not for `copies check`"):
        copies(What.check, "cloud", as_of=moment)
    with pytest.raises(Failed, match="no destination is named"):
        copies(What.show, as_of=moment)
