"""A stack's containers as targets: keys that stay over updates, and nobody in another's place."""

from dataclasses import replace
from pathlib import Path

import pytest

from config.loading import Loaded, load
from controller.engine.models import Listed, NetworkEndpoint, NetworkInfo
from controller.targets.discovery import find
from controller.targets.holders import Holders
from controller.targets.inventory import merged
from controller.targets.origin import NUMBER, PROJECT, SERVICE, STACK, SWARM_SERVICE, SWARM_TASK, SWARM_TASK_NAME
from controller.targets.scope import NETWORK, Scope, find_scope
from controller.targets.target import Target
from strategies import discover

INTERNAL = NetworkInfo("n1", "shop_app_internal", {STACK: "shop"})
OTHER = NetworkInfo("n2", "blog_app_internal", {STACK: "blog"})
EXTERNAL = NetworkInfo("n3", "backups_net", {})
NETWORKS = (INTERNAL, OTHER, EXTERNAL)
WANTED = {"backup.enable": "true", "backup.strategy": "postgres"}
NODE = "bpaymznoskp19yayxt87tc9pb"


def task(
    service: str = "shop_db", slot: str = "1", own: str = "t1", *, stack: str | None = "shop", **labels: str
) -> Listed:
    name = f"{service}.{slot}.{own}"
    swarm = {SWARM_TASK: own, SWARM_TASK_NAME: name, SWARM_SERVICE: service} | ({STACK: stack} if stack else {})
    return Listed(
        id=f"id-{own}", name=name, image="i", image_id="ii", labels=swarm | WANTED | labels, state="running",
        networks={net.name: NetworkEndpoint(net.id, "10.0.0.9") for net in (INTERNAL, EXTERNAL)}, created=1,
    )  # fmt: skip


TASK = task("shop_sidecar", NODE, "t0")
SIDECAR = replace(TASK, labels={name: TASK.labels[name] for name in TASK.labels.keys() - WANTED.keys()})


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return load(tmp_path, {"BACKUP_API_TOKEN": "0123456789abcdef-token"}, discover().keys())


@pytest.fixture
def anywhere(tmp_path: Path) -> Loaded:
    (tmp_path / "config.yaml").write_text("scope: {project: any}\n")
    return load(tmp_path, {"BACKUP_API_TOKEN": "0123456789abcdef-token"}, discover().keys())


def scope(loaded: Loaded, *listed: Listed) -> Scope:
    return find_scope(loaded, SIDECAR.id, (SIDECAR, *listed), NETWORKS)


def targets(loaded: Loaded, *listed: Listed, holders: Holders | None = None) -> dict[str, Target]:
    return find(loaded, scope(loaded, *listed), listed, discover(), holders=holders)


def states(loaded: Loaded, *listed: Listed, holders: Holders | None = None) -> dict[str, tuple[str, str]]:
    """State and container of each target."""
    return {
        key: (target.state, target.container.id) for key, target in targets(loaded, *listed, holders=holders).items()
    }


def test_the_stack_is_the_project_and_its_network_is_found(loaded: Loaded) -> None:
    found = scope(loaded)
    assert (found.project, found.networks, found.address) == ("shop", {"n1"}, "10.0.0.9")
    assert found.problems == ()
    assert found.in_swarm


