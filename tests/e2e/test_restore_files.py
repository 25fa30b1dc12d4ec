"""Files are restored whole or not at all: whatever fails, the old tree is the same, byte for byte.

The restore is carried out by the sidecar's own parts on the real engine, so that a failure can be planted anywhere.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from strategies.checks import count_tar
from strategies.filesystem import Filesystem, FilesystemOptions
from strategies.filesystem_restore import OCCUPIED
from strategies.plan import Archive, Exec, Restore, RestoreRequest
from tests.e2e.engine_fixtures import SLEEP, container
from tests.e2e.test_restore_postgres import planted
from tests.kit.few import few
from tests.kit.stage import docker, execute, image, within

pytestmark = pytest.mark.e2e

RUN = "20260301T030000Z-1a2b3c4d"
TARS = {"DEBIAN": "tar (GNU tar) 1.35", "BUSYBOX": "tar (busybox) 1.37.0"}
PATHS = ("/data", "/srv/a b")
MAKE = """
rm -rf /data/* /data/.[!.]* /srv/* /tmp/.backup-sidecar-*
mkdir -p /data/app/deep '/data/odd "na me"' /data/cache '/srv/a b' && cd /data
echo one >app/one; echo two >'odd "na me"/$(x) *?'; seq 1000 >app/deep/seq; ln app/one hard; ln -s app/one soft
echo hidden >.hidden; echo c >cache/of-the-run; echo s >'/srv/a b/s'; : >-rf
chmod 640 app/one; chown 1234:55 app; chmod 2750 app/deep; mkfifo pipe
touch -d @1000000000 app/one app/deep app '/srv/a b' /data
"""
CHANGE = """
cd /data && echo changed >app/one; rm app/deep/seq; echo later >app/later; mkdir -p app/new/below
echo n >app/new/below/n; chown 77:78 app/later; touch -d @1100000000 app/later app/new/below app/new
rm -r 'odd "na me"'; echo file >'odd "na me"'
echo cached >cache/later; echo log >app/x.log; mkdir gone; echo g >gone/cache; echo g >gone/other; echo b >'/srv/a b/b'
chmod 711 /data; chown 5:6 /data; touch -d @1200000000 app/deep app /data '/srv/a b'
"""
# Of everything its kind, mode, owner, time and links, and what is in it.
SEEN = r"""
for root in /data '/srv/a b'; do
    find "$root" ! -type d -exec stat -c '%n %F %a %u %g %Y %h' {} +
    find "$root" -type d -exec stat -c '%n %F %a %u %g %Y' {} +
    find "$root" -type f -exec sha256sum {} +
    find "$root" -type l -exec readlink {} +
done | sort
"""
UNKNOWN = ("/data/app/later", "/data/app/new", "/data/app/x.log", "/data/cache/later", "/data/gone", "/srv/a b/b")


def state(place: str) -> set[str]:
    return set(within(place, SEEN).splitlines())


def without_times(lines: set[str]) -> set[str]:
    """BusyBox's tar gives folders and symbolic links the time of the restore."""
    return {re.sub("( directory .*) .*| symbolic link .*", r"\1", line) for line in lines}


def of(paths: Sequence[str], lines: set[str]) -> set[str]:
    """Those that are about these, and what is below."""
    return {line for line in lines if re.search("|".join(f"{re.escape(path)}(/|$| )" for path in paths), line)}


class Stored:
    """A run, and where it can be restored to."""

    def __init__(self, folder: Path, place: str, kind: str, mounts: tuple[str, ...] = (), **options: Any) -> None:
        self.options = FilesystemOptions.model_validate({"paths": PATHS, **options})
        self.container = Container("1f", "app", "app:1", mounts=mounts)
        self.facts = Facts("sh", {"tar": Answer(0, TARS[kind]), "exclude": Answer(0), "paths": Answer(127)})
        self.sources: dict[str, Source] = {}
        for number, dump in enumerate(Filesystem().plan(self.container, self.facts, self.options).dumps):
            assert isinstance(dump.source, Exec)
            plain = execute("docker", "exec", place, *dump.source.argv).stdout
            digest, path = hashlib.sha256(plain).hexdigest(), folder / str(number)
            path.write_bytes(plain)
            facts: dict[str, Any] = {"sha256": digest, "plain_sha256": digest, "size": len(plain)}
            about: dict[str, Any] = {"format": "tar", "subject": dump.subject, "compression": "none"}
            about |= {"counts": counted(path), "plain_size": len(plain), "proof": "full"}
            self.sources[dump.name] = Source(Artifact(name=dump.name, **facts, **about), path)

    def plan(self, **wanted: Any) -> Restore:
        stored = tuple(source.stored for source in self.sources.values())
        wanted = {"in_place": True, "replace": True} | wanted
        request = RestoreRequest(RUN, stored, restore="r1", **wanted)
        return Filesystem().restore(self.container, self.facts, self.options, request)

    def applying(self, engine: Engine, place: str, restore: Restore | None = None, **wanted: Any) -> Applying:
        context = ExecContext(place, "sh", run=RUN, deadline=time.monotonic() + 120)
        return Applying(Session(engine, context, str), restore or self.plan(**wanted), self.sources)


def counted(path: Path) -> Mapping[str, int]:
    with path.open("rb") as stream:
        return count_tar(stream)


@pytest.fixture(scope="module", params=TARS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(kind: str) -> Iterator[str]:
    with container(image(kind), *SLEEP, options=("--init", "--volume=/data")) as place:
        yield place


@pytest.fixture(scope="module")
def run(made: str, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    within(made, MAKE)
    return Stored(tmp_path_factory.mktemp("run"), made, kind, mounts=("/data",))


@pytest.fixture(scope="module")
def original(made: str, run: Stored) -> set[str]:
    """What the run holds; before anybody changes it."""
    return state(made)


@pytest.fixture
def place(made: str, original: set[str]) -> str:
    """A tree that is other than in the run."""
    within(made, MAKE + CHANGE)
    return made


@pytest.mark.parametrize("after", few([False, True], True))
@pytest.mark.parametrize("number", range(3))
def test_a_step_that_fails_leaves_the_same_tree(
    engine: Engine, place: str, run: Stored, number: int, after: bool
) -> None:
    before = state(place)
    applying = run.applying(engine, place, planted(run.plan(), number, after=after))
    with pytest.raises(SidecarError, match="exit code 3"):
        applying.run()
    assert state(place) == before
    assert (applying.undone, applying.warnings) == (True, [])


def test_what_the_run_has_is_as_it_was_and_what_it_does_not_know_stays(
    engine: Engine, kind: str, original: set[str], place: str, run: Stored
) -> None:
    stays = of(UNKNOWN, state(place))
    applying = run.applying(engine, place)
    applying.run()
    carried = without_times if kind == "BUSYBOX" else set
    assert carried(state(place)) == carried(original | stays)
    assert applying.warnings == []


def test_mirrored_there_is_exactly_what_was_in_the_run(
    engine: Engine, kind: str, original: set[str], place: str, run: Stored
) -> None:
    run.applying(engine, place, mirror=True).run()
    carried = without_times if kind == "BUSYBOX" else set
    assert carried(state(place)) == carried(original)


def test_what_is_excluded_is_left_as_it_is_also_where_nothing_else_stays(
    engine: Engine, kind: str, original: set[str], place: str, run: Stored
) -> None:
    before = state(place)
    left = ("/data/cache", "/data/gone/cache", "/data/app/x.log")
    run.options = FilesystemOptions.model_validate({"exclude": "cache,/data/app/*.log,/data/*.log,deep/x*,other/cache"})
    try:
        run.applying(engine, place, mirror=True).run()
    finally:
        run.options = FilesystemOptions()
    after = without_times(state(place))
    assert of(left, after) == without_times(of(left, before))
    assert after - of(("/data/cache", "/data/gone", "/data/app/x.log"), after) == without_times(
        original - of(("/data/cache",), original)
    )
    assert within(place, "find /data/gone") == "/data/gone\n/data/gone/cache"


# Ends whoever runs the command of this number.
BREAK = """
for name in mv mkdir cp touch; do
    printf '#!/bin/sh\necho x >>/tmp/calls; [ "$(wc -l </tmp/calls)" != %s ] || kill -9 $PPID
        exec /usr/bin/%s "$@"\n' \
        NUMBER $name >/usr/local/bin/$name
    chmod +x /usr/local/bin/$name
done
rm -f /tmp/calls
"""
MEND = "rm -f /usr/local/bin/mv /usr/local/bin/mkdir /usr/local/bin/cp /usr/local/bin/touch"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["DEBIAN"], indirect=True)
@pytest.mark.parametrize(
    ("mirror", "every"),
    [(False, 7), *(pytest.param(mirror, 1, marks=[pytest.mark.slow]) for mirror in (False, True))],
)
def test_whatever_command_it_is_killed_at_the_tree_is_the_same(
    engine: Engine, place: str, run: Stored, mirror: bool, every: int
) -> None:
    before = state(place)
    try:
        for number in itertools.count(1, every):
            within(place, BREAK.replace("NUMBER", str(number)))
            try:
                run.applying(engine, place, mirror=mirror).run()
            except SidecarError:
                assert state(place) == before, number
            else:
                break
    finally:
        within(place, MEND)
    assert number > 20


@contextmanager
def other_place(kind: str, *options: str) -> Iterator[str]:
    with container(image(kind), *SLEEP, options=("--init", *options)) as place:
        yield place


@pytest.mark.parametrize("kind", few(TARS, "BUSYBOX"))
def test_a_mount_below_another_one_gets_what_belongs_there(engine: Engine, kind: str, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("of the run")
    volumes = ("--volume=/data", "--volume=/data/a/below", f"--volume={tmp_path}/conf:/data/conf", "--volume=/other")
    paths = ("/data", "/other")
    with other_place(kind, *volumes) as place:
        within(place, "cd /data; echo 1 >one; echo 2 >a/two; echo 3 >a/below/three; ln a/below/three a/below/same")
        within(place, "chmod 710 /data/a; chown 7:8 /data/a /data/a/below; echo 4 >/other/four")
        stored = Stored(tmp_path, place, kind, ("/data", "/data/a/below", "/data/conf", "/other"), paths=paths)
        within(place, "cd /data; echo x >one; rm a/two; echo y >a/below/three; echo z >a/below/new; echo no >conf")
        within(place, "chmod 755 /data/a; chown 0:0 /data/a /data/a/below; mkdir a; echo new >/data/a/new; rm /other/*")
        show = "cd / && find data other -type f -exec grep -H . {} + | sort; stat -c '%n %a %u %g' data/a data/a/below"
        before = within(place, show)
        for number in range(5):
            with pytest.raises(SidecarError, match="exit code 3"):
                stored.applying(engine, place, planted(stored.plan(mirror=True), number, after=True)).run()
            assert within(place, show) == before
        stored.applying(engine, place).run()
        assert within(place, show).splitlines() == [
            *("data/a/below/new:z", "data/a/below/same:3", "data/a/below/three:3", "data/a/new:new", "data/a/two:2"),
            *("data/conf:of the run", "data/one:1", "other/four:4", "data/a 710 7 8", "data/a/below 755 7 8"),
        ]
        stored.applying(engine, place, mirror=True).run()
        assert within(place, "ls /data/a /data/a/below") == "/data/a:\nbelow\ntwo\n\n/data/a/below:\nsame\nthree"
        assert within(place, "find / -xdev -name '.backup-sidecar*'; find /data /other -name '.backup-sidecar*'") == ""


def test_a_mount_that_nobody_knows_of_is_refused_and_not_touched(engine: Engine, tmp_path: Path) -> None:
    with other_place("DEBIAN", "--volume=/data", "--volume=/data/a/below") as place:
        within(place, "echo 1 >/data/one; echo 3 >/data/a/below/three")
        stored = Stored(tmp_path, place, "DEBIAN", ("/data",), paths=("/data",))
        with pytest.raises(SidecarError, match="/data/a/below is mounted below /data"):
            stored.applying(engine, place, mirror=True).run()
        assert within(place, "cat /data/one /data/a/below/three; ls -A /data") == "1\n3\na\none"


def test_a_file_that_is_mounted_by_itself_is_written_into(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text("of the run")
    with other_place("DEBIAN", f"--volume={tmp_path}/x.conf:/etc/x.conf") as place:
        stored = Stored(tmp_path, place, "DEBIAN", ("/etc/x.conf",), paths=("/etc/x.conf",))
        within(place, "echo other >/etc/x.conf; chown 5:6 /etc/x.conf")
        with pytest.raises(SidecarError, match="exit code 3"):
            stored.applying(engine, place, planted(stored.plan(), 1, after=True)).run()
        assert within(place, "cat /etc/x.conf; stat -c '%u %g' /etc/x.conf; ls -d /etc/.b* || true") == "other\n5 6"
        stored.applying(engine, place).run()
    assert (tmp_path / "x.conf").read_text() == "of the run"


@pytest.mark.parametrize("kind", few(TARS, "BUSYBOX"))
def test_a_full_disk_leaves_the_same_tree(engine: Engine, kind: str, tmp_path: Path) -> None:
    with other_place(kind, "--tmpfs=/data:size=1m") as place:
        within(place, MAKE + "head -c 700000 /dev/zero >/data/zeros")
        stored = Stored(tmp_path, place, kind, ("/data",))
        within(place, CHANGE)
        before = state(place)
        applying = stored.applying(engine, place)
        with pytest.raises(SidecarError, match=r"No space left|short write|Wrote only"):
            applying.run()
        assert state(place) == before
        assert applying.undone


@pytest.mark.parametrize("kind", few(TARS, "DEBIAN"))
def test_what_was_not_there_before_goes_again(engine: Engine, kind: str, tmp_path: Path) -> None:
    with other_place(kind, "--volume=/data") as place:
        within(place, MAKE)
        original, stored = state(place), Stored(tmp_path, place, kind, ("/data",))
        within(place, "rm -r /srv/* /data/* /data/.hidden; rmdir /srv; mkdir /data/lost+found")
        with pytest.raises(SidecarError, match="exit code 3"):
            stored.applying(engine, place, planted(stored.plan(), 2, after=True)).run()
        assert within(place, "ls -A /data; ls -d /srv 2>/dev/null || true") == "lost+found"
        stored.applying(engine, place, mirror=True).run()
        within(place, "rmdir /data/lost+found && touch -d @1000000000 /data")
        carried = without_times if kind == "BUSYBOX" else set
        assert carried(state(place)) == carried(original)


def test_into_a_folder_that_is_there_the_same_holds(engine: Engine, place: str, run: Stored) -> None:
    within(place, "mkdir -p /back/data; echo there >/back/data/there; echo x >/back/data/.hidden")
    with pytest.raises(SidecarError, match="exit code 3"):
        run.applying(engine, place, planted(run.plan(in_place=False, into="/back"), 1, after=True)).run()
    assert (
        within(place, "cat /back/data/.hidden; find /back | sort")
        == "x\n/back\n/back/data\n/back/data/.hidden\n/back/data/there"
    )
    run.applying(engine, place, in_place=False, into="/back").run()
    assert within(place, "cat /back/data/.hidden /back/data/there '/back/srv/a b/s'; rm -r /back") == "hidden\nthere\ns"


def test_without_a_shell_an_empty_folder_is_told_from_a_full_one(engine: Engine) -> None:
    with container(image("DISTROLESS"), "36000", options=("--volume=/data", "--volume=/spare")) as place:
        session = Session(engine, ExecContext(place), str)
        assert session.in_the_way(Archive("/data")) == ["/data"], "the image brings files into a new volume"
        assert session.in_the_way(Archive("/spare")) == session.in_the_way(Archive("/none")) == []


def test_a_folder_that_the_user_may_not_look_into_counts_as_full() -> None:
    with other_place("DEBIAN") as place:
        within(place, "mkdir -p /open/lost+found /shut; chmod 700 /shut; touch /open/.hidden; ln -s nowhere /open/link")
        shown = docker("exec", "--user=1000", place, "sh", "-c", OCCUPIED, "sh", "/open", "/shut", "/none")
        assert shown == "/open/link\n/open/.hidden\n/shut"
