"""What holds for every strategy that is there; a new one brings `samples/<its file's name>.py` and is tested by it."""

import contextlib
import io
import pkgutil
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import strategies
from strategies.base import Facts, Strategy, Unsuitable
from strategies.plan import Dump, Exec, ExecCheck, Incomplete, Plan
from tests.contract.sample import Sample, Stream

ALL: list[Strategy[Any]] = list(dict.fromkeys(strategies.discover().values()))


def sample_of(strategy: Strategy[Any]) -> Sample:
    sample: Sample = import_module(f"tests.contract.samples.{type(strategy).__module__.rpartition('.')[2]}").SAMPLE
    return sample


def plan_of(strategy: Strategy[Any]) -> Plan:
    sample = sample_of(strategy)
    return strategy.plan(sample.container, sample.facts, strategy.options.model_validate(sample.options))


def streams_of(strategy: Strategy[Any]) -> Iterator[Any]:
    dumps = {dump.format: dump for dump in plan_of(strategy).dumps}
    for kind, samples in sample_of(strategy).streams.items():
        for number, stream in enumerate(samples):
            yield pytest.param(dumps[kind], stream, id=f"{kind}-{number}")


each_stream = pytest.mark.parametrize(("dump", "stream"), [param for strategy in ALL for param in streams_of(strategy)])
every = pytest.mark.parametrize("strategy", ALL, ids=lambda strategy: strategy.names[0])


def test_each_file_is_found_and_holds_one_strategy():
    there = {module.name for module in pkgutil.iter_modules(strategies.__path__)} - HELPERS
    files = {name for name in there if name.partition("_")[0] not in there - {name}}
    assert sorted(type(strategy).__module__ for strategy in ALL) == sorted(f"strategies.{file}" for file in files)


@every
def test_names_can_stand_in_a_label_and_lead_to_the_strategy(strategy):
    for name in strategy.names:
        assert re.fullmatch(r"[a-z][a-z0-9-]*", name)
        assert strategies.discover()[name] is strategy


@every
def test_every_option_says_what_it_means(strategy):
    for name, option in strategy.options.model_fields.items():
        assert option.description
        assert "efault" in option.description, f"{name} does not tell its default"


@every
def test_unknown_options_are_refused_without_repeating_their_value(strategy):
    with pytest.raises(ValidationError) as refused:
        strategy.options.model_validate({**sample_of(strategy).options, "pasword": "hunter2"})
    assert "hunter2" not in str(refused.value)


@every
def test_options_cannot_be_changed_afterwards(strategy):
    options = strategy.options.model_validate(sample_of(strategy).options)
    with pytest.raises(ValidationError):
        setattr(options, next(iter(strategy.options.model_fields)), ())


HELPERS = {"base", "checks", "environment", "plan", "servers", "tar"}
"""With what has a strategy's name before an underscore, what is none itself."""
HOSTILE = (
    "[" * 10_000,
    "{" * 10_000,
    '["a",' * 10_000,
    f"[{'9' * 10_000}]",
    r'["\ud800"]',
    r'["/a\u0000"]',
    "[NaN]",
    '["a"',
)


@every
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:12])
def test_whatever_an_option_holds_can_be_planned_with_or_is_refused(strategy, text):
    sample = sample_of(strategy)
    for name in strategy.options.model_fields:
        with contextlib.suppress(ValidationError, Unsuitable):
            options = strategy.options.model_validate({**sample.options, name.replace("_", "-"): text})
            probes = strategy.probes(options).values()
            assert all(is_argv(argv) and " ".join(argv).encode() for argv in probes)
            strategy.plan(sample.container, sample.facts, options)


@every
def test_probes_are_argv(strategy):
    probes = strategy.probes(strategy.options.model_validate(sample_of(strategy).options))
    assert set(probes) == set(sample_of(strategy).facts.answers)
    assert all(is_argv(argv) for argv in probes.values())


@every
def test_the_same_facts_make_the_same_plan(strategy):
    sample = sample_of(strategy)
    facts = Facts(sample.facts.shell, dict(reversed(sample.facts.answers.items())))
    again = strategy.plan(sample.container, facts, strategy.options.model_validate(sample.options))
    assert again == plan_of(strategy)


