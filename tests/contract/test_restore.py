"""What holds for the restore and the counts of every strategy that is there."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest

from strategies.base import Container, Facts, Options, Strategy, Unsuitable
from strategies.plan import Archive, Argv, Exec, Feed, Plan, Put, Restore, RestoreRequest, Run, StoredDump
from tests.contract.test_strategies import ALL, every, is_argv, plan_of, sample_of

RUN = "20260301T030000Z-1a2b3c4d"


def wanted_of(strategy: Strategy[Any], **changes: Any) -> RestoreRequest:
    stored = tuple(StoredDump(dump.name, dump.format, dump.subject) for dump in plan_of(strategy).dumps)
    return RestoreRequest(RUN, stored, **changes)


def restore_of(strategy: Strategy[Any], **changes: Any) -> Restore:
    sample = sample_of(strategy)
    options = strategy.options.model_validate(sample.options)
    return strategy.restore(sample.container, sample.facts, options, wanted_of(strategy, **changes))


def stored_names(strategy: Strategy[Any]) -> set[str]:
    return {dump.name for dump in plan_of(strategy).dumps}


@every
def test_every_artifact_is_applied_once(strategy):
    applied = [step.artifact for step in restore_of(strategy).steps if isinstance(step, Feed | Put)]
    assert sorted(applied) == sorted(stored_names(strategy))


@every
def test_a_restore_names_no_artifact_that_is_not_there(strategy):
    restore = restore_of(strategy)
    assert set(restore.guards) | set(restore.counts) <= stored_names(strategy)


@every
def test_all_that_a_restore_runs_is_argv(strategy):
    restore = restore_of(strategy)
    undos = [step.undo for step in restore.steps if isinstance(step, Run | Feed)]
    commands = [step.argv for step in restore.steps if isinstance(step, Run | Feed)] + [undo for undo in undos if undo]
    sources = [*restore.occupied, *(count.source for count in restore.counts.values())]
    commands += [source.argv for source in sources if isinstance(source, Exec)]
    folders = [source.path for source in sources if isinstance(source, Archive)]
    folders += [step.folder for step in restore.steps if isinstance(step, Put)]
    assert all(map(is_argv, [*commands, *restore.finish]))
    assert all(PurePosixPath(folder).is_absolute() for folder in folders)


@every
def test_what_is_in_the_way_is_asked_or_said_to_be_unknown(strategy):
    restore = restore_of(strategy)
    assert bool(restore.occupied) is not restore.unseen


@every
def test_the_same_facts_make_the_same_restore(strategy):
    assert restore_of(strategy) == restore_of(strategy)


@every
def test_a_restore_says_where_it_goes(strategy):
    assert restore_of(strategy).where


@every
def test_what_is_counted_at_the_dump_is_counted_again(strategy):
    counted = {dump.name for dump in plan_of(strategy).dumps if dump.count}
    assert counted == set(restore_of(strategy).counts)


@every
def test_what_is_asked_at_the_dump_is_argv(strategy):
    sources = [dump.count.source for dump in plan_of(strategy).dumps if dump.count]
    assert all(is_argv(source.argv) for source in sources if isinstance(source, Exec))


class Plain(Strategy[Options]):
    names = ("plain",)
    options = Options

    def probes(self, options: Options) -> Mapping[str, Argv]:
        return {}

    def plan(self, container: Container, facts: Facts, options: Options) -> Plan:
        return Plan(())


def test_a_strategy_without_a_restore_says_how_to_do_it_by_hand():
    with pytest.raises(Unsuitable) as error:
        Plain().restore(sample_of(ALL[0]).container, Facts("sh"), Options(), RestoreRequest(RUN, ()))
    assert error.value.code == "no-restore"
    assert "--to-file" in error.value.hint
