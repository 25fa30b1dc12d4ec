"""Labels: what they say about one target or several, and what they may never say."""

import pytest

from config.labels import ASKS_TOO_MUCH, OPERATOR_ONLY, LabelPart, parse
from config.problems import Problem

STRATEGIES = ("filesystem", "postgres", "mysql", "mariadb")


def parsed(**labels: str) -> tuple[LabelPart, ...]:
    return parse({f"backup.{key}": value for key, value in labels.items()}, "shop-db-1", strategies=STRATEGIES)


def only(**labels: str) -> LabelPart:
    (part,) = parsed(**labels)
    return part


def problem(**labels: str) -> Problem:
    (refusal,) = only(**labels).problems
    return refusal


def enabled(**labels: str) -> dict[str | None, LabelPart]:
    return {part.name: part for part in parsed(**labels) if part.enabled}


def values(part: LabelPart) -> dict[str, object]:
    return {".".join(path): item.value for layer in part.layers for path, item in layer.items()}


def test_two_labels_are_a_whole_configuration() -> None:
    part = only(enable="true", strategy="postgres")
    assert (part.name, part.enabled, part.problems) == (None, True, ())
    assert values(part) == {"strategy": "postgres"}


def test_other_labels_are_not_ours() -> None:
    assert parse({"backup": "x", "traefik.enable": "true", "backups.enable": "true"}, "c", strategies=STRATEGIES) == ()


def test_the_prefix_is_the_operators_choice() -> None:
    (part,) = parse({"save.enable": "yes", "backup.enable": "no"}, "c", prefix="save.", strategies=())
    assert part.enabled


@pytest.mark.parametrize("value", ["true", "YES", "on", "1", " True "])
def test_enable_says_yes(value: str) -> None:
    assert only(enable=value).enabled


@pytest.mark.parametrize("value", ["false", "No", "off", "0"])
def test_enable_says_no_and_silences_the_rest(value: str) -> None:
    part = only(enable=value, stratgy="x")
    assert (part.enabled, part.problems) == (False, ())


@pytest.mark.parametrize("value", ["yse", "", "2"])
def test_enable_that_says_neither_is_seen(value: str) -> None:
    refusal = problem(enable=value)
    assert refusal.code == "bad-enable"
    assert refusal.place == "container shop-db-1, label backup.enable"
    assert f"`{value}`" in refusal.message


def test_labels_without_enable_are_disabled_and_say_so() -> None:
    part = only(strategy="postgres", stratgy="x")
    assert not part.enabled
    assert [problem.code for problem in part.problems] == ["unknown-label", "not-enabled"]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("stratgy", "strategy"),
        ("enabel", "enable"),
        ("Strategy", "strategy"),
        ("stall_timeout", "stall-timeout"),
        ("retention.keep_daily", "retention.keep-daily"),
        ("command.pre", "commands.pre"),
        ("postgre.databases", "postgres.databases"),
    ],
)
def test_an_unknown_key_gets_a_suggestion(key: str, meant: str) -> None:
    refusal = problem(enable="true", **{key: "x"})
    assert (refusal.code, refusal.hint) == ("unknown-label", f"Did you mean `{meant}`?")


@pytest.mark.parametrize(
    "key",
    ["retention", "commands", "env", "postgres", "commands.pre.x", "postgres.", "", "a..b", "postgres" + ".a" * 5_000],
)
def test_a_section_is_no_setting(key: str) -> None:
    assert problem(enable="true", **{key: "x"}).severity == "error"


@pytest.mark.parametrize(("alias", "real"), [("cron", "schedule"), ("type", "strategy")])
def test_other_peoples_names_work_with_a_warning(alias: str, real: str) -> None:
    part = only(enable="true", **{alias: "x"})
    assert values(part) == {real: "x"}
    assert [(problem.code, problem.severity) for problem in part.problems] == [("renamed-label", "warning")]


def test_enabled_means_enable() -> None:
    assert only(enabled="true").enabled


def test_an_alias_beside_the_real_name_is_a_problem() -> None:
    assert "duplicate-label" in {problem.code for problem in only(enable="true", type="a", strategy="b").problems}
    assert "duplicate-label" in {problem.code for problem in only(enable="true", enabled="false").problems}


@pytest.mark.parametrize("key", [*OPERATOR_ONLY, "paths.artifacts", "api.token", "orchestrator.url"])
def test_what_belongs_to_the_operator_names_the_files_key(key: str) -> None:
    refusal = problem(enable="true", **{key: "x"})
    assert refusal.code == "operator-only"
    assert f"`{OPERATOR_ONLY[key.partition('.')[0]]}`" in refusal.hint


@pytest.mark.parametrize("key", sorted(ASKS_TOO_MUCH))
def test_what_no_container_may_ask_for(key: str) -> None:
    assert problem(enable="true", **{key: "x"}).code == "operator-only"


