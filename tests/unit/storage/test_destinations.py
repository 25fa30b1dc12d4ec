"""Every kind of destination keeps the same promises; a new kind is one entry of KINDS."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from controller.core.copy_errors import DestinationDown, DestinationFull, DestinationRefused, UnknownObject, WrongKey
from controller.core.errors import SidecarError
from controller.storage.copies.layout import CUT_OFF
from controller.storage.destinations import Destination
from controller.storage.destinations.path import PathDestination, translated
from controller.storage.destinations.s3 import S3Destination
from controller.storage.destinations.sftp import SftpDestination
from tests.kit.moto_server import moto_bucket
from tests.kit.s3_server import s3_server
from tests.kit.sftp_server import SftpServer, sftp_server

pytestmark = pytest.mark.thorough

Opening = Callable[..., SftpDestination]
NAME = "objects/base/aa/" + 64 * "a"
OF_SSH = pytest.mark.fault(
    43,
    "SFTP: another host key, another key, a cut connection, no extensions",
    "refused, or tried again; what is there stays whole",
)


@contextmanager
def a_path(folder: Path) -> Iterator[Destination]:
    yield PathDestination(folder)


@contextmanager
def an_sftp(folder: Path) -> Iterator[Destination]:
    with sftp_server(folder) as server, closing(SftpDestination(server.options)) as place:
        yield place


@contextmanager
def an_s3(folder: Path) -> Iterator[Destination]:
    with s3_server(page=3) as server, closing(S3Destination(server.options)) as place:
        yield place


@contextmanager
def an_s3_with_locks(folder: Path) -> Iterator[Destination]:
    with (
        s3_server(page=3, locks=True) as server,
        closing(S3Destination(server.options | {"lock_seconds": 86400})) as place,
    ):
        yield place


@contextmanager
def an_s3_of_others(folder: Path) -> Iterator[Destination]:
    with closing(S3Destination(moto_bucket())) as place:
        yield place


KINDS = {"path": a_path, "sftp": an_sftp, "s3": an_s3, "s3-locked": an_s3_with_locks, "s3-moto": an_s3_of_others}


@pytest.fixture(params=KINDS)
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Destination]:
    with KINDS[request.param](tmp_path) as place:
        yield place


def got(destination: Destination, name: str) -> bytes:
    return b"".join(destination.get(name))


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (8 << 20) - 1, 8 << 20])
def test_what_is_put_comes_back(destination: Destination, size: int) -> None:
    content = os.urandom(size)

    destination.put(NAME, content)

    assert got(destination, NAME) == content
    assert [found.size for found in destination.list(NAME)] == [size]


def test_a_second_put_takes_the_place_of_the_first(destination: Destination) -> None:
    destination.put(NAME, b"longer than the second")
    destination.put(NAME, b"second")

    assert got(destination, NAME) == b"second"
    assert len(list(destination.list(""))) == 1


def test_a_list_is_of_everything_that_begins_so(destination: Destination) -> None:
    for name in ("objects/base/aa/1", "objects/base/ab/2", "objects/night/3", "runs/a/b%27/x/run.json", "top"):
        destination.put(name, name.encode())

    def names(prefix: str) -> list[str]:
        return sorted(found.name for found in destination.list(prefix))

    assert names("objects/base/") == ["objects/base/aa/1", "objects/base/ab/2"]
    assert names("objects/base/ab") == ["objects/base/ab/2"]
    assert names("runs/a/b%27/") == ["runs/a/b%27/x/run.json"]
    assert names("t") == ["top"]
    assert len(names("")) == 5
    assert names("nothing/") == []


def test_a_list_tells_when_an_object_was_written(destination: Destination) -> None:
    destination.put(NAME, b"x")

    (found,) = destination.list("")

    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=5)


def test_what_is_not_there_is_told_apart(destination: Destination) -> None:
    with pytest.raises(UnknownObject):
        got(destination, NAME)


def test_deleting_twice_is_fine(destination: Destination) -> None:
    destination.put(NAME, b"x")
    destination.put("objects/base/ab/other", b"y")

    destination.delete(NAME)
    destination.delete(NAME)

    assert [found.name for found in destination.list("")] == ["objects/base/ab/other"]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "objects/../../up", "a//b", ".", "a/./b", "nul\0"])
def test_a_name_leads_nowhere_else(destination: Destination, name: str) -> None:
    with pytest.raises(DestinationRefused):
        destination.put(name, b"x")
    with pytest.raises(DestinationRefused):
        got(destination, name)


def test_it_answers_a_probe(destination: Destination) -> None:
    destination.probe()

    assert list(destination.list("")) == []


def test_all_pages_of_a_list_are_read(destination: Destination) -> None:
    names = {f"objects/base/{number:02}/{number:064}" for number in range(8)}
    for name in names:
        destination.put(name, b"x")

    assert [found.name for found in destination.list("objects/")].count(min(names)) == 1
    assert {found.name for found in destination.list("objects/")} == names


def test_a_prefix_may_end_within_a_name(destination: Destination) -> None:
    for name in ("a/1", "a/10", "a/2"):
        destination.put(name, b"x")

    assert sorted(found.name for found in destination.list("a/1")) == ["a/1", "a/10"]


def test_deleting_takes_the_very_object(destination: Destination) -> None:
    for name in ("a/1", "a/10", "a/1.x"):
        destination.put(name, name.encode())

    destination.delete("a/1")

    assert sorted(found.name for found in destination.list("a/")) == ["a/1.x", "a/10"]
    assert got(destination, "a/10") == b"a/10"


def test_what_was_deleted_can_neither_be_read_nor_listed(destination: Destination) -> None:
    destination.put(NAME, b"x")
    destination.delete(NAME)

    with pytest.raises(UnknownObject):
        got(destination, NAME)
    assert list(destination.list("")) == []


def test_what_was_deleted_can_be_put_again(destination: Destination) -> None:
    destination.put(NAME, b"first")
    destination.delete(NAME)
    destination.put(NAME, b"second")

    assert got(destination, NAME) == b"second"
    assert [found.size for found in destination.list("")] == [6]


@pytest.mark.parametrize("name", ["runs/shop%2Ede/it%27s/a_b-c/run.json", "a.b", "%", "x+y", "a%2Fb/c", "~tilde=1&2"])
def test_a_name_comes_back_letter_by_letter(destination: Destination, name: str) -> None:
    destination.put(name, name.encode())

    assert [found.name for found in destination.list("")] == [name]
    assert got(destination, name) == name.encode()


def test_an_object_is_read_in_pieces(destination: Destination) -> None:
    destination.put(NAME, bytes(3 << 20))

    sizes = [len(piece) for piece in destination.get(NAME)]

    assert (sum(sizes), max(sizes) <= 1 << 20) == (3 << 20, True)


def test_who_stops_reading_can_go_on_with_something_else(destination: Destination) -> None:
    destination.put(NAME, os.urandom(3 << 20))

    with closing(destination.get(NAME)) as pieces:  # type: ignore[type-var]
        assert next(pieces)
    destination.put(NAME, b"other")

    assert got(destination, NAME) == b"other"


def test_a_version_that_is_not_there_is_told(destination: Destination) -> None:
    destination.put(NAME, b"x")

    with pytest.raises((UnknownObject, DestinationRefused)):
        list(destination.get(NAME, "no-such-version"))


def test_what_was_there_then_is_given_or_refused(destination: Destination) -> None:
    destination.put(NAME, b"x")

    later, before = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    if isinstance(destination, S3Destination):
        assert [each.name for each in destination.list("", later)] == [NAME]
        assert list(destination.list("", before)) == []
    else:
        with pytest.raises(DestinationRefused, match="no versions"):
            list(destination.list("", later))


def test_what_is_kept_is_told_with_its_time(destination: Destination) -> None:
    until = destination.put(NAME, b"x")
    renewed = destination.keep(NAME)

    for told in (until, renewed):
        assert bool(told) == bool(destination.lock)
        assert told is None or told - datetime.now(UTC) >= destination.lock


def test_closing_twice_is_fine(destination: Destination) -> None:
    destination.probe()
    destination.close()
    destination.close()


# --- path -----------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_gone_is_no_empty_one(tmp_path: Path) -> None:
    place = PathDestination(tmp_path / "unmounted")

    for attempt in (place.probe, lambda: list(place.list("")), lambda: place.put(NAME, b"x")):
        with pytest.raises(DestinationDown):
            attempt()
    assert not (tmp_path / "unmounted").exists()


def test_the_disk_of_the_store_is_no_other_place(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()

    with pytest.raises(DestinationRefused, match="disk of the store"):
        PathDestination(tmp_path, tmp_path / "store").probe()


@pytest.mark.parametrize("part", ["objects", "objects/base", NAME])
def test_no_link_is_followed(tmp_path: Path, part: str) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    (secret / "file").write_text("secret")
    root = tmp_path / "root"
    link = root / part
    link.parent.mkdir(parents=True)
    link.symlink_to(secret / "file" if part == NAME else secret)
    place = PathDestination(root)

    for attempt in (lambda: got(place, NAME), lambda: place.put(NAME, b"x"), lambda: place.delete(NAME)):
        with pytest.raises(DestinationRefused):
            attempt()
    assert list(place.list("")) == []
    assert [path.name for path in secret.iterdir()] == ["file"]


def test_a_put_that_died_leaves_nothing_under_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = PathDestination(tmp_path)
    monkeypatch.setattr(Path, "rename", lambda *_: os._exit(9))
    if (child := os.fork()) == 0:
        place.put(NAME, b"x")
    os.waitpid(child, 0)

    (left,) = place.list("")

    assert CUT_OFF.fullmatch(left.name)
    with pytest.raises(UnknownObject):
        got(place, NAME)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (28, DestinationFull),
        (122, DestinationFull),
        (116, DestinationDown),
        (5, DestinationDown),
        (13, DestinationRefused),
    ],
)
def test_an_error_of_the_system_says_whether_it_may_pass(number: int, error: type[SidecarError]) -> None:
    assert type(translated(OSError(number, os.strerror(number)), Path("/copies"))) is error


# --- sftp -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    with sftp_server(tmp_path) as running:
        yield running


@pytest.fixture
def opening(server: SftpServer) -> Iterator[Opening]:
    """Opens a destination on the server, with other options where they are given."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(SftpDestination(server.options | options)))


