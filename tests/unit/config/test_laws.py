"""Laws of the configuration: for all inputs, not only for those that somebody thought of."""

import json
import os
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some
from pydantic import TypeAdapter, ValidationError

from config.fields import written
from config.labels import parse
from config.layers import Layer, Sourced, flatten, merge, nest
from config.loading import load
from config.problems import ConfigurationError, Problem
from config.resolve import resolve
from config.settings import Settings
from config.target import TargetLayer, leaves
from config.validation import problems_from
from config.wording import dotted, is_unsafe

TOKEN = "gK4c0nT2vQ8yZp1LrX6w"
KNOWN = {"filesystem": "filesystem", "postgres": "postgres"}
word = some.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
line = some.text(some.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20)

# --- merge ---

path = some.sampled_from(
    [("timeout",), ("user",), ("env", "A"), ("env", "B"), ("retention", "keep-daily"), ("strategy",)]
)
layer = some.dictionaries(path, some.builds(Sourced, word, word, some.sampled_from(["file", "label"])))


@given(some.lists(layer, max_size=5))
def test_the_last_layer_that_sets_a_key_wins(layers: list[Layer]) -> None:
    merged = merge(layers)
    for key in {key for each in layers for key in each}:
        assert merged[key] == [each[key] for each in layers if key in each][-1]


@given(some.lists(layer, max_size=5))
def test_an_empty_layer_changes_nothing(layers: list[Layer]) -> None:
    assert merge([*layers, {}]) == merge(layers) == merge([{}, *layers])


@given(some.lists(layer, max_size=4), layer, layer)
def test_layers_may_be_merged_in_any_grouping(layers: list[Layer], first: Layer, second: Layer) -> None:
    assert merge([merge([*layers, first]), second]) == merge([*layers, first, second])


unit = some.sampled_from([("commands", "pre"), ("options", "postgres", "a"), ("options", "mysql", "b")])


@given(some.dictionaries(unit, some.builds(Sourced, word, word, some.just("file"))), word)
def test_naming_a_strategy_leaves_nothing_of_the_one_before(before: Layer, name: str) -> None:
    naming: Layer = {("strategy",): Sourced(name, "here", "label")}
    assert merge([before, naming]) == naming


nested = some.recursive(word, lambda inner: some.dictionaries(word, inner, min_size=1, max_size=4), max_leaves=10)


@given(some.dictionaries(word, nested))
def test_flattening_can_be_undone(values: dict[str, Any]) -> None:
    assert nest(dict(flatten(values))) == values


# --- labels ---


