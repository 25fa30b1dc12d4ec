"""From the engine's list to targets, without an engine."""

from dataclasses import replace
from pathlib import Path
from typing import get_origin

import pytest

from config.loading import Loaded, load
from config.problems import ConfigurationError
from controller.core.errors import TargetGone, TargetUnsuitable
from controller.core.key import Key
from controller.engine.models import Listed, NetworkEndpoint, NetworkInfo
from controller.targets.discovery import find, nearest
from controller.targets.holders import Holders
from controller.targets.inventory import carry_over
from controller.targets.origin import NUMBER, ONEOFF, PROJECT, SERVICE
from controller.targets.resolution import Resolution
from controller.targets.scope import NETWORK, find_scope
from controller.targets.target import Target
from controller.views.targets import described
from strategies import discover

INTERNAL = NetworkInfo("n1", "shop_app_internal", {NETWORK: "app_internal", PROJECT: "shop"})
EXTERNAL = NetworkInfo("n2", "backups_net", {})
LABELS = {"backup.enable": "true", "backup.strategy": "postgres"}


def configured(tmp_path: Path, text: str = "") -> Loaded:
    (tmp_path / "config.yaml").write_text(text)
    return load(tmp_path, {"BACKUP_API_TOKEN": "0123456789abcdef-token"}, discover().keys())


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return configured(tmp_path)


def container(
    name: str,
    *,
    labels: dict[str, str] | None = None,
    project: str | None = "shop",
    networks: tuple[NetworkInfo, ...] = (INTERNAL,),
    **changes: object,
) -> Listed:
    number = {SERVICE: name.split("-", maxsplit=1)[0], NUMBER: name.rpartition("-")[2]}
    compose = {} if project is None else {PROJECT: project, **number}
    listed = Listed(
        id=f"id-{name}", name=name, image="i", image_id="ii", labels=compose | (LABELS if labels is None else labels),
        state="running", networks={net.name: NetworkEndpoint(net.id, "10.0.0.9") for net in networks}, created=1,
    )  # fmt: skip
    return replace(listed, **changes)  # type: ignore[arg-type]


SIDECAR = container("sidecar-1", labels={}, networks=(INTERNAL, EXTERNAL))


def targets(
    loaded: Loaded, *listed: Listed, own: Listed | None = SIDECAR, holders: Holders | None = None
) -> dict[str, Target]:
    everything = (*listed, *([own] if own else []))
    scope = find_scope(loaded, own.id if own else None, everything, (INTERNAL, EXTERNAL))
    return find(loaded, scope, everything, discover(), holders=holders)


def test_a_labelled_container_of_the_project_on_the_network_is_a_target(loaded: Loaded) -> None:
    found = targets(loaded, container("db-1"))
    assert list(found) == ["shop/db"]
    assert found["shop/db"].state == "pending"
    assert found["shop/db"].strategy == "postgres"


@pytest.mark.parametrize(
    "other",
    [
        container("db-1", networks=()),
        container("db-1", networks=(EXTERNAL,)),
        container("db-1", project="stranger"),
        container("db-1", labels={}),
        container("db-1", labels=LABELS | {ONEOFF: "True"}),
    ],
    ids=["no network", "another network", "another project", "no labels", "one-off"],
)
def test_what_is_out_of_scope_is_no_target(loaded: Loaded, other: Listed) -> None:
    assert targets(loaded, other) == {}


def test_the_sidecar_never_backs_itself_up(loaded: Loaded) -> None:
    own = replace(SIDECAR, labels={**SIDECAR.labels, **LABELS})
    assert targets(loaded, own=own) == {}


def test_any_project_is_seen_only_when_the_operator_says_so(tmp_path: Path) -> None:
    loaded = configured(tmp_path, "scope: {project: any}")
    found = targets(loaded, container("db-1", project="stranger"), container("lonely", project=None))
    assert set(found) == {"stranger/db", "_/lonely"}


def test_a_sidecar_outside_its_networks_says_what_it_lacks(loaded: Loaded) -> None:
    alone = replace(SIDECAR, networks={})
    scope = find_scope(loaded, alone.id, [alone], [INTERNAL, EXTERNAL])
    assert [(problem.code, problem.severity) for problem in scope.problems] == [
        ("not-on-network", "error"),
        ("not-on-network", "warning"),
    ]
    assert "app_internal" in scope.problems[0].message
    assert "docker network create backups_net" in scope.problems[1].hint


def test_a_sidecar_outside_any_container_looks_at_nothing(loaded: Loaded) -> None:
    scope = find_scope(loaded, None, [container("db-1")], [INTERNAL])
    assert scope.networks == frozenset()
    assert [problem.code for problem in scope.problems] == ["not-in-container"]


