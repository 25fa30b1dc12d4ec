"""SQLite is restored whole or not at all: whatever fails, the old file is the same file, byte for byte.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import SidecarError
from controller.core.manifest import Artifact
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.apply import Applying
from controller.storage.source import Source
from controller.targets.session import Session
from strategies.base import Answer, Container, Facts
from strategies.plan import Exec, Restore, RestoreRequest
from strategies.sqlite import Sqlite, SqliteOptions
from strategies.sqlite_swap import PATHS
from tests.e2e.engine_fixtures import SLEEP, container
from tests.e2e.planting import cut_anywhere, cut_off, killed, planted, undo
from tests.kit.stage import docker, eventually, execute, image, said, within

pytestmark = pytest.mark.e2e

RUN = "20260301T030000Z-1a2b3c4d"
CONTAINER = Container("1f", "app", "app:1")
SHOP, ODD = "/data/shop.db", '/data/o\'dd "na me"/x %41?*.sqlite'
FACTS = Facts("sh", {"client": Answer(0, "3.46"), "databases": Answer(0, f"database {SHOP}\ndatabase {ODD}\n")})
MAKE = f"""
mkdir -p "$(dirname "$1")"
for path in {SHOP} "$1"; do
    sqlite3 "$path" "PRAGMA journal_mode = wal; CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO item (name) SELECT 'item ' || value FROM generate_series(1, 3000)" >/dev/null
done
"""
CHANGE = f"""
for path in {SHOP} "$1"; do
    sqlite3 "$path" "PRAGMA journal_mode = delete; DELETE FROM item WHERE id > 7; CREATE TABLE later (x)" >/dev/null
    chmod 640 "$path"; chown 1234:55 "$path"; touch -d @1000000000 "$path"
done
"""
FILL = """
head -c 20000 /dev/zero >/data/room
head -c 9000000 /dev/zero >/data/filler 2>/dev/null
rm /data/room
"""
SEEN = f"""
for path in {SHOP} "$1"; do
    sha256sum <"$path"; stat -c '%i %h %a %u %g %Y' "$path"; ls -A "$(dirname "$path")"
    sqlite3 "$path" .dump | sha256sum
done
"""
ROWS = f"""for path in {SHOP} "$1"; do sqlite3 "$path" 'SELECT count(*) FROM item; PRAGMA integrity_check'; done"""


def shell(place: str, script: str) -> str:
    return docker("exec", place, "sh", "-c", script, "sh", ODD)


class Stored:
    """A run, and where it can be restored to."""

    def __init__(self, folder: Path, place: str) -> None:
        self.sources: dict[str, Source] = {}
        for number, dump in enumerate(Sqlite().plan(CONTAINER, FACTS, SqliteOptions()).dumps):
            assert isinstance(dump.source, Exec)
            assert dump.count
            assert isinstance(dump.count.source, Exec)
            plain = execute("docker", "exec", place, *dump.source.argv).stdout
            counted = said("docker", "exec", place, *dump.count.source.argv).stdout
            counts = {what: int(rows) for rows, what in (line.split("\t") for line in counted.splitlines())}
            digest, path = hashlib.sha256(plain).hexdigest(), folder / str(number)
            path.write_bytes(plain)
            facts: dict[str, Any] = {"sha256": digest, "plain_sha256": digest, "size": len(plain)}
            about: dict[str, Any] = {"format": "sqlite", "subject": dump.subject, "compression": "none"}
            artifact = Artifact(name=dump.name, counts=counts, plain_size=len(plain), proof="full", **facts, **about)
            self.sources[dump.name] = Source(artifact, path)

    def plan(self, **wanted: Any) -> Restore:
        stored = tuple(source.stored for source in self.sources.values())
        request = RestoreRequest(RUN, stored, replace=True, restore="r1", **wanted)
        return Sqlite().restore(CONTAINER, FACTS, SqliteOptions(), request)

    def applying(self, engine: Engine, place: str, restore: Restore | None = None, **wanted: Any) -> Applying:
        context = ExecContext(place, "sh", run=RUN, deadline=time.monotonic() + 120)
        return Applying(Session(engine, context, str), restore or self.plan(**wanted), self.sources)


@pytest.fixture(scope="module")
def made() -> Iterator[str]:
    with container(image("SQLITE"), *SLEEP) as place:
        shell(place, "mkdir /data; chmod 777 /data")
        yield place


@pytest.fixture(scope="module")
def run(made: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    shell(made, MAKE)
    return Stored(tmp_path_factory.mktemp("run"), made)


@pytest.fixture
def place(made: str, run: Stored) -> str:
    """Two databases that are other than in the run."""
    shell(made, f"rm -rf /data/*; {MAKE}{CHANGE}")
    return made


WRITER = f"""
sleep infinity <"$1" &
{{ echo 'PRAGMA journal_mode = wal; INSERT INTO later VALUES (1);'; echo '.system touch /tmp/open'
    while [ ! -e /tmp/go ]; do sleep 0.1; done
    echo "INSERT INTO item (name) VALUES ('by the app');"; echo '.system touch /tmp/wrote'
    sleep infinity; }} | sqlite3 {SHOP}