@given(
    timeout=some.integers(1, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    argv=some.lists(line, min_size=1, max_size=4),
    env=some.dictionaries(word.map(str.upper), line, max_size=3),
    name=some.one_of(some.none(), word),
)
def test_settings_survive_the_way_through_labels(
    timeout: timedelta, argv: list[str], env: dict[str, str], name: str | None
) -> None:
    prefix = "backup." if name is None else f"backup.targets.{name}."
    labels = {
        "backup.enable": "true",
        f"{prefix}timeout": written(timeout),
        f"{prefix}commands.backup": json.dumps(argv),
        **{f"{prefix}env.{key}": value for key, value in env.items()},
    }
    (part,) = parse(labels, "c", strategies=KNOWN)
    with TemporaryDirectory() as folder:
        resolved = resolve(load(Path(folder), {"BACKUP_API_TOKEN": TOKEN}), "a/b", part, "c", KNOWN)
    assert resolved.settings is not None, resolved.problems
    assert part.name == name
    assert resolved.settings.timeout == timeout
    assert resolved.settings.commands.backup == (tuple(argv),)
    assert resolved.settings.env == env


anything = some.text(max_size=30)
key = some.one_of(
    anything, some.sampled_from(["enable", "targets.a.env.X", "commands.pre.1", "commands.pre", "timeout"])
)


@given(some.dictionaries(key.map("backup.{}".format), anything, max_size=6))
def test_no_labels_break_the_reader_or_the_terminal(labels: dict[str, str]) -> None:
    for part in parse(labels, "c", strategies=KNOWN):
        with TemporaryDirectory() as folder:
            resolved = resolve(load(Path(folder), {"BACKUP_API_TOKEN": TOKEN}), "a/b", part, "c", KNOWN)
        assert (resolved.settings is None) == any(problem.severity == "error" for problem in resolved.problems)
        assert all("\x1b" not in str(problem) and "\n" not in str(problem) for problem in resolved.problems)


# --- what is worse than wrong ---

hostile = some.one_of(
    some.builds(str.__mul__, some.sampled_from(["[", "{", '{"a":', "[[],", "9", '"', "\\"]), some.integers(1, 10_000)),
    some.integers(4_000, 10_000).map(lambda digits: f"[{'9' * digits}]"),
    some.recursive(anything, some.lists, max_leaves=30).map(json.dumps),
    some.text(some.characters(categories=("Cc", "Cs"))).map(lambda text: json.dumps(["a", text])),
    some.sampled_from(["[NaN]", "[null]", '[["a"', '["a" "b"]', "9" * 5_000 + " * * * *", "*/" + "9" * 5_000]),
)


settings = {
    dotted(path): field.rebuild_annotation() for model in (Settings, TargetLayer) for path, field in leaves(model)
}


@given(some.sampled_from(sorted(settings)), hostile)
def test_whatever_a_setting_holds_is_a_value_that_can_be_used_or_a_problem(setting: str, text: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(settings[setting])
    try:
        value = adapter.validate_python(text)
    except ValidationError as error:
        for problem in problems_from(error, lambda path: "here"):
            assert problem.message
            assert problem.hint
            assert not is_unsafe(str(problem), "")
    else:
        # What is no text, as a surrogate, cannot be written.
        assert adapter.dump_json(value)


# --- the file ---

scalar = some.one_of(anything, some.integers(), some.booleans(), some.none(), some.floats())
tree = some.recursive(
    scalar,
    lambda inner: some.one_of(
        some.lists(inner, max_size=3),
        some.dictionaries(
            some.one_of(anything, some.sampled_from(sorted(Settings.model_json_schema()["properties"]))),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
broken = some.one_of(
    some.text("abc:-[]{}&*!|>'\"%@`#,?$~ \t\n\r0123\x00\x1b\ufeff\u2028", max_size=60),
    some.builds(str.format, some.sampled_from(['a: "\\U{:0>8x}"', "%YAML {}.1\n---\na: 1"]), some.integers(0, 1 << 32)),
    some.sampled_from(["%YAML " + "9" * 5_000 + ".1\n---\na: 1", "a: " + "9" * 5_000]),
)


@given(
    some.one_of(broken, anything, tree.map(json.dumps), tree.map(yaml.safe_dump)).map(os.fsencode),
    some.one_of(broken, some.just("")).map(os.fsencode),
)
def test_no_file_raises_anything_but_its_problems(text: bytes, env: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_bytes(text)
        (Path(folder) / ".env").write_bytes(env)
        problems = problems_of(Path(folder))
    assert all(problem.place and problem.message and problem.hint for problem in problems)
    assert not any(is_unsafe(str(problem), "") for problem in problems)


def problems_of(folder: Path) -> tuple[Problem, ...]:
    try:
        return load(folder, {"BACKUP_API_TOKEN": TOKEN}, KNOWN).problems
    except ConfigurationError as error:
        return error.problems


# --- secrets ---

visible = some.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters="\"'\\`#$")
secret = some.text(visible, min_size=12, max_size=100)
somewhere = some.sampled_from(
    [
        "api: {{port: {}}}",
        "api: {{host: x, {}: y}}",
        "log: {{level: {}}}",
        "schema: {}",
        "defaults: {{timeout: {}}}",
        "defaults: {{schedule: {}}}",
        "defaults: {{compression: {}}}",
        "defaults: {{workdir: {}}}",
        "paths: {{artifacts: {}}}",
        "orchestrator: {{url: {}, key: x}}",
        "targets: {{{}: {{}}}}",
        "strategy: {{{}: 1}}",
        "secrets: [{}]",
    ]
)


@given(secret, somewhere)
def test_no_problem_of_the_file_shows_a_secret(value: str, place: str) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / ".env").write_text(f'THE_PASSWORD="{value}"\nBROKEN\n')
        (Path(folder) / "config.yaml").write_text(place.format(json.dumps(value)) + "\n")
        with pytest.raises(ConfigurationError) as caught:
            load(Path(folder), {"BACKUP_API_TOKEN": TOKEN, "SIDECAR_API_PORT": value})
    assert value not in str(caught.value)
    assert TOKEN not in str(caught.value)