def test_of_a_scaled_service_the_lowest_number_is_the_target(loaded: Loaded) -> None:
    found = targets(loaded, container("db-10"), container("db-2"), container("db-3"))
    assert found["shop/db"].container.name == "db-2"
    assert sorted(key for key, target in found.items() if target.state == "replica") == [
        "shop/db@db-10",
        "shop/db@db-3",
    ]


def test_a_new_container_that_is_not_started_does_not_take_the_place_of_the_old(loaded: Loaded) -> None:
    fresh = replace(container("db-1"), id="id-new", name="abc_db-1", state="created", created=2)
    found = targets(loaded, fresh, container("db-1"))
    assert list(found) == ["shop/db"]
    assert found["shop/db"].container.id == "id-db-1"


def test_a_bad_label_breaks_only_its_own_target(loaded: Loaded) -> None:
    found = targets(
        loaded, container("db-1"), container("web-1", labels={"backup.enable": "true", "backup.stratgy": "postgres"})
    )
    assert found["shop/db"].state == "pending"
    assert found["shop/web"].state == "problem"
    assert any(
        "backup.stratgy" in problem.place and "strategy" in problem.hint for problem in found["shop/web"].problems
    )


def test_a_bad_option_of_a_strategy_is_a_problem_with_its_label(loaded: Loaded) -> None:
    found = targets(loaded, container("db-1", labels=LABELS | {"backup.postgres.port": "99999"}))
    assert found["shop/db"].state == "problem"
    assert any("backup.postgres.port" in problem.place for problem in found["shop/db"].problems)


def test_several_targets_on_one_container(loaded: Loaded) -> None:
    labels = {
        "backup.enable": "true",
        "backup.targets.main.strategy": "postgres",
        "backup.targets.files.strategy": "filesystem",
        "backup.targets.files.filesystem.paths": "/srv",
    }
    assert {key: target.strategy for key, target in targets(loaded, container("db-1", labels=labels)).items()} == {
        "shop/db/main": "postgres",
        "shop/db/files": "filesystem",
    }


def test_labels_without_enable_are_listed_as_disabled_and_cannot_run(loaded: Loaded) -> None:
    found = targets(loaded, container("db-1", labels={"backup.strategy": "postgres"}))["shop/db"]
    assert found.state == "disabled"
    with pytest.raises(TargetUnsuitable, match="does not opt in") as raised:
        found.runnable()
    assert "backup.enable=true" in raised.value.hint
    assert raised.value.code == "not-enabled"


def test_a_stopped_container_is_absent_and_cannot_run(loaded: Loaded) -> None:
    found = targets(loaded, container("db-1", state="exited"))["shop/db"]
    assert found.state == "absent"
    with pytest.raises(TargetGone):
        found.runnable()


def test_what_was_found_out_holds_only_for_the_same_container_and_settings(loaded: Loaded) -> None:
    new = targets(loaded, container("db-1"))["shop/db"]
    old = replace(new, state="ready")
    assert carry_over(old, new).state == "ready"
    assert carry_over(old, replace(new, container=replace(new.container, id="other"))).state == "pending"
    changed = targets(loaded, container("db-1", labels=LABELS | {"backup.timeout": "2h"}))["shop/db"]
    assert carry_over(old, changed).state == "pending"
    stopped = replace(old, container=replace(old.container, state="exited"), state="absent")
    assert carry_over(stopped, new).state == "pending"


def test_a_secret_looking_variable_is_not_shown(loaded: Loaded) -> None:
    found = targets(
        loaded,
        container("db-1", labels=LABELS | {"backup.env.API_TOKEN": "hunter2hunter2", "backup.env.COLOR": "blue"}),
    )
    shown = described(found["shop/db"], loaded.secrets).model_dump_json()
    assert "hunter2" not in shown
    assert "blue" in shown


def test_the_nearest_keys_are_suggested() -> None:
    assert nearest(Key(project="shop", service="bd"), ["shop/db", "blog/web"]) == "Did you mean shop/db?"
    assert "none" in nearest(Key(project="a", service="b"), [])


# --- Compose's labels, which anybody can write by hand ---------------------------------------------------------------


@pytest.mark.parametrize("number", ["", "0", "-1", "\u0661", "9" * 5000])
def test_a_made_up_number_takes_nobodys_place(loaded: Loaded, number: str) -> None:
    forged = container("db-1")
    forged = replace(forged, id="f", name="forged", created=0, labels={**forged.labels, NUMBER: number})
    own = container("db-1", created=9)
    holders = Holders()
    assert targets(loaded, own, holders=holders)["shop/db"].state == "pending"
    found = targets(loaded, forged, own, holders=holders)
    assert found["shop/db"].container.name == "db-1"
    assert (found["shop/db@forged"].state, found["shop/db@forged"].problems[0].code) == ("problem", "key-taken")