@OF_SSH
def test_another_host_key_is_refused(server: SftpServer, opening: Opening) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()

    with pytest.raises(DestinationRefused, match="another host key"):
        opening(host_key=other).probe()


@OF_SSH
def test_a_key_that_it_does_not_know_is_refused(server: SftpServer, opening: Opening) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()

    with pytest.raises(DestinationRefused, match="does not let the user keeper in"):
        opening(key=other).probe()


def test_what_is_no_key_is_not_repeated(server: SftpServer, opening: Opening) -> None:
    with pytest.raises(WrongKey) as error:
        opening(key="my secret")

    assert "my secret" not in str(error.value)


def test_a_folder_that_is_not_there_is_told(server: SftpServer, opening: Opening) -> None:
    place = opening(path="/nowhere")

    for attempt in (place.probe, lambda: list(place.list(""))):
        with pytest.raises(DestinationRefused, match="no folder"):
            attempt()


@OF_SSH
def test_a_connection_that_is_cut_passes_and_is_made_anew(server: SftpServer, opening: Opening) -> None:
    place = opening()
    place.put(NAME, b"x")
    server.cut()

    with pytest.raises(DestinationDown):
        got(place, NAME)

    assert got(place, NAME) == b"x"


def test_nobody_who_listens_passes(server: SftpServer, opening: Opening) -> None:
    with pytest.raises(DestinationDown, match="does not answer"):
        opening(port=1).probe()


@OF_SSH
@pytest.mark.parametrize("lacks", ["fsync", "posix_rename"])
def test_a_server_without_extensions_is_used_nevertheless(server: SftpServer, opening: Opening, lacks: str) -> None:
    server.lacks.add(lacks)
    place = opening()

    place.put(NAME, b"first")
    place.put(NAME, b"second")

    assert got(place, NAME) == b"second"


def test_a_folder_that_may_not_be_written_is_told(server: SftpServer, opening: Opening) -> None:
    server.refuses.add("open")

    with pytest.raises(DestinationRefused, match="does not let us use"):
        opening().put(NAME, b"x")

    assert [path for path in (server.folder / "place").rglob("*") if path.is_file()] == []