def test_a_network_is_found_by_its_own_name_too(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("scope: {network: shop_app_internal}\n")
    loaded = load(tmp_path, {"BACKUP_API_TOKEN": "0123456789abcdef-token"}, discover().keys())
    assert scope(loaded).networks == {"n1"}


def test_a_service_is_called_as_the_stacks_file_calls_it(loaded: Loaded) -> None:
    assert states(loaded, task(), task("shop_my_db", own="t2")) == {
        "shop/db": ("pending", "id-t1"),
        "shop/my_db": ("pending", "id-t2"),
    }


def test_a_key_outlives_an_update(loaded: Loaded) -> None:
    old, new = replace(task(own="t1"), state="exited"), task(own="t2")
    assert states(loaded, task(own="t1")).keys() == states(loaded, old, new).keys() == {"shop/db"}
    assert states(loaded, old, new)["shop/db"] == ("pending", "id-t2")


def test_while_two_tasks_share_a_slot_the_older_one_is_the_target(loaded: Loaded) -> None:
    old, new, holders = task(own="t1"), replace(task(own="t2"), created=2), Holders()
    assert states(loaded, old, holders=holders) == {"shop/db": ("pending", "id-t1")}
    both = states(loaded, new, old, holders=holders)
    assert both == {"shop/db": ("pending", "id-t1"), "shop/db@shop_db.1": ("replica", "id-t2")}
    after = states(loaded, new, replace(old, state="exited"), holders=holders)
    assert after == {"shop/db": ("pending", "id-t2")}


def test_the_lowest_slot_is_the_target_and_the_others_are_replicas(loaded: Loaded) -> None:
    assert states(loaded, task(slot="10", own="t10"), task(slot="9", own="t9")) == {
        "shop/db": ("pending", "id-t9"),
        "shop/db@shop_db.10": ("replica", "id-t10"),
    }


def test_a_service_in_global_mode_has_one_task_and_no_slot(loaded: Loaded) -> None:
    assert states(loaded, task(slot=NODE)) == {"shop/db": ("pending", "id-t1")}


def test_of_the_tasks_that_have_ended_the_newest_stands_for_the_service(loaded: Loaded) -> None:
    """Swarm keeps the last few; the service may have moved to another node."""
    ended = [replace(task(own=f"t{age}"), state="exited", created=age) for age in (2, 3, 1)]
    assert states(loaded, *ended) == {"shop/db": ("absent", "id-t3")}


def test_a_task_that_has_ended_is_listed_only_where_its_service_has_a_backup(loaded: Loaded) -> None:
    """Elsewhere it was never backed up, or it is still to run; a node that it has left needs no one's attention."""
    ended = targets(loaded, replace(task(), state="exited"))

    def listed(*, remembered: bool) -> list[str]:
        known = merged({}, ended, lambda _: remembered, lambda _: False)
        return [target.state for target in known.values()]

    assert listed(remembered=False) == []
    assert listed(remembered=True) == ["absent"]


def test_another_stack_on_the_network_is_no_target(loaded: Loaded) -> None:
    assert targets(loaded, task("blog_db", stack="blog")) == {}


def test_a_service_of_no_stack_keeps_its_name_where_any_project_counts(anywhere: Loaded) -> None:
    assert states(anywhere, task("db", stack=None), task("blog_db", stack="blog", own="t2")) == {
        "_/db": ("pending", "id-t1"),
        "blog/db": ("pending", "id-t2"),
    }


def test_a_sidecar_of_no_stack_says_what_it_lacks(loaded: Loaded) -> None:
    own = task("sidecar", NODE, "t0", stack=None)
    (problem,) = find_scope(loaded, own.id, [own], NETWORKS).problems
    assert problem.code == "no-project"
    assert "docker stack deploy" in problem.hint


def test_a_sidecar_without_a_way_to_the_orchestrator_is_told_of_an_overlay(loaded: Loaded) -> None:
    own = replace(SIDECAR, networks={INTERNAL.name: NetworkEndpoint("n1", "10.0.0.9")})
    (problem,) = find_scope(loaded, own.id, [own], NETWORKS).problems
    assert "docker network create --driver overlay --attachable backups_net" in problem.hint


# --- what Compose and Swarm write, where it should not be ------------------------------------------------------------


def test_an_image_that_compose_has_built_takes_no_task_out_of_its_stack(loaded: Loaded) -> None:
    built = {PROJECT: "builder", SERVICE: "image", "com.docker.compose.version": "2.26.1"}
    assert states(loaded, task(**built)) == {"shop/db": ("pending", "id-t1")}


def test_a_container_of_compose_is_no_task_whatever_its_file_says(loaded: Loaded) -> None:
    intruder = task(**{PROJECT: "intruder", SERVICE: "db", NUMBER: "1"})
    assert targets(loaded, intruder) == {}


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (SWARM_SERVICE, "../../etc"),
        (SWARM_SERVICE, ""),
        (SWARM_SERVICE, "shop_db\n"),
        (SWARM_SERVICE, "web"),
        (SWARM_SERVICE, f"shop_{'x' * 10_000}"),
        (STACK, "blog"),
        (SWARM_TASK_NAME, "shop_db.1.\x1b[31m"),
        (SWARM_TASK_NAME, ""),
    ],
)
def test_what_swarm_never_writes_is_a_problem_of_its_container(anywhere: Loaded, label: str, value: str) -> None:
    made = task(**{label: value})
    (target,) = targets(anywhere, made).values()
    assert (target.key.project, target.key.service, target.state) == ("_", made.name, "problem")
    assert target.problems[0].code == "forged-label"
    assert "Swarm" in target.problems[0].message
    assert not value or value not in str(target.problems[0])


def test_the_compose_name_of_a_network_still_counts(loaded: Loaded) -> None:
    network = NetworkInfo("n1", "whatever", {NETWORK: "app_internal"})
    assert find_scope(loaded, SIDECAR.id, [SIDECAR], [network, EXTERNAL]).networks == {"n1"}