@pytest.mark.parametrize("service", ["", "../../etc", "a/b", "%2e%2e", "a\x1b[31m", "x" * 10_000, "a b", "d\n"])
def test_a_service_that_compose_never_writes_is_a_problem(loaded: Loaded, service: str) -> None:
    made = container("db-1")
    made = replace(made, labels={**made.labels, SERVICE: service})
    (target,) = targets(loaded, made).values()
    assert (str(target.key), target.state) == ("_/db-1", "problem")
    assert target.problems[0].code == "forged-label"
    assert target.problems[0].place == f"container db-1, label {SERVICE}"
    assert not service or service not in str(target.problems[0])
    with pytest.raises(TargetUnsuitable):
        target.runnable()


def test_a_forged_project_is_a_problem_where_any_project_counts(tmp_path: Path) -> None:
    loaded = configured(tmp_path, "scope: {project: any}\n")
    found = targets(loaded, container("db-1", project="../shop"), container("web-1", project="other"))
    assert {str(key): target.state for key, target in found.items()} == {"_/db-1": "problem", "other/web": "pending"}


LISTS = sorted(
    f"{strategy.names[0]}.{name}"
    for strategy in set(discover().values()) - {discover()["command"]}
    for name, field in strategy.options.model_fields.items()
    if get_origin(field.annotation) is tuple
)


@pytest.mark.parametrize("text", ["[" * 10_000, f'["a",{"9" * 10_000}]', r'["\ud800"]', '["a",'])
@pytest.mark.parametrize("option", [*LISTS, "commands.backup", "commands.pre.1", "drill.check"])
def test_a_list_that_cannot_be_read_is_a_problem_of_its_own_container(loaded: Loaded, option: str, text: str) -> None:
    strategy = option.partition(".")[0] if option in LISTS else "postgres"
    labels = {"backup.enable": "true", "backup.strategy": strategy, f"backup.{option}": text}
    found = targets(loaded, container("bad-1", labels=labels), container("good-1"))
    assert found["shop/good"].state == "pending"
    assert found["shop/bad"].state == "problem"
    (problem,) = (problem for problem in found["shop/bad"].problems if problem.severity == "error")
    assert problem.place == f"container bad-1, label backup.{option}"
    assert problem.hint


# --- what was meant to be there -------------------------------------------------------------------------------------


def missed(loaded: Loaded, *listed: Listed, own: Listed = SIDECAR) -> list[tuple[str, str]]:
    """Place and remedy of each container that is not seen."""
    scope = Resolution(discover()).scope(loaded, own.id, (*listed, own), (INTERNAL, EXTERNAL))
    return [(one.place, one.hint) for one in scope.problems if one.severity == "error"]


@pytest.mark.parametrize(
    ("networks", "mode", "remedy"),
    [
        ({"shop_default": "n9"}, "shop_default", "add the line `networks: [default, app_internal]` to its"),
        ({"shop_front": "n8", "lan": "n7"}, "shop_front", "add the line `networks: [front, lan, app_internal]`"),
        ({"host": "n6"}, "host", "replace the line `network_mode` of its service (host) by `networks: [default, app_"),
        ({"none": "n5"}, "none", "replace the line `network_mode` of its service (none) by"),
        ({}, f"container:{'a' * 64}", "replace the line `network_mode` of its service (container:aaaaaaaaaaaa) by"),
        ({}, "", "add the line `networks: [default, app_internal]`"),
    ],
)
def test_a_container_that_opts_in_and_is_not_on_the_network_is_named_with_its_remedy(
    loaded: Loaded, networks: dict[str, str], mode: str, remedy: str
) -> None:
    joined = {name: NetworkEndpoint(number, "10.0.0.9") for name, number in networks.items()}
    alone = container("db-1", networks=(), network_mode=mode)
    ((place, hint),) = missed(loaded, replace(alone, networks=joined))
    assert place == "container db-1"
    assert remedy in hint


def test_a_command_of_the_file_sees_the_secrets_that_are_named_for_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "secrets: [A, B]\nstrategy: {commands: {backup: [dump]}}\ntargets: {shop/db: {secrets: [A]}}\n"
    )
    given = {"BACKUP_API_TOKEN": "0123456789abcdef-token", "A": "the-secret-a", "B": "the-secret-b"}
    loaded = load(tmp_path, given, discover().keys())
    asks = {"backup.enable": "true", "backup.commands.pre": "env"}
    described = targets(loaded, container("db-1", labels=asks))["shop/db"].described
    assert described
    assert described.secrets_for("backup", loaded.secrets) == {"A": "the-secret-a"}
    assert described.secrets_for("pre", loaded.secrets) == {}


