"""On which addresses the API listens, also when they change."""

import errno
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controller.api.server import Server
from controller.app.listening import LOOPBACK, addresses, way_out
from controller.targets.scope import Scope
from tests.kit.stage import eventually
from tests.kit.world import World, serving

ALONE = Scope(frozenset({"n1"}), "shop", "c1")
EXTERNAL, ANOTHER = "127.0.0.2", "127.0.0.3"


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (None, (LOOPBACK,)),
        (ALONE, (LOOPBACK,)),
        (replace(ALONE, address="10.9.8.7"), (LOOPBACK, "10.9.8.7")),
        (replace(ALONE, address="10.9.8.7", published=frozenset({80})), (LOOPBACK, "10.9.8.7")),
        (replace(ALONE, address="10.9.8.7", ingress="10.0.0.9"), (LOOPBACK, "10.9.8.7", "10.0.0.9")),
        (replace(ALONE, published=frozenset({8000})), (LOOPBACK, way_out())),
    ],
)
def test_it_listens_where_the_orchestrator_and_published_ports_come_from(
    scope: Scope | None, expected: tuple[str | None, ...]
) -> None:
    assert addresses(scope, 8000) == tuple(filter(None, expected))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, host=None)
    world.inventory.scope = ALONE
    return world


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


def answers(server: Server, address: str) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((address, server.port)) != errno.ECONNREFUSED


def test_the_addresses_are_followed_while_it_serves(world: World, server: Server) -> None:
    assert answers(server, LOOPBACK)
    assert not answers(server, EXTERNAL)
    for now, gone in ((EXTERNAL, ANOTHER), (ANOTHER, EXTERNAL), (EXTERNAL, ANOTHER)):
        world.inventory.scope = replace(ALONE, address=now)
        eventually(lambda now=now: answers(server, now), what="it listens where it has been put")
        eventually(lambda gone=gone: not answers(server, gone), what="it has left the other one")
    world.inventory.scope = ALONE
    eventually(lambda: not answers(server, EXTERNAL), what="it has left the network")
    assert answers(server, LOOPBACK)


def test_the_operators_word_holds_at_once(world: World, server: Server) -> None:
    world.configure("api: {host: 0.0.0.0}\n")
    eventually(lambda: answers(server, ANOTHER), what="it listens on all")
    assert answers(server, LOOPBACK)
    world.configure("api: {host: 192.0.2.7}\n")
    eventually(lambda: world.refusals.counts().get(("cannot-listen",), 0) >= 3, what="it is tried again and again")
    assert not answers(server, LOOPBACK)
    world.configure("")
    eventually(lambda: answers(server, LOOPBACK), what="it listens again")


def test_an_address_that_is_not_there_yet_is_told_and_tried_again(world: World, server: Server) -> None:
    with socket.create_server((EXTERNAL, server.port)) as other:
        world.inventory.scope = replace(ALONE, address=EXTERNAL)
        eventually(lambda: world.refusals.counts().get(("cannot-listen",)), what="it is told")
        assert answers(server, LOOPBACK)
        other.close()
    eventually(lambda: answers(server, EXTERNAL), what="it listens after all")