@every
def test_dumps_have_safe_names_of_their_own(strategy):
    names = [dump.name for dump in plan_of(strategy).dumps]
    assert names
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_%][A-Za-z0-9._%-]{0,254}", name)


@every
def test_all_that_runs_in_the_target_is_argv(strategy):
    for dump in plan_of(strategy).dumps:
        commands = [*dump.witnesses.values()]
        commands += [dump.source.argv] if isinstance(dump.source, Exec) else []
        commands += [dump.check.argv] if isinstance(dump.check, ExecCheck) else []
        assert all(is_argv(argv) for argv in commands)
        assert 0 not in dump.warning_codes


@every
def test_a_pipe_into_the_restore_is_shell_without_gaps_to_fill(strategy):
    for dump in plan_of(strategy).dumps:
        assert not re.search(r"<[a-z -]+>|[^$]\{[A-Za-z -]+\}", dump.restore)
        assert "\n" not in dump.restore
        subprocess.run(["sh", "-n", "-c", f"zstd -dc x | {dump.restore}"], check=True)


@every
def test_a_target_that_lacks_something_is_refused_with_a_next_step(strategy):
    sample = sample_of(strategy)
    if sample.unsuitable is None:
        pytest.skip("needs nothing of the target")
    with pytest.raises(Unsuitable) as refused:
        strategy.plan(sample.container, sample.unsuitable, strategy.options.model_validate(sample.options))
    assert refused.value.message
    assert refused.value.hint.endswith((".", "]"))
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", refused.value.code)


@every
def test_each_format_with_a_check_of_its_own_has_a_stream_to_test_it_by(strategy):
    checked = {dump.format for dump in plan_of(strategy).dumps if dump.check and not isinstance(dump.check, ExecCheck)}
    assert checked == set(sample_of(strategy).streams)


@each_stream
def test_a_whole_stream_passes_however_it_arrives(dump: Dump, stream: Stream):
    assert check(dump, stream, stream.whole) == check(dump, stream, stream.whole, step=333)
    check(dump, stream, stream.whole[: stream.needed])


@each_stream
@settings(deadline=None)
@given(data=st.data())
def test_a_stream_cut_anywhere_is_refused(dump: Dump, stream: Stream, data: st.DataObject):
    length = data.draw(st.integers(0, stream.needed - 1))
    with pytest.raises(Incomplete):
        check(dump, stream, stream.whole[:length])


@each_stream
def test_a_stream_cut_at_any_block_or_line_is_refused(dump: Dump, stream: Stream):
    ends = {*range(0, stream.needed, 512)}
    ends |= {found.end() for found in re.finditer(rb"\n", stream.whole) if found.end() < stream.needed}
    for length in ends:
        with pytest.raises(Incomplete):
            check(dump, stream, stream.whole[:length])


def check(dump: Dump, stream: Stream, content: bytes, step: int | None = None) -> Any:
    assert dump.check
    assert not isinstance(dump.check, ExecCheck)
    return dump.check(Dripping(content, step) if step else io.BytesIO(content), stream.witnesses)


class Dripping(io.BytesIO):
    """Gives at most `step` bytes at a time, as a decompressor may."""

    def __init__(self, content: bytes, step: int) -> None:
        super().__init__(content)
        self._step = step

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._step if size is None or size < 0 else min(size, self._step))


def is_argv(argv: object) -> bool:
    return isinstance(argv, tuple) and bool(argv) and all(isinstance(word, str) and "\0" not in word for word in argv)


@every
def test_a_dump_from_elsewhere_is_checked_without_its_target(strategy):
    formats = {dump.format for dump in plan_of(strategy).dumps} - {"raw"}
    checks = strategy.formats()
    assert formats <= checks.keys()
    for kind in formats:
        for stream in sample_of(strategy).streams.get(kind, ()):
            checks[kind](io.BytesIO(stream.whole), defaultdict(str))
        with pytest.raises(Incomplete):
            checks[kind](io.BytesIO(b"\x00no dump\n" * 100), defaultdict(str))
