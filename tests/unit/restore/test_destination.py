"""Where a restore goes: whatever a person calls it, and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from controller.core.errors import SidecarError, TargetGone, TargetUnsuitable, UnknownTarget
from controller.core.key import Key, runs_of
from controller.engine.models import Listed, NetworkEndpoint
from controller.restore.destination import Destination, Destinations
from controller.targets.discovery import elsewhere
from controller.targets.origin import NUMBER, PROJECT
from controller.targets.runnable import RunnableTarget
from controller.targets.scope import Scope
from controller.targets.target import Target
from tests.kit.world import FILES, POSTGRES, World, listed

OLD, DB = Key(project="old-shop", service="db"), Key(project="shop", service="db")
SCOPE = Scope(frozenset({"n1"}), "shop", "id-sidecar")


@dataclass
class PlayedEngine:
    """What it lists."""

    listing: list[Listed] = field(default_factory=list)

    def containers(self) -> list[Listed]:
        return self.listing


@pytest.fixture
def engine() -> PlayedEngine:
    return PlayedEngine([listed(service, {}) for service in ("db", "web", "sidecar")])


@pytest.fixture
def world(tmp_path: Path) -> World:
    two = {f"backup.targets.two.{name.removeprefix('backup.')}": value for name, value in FILES.items()}
    one = {f"backup.targets.one.{name.removeprefix('backup.')}": value for name, value in FILES.items()}
    return World(tmp_path, services={"db": POSTGRES, "web": {"backup.enable": "true", **one, **two}})


@pytest.fixture
def choose(engine: PlayedEngine, world: World) -> "Choosing":
    return Choosing(engine, world, world.targets())


@dataclass
class Choosing:
    engine: PlayedEngine
    world: World
    targets: Sequence[Target]
    scope: Scope = SCOPE

    def __call__(self, to: str, strategy: str = "postgres", key: Key = OLD) -> Destination:
        def far(target: Target) -> RunnableTarget | None:
            return elsewhere(self.world.loaded, target, self.world.strategies)

        destinations = Destinations(self.engine, lambda: self.targets, lambda: self.scope, far)  # type: ignore[arg-type]
        return destinations.choose(key, to, strategy)


@pytest.mark.parametrize("to", ["shop/db", "db", "shop-db-1"])
def test_a_place_is_a_key_a_service_or_a_container(choose: Choosing, to: str) -> None:
    destination = choose(to)
    assert (destination.container.name, str(destination.target.key)) == ("shop-db-1", "shop/db")


def test_without_a_place_it_is_the_runs_own(choose: Choosing) -> None:
    assert choose("", key=DB).target.key == DB
    with pytest.raises(UnknownTarget, match="no target old-shop/db"):
        choose("")


def test_a_key_names_one_of_several_targets_of_a_container(choose: Choosing) -> None:
    for name in ("one", "two"):
        assert choose(f"shop/web/{name}", "filesystem").target.key.name == name


def test_where_a_container_is_named_its_own_targets_say_how(choose: Choosing, engine: PlayedEngine) -> None:
    engine.listing.append(replace(listed("copy", {}), id="another"))
    other = next(target for target in choose.targets if target.key == DB)
    copy = replace(other, key=Key(project="shop", service="copy"), container=engine.listing[-1])
    choose.targets = [*choose.targets, copy]
    assert choose("copy", key=DB).target.key == copy.key
    assert choose("shop-db-1", key=DB).target.key == DB


def test_of_a_scaled_service_it_is_the_lowest_one_that_runs(choose: Choosing, engine: PlayedEngine) -> None:
    (first, *_) = engine.listing
    copies = {number: replace(first, labels=first.labels | {NUMBER: number}, id=number) for number in "123"}
    engine.listing[:1] = [copies["3"], copies["2"], replace(copies["1"], state="exited")]
    with pytest.raises(TargetUnsuitable, match="neither"):
        choose("db", "mysql")
    choose.targets = [replace(target, container=copies["2"]) for target in choose.targets if target.key == DB]
    assert choose("db").container.id == "2"


def test_a_name_beats_a_service(choose: Choosing, engine: PlayedEngine) -> None:
    engine.listing[1] = replace(engine.listing[1], name="db")
    assert choose("db", "filesystem").container.id == "id-web"


@pytest.mark.parametrize(
    ("to", "kind", "words"),
    [
        ("shop/bd", UnknownTarget, "no target shop/bd"),
        ("a/b/c/d", UnknownTarget, "a target's key is"),
        ("nobody", TargetGone, "no service and no container 'nobody'"),
        ("shop-sidecar-1", TargetUnsuitable, "not in scope"),
        ("sidecar", TargetGone, "no service and no container"),
        ("stranger", TargetUnsuitable, "not in scope"),
        ("far", TargetGone, "no service and no container"),
        ("stopped", TargetGone, "container stopped does not run"),
    ],
)
def test_any_other_place_is_refused(
    choose: Choosing, engine: PlayedEngine, to: str, kind: type[SidecarError], words: str
) -> None:
    far = listed("far", {})
    engine.listing += [
        replace(far, name="stranger", networks={"other": NetworkEndpoint("n2", "10.0.0.3")}),
        replace(far, name="stopped", state="exited", labels={PROJECT: "shop"}),
    ]
    with pytest.raises(kind, match=words):
        choose(to)


def test_a_service_of_several_projects_is_not_guessed(choose: Choosing, engine: PlayedEngine) -> None:
    (first, *_) = engine.listing
    engine.listing.append(replace(first, name="x", labels=first.labels | {PROJECT: "blog"}))
    choose.scope = replace(SCOPE, project=None)
    with pytest.raises(TargetUnsuitable, match="several projects have a service db"):
        choose("db")


SAYS = {"user": "root", "workdir": "/", "env.LD_PRELOAD": "x", "postgres.user": "shop", "commands.pre": "id"}


def test_in_another_container_labels_say_neither_user_nor_folder_nor_environment_nor_commands(
    choose: Choosing, world: World
) -> None:
    world.configure("defaults: {user: backup, env: {LANG: C}}")
    world.services = {"db": POSTGRES | {f"backup.{name}": value for name, value in SAYS.items()}}
    choose.targets = world.targets()

    here, far = choose("shop-db-1", key=DB).target, choose("web", key=DB).target

    assert (here.settings.user, here.settings.workdir) == ("root", "/")
    assert (far.settings.user, far.settings.workdir, far.settings.env) == ("backup", None, {"LANG": "C"})
    assert far.settings.commands.pre == ()
    assert far.options == here.options


def test_commands_of_a_container_are_no_restore_of_another_one(choose: Choosing, world: World) -> None:
    commands = {"backup.enable": "true", "backup.commands.backup": "dump", "backup.commands.restore": "id"}
    world.services = {"db": commands}
    choose.targets = world.targets()
    with pytest.raises(TargetUnsuitable, match="are in its labels") as raised:
        choose("web", "command", key=DB)
    assert (raised.value.code, "targets.shop/db" in raised.value.hint) == ("labels-of-another", True)

    world.configure("targets: {shop/db: {commands: {backup: [dump], restore: [load]}}}")
    choose.targets = world.targets()
    assert choose("web", "command", key=DB).target.settings.commands.restore == ("load",)

    world.services |= {"web": commands | {"backup.user": "web", "backup.commands.restore": "own"}}
    choose.targets = world.targets()
    there = choose("web", "command", key=DB).target.settings
    assert (there.user, there.commands.restore) == ("web", ("own",))


def test_the_keys_that_have_runs_are_named() -> None:
    assert runs_of([OLD, DB]) == "The store has runs of old-shop/db, shop/db."
    assert runs_of([]) == "The store has no runs."
    assert runs_of(map(str, range(25))).endswith("19 and 5 more.")