def test_a_secret_that_nobody_lists_cannot_be_named_for_a_command(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("secrets: [A]\ntargets: {shop/db: {secrets: [C]}}\n")
    with pytest.raises(ConfigurationError, match=r"`targets.shop/db.secrets` names C, which `secrets` does not"):
        load(tmp_path, {"BACKUP_API_TOKEN": "0123456789abcdef-token", "A": "the-secret-a"}, discover().keys())


@pytest.mark.parametrize(("name", "code"), [(INTERNAL.name, "key-taken"), ("elsewhere", None)])
def test_a_container_that_has_not_started_is_on_the_networks_that_it_was_made_for(
    loaded: Loaded, name: str, code: str | None
) -> None:
    """The engine lists them by name only, until it starts."""
    waiting = replace(container("other-1"), state="created", networks={name: NetworkEndpoint("", "")})
    waiting = replace(waiting, labels=container("db-1").labels)
    found = targets(loaded, container("db-1"), waiting)
    assert [problem.code for problem in found["shop/db"].problems] == ([code] if code else [])


@pytest.mark.parametrize(
    "other",
    [
        container("db-1"),
        container("db-1", networks=(), project="stranger"),
        container("db-1", networks=(), labels={}),
        container("db-1", networks=(), labels={"backup.strategy": "postgres"}),
        container("db-1", networks=(), labels=LABELS | {"backup.enable": "no"}),
        container("db-1", networks=(), labels=LABELS | {ONEOFF: "True"}),
        container("db-1", networks=(), state="exited"),
    ],
    ids=["on the network", "another project", "no labels", "no opt-in", "opted out", "one-off", "stopped"],
)
def test_what_was_not_meant_to_be_seen_is_not_named(loaded: Loaded, other: Listed) -> None:
    assert missed(loaded, other) == []


def test_a_sidecar_that_is_itself_not_on_the_network_names_only_itself(loaded: Loaded) -> None:
    own = container("sidecar-1", labels={}, networks=(EXTERNAL,))
    ((place, _),) = missed(loaded, container("db-1", networks=()), own=own)
    assert place == "sidecar"


def test_in_a_scope_of_any_project_only_the_own_ones_are_named(tmp_path: Path) -> None:
    loaded = configured(tmp_path, "scope: {project: any}")
    found = missed(loaded, container("db-1", networks=()), container("db-2", networks=(), project="stranger"))
    assert [place for place, _ in found] == ["container db-1"]


# --- a service of the app in the sidecar's own, another sidecar


@pytest.mark.parametrize(
    ("labels", "ports", "left"),
    [
        ({}, {8000}, ""),
        ({"backup-sidecar.x": "1"}, set(), ""),
        ({"backup.enable": "true"}, set(), "has the label backup.enable,"),
        ({}, {8000, 80}, "has the port 80,"),
        ({"backup.enable": "true"}, {80}, "has the label backup.enable and the port 80,"),
    ],
)
def test_what_no_sidecar_has_is_of_a_service_of_the_app(
    loaded: Loaded, labels: dict[str, str], ports: set[int], left: str
) -> None:
    own = replace(SIDECAR, labels=SIDECAR.labels | labels, published=frozenset(ports))
    problems = find_scope(loaded, own.id, (own,), (INTERNAL, EXTERNAL)).problems
    assert [problem.code for problem in problems] == (["merged-service"] if left else [])
    assert not left or left in problems[0].message


TITLE = {"org.opencontainers.image.title": "backup-sidecar"}
SECOND = container("sidecar-2", labels=TITLE)


def scope_codes(loaded: Loaded, *listed: Listed) -> list[tuple[str, str]]:
    scope = find_scope(loaded, SIDECAR.id, (SIDECAR, *listed), (INTERNAL, EXTERNAL))
    return [(problem.code, problem.severity) for problem in scope.problems]


def test_a_second_sidecar_of_the_same_containers_is_a_problem(loaded: Loaded) -> None:
    assert scope_codes(loaded, SECOND) == [("two-sidecars", "error")]


@pytest.mark.parametrize(
    "harmless",
    [
        replace(SECOND, state="exited"),
        replace(SECOND, labels=SECOND.labels | {ONEOFF: "True"}),
        replace(SECOND, labels=SECOND.labels | {PROJECT: "blog"}),
        replace(SECOND, networks={}),
        replace(SECOND, labels={key: value for key, value in SECOND.labels.items() if key not in TITLE}),
    ],
    ids=["stopped", "another command", "another project", "not on the network", "another image"],
)
def test_what_backs_up_nothing_here_is_no_second_sidecar(loaded: Loaded, harmless: Listed) -> None:
    assert scope_codes(loaded, harmless) == []
