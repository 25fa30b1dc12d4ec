"""The merge: who wins, where each value came from, and what keeps a target from running."""

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from config.labels import parse
from config.loading import load
from config.problems import Problem
from config.resolve import Resolved, resolve
from config.secrets import passwords_in
from config.target import TargetSettings

TOKEN = "gK4c0nT2vQ8yZp1LrX6w"
STRATEGIES = {
    "filesystem": "filesystem",
    "files": "filesystem",
    "postgres": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
}
Merge = Callable[..., Resolved]


@pytest.fixture
def merge(tmp_path: Path) -> Merge:
    def merged(text: str = "", environ: dict[str, str] | None = None, **labels: str) -> Resolved:
        (tmp_path / "config.yaml").write_text(text)
        loaded = load(tmp_path, {"BACKUP_API_TOKEN": TOKEN, **(environ or {})})
        named = {f"backup.{key}": value for key, value in {"enable": "true", **labels}.items()}
        (part,) = parse(named, "shop-db-1", strategies=STRATEGIES)
        return resolve(loaded, "shop/db", part, "shop-db-1", STRATEGIES)

    return merged


def settings(resolved: Resolved) -> TargetSettings:
    assert resolved.settings is not None, resolved.problems
    return resolved.settings


def only(resolved: Resolved) -> Problem:
    (problem,) = resolved.problems
    assert (resolved.settings is None) == (problem.severity == "error")
    return problem


def test_built_in_settings_hold_when_nobody_says_otherwise(merge: Merge) -> None:
    resolved = merge(strategy="postgres")
    assert settings(resolved).timeout == timedelta(hours=1)
    assert settings(resolved).retention.keep_daily == 7
    assert resolved.provenance["timeout"] == "built-in"
    assert resolved.values["timeout"] == "1h"
    assert resolved.provenance["strategy"] == "label backup.strategy"


def test_a_check_is_shown_by_its_place_and_is_no_setting_of_a_run(merge: Merge) -> None:
    resolved = merge("targets: {shop/db: {ping: {url: {secret: URL}}}}", {"URL": "http://hc/x"}, strategy="postgres")
    assert resolved.problems == ()
    assert resolved.provenance["ping.url.secret"] == "config.yaml:1 targets.shop/db.ping.url.secret"
    assert resolved.values["ping.url.secret"] == "URL"
    assert not hasattr(settings(resolved), "ping")


