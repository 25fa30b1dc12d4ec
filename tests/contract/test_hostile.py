"""What a container says is data: whatever a target answers, no line that a person runs holds a word of it as code."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.wording import is_unsafe
from strategies.base import Answer, Facts, Strategy, Unsuitable
from strategies.plan import Exec, ExecCheck, Feed, Plan, Restore, RestoreRequest, Run, StoredDump
from tests.contract.test_restore import RUN
from tests.contract.test_strategies import ALL, every, is_argv, plan_of, sample_of

pytestmark = pytest.mark.thorough

DOCS = Path(__file__).parents[2] / "docs/restore.md"
INJECTIONS = tuple(
    text.replace("CODE", "touch PWNED")
    for text in (
        "$(CODE)",
        "x$(CODE)",
        "`CODE`",
        "'; CODE; '",
        '"; CODE; "',
        "; CODE #",
        "x\nCODE\n",
        "x\rCODE",
        "x\u2028CODE",
        "x | CODE",
        "& CODE &",
        "\\'; CODE; \\'",
        "\x1b]52;c;x\x07CODE",
        "\u202eCODE",
        "/x\0CODE",
        "\x1b'; CODE; '",
        "docker; CODE",
        "\\0047; CODE; \\0047",
    )
)
"""What would run a command as code of a shell, in quotes of either kind or without."""


def parts(plain: str) -> list[str]:
    """Of an answer all that may be replaced: lines, words, and the texts of a document."""
    texts = re.findall(r'(?<=")[^"]+(?=")', plain) if plain.startswith("{") else []
    return list(dict.fromkeys(filter(None, [*plain.split("\n"), *plain.split(), *texts])))


def lying(plain: str, part: str, word: str) -> str:
    """The answer with a hostile word in the place of a part."""
    return plain.replace(part, json.dumps(word)[1:-1] if plain.startswith("{") else word, 1)


def lies(strategy: Strategy[Any]) -> Iterator[Facts]:
    """Each part of each answer is once each injection."""
    honest = sample_of(strategy).facts
    for name, answer in honest.answers.items():
        for word in INJECTIONS:
            for text in [word, *(lying(answer.stdout, part, word) for part in parts(answer.stdout))]:
                yield Facts(honest.shell, {**honest.answers, name: Answer(0, text, word)})


@st.composite
def any_facts(draw: st.DrawFn, honest: Facts) -> Facts:
    """A target that answers as it likes, in one probe or in all."""
    words = st.one_of(st.sampled_from(INJECTIONS), st.text(st.characters(codec="utf-8"), max_size=40))
    chosen = draw(st.sets(st.sampled_from(sorted(honest.answers)), min_size=1)) if honest.answers else ()
    answers = dict(honest.answers)
    for name in chosen:
        plain = answers[name].stdout
        part = draw(st.sampled_from([*parts(plain), plain]))
        answers[name] = Answer(draw(st.integers(0, 255)), lying(plain, part, draw(words)), draw(words))
    return Facts(honest.shell, answers, draw(st.booleans()))


def planned(strategy: Strategy[Any], facts: Facts) -> Plan | None:
    sample = sample_of(strategy)
    try:
        return strategy.plan(sample.container, facts, strategy.options.model_validate(sample.options))
    except Unsuitable:
        return None


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run's folder that is all of `PATH`, with what the target would have somebody run; `docker` runs it here."""
    programs = {"touch": ': >"$1"', "docker": 'while [ $# -gt 1 ]; do shift; done; exec /bin/sh -c "$1"', "zstd": ":"}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for tool in ("sh", "jq"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


@every
def test_the_docs_recipe_runs_nothing_that_a_target_says(strategy, run_folder):
    (recipe,) = re.findall(r"```sh\n(jq -r [^`]*?while IFS= read.*?)```", DOCS.read_text(), re.DOTALL)
    plans = [plan for facts in [sample_of(strategy).facts, *lies(strategy)] if (plan := planned(strategy, facts))]
    for plan in plans:
        demand_data(plan)
    lines = dict.fromkeys(f"zstd -dc {dump.name}.zst | {dump.restore}" for plan in plans for dump in plan.dumps)
    document = {"artifacts": [{"restore": line} for line in lines]}
    (run_folder / "manifest.json").write_text(json.dumps(document))
    there = sorted(run_folder.iterdir())
    environment = {"PATH": str(run_folder)}
    subprocess.run(["/bin/sh", "-c", recipe], cwd=run_folder, env=environment, capture_output=True, check=False)
    assert sorted(run_folder.iterdir()) == there


@every
@settings(deadline=None)
@given(data=st.data())
def test_no_answer_of_a_target_stands_outside_of_quotes_in_a_line_that_people_run(strategy, data):
    if plan := planned(strategy, data.draw(any_facts(sample_of(strategy).facts))):
        demand_data(plan)


@every
@settings(deadline=None)
@given(data=st.data())
def test_a_restore_takes_any_answer_or_refuses_it_in_words(strategy, data):
    sample = sample_of(strategy)
    options, facts = strategy.options.model_validate(sample.options), data.draw(any_facts(sample.facts))
    stored = tuple(StoredDump(dump.name, dump.format, dump.subject) for dump in plan_of(strategy).dumps)
    try:
        restore = strategy.restore(sample.container, facts, options, RestoreRequest(RUN, stored))
    except Unsuitable:
        return
    assert all(map(is_argv, steps_of(restore)))


def demand_data(plan: Plan) -> None:
    for dump in plan.dumps:
        assert not is_unsafe(dump.restore, "")
        assert not any(word.startswith("touch") for word in shlex.split(dump.restore))
    assert all(map(is_argv, commands_of(plan)))


def commands_of(plan: Plan) -> Iterator[object]:
    for dump in plan.dumps:
        yield from dump.witnesses.values()
        sources = (dump.source, dump.check, dump.count.source if dump.count else None)
        yield from (source.argv for source in sources if isinstance(source, Exec | ExecCheck))


def steps_of(restore: Restore) -> Iterator[object]:
    yield from (step.argv for step in (*restore.steps, *restore.swap) if isinstance(step, Run | Feed))
    yield from restore.finish


@pytest.mark.parametrize("words", ["docker run -v /:/host x", "docker-compose down", "(docker x"])
def test_a_command_of_a_label_is_never_a_line_for_the_host(words):
    (command,) = (strategy for strategy in ALL if strategy.names[0] == "command")
    options = command.options.model_validate({"commands": ["true"], "restore": [words.split()]})
    line = command.plan(sample_of(command).container, Facts("sh"), options).dumps[0].restore
    assert not line.startswith(("docker", "(docker"))
    assert " ".join(shlex.split(line)).endswith(words)
