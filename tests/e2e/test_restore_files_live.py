"""Files are restored beside an app that goes on writing: what was there is there again after a failure, and whatever
the app was told is written is where it wrote it, or where the report says.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.core.errors import SidecarError
from controller.engine.client import Engine
from tests.e2e.engine_fixtures import SLEEP, container
from tests.e2e.live_app import living
from tests.e2e.planting import between, planted
from tests.e2e.test_restore_files import TARS, Stored
from tests.kit.few import few
from tests.kit.stage import image, within

pytestmark = pytest.mark.e2e

PATHS = ("/data",)
MAKE = """
rm -rf /data/* /data/.[!.]*; mkdir -p /data/app/deep && cd /data
for n in $(seq 60); do echo "$n" >app/deep/$n; echo "$n" >file-$n; done; echo of-the-run >app/log; echo of-the-run >top
"""
CHANGE = "cd /data; for n in $(seq 60); do echo changed-$n >app/deep/$n; done; rm file-7; echo 0 >app/log; echo 0 >top"
# What only the app writes, and folders' times, are left out.
SEEN = r"""
cd /data
find . ! -path './.backup-sidecar-written*' ! -path './new*' ! -path './*log' ! -path './top*' -type f |
    sort | xargs sha256sum
find . ! -path './.backup-sidecar-written*' ! -path './new*' -type d | sort | xargs stat -c '%n %a %u %g'
"""
APP = {
    "log": "n=$((n + 1)); { echo $n >>/data/app/log; } 2>/dev/null && echo $n",
    "top": "n=$((n + 1)); { echo $n >>/data/top; } 2>/dev/null && echo $n",
    "new": "n=$((n + 1)); { mkdir -p /data/new && echo $n >/data/new/$n; } 2>/dev/null && echo $n",
}
"""Lines of shell that say what they have written."""
WRITTEN = {"log": "cat {}/app/log", "top": "cat {}/top", "new": "ls {}/new"}
"""Where it is, by the place of what is in `/data`."""


@pytest.fixture(scope="module", params=few(TARS, "DEBIAN"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place(kind: str) -> Iterator[str]:
    with container(image(kind), *SLEEP, options=("--init", "--volume=/data")) as made:
        yield made


@pytest.fixture
def run(place: str, kind: str, tmp_path: Path) -> Stored:
    """A run, and beside it a tree that was changed since."""
    within(place, MAKE)
    stored = Stored(tmp_path, place, kind, ("/data",), paths=PATHS)
    within(place, CHANGE)
    return stored


def numbers(place: str, name: str, folders: str) -> set[str]:
    """What is written in these folders."""
    asks = f"for folder in {folders}; do {WRITTEN[name].format('$folder')} 2>/dev/null; done; true"
    return set(re.findall(r"^[0-9]+$", within(place, asks), re.MULTILINE))


def lived(place: str, restore: Callable[[], None]) -> dict[str, set[str]]:
    """What an app says that it has written while this was done, by the name of each writer."""
    with living(place, **APP) as printed:
        restore()
    return {name: set(lines) for name, lines in printed.items()}


@pytest.mark.fault(18, "a step of a restore fails beside an app that writes files", "as before; what it wrote is kept")
@pytest.mark.parametrize("mirror", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("failure", few([(0, False), (0, True), (1, False), (1, True)], (0, True), (1, True)), ids=str)
def test_a_restore_that_fails_leaves_what_was_there_and_what_an_app_wrote_meanwhile(
    engine: Engine, place: str, run: Stored, failure: tuple[int, bool], mirror: bool
) -> None:
    (number, after), before = failure, within(place, SEEN)
    applying = run.applying(engine, place, planted(run.plan(mirror=mirror), number, after=after))

    def fails() -> None:
        with pytest.raises(SidecarError, match="exit code 3"):
            applying.run()

    said = lived(place, fails)

    assert within(place, SEEN) == before
    told = [line for line in applying.warnings if line.startswith("written-meanwhile: ")]
    assert (applying.undone, applying.warnings) == (True, told)
    for name, written in said.items():
        assert len(written) > 5
        lacking = written - numbers(place, name, "/data")
        assert lacking <= numbers(place, name, "/data/.backup-sidecar-written-r1-0/*"), name
        assert bool(told) or not lacking
    assert within(place, "ls -d /data/.backup-sidecar-aside* || true") == ""


WRITES = """
was=$? turn=$((${turn:-0} + 1))
for one in top file-7 app/log; do echo app-$$-$turn >>/data/$one; done 2>/dev/null
(exit $was)
"""
"""An app that gets its turn in the middle of a script, and appends to a file that there was and to one that is new."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mirror", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("at", few(["", "placed is_rest"], "placed is_rest"))
def test_whatever_line_of_an_undo_an_app_writes_at_what_it_had_written_before_is_back(
    engine: Engine, place: str, run: Stored, at: str, mirror: bool
) -> None:
    before = within(place, SEEN)
    plan = planted(run.plan(mirror=mirror), 1, after=True)
    lines = [(line, meanwhile) for line, meanwhile in between(plan, WRITES) if at in line]
    assert len(lines) > (0 if at else 60)
    for line, meanwhile in lines:
        within(place, "rm -rf /data/.backup-sidecar-written*; cd /data; echo old >top; echo old >app/log; rm -f file-7")
        applying = run.applying(engine, place, meanwhile)
        with pytest.raises(SidecarError, match="exit code 3"):
            applying.run()
        assert applying.undone, line
        assert within(place, "cat /data/top /data/app/log | grep -x old || true") == "old\nold", line
        assert within(place, SEEN.replace("'./top*'", "'./top*' ! -name file-7")) == before, line
        wrote = within(place, "cat /data/top /data/.backup-sidecar-written*/*/top 2>/dev/null || true").split()
        told = " ".join(applying.warnings)
        assert len(set(wrote)) == len(wrote), line
        assert ("written-meanwhile" in told) == (within(place, "ls -d /data/.backup-sidecar-w* || true") != ""), line
        assert within(place, "ls -d /data/.backup-sidecar-aside* || true") == "", line


def test_a_restore_that_succeeds_keeps_what_an_app_made_meanwhile_or_tells_of_it(
    engine: Engine, place: str, run: Stored
) -> None:
    applying = run.applying(engine, place)

    said, told = lived(place, applying.run), " ".join(applying.warnings)

    assert within(place, "cat /data/app/deep/60 /data/file-7") == "60\n7"
    lacking = said["new"] - numbers(place, "new", "/data /data/.backup-sidecar-written-r1-0/*")
    assert {f"/data/new/{n}" for n in lacking} <= set(re.findall("/data/new/[0-9]+", told))