"""


def opens(place: str) -> None:
    """An app opens both databases, and one of them with its log."""
    shell(place, "rm -f /tmp/open /tmp/go /tmp/wrote")
    docker("exec", "--detach", place, "sh", "-c", WRITER, "sh", ODD)
    eventually(lambda: execute("docker", "exec", place, "test", "-e", "/tmp/open").returncode == 0)


@pytest.fixture
def app(place: str) -> Iterator[str]:
    """One that has both databases open."""
    opens(place)
    yield place
    shell(place, "pkill -x sqlite3; pkill -f infinity$; true")


POINTS = [(number, after) for number in range(4) for after in (False, True)]
QUICK = [(1, True), (3, True)]


@pytest.mark.parametrize(
    ("number", "after"), [pytest.param(*point, marks=() if point in QUICK else pytest.mark.slow) for point in POINTS]
)
def test_a_step_that_fails_leaves_the_same_files(
    engine: Engine, place: str, run: Stored, number: int, after: bool
) -> None:
    before = shell(place, SEEN)
    applying = run.applying(engine, place, planted(run.plan(), number, after=after))
    with pytest.raises(SidecarError, match="exit code 3"):
        applying.run()
    assert shell(place, SEEN) == before
    assert (applying.undone, applying.warnings) == (True, [])


EVERY_LINE = [pytest.mark.slow, pytest.mark.timeout(900)]
AGAIN = f"""
for path in {SHOP} "$1"; do
    sqlite3 "$path" "DELETE FROM item WHERE id > 7; CREATE TABLE later (x)"