def test_a_cut_secret_keeps_commands_of_the_file_from_running_and_nothing_else(merge: Merge, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('SSH_PRIVATE_KEY="-----BEGIN OPENSSH PRIVATE KEY-----..."\n')
    text = "secrets: [SSH_PRIVATE_KEY]\nstrategy: {commands: {backup: [dump]}}\n"
    problem = only(merge(text))
    assert (problem.code, problem.severity, problem.place) == ("cut-key", "error", f"{tmp_path}/.env:1 SSH_PRIVATE_KEY")
    assert "`commands.backup` would get it" in problem.message
    assert merge(text, strategy="postgres").problems == ()
    assert merge(text, **{"commands.backup": "dump"}).problems == ()
    assert merge("secrets: [SSH_PRIVATE_KEY]\nstrategy: {commands: {pre: []}}", strategy="postgres").problems == ()


def test_labels_beat_defaults_and_the_files_target_beats_labels(merge: Merge) -> None:
    text = "defaults:\n  timeout: 2h\n  stall-timeout: 2m\n  user: one\ntargets:\n  shop/db:\n    timeout: 4h\n"
    resolved = merge(text, strategy="postgres", timeout="3h", **{"stall-timeout": "3m"})
    assert settings(resolved).timeout == timedelta(hours=4)
    assert settings(resolved).stall_timeout == timedelta(minutes=3)
    assert settings(resolved).user == "one"
    assert resolved.provenance["timeout"] == "config.yaml:7 targets.shop/db.timeout"
    assert resolved.provenance["stall-timeout"] == "label backup.stall-timeout"
    assert resolved.provenance["user"] == "config.yaml:4 defaults.user"


def test_maps_merge_by_key_and_lists_replace(merge: Merge) -> None:
    text = "strategy: {type: postgres, commands: {pre: [a, b], post: [c]}}\ndefaults: {env: {A: 1, B: 2}}\n"
    resolved = merge(text, **{"env.B": "3", "commands.pre": "x"})
    assert settings(resolved).env == {"A": "1", "B": "3"}
    assert settings(resolved).commands.pre == ("x",)
    assert settings(resolved).commands.post == ("c",)
    assert resolved.origins == {"pre": "label", "post": "file"}


def test_naming_a_strategy_drops_everything_of_the_one_before(merge: Merge) -> None:
    text = "strategy: {type: filesystem, filesystem: {paths: [/data]}, commands: {pre: [a], post: [b]}}\n"
    resolved = merge(text, strategy="postgres")
    assert settings(resolved).strategy == "postgres"
    assert settings(resolved).commands.pre == ()
    assert settings(resolved).options == {}
    assert resolved.origins == {}


def test_the_files_strategy_holds_for_targets_that_name_none(merge: Merge) -> None:
    resolved = merge("strategy:\n  type: filesystem\n  filesystem:\n    paths: [/data]\n")
    assert settings(resolved).strategy == "filesystem"
    assert settings(resolved).options == {"paths": ["/data"]}
    assert resolved.provenance["filesystem.paths"] == "config.yaml:4 strategy.filesystem.paths"
    assert resolved.place_of_option(("paths", 0)) == "config.yaml:4 strategy.filesystem.paths"


def test_a_variable_overrides_the_files_strategy(merge: Merge) -> None:
    text = "strategy: {type: filesystem, filesystem: {paths: [/data]}}\n"
    resolved = merge(text, {"SIDECAR_STRATEGY_TYPE": "postgres"})
    assert (settings(resolved).strategy, settings(resolved).options) == ("postgres", {})
    assert resolved.provenance["strategy"] == "environment SIDECAR_STRATEGY_TYPE"


def test_an_alias_of_a_strategy_becomes_its_name_with_options_of_both(merge: Merge) -> None:
    resolved = merge(strategy="mariadb", **{"mariadb.databases": "a", "mysql.events": "true"})
    assert settings(resolved).strategy == "mysql"
    assert settings(resolved).options == {"databases": "a", "events": "true"}


def test_a_command_alone_is_a_strategy(merge: Merge) -> None:
    resolved = merge("strategy: {type: filesystem}\n", **{"commands.backup": "tar c /data"})
    assert settings(resolved).strategy == "command"
    assert settings(resolved).commands.backup == ("tar c /data",)
    assert resolved.problems == ()


def test_a_command_beside_a_strategy_replaces_it_with_a_warning(merge: Merge) -> None:
    resolved = merge(strategy="postgres", **{"commands.backup": "pg_dumpall", "postgres.databases": "shop"})
    assert settings(resolved).strategy == "command"
    assert settings(resolved).options == {}
    assert (only(resolved).code, only(resolved).severity) == ("strategy-replaced", "warning")


def test_an_empty_list_of_commands_is_no_command(merge: Merge) -> None:
    resolved = merge("strategy: {type: postgres, commands: {pre: [], backup: [], post: []}}\n")
    assert (settings(resolved).strategy, resolved.origins, resolved.problems) == ("postgres", {}, ())


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", None),
        ("strategy: {secrets: [A]}\n", {"A"}),
        ("strategy: {secrets: [A]}\ntargets: {shop/db: {secrets: [B]}}\n", {"B"}),
        ("targets: {shop/db: {secrets: []}}\n", set()),
        ("targets: {shop/other: {secrets: [B]}}\n", None),
        ("scope: {project: any}\n", set()),
        ("scope: {project: any}\ntargets: {shop/db: {timeout: 1h}}\n", None),
    ],
)
def test_commands_of_the_file_see_only_the_secrets_that_it_names_for_them(
    merge: Merge, text: str, seen: set[str] | None
) -> None:
    variables = {"A": "one-secret", "B": "another-secret"}
    resolved = merge(f"secrets: [A, B]\n{text}", variables, strategy="postgres")
    assert resolved.problems == ()
    assert resolved.secrets == seen


def test_commands_of_the_environment_count_as_the_files(merge: Merge) -> None:
    resolved = merge("", {"SIDECAR_STRATEGY_COMMANDS_BACKUP": "dump $DATABASE_URL"})
    assert resolved.origins == {"backup": "file"}