@pytest.mark.parametrize("text", ["a\x00b", "a\x1b[31mb", "a\u202eb", "a\x7fb", "a\u2028b", "a\ud800b", "a\rb"])
def test_characters_that_deceive_are_refused_and_not_repeated(text: str) -> None:
    for refusal in (problem(enable="true", user=text), problem(enable="true", **{text: "x"})):
        assert refusal.code == "bad-characters"
        assert text not in str(refusal)
        assert str(refusal).isprintable()


def test_enormous_labels_are_one_problem() -> None:
    refusal = problem(enable="true", strategy="x" * (1 << 20))
    assert refusal.code == "labels-too-large"
    assert len(str(refusal)) < 500


def test_too_many_labels_are_one_problem() -> None:
    assert problem(enable="true", **{f"q{number}": "" for number in range(1000)}).code == "labels-too-large"


def test_a_container_has_up_to_32_targets() -> None:
    named = {f"targets.t{number}.counts": "true" for number in range(32)}
    assert len(enabled(enable="true", **named)) == 32
    assert problem(enable="true", **named, **{"targets.more.counts": "true"}).code == "too-many-targets"


def test_not_every_unknown_label_is_compared_with_all_that_are_known() -> None:
    hints = [each.hint for each in only(enable="true", **{f"retentio{number}": "" for number in range(99)}).problems]
    assert hints.count("`explain` shows what there is.") == 79


def test_labels_of_others_do_not_count_for_the_size() -> None:
    labels = {"other": "x" * 100_000, "backup.enable": "true"}
    assert parse(labels, "c", strategies=())[0].problems == ()


def test_numbered_commands_stand_in_their_order() -> None:
    part = only(enable="true", **{"commands.pre.10": "c", "commands.pre.2": '["b","x"]', "commands.pre.1": "a"})
    assert values(part) == {"commands.pre": ["a", ("b", "x"), "c"]}


def test_numbered_and_plain_commands_exclude_each_other() -> None:
    assert problem(enable="true", **{"commands.pre": "a", "commands.pre.1": "b"}).code == "duplicate-label"


@pytest.mark.parametrize("value", ["", '["a",', '[["a"],["b"]]'])
def test_a_bad_numbered_command_is_a_problem(value: str) -> None:
    assert problem(enable="true", **{"commands.post.1": value}).place.endswith("label backup.commands.post.1")


def test_variables_keep_their_case_and_need_good_names() -> None:
    assert values(only(enable="true", **{"env.Name_1": " x "})) == {"env.Name_1": " x "}
    assert problem(enable="true", **{"env.1x": "x"}).code == "bad-value"


def test_options_are_kept_beneath_their_strategy() -> None:
    assert values(only(enable="true", **{"postgres.databases": "a,b"})) == {"options.postgres.databases": "a,b"}


# --- several targets ---


def test_common_labels_are_the_base_of_each_named_target() -> None:
    targets = enabled(
        enable="true",
        timeout="2h",
        strategy="postgres",
        **{"targets.files.strategy": "filesystem", "targets.db.timeout": "3h"},
    )
    assert set(targets) == {"db", "files"}
    assert values(targets["db"]) == {"strategy": "postgres", "timeout": "3h"}
    assert values(targets["files"]) == {"strategy": "filesystem", "timeout": "2h"}
    assert targets["db"].layers[1]["timeout",].source == "label backup.targets.db.timeout"


def test_a_named_target_may_opt_out_or_in() -> None:
    opted_out = parsed(enable="true", **{"targets.a.strategy": "x", "targets.b.enable": "false"})
    opted_in = parsed(**{"targets.a.enable": "true", "targets.b.strategy": "x"})
    for parts in (opted_out, opted_in):
        assert [(part.name, part.enabled) for part in parts] == [("a", True), ("b", False)]


def test_a_bad_label_breaks_its_own_target_only() -> None:
    targets = enabled(enable="true", **{"targets.a.stratgy": "x", "targets.b.strategy": "postgres"})
    assert [problem.code for problem in targets["a"].problems] == ["unknown-label"]
    assert targets["b"].problems == ()


def test_a_bad_common_label_breaks_every_target() -> None:
    targets = enabled(enable="true", stratgy="x", **{"targets.a.timeout": "1h", "targets.b.timeout": "1h"})
    assert [bool(part.problems) for part in targets.values()] == [True, True]


@pytest.mark.parametrize("name", ["../../etc/cron", "%2f", "A", "-a", "a" * 33, "", "a b", "a\n"])
def test_a_bad_target_name_is_refused_and_seen(name: str) -> None:
    refusal = problem(enable="true", **{f"targets.{name}.strategy": "postgres"})
    assert (refusal.code, refusal.severity) == ("bad-target-name", "error")


def test_a_bad_target_name_does_not_stop_the_good_ones() -> None:
    targets = enabled(enable="true", **{"targets.A.strategy": "postgres", "targets.b.strategy": "postgres"})
    assert [(problem.code, problem.severity) for problem in targets["b"].problems] == [("bad-target-name", "warning")]
