"""What is adopted comes from the operator or an administrator, however large it is; nobody else puts backups in."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from controller.api.server import Server
from tests.kit.stage import eventually
from tests.kit.world import TOKENS, World, client, is_problem, local, serving
from tests.unit.backup.test_adoption import OLD, RUN, artifact, manifest, packed, run_of, tar_of

LARGE = tar_of({"data/large": bytes(range(256)) * 40_000})
ARCHIVE = tar_of(run_of(manifest(artifacts=(artifact(plain=LARGE),)), **{"files.tar.zst": packed(LARGE)}))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


@pytest.fixture
def socket(server: Server) -> Iterator[httpx.Client]:
    with local(server) as connection:
        yield connection


def pieces(data: bytes) -> Iterator[bytes]:
    yield from (data[at : at + 50_000] for at in range(0, len(data), 50_000))


@pytest.mark.parametrize("compress", [bytes, gzip.compress, packed], ids=["plain", "gzip", "zstd"])
def test_a_tar_is_streamed_in_and_each_of_its_runs_is_told(
    socket: httpx.Client, world: World, compress: Callable[[bytes], bytes]
) -> None:
    answer = socket.post("/v1/adopt", params={"origin": "old.tar"}, content=pieces(compress(ARCHIVE)))
    (run,) = answer.json()["runs"]
    assert (run["outcome"], run["run"], run["key"], run["error"]) == ("adopted", RUN, str(OLD), None)
    shown = socket.get(f"/v1/runs/{RUN}").json()
    assert (shown["origin"], shown["key"]) == ("old.tar", "old-shop/db")
    assert socket.get(f"/v1/runs/{RUN}/artifacts").content == packed(LARGE)
    proof = socket.get("/v1/targets/old-shop/db/proof").json()
    assert proof["origin"] == "old.tar"


def test_a_run_that_is_refused_is_told_with_the_reason(socket: httpx.Client) -> None:
    archive = tar_of(run_of(manifest(), **{"files.tar.zst": b"x"}))
    (run,) = socket.post("/v1/adopt", params={"origin": "x"}, content=pieces(archive)).json()["runs"]
    assert (run["outcome"], run["error"]["code"]) == ("refused", "not-adopted")
    assert run["folder"] == f"old-shop/db/{RUN}"


def test_what_is_no_archive_is_answered_before_its_end(socket: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    answer = socket.post("/v1/adopt", params={"origin": "x"}, content=endless())
    assert is_problem(answer, 422, "not-adopted")


def test_on_the_network_only_an_administrator_adopts(server: Server, world: World) -> None:
    paths = ("/v1/adopt?origin=x", "/v1/targets/shop/db/adopt?origin=x&name=x&made=2026-03-01T03:00:00Z")
    for role in ("read", "backup", "restore"):
        with client(server, token=TOKENS[role]) as network:
            for path in paths:
                assert is_problem(network.post(path), 403, "role-needed")
                assert is_problem(network.post(path, content=bytes(70_000)), 413, "too-large")
    assert list(world.store.manifests()) == []
    with client(server, token=TOKENS["admin"]) as network:
        (run,) = network.post(paths[0], content=pieces(ARCHIVE)).json()["runs"]
    assert run["outcome"] == "adopted"


def test_a_client_that_goes_away_leaves_nothing(server: Server, world: World) -> None:
    class Gone(Exception):
        pass

    def broken() -> Iterator[bytes]:
        yield ARCHIVE[:-20_000]
        raise Gone

    with local(server) as connection, pytest.raises(Gone):
        connection.post("/v1/adopt", params={"origin": "x"}, content=broken())
    root = world.store.root
    eventually(lambda: [path.name for path in root.iterdir()] == [".lock"], what="what had come is gone")


def test_a_bare_file_needs_a_target_that_is_there(socket: httpx.Client) -> None:
    query = {"origin": "x", "name": "x", "made": "2026-03-01T03:00:00Z"}
    assert is_problem(socket.post("/v1/targets/old-shop/db/adopt", params=query), 404, "unknown-target")
    assert is_problem(socket.post("/v1/targets/shop/db/adopt", params=query), 503, "engine-unreachable")