@pytest.mark.parametrize(
    ("labels", "code", "words"),
    [
        ({}, "no-strategy", "`mariadb`"),
        ({"postgres.databases": "a"}, "no-strategy", "strategy=postgres"),
        ({"strategy": "postgers"}, "unknown-strategy", "Did you mean `postgres`?"),
        ({"strategy": "command"}, "no-command", "standard output"),
        ({"strategy": "postgres", "mysql.databases": "a"}, "unused-option", "Remove it"),
        ({"strategy": "postgres", "timeout": "10"}, "bad-value", "1h30m"),
        ({"strategy": "postgres", "workdir": "data"}, "bad-value", "`/`"),
        ({"strategy": "postgres", "workdir": "/proc/1"}, "bad-value", "own file system"),
        ({"strategy": "postgres", "env.BACKUP_X": "1"}, "reserved-name", "another name"),
        ({"strategy": "postgres", "commands.pre": ""}, "empty-command", "argv"),
        ({"strategy": "postgres", "commands.pre": '["a",'}, "bad-value", "double quotes"),
        ({"strategy": "postgres", "retention.keep-daily": "0"}, "bad-value", "7"),
        ({"strategy": "postgres", "schedule": "0 3 * *"}, "bad-value", "five fields"),
    ],
)
def test_a_problem_names_label_and_remedy(merge: Merge, labels: dict[str, str], code: str, words: str) -> None:
    resolved = merge(**labels)
    problem = only(resolved)
    assert resolved.settings is None
    assert problem.code == code
    assert words in problem.hint
    assert problem.place.startswith("container shop-db-1, ")
    assert not labels or next(reversed(labels)) in problem.place or code == "no-strategy"


def test_a_misspelt_strategy_section_of_the_file_is_the_targets_problem(merge: Merge) -> None:
    problem = only(merge("targets:\n  shop/db:\n    postgers: {databases: a}\n", strategy="postgres"))
    assert (problem.code, problem.place) == ("unknown-key", "config.yaml:3 targets.shop/db.postgers.databases")


def test_a_drill_that_may_create_no_container_is_warned_of_and_backups_go_on(merge: Merge) -> None:
    label = {"drill.check": "test -s /data/shop.db"}
    resolved = merge(strategy="postgres", **label)
    assert [(problem.code, problem.severity) for problem in resolved.problems] == [("containers-forbidden", "warning")]
    assert "policy.create-containers" in resolved.problems[0].hint
    assert settings(resolved).drill.check == "test -s /data/shop.db"
    assert merge("policy: {create-containers: true}\n", strategy="postgres", **label).problems == ()


def test_the_example_as_it_is_has_nothing_to_say_of_a_target(merge: Merge) -> None:
    example = files("config").joinpath("config.example.yaml").read_text()
    assert merge(example, strategy="postgres").problems == ()


def test_what_is_there_already_is_not_refused(merge: Merge) -> None:
    resolved = merge(strategy="postgres", quiesce="none", **{"expect.min-size": "1MiB", "expect.max-age": "1d"})
    assert settings(resolved).expect.min_size == 1 << 20


def test_the_operator_locks_labels(merge: Merge) -> None:
    problem = only(merge("policy: {labels: {lock: [user, 'env.*']}}\n", strategy="postgres", user="root"))
    assert (problem.code, problem.place) == ("locked-label", "container shop-db-1, label backup.user")
    assert "targets.shop/db" in problem.hint


def test_the_operator_allows_few_labels(merge: Merge) -> None:
    text = "policy:\n  labels:\n    allow: [strategy, 'postgres.*']\n"
    assert merge(text, strategy="postgres", **{"postgres.databases": "a"}).problems == ()
    problem = only(merge(text, strategy="postgres", timeout="1h"))
    assert problem.code == "label-not-allowed"
    assert "config.yaml:3" in problem.message


@pytest.mark.parametrize(
    ("lock", "labels"),
    [
        ("filesystem.paths", {"strategy": "files", "files.paths": "/etc"}),
        ("files.paths", {"strategy": "filesystem", "filesystem.paths": "/etc"}),
        ("'file*.paths'", {"strategy": "filesystem", "files.paths": "/etc"}),
        ("mariadb.databases", {"strategy": "mysql", "mysql.databases": "a"}),
        ("filesystem", {"strategy": "files", "files.paths": "/etc"}),
        ("cron", {"strategy": "postgres", "schedule": "@daily"}),
        ("schedule", {"strategy": "postgres", "cron": "@daily"}),
        ("backup.user", {"strategy": "postgres", "user": "root"}),
        ("env", {"strategy": "postgres", "env.X": "1"}),
        ("commands.pre", {"strategy": "postgres", "commands.pre.1": "true"}),
        ("strategy", {"commands.backup": "dump"}),
    ],
)
def test_a_lock_holds_for_every_name_of_a_setting(merge: Merge, lock: str, labels: dict[str, str]) -> None:
    resolved = merge(f"strategy: {{type: postgres}}\npolicy: {{labels: {{lock: [{lock}]}}}}\n", **labels)
    assert "locked-label" in [problem.code for problem in resolved.problems]
    assert resolved.settings is None