done
"""
CONTENT = f"""
for path in {SHOP} "$1"; do sqlite3 "$path" .dump; stat -c '%a %u %g' "$path"; ls -A "$(dirname "$path")"; done
"""


@pytest.mark.parametrize(
    ("where", "sample"),
    [
        pytest.param("place", "done; mv -f", id="before the new one takes its place"),
        pytest.param("place", "", marks=EVERY_LINE, id="every line"),
        pytest.param("app", "", marks=EVERY_LINE, id="every line, while an app has it open"),
    ],
)
def test_a_restore_that_ends_at_a_line_leaves_what_was_there(
    engine: Engine, run: Stored, request: pytest.FixtureRequest, where: str, sample: str
) -> None:
    place, look = request.getfixturevalue(where), SEEN if where == "place" else CONTENT
    before, failed = shell(place, look), list[str]()
    for line, plan in cut_anywhere(run.plan(), PATHS):
        if not line.startswith(sample):
            continue
        applying = run.applying(engine, place, plan)
        try:
            applying.run()
        except SidecarError:
            assert shell(place, look) == before, line
            assert (applying.undone, applying.warnings) == (True, []), line
            failed.append(line)
        else:  # It does not come to this line, or not for its answer alone.
            shell(place, AGAIN)
            before = shell(place, look)
    assert len(failed) == 2 if sample else len(failed) > 25, failed


def test_a_connection_that_is_cut_leaves_the_same_files(place: str, run: Stored, tmp_path: Path) -> None:
    before = shell(place, SEEN)
    with cut_off(run.applying, place, run.plan(), 3, tmp_path) as applying:
        assert shell(place, SEEN) == before
        assert applying.undone


def test_a_container_that_is_killed_gets_the_same_files_once_it_runs_again(
    engine: Engine, place: str, run: Stored
) -> None:
    before = shell(place, SEEN)
    applying = killed(run.applying, engine, place, run.plan(), 3)
    undo(applying)
    assert shell(place, SEEN) == before


@pytest.mark.parametrize("number", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_a_step_that_fails_leaves_an_app_its_connection_and_its_rows(
    engine: Engine, app: str, run: Stored, number: int
) -> None:
    dump = f"sqlite3 {SHOP} .dump"
    before = shell(app, dump)
    with pytest.raises(SidecarError, match="exit code 3"):
        run.applying(engine, app, planted(run.plan(), number, after=True)).run()
    assert shell(app, dump) == before
    shell(app, "touch /tmp/go")
    eventually(lambda: execute("docker", "exec", app, "test", "-e", "/tmp/wrote").returncode == 0)
    assert shell(app, f"sqlite3 {SHOP} 'SELECT count(*) FROM item; SELECT count(*) FROM later'") == "8\n1"


def test_the_run_takes_the_place_of_what_is_there_and_keeps_its_owner(engine: Engine, place: str, run: Stored) -> None:
    applying = run.applying(engine, place)
    applying.run()
    assert applying.warnings == []
    assert shell(place, ROWS) == "3000\nok\n3000\nok"
    assert shell(place, f'for path in {SHOP} "$1"; do stat -c "%a %u %g" "$path"; done') == "640 1234 55\n640 1234 55"
    assert shell(place, "find /data -type f | wc -l") == "2"


def test_an_app_that_has_it_open_goes_on_with_the_run(engine: Engine, app: str, run: Stored) -> None:
    run.applying(engine, app).run()
    shell(app, "touch /tmp/go")
    eventually(lambda: execute("docker", "exec", app, "test", "-e", "/tmp/wrote").returncode == 0)
    assert shell(app, ROWS) == "3001\nok\n3000\nok"
    assert within(app, "ls -d /data/.restore* || true") == ""


def test_an_app_that_has_it_open_with_pages_of_another_size_goes_on_with_the_run(
    engine: Engine, place: str, run: Stored
) -> None:
    shell(place, f"rm {SHOP}*; sqlite3 {SHOP} 'PRAGMA page_size = 1024; CREATE TABLE later (x)'")
    opens(place)
    run.applying(engine, place).run()
    shell(place, "touch /tmp/go")
    eventually(lambda: execute("docker", "exec", place, "test", "-e", "/tmp/wrote").returncode == 0)
    assert shell(place, ROWS) == "3001\nok\n3000\nok"
    shell(place, "pkill -x sqlite3; pkill -f infinity$; true")


def test_a_file_that_is_mounted_by_itself_is_restored_and_left_as_it_was(
    engine: Engine, run: Stored, tmp_path: Path
) -> None:
    (tmp_path / "shop.db").touch()
    with container(image("SQLITE"), *SLEEP, options=("--init", f"--volume={tmp_path}/shop.db:{SHOP}")) as one:
        shell(one, MAKE + CHANGE)
        before = shell(one, f"sqlite3 {SHOP} .dump | sha256sum")
        with pytest.raises(SidecarError, match="exit code 3"):
            run.applying(engine, one, planted(run.plan(), 3, after=False)).run()
        assert shell(one, f"sqlite3 {SHOP} .dump | sha256sum") == before
        run.applying(engine, one).run()
        assert shell(one, ROWS) == "3000\nok\n3000\nok"


def test_a_full_disk_leaves_the_same_files(engine: Engine, run: Stored) -> None:
    with container(image("SQLITE"), *SLEEP, options=("--init", "--tmpfs", "/data:size=1m")) as full:
        shell(full, MAKE + CHANGE + FILL)
        before = shell(full, SEEN)
        applying = run.applying(engine, full)
        with pytest.raises(SidecarError, match="No space left"):
            applying.run()
        assert shell(full, SEEN) == before
        assert applying.undone


def test_a_broken_database_that_is_in_no_backup_is_kept_and_named(engine: Engine, place: str, run: Stored) -> None:
    spoil = "head -c 9000 /dev/urandom | dd of={} conv=notrunc 2>/dev/null"
    shell(place, spoil.format(SHOP) + f"; cp {SHOP} /tmp/spoilt")
    with pytest.raises(SidecarError, match="not a database"):
        run.applying(engine, place).run()
    assert shell(place, f"cmp {SHOP} /tmp/spoilt && ls -A /data | grep -c restore || true") == "0"
    applying = run.applying(engine, place, unsaved=True)
    applying.run()
    assert f"kept: what was there is {SHOP}.before-r1 now" in applying.warnings
    assert shell(place, f"cmp {SHOP}.before-r1 /tmp/spoilt && echo same") == "same"
    assert shell(place, ROWS) == "3000\nok\n3000\nok"


def test_what_was_not_there_before_goes_again(engine: Engine, made: str, run: Stored) -> None:
    shell(made, "rm -rf /data")
    with pytest.raises(SidecarError, match="exit code 3"):
        run.applying(engine, made, planted(run.plan(), 3, after=True)).run()
    assert shell(made, "ls -d /data 2>/dev/null || echo none") == "none"
    run.applying(engine, made).run()
    assert shell(made, ROWS) == "3000\nok\n3000\nok"
