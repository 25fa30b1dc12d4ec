"""`config.yaml`: every trap is named with its line, all of them at once, and none shows a value."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from config.loading import Loaded, load
from config.overrides import names
from config.problems import ConfigurationError, Problem
from config.sources import digest

TOKEN = "gK4c0nT2vQ8yZp1LrX6w"
Write = Callable[[str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".env").write_text(f"BACKUP_API_TOKEN={TOKEN}\n")
    return tmp_path


def loaded(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    (folder / "config.yaml").write_text(text)
    return load(folder, environ or {}, ("filesystem", "postgres"))


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, text, environ)
    return list(caught.value.problems)


def test_no_file_means_defaults(folder: Path) -> None:
    settings = load(folder, {}).settings
    assert settings.api.port == 8000
    assert settings.scope.network == "app_internal"
    assert settings.orchestrator is None


def test_a_whole_file_is_read(folder: Path) -> None:
    text = """
schema: 1
strategy:
  type: filesystem
  filesystem: {paths: [/data]}
  commands: {pre: ["sync", ["touch", "/x y"]], post: []}
paths: {artifacts: /backups}
targets:
  shop/db.main: {strategy: postgres, timeout: 2h, postgres: {databases: [shop]}}
policy: {labels: {allow: "retention.*, strategy", lock: [user]}, max-concurrent-runs: 3}
orchestrator: {url: "http://orchestrator:5550/", key: {secret: ORCHESTRATOR_KEY}, interval: 5s}
defaults:
"""
    configuration = loaded(folder, text, {"ORCHESTRATOR_KEY": "k" * 20})
    settings = configuration.settings
    assert settings.strategy.commands.pre == ("sync", ("touch", "/x y"))
    assert settings.paths.artifacts == Path("/backups")
    assert settings.targets["shop/db.main"].timeout.total_seconds() == 7200
    assert settings.policy.labels.allow == ("retention.*", "strategy")
    assert settings.orchestrator is not None
    assert settings.orchestrator.url == "http://orchestrator:5550"
    assert (configuration.api_token, configuration.orchestrator_key) == (TOKEN, "k" * 20)
    assert (
        configuration.places.of(("targets", "shop/db.main", "timeout")) == "config.yaml:9 targets.shop/db.main.timeout"
    )


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("schema: 1\n\tapi: {}\n", "broken-yaml", 2, "tab"),
        ("a: [1, 2\nb: 3\n", "broken-yaml", 2, "column"),
        ("api:\n  port: 1\n  host: a\n  port: 2\n", "duplicate-key", 4, "line 2 and line 4"),
        ("api:\n  prot: 1\n", "unknown-key", 2, "port"),
        ("defaults:\n  keep_daily: 1\n", "unknown-key", 2, "keep_daily"),
        ("defaults:\n  stall_timeout: 1m\n", "unknown-key", 2, "stall-timeout"),
        ("strategy:\n  filesytem: {paths: [/data]}\n", "unknown-key", 2, "filesystem"),
        ("targets:\n  shop/db:\n    tiemout: 1h\n", "unknown-key", 3, "timeout"),
        ("targets:\n  shop/db:\n    postgers: {databases: x}\n", "unknown-key", 3, "postgres"),
        ("strategy:\n  type: postgers\n", "unknown-strategy", 2, "Did you mean `postgres`?"),
        ("targets:\n  shop/db:\n    strategy: filesytem\n", "unknown-strategy", 3, "filesystem"),
        ("scope:\n  network: ''\n", "bad-value", 2, "1 character"),
        ("targets: [a]\n", "bad-value", 1, "section"),
        ("api: 7\n", "bad-value", 1, "section"),
        ("api:\n  port: many\n", "bad-value", 2, "integer"),
        ("api:\n  port: 70000\n", "bad-value", 2, "65535"),
        ("defaults:\n  compression: no\n", "bad-value", 2, "compression"),
        ("defaults:\n  timeout: 08:00\n", "bad-value", 2, "clock time"),
        ("defaults:\n  timeout: 60\n", "bad-value", 2, "bare number"),
        ("defaults:\n  schedule: 08:00\n", "bad-value", 2, "0 8 * * *"),
        ("defaults:\n  env:\n    BACKUP_X: 1\n", "reserved-name", 3, "reserved"),
        ("paths:\n  artifacts: /\n", "bad-value", 2, "root of the file system"),
        ("paths:\n  artifacts: //\n", "bad-value", 2, "root of the file system"),
        ("paths:\n  artifacts: data\n", "bad-value", 2, "absolute"),
        ("paths:\n  artifacts: /a/..\n", "bad-value", 2, "absolute"),
        ("paths:\n  artifacts: /a\n  tmp: /a/\n", "bad-value", 1, "twice"),
        ("targets:\n  shop: {}\n", "bad-value", 2, "project/service"),
        ("targets:\n  ../etc/x: {}\n", "bad-value", 2, "project/service"),
        ("orchestrator:\n  url: http://o\n", "missing-key", 1, "missing"),
        ("orchestrator:\n  url: http://a:b@o\n  key: abcdefgh\n", "bad-value", 2, "password"),
        ("orchestrator:\n  url: file:///x\n  key: abcdefgh\n", "bad-value", 2, "URL"),
        ("schema: 2\n", "unknown-schema", 1, "schema 1"),
        ("- a\n", "bad-value", 1, "no keys"),
        ("a: !!python/object:os.system x\n", "bad-value", 1, "tag"),
        ("a: &a [*a]\n", "too-many-values", 1, "aliases"),
        ("a: *b\n", "broken-yaml", 1, "no anchor"),
        ("? [a]\n: b\n", "bad-key", 1, "plain key"),
        ('log:\n  level: "\\e[31m"\n', "bad-characters", 2, "control"),
        ("log:\n  level: \x07\n", "bad-characters", 2, "forbids"),
        ("a: 1\n---\nb: 2\n", "broken-yaml", 2, "second document"),
        ('a: "\\UFFFFFFFF"\n', "broken-yaml", 0, "not YAML"),
        ("secrets: [1a]\n", "bad-value", 1, "name of a variable"),
        ("api:\n  token: {file: x}\n", "bad-value", 2, "secret"),
    ],
)
def test_a_fault_is_named_with_its_line(folder: Path, text: str, code: str, line: int, words: str) -> None:
    matching = [problem for problem in problems(folder, text) if problem.code == code]
    assert matching, problems(folder, text)
    assert matching[0].place.split(" ")[0] == (f"config.yaml:{line}" if line else "config.yaml")
    assert words in f"{matching[0].message} {matching[0].hint}"


def test_all_faults_come_at_once(folder: Path) -> None:
    text = "api:\n  prot: 1\ndefaults:\n  timeout: 5\n  env: {A: '${NOPE}'}\nlog: {level: loud}\n"
    (folder / ".env").write_text("BACKUP_API_TOKEN=short\nBROKEN\n")
    codes = {problem.code for problem in problems(folder, text, {"SIDECAR_API_PROT": "1"})}
    assert codes >= {"unknown-key", "bad-value", "unset-variable", "bad-variable", "unknown-variable"}


@pytest.mark.parametrize("depth", [10, 12])
def test_an_alias_bomb_is_refused_quickly(folder: Path, depth: int) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, depth)]
    assert [problem.code for problem in problems(folder, "\n".join(lines))] == ["too-many-values"]


def test_deep_nesting_is_refused(folder: Path) -> None:
    (problem,) = problems(folder, "a: " + "[" * 5000 + "]" * 5000)
    assert problem.code in {"too-deep", "too-many-values"}


def test_anchors_and_merge_keys_work(folder: Path) -> None:
    text = "targets:\n  a/b: &long {timeout: 3h}\n  a/c: {<<: *long, stall-timeout: 1m}\n"
    assert loaded(folder, text).settings.targets["a/c"].timeout.total_seconds() == 3 * 3600


def test_words_that_yaml_mistakes_stay_words(folder: Path) -> None:
    text = "defaults: {env: {COUNTRY: no, TIME: 08:30, MODE: 0644, DAY: 2024-01-01, FLAG: on}, catch-up: no}\n"
    settings = loaded(folder, text).settings
    assert settings.defaults.env == {
        "COUNTRY": "no",
        "TIME": "08:30",
        "MODE": "0644",
        "DAY": "2024-01-01",
        "FLAG": "on",
    }
    assert settings.defaults.catch_up is False


@pytest.mark.parametrize("name", ["config.yaml", ".env"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, {"BACKUP_API_TOKEN": TOKEN})
    place = name if name == "config.yaml" else str(tmp_path / name)
    assert [(problem.code, problem.place) for problem in caught.value.problems] == [("not-a-file", place)]


def test_an_unreadable_file_is_named(folder: Path) -> None:
    (folder / "config.yaml").symlink_to("config.yaml")  # a loop, which root cannot read either
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(folder, {})


def test_a_file_above_one_mebibyte_is_refused(folder: Path) -> None:
    (problem,) = problems(folder, "# " + "x" * (1 << 20))
    assert problem.code == "too-large"


def test_latin_1_is_named_with_its_line(folder: Path) -> None:
    (folder / "config.yaml").write_bytes("schema: 1\n# Mañana\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"config.yaml:2: .* not UTF-8"):
        load(folder, {})


def test_windows_line_ends_and_byte_order_mark_are_read(folder: Path) -> None:
    (folder / "config.yaml").write_bytes(b"\xef\xbb\xbfapi:\r\n  port: 81\r\n")
    assert load(folder, {}).settings.api.port == 81


@pytest.mark.parametrize("name", ["missing", "config.yaml"])
def test_a_missing_folder_is_an_error(folder: Path, name: str) -> None:
    (folder / "config.yaml").write_text("")
    with pytest.raises(ConfigurationError, match="no-folder"):
        load(folder / name, {"BACKUP_API_TOKEN": TOKEN})


# --- variables that override ---


def test_every_setting_has_a_variable() -> None:
    known = names()
    assert known["SIDECAR_STRATEGY_TYPE"] == ("strategy", "type")
    assert known["SIDECAR_POLICY_MAX_CONCURRENT_RUNS"] == ("policy", "max-concurrent-runs")
    assert known["SIDECAR_DEFAULTS_RETENTION_KEEP_DAILY"] == ("defaults", "retention", "keep-daily")


def test_variables_override_the_file(folder: Path) -> None:
    environ = {
        "SIDECAR_STRATEGY_TYPE": "postgres",
        "SIDECAR_API_PORT": "81",
        "SIDECAR_STRATEGY_COMMANDS_PRE": '["a","b"]',
        "SIDECAR_SECRETS": "ONE,TWO",
        "SIDECAR_LOG_LEVEL": "",
        "SIDECAR_CONFIG": "/elsewhere",
        "ONE": "first-secret",
        "TWO": "second-secret",
    }
    configuration = loaded(folder, "strategy: {type: filesystem}\napi: {port: 80}\n", environ)
    assert configuration.settings.strategy.type == "postgres"
    assert configuration.settings.api.port == 81
    assert configuration.settings.strategy.commands.pre == (("a", "b"),)
    assert dict(configuration.secrets) == {"ONE": "first-secret", "TWO": "second-secret"}
    assert configuration.places.of(("strategy", "type")) == "environment SIDECAR_STRATEGY_TYPE"


def test_the_process_environment_comes_before_the_file(folder: Path) -> None:
    with (folder / ".env").open("a") as file:
        file.write("SIDECAR_API_PORT=82\nSIDECAR_API_HOST=10.0.0.1\n")
    configuration = loaded(folder, "", {"SIDECAR_API_PORT": "83"})
    assert (configuration.settings.api.port, configuration.settings.api.host) == (83, "10.0.0.1")
    assert configuration.places.of(("api", "host")) == f"{folder}/.env:3 SIDECAR_API_HOST"


def test_an_unknown_override_gets_a_suggestion(folder: Path) -> None:
    (problem,) = problems(folder, "", {"SIDECAR_STRATEGY_TYP": "postgres"})
    assert problem.code == "unknown-variable"
    assert "SIDECAR_STRATEGY_TYPE" in problem.hint


def test_a_bad_override_names_its_variable(folder: Path) -> None:
    (problem,) = problems(folder, "", {"SIDECAR_API_PORT": "http"})
    assert problem.place == "environment SIDECAR_API_PORT"


# --- ${VAR} ---


def test_variables_are_filled_in_after_parsing(folder: Path) -> None:
    command = "echo ${WHO} ${NOBODY:-else} $${HOME} $HOME $(date) $$"
    text = f"strategy: {{commands: {{pre: ['{command}']}}}}\napi: {{port: '${{PORT}}'}}\n"
    settings = loaded(folder, text, {"WHO": "a: [b", "PORT": "81"}).settings
    assert settings.strategy.commands.pre == ("echo a: [b else ${HOME} $HOME $(date) $$",)
    assert settings.api.port == 81


@pytest.mark.parametrize(
    ("reference", "code"),
    [("${NOPE}", "unset-variable"), ("${1a}", "bad-reference"), ("${A:?b}", "bad-reference"), ("${A", "bad-reference")],
)
def test_a_reference_that_cannot_be_filled_is_named_with_its_line(folder: Path, reference: str, code: str) -> None:
    (problem,) = problems(folder, f"log:\n  level: info\napi:\n  host: '{reference}'\n", {"A": "x"})
    assert (problem.code, problem.place) == (code, "config.yaml:4 api.host")


def test_a_secret_is_not_filled_into_a_command(folder: Path) -> None:
    text = "secrets: [DATABASE_URL]\nstrategy:\n  commands:\n    pre: ['psql ${DATABASE_URL}']\n"
    (problem,) = problems(folder, text, {"DATABASE_URL": "postgres://u:hunter22@h/d"})
    assert (problem.code, problem.place.split(" ")[0]) == ("secret-in-text", "config.yaml:4")
    assert "hunter22" not in str(problem)


def test_the_digest_follows_the_content(folder: Path) -> None:
    before = digest(folder)
    (folder / "config.yaml").write_text("schema: 1")
    after = digest(folder)
    assert before != after
    assert load(folder, {}).digest == after


@pytest.mark.parametrize("name", ["config.yml", "config.yaml.txt"])
def test_a_misnamed_file_is_no_missing_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("schema: 1\n")
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, {"BACKUP_API_TOKEN": TOKEN})
    (problem,) = caught.value.problems
    assert (problem.code, problem.place) == ("misnamed-file", name)
    assert "config.yaml" in problem.hint
    (tmp_path / "config.yaml").write_text("schema: 1\n")
    assert load(tmp_path, {"BACKUP_API_TOKEN": TOKEN}).problems == ()