def test_a_lock_that_an_alias_of_yaml_brings_holds(merge: Merge) -> None:
    text = "policy:\n  labels:\n    allow: &few [strategy, user]\n    lock: *few\n"
    assert only(merge(f"{text}strategy: {{type: postgres}}\n", user="root")).code == "locked-label"


@pytest.mark.parametrize("allow", ["files.paths", "filesystem.paths", "files", "'f*.paths'"])
def test_what_is_allowed_by_one_name_is_allowed_by_all(merge: Merge, allow: str) -> None:
    text = f"policy: {{labels: {{allow: [strategy, {allow}]}}}}\n"
    for strategy in ("files", "filesystem"):
        assert merge(text, strategy=strategy, **{f"{strategy}.paths": "/srv"}).problems == ()


def test_a_locked_key_is_still_the_operators(merge: Merge) -> None:
    text = "policy: {labels: {lock: [user]}}\ntargets: {shop/db: {user: root}}\n"
    assert settings(merge(text, strategy="postgres")).user == "root"


def test_a_label_asks_for_a_day_at_most_and_the_file_for_any_time(merge: Merge) -> None:
    resolved = merge(strategy="postgres", timeout="5200w")
    assert only(resolved).code == "timeout-too-long"
    assert resolved.settings is not None
    assert (resolved.settings.timeout, resolved.values["timeout"]) == (timedelta(days=1), "1d")

    own = merge("policy: {max-timeout: 2h}\ntargets: {shop/db: {timeout: 3w}}", strategy="postgres", timeout="5200w")
    assert own.settings is not None
    assert (own.settings.timeout, own.problems) == (timedelta(weeks=3), ())
    shorter = merge("policy: {max-timeout: 2h}", strategy="postgres", timeout="3h")
    assert "policy.max-timeout` of config.yaml:1" in only(shorter).message


def test_a_doubled_dollar_is_warned_about(merge: Merge) -> None:
    problem = only(merge(**{"commands.backup": "echo $$HOME"}))
    assert (problem.code, problem.severity) == ("doubled-dollar", "warning")


@pytest.mark.parametrize(
    "command",
    [
        "PGPASSWORD=hunter22 pg_dump",
        "mysqldump -phunter22 shop",
        '["mysqldump","--password=hunter22"]',
        "pg_dump postgres://shop:hunter22@db/shop",
        "dump --token hunter22",
    ],
)
def test_a_password_in_a_command_is_warned_about_and_redacted(merge: Merge, command: str) -> None:
    resolved = merge(**{"commands.backup": command})
    assert only(resolved).code == "password-in-command"
    assert resolved.sensitive == ("hunter22",)
    assert "hunter22" not in f"{resolved.problems} {resolved.provenance}"


def test_secret_variables_of_labels_and_passwords_in_their_urls_are_redacted(merge: Merge) -> None:
    resolved = merge(**{"env.X_TOKEN": "hunter22", "env.MONGO": "mongodb://u:hunter33@h/x", "env.LANG": "C.UTF-8"})
    assert set(resolved.sensitive) == {"hunter22", "hunter33"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["a://:x", "mysql ", "a.", "--pass ", "x", "PASS", "mysql -p", "://a:bcd", " -pabc", "a@", "--token='"]
)
def test_a_command_is_searched_for_passwords_once_however_it_is_made(piece: str) -> None:
    """To search it anew from each place would take hours."""
    deque(passwords_in(piece * 200_000), maxlen=0)


@pytest.mark.parametrize(
    "command", ["pg_dump --no-password", 'mysqldump -p"$MYSQL_PWD"', "PGPASSWORD=$X pg_dump", "ls"]
)
def test_a_variable_of_the_targets_own_is_no_password(merge: Merge, command: str) -> None:
    assert merge(**{"commands.backup": command}).problems == ()


def test_problems_of_the_labels_are_the_targets(merge: Merge) -> None:
    assert only(merge(strategy="postgres", stratgy="x")).code == "unknown-label"
