"""Failures that are planted in the steps of a restore."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from controller.core.errors import SidecarError
from controller.engine.client import Engine
from controller.restore.apply import Applying
from strategies.plan import Feed, Restore, Run, Step
from tests.kit.fault_proxy import EXEC, FaultProxy
from tests.kit.stage import docker, eventually, execute

REACHED = "/var/reached"
Applies = Callable[[Engine, str, Restore], Applying]
"""A run into a container, by a plan."""


def with_step(restore: Restore, place: int, change: Callable[[Run | Feed], Run | Feed]) -> Restore:
    """One step, of all those before and after the comparison, is another one."""
    steps: list[Step] = [*restore.steps, *restore.swap]
    changed = steps[place]
    assert isinstance(changed, Run | Feed)
    steps[place] = change(changed)
    border = len(restore.steps)
    return replace(restore, steps=tuple(steps[:border]), swap=tuple(steps[border:]))


def wrapped(script: str) -> Callable[[Run | Feed], Run | Feed]:
    """The step's command is what `"$@"` stands for in a script."""
    return lambda step: replace(step, argv=("sh", "-c", script, "sh", *step.argv))


def planted(restore: Restore, place: int, *, after: bool) -> Restore:
    """The step of this number fails, before or after it has done everything."""
    return with_step(restore, place, wrapped('"$@" && exit 3' if after else "cat >/dev/null; exit 3"))


FUNCTION = re.compile(r"(?ms)^(\w+)\(\) \{\n(.*?)^\}")
LINE = re.compile(r"(?m)^.*\S.*$")


def cut_anywhere(restore: Restore, head: str) -> Iterator[tuple[str, Restore]]:
    """For each line at which a script of the steps can end: that line, and the plan with the script ending before it.

    Of `head`, with which every script begins, those of the functions that the script may come to.
    """
    for place, step in enumerate((*restore.steps, *restore.swap)):
        assert isinstance(step, Run | Feed)
        text = step.argv[2]
        for start in reached(text, len(head)):
            script = f"{text[:start]}exit 3\n{text[start:]}"
            if execute("sh", "-n", input=script.encode()).returncode == 0:
                yield text[start:].partition("\n")[0].strip(), with_step(restore, place, partial(ending, script))


def between(restore: Restore, words: str) -> Iterator[tuple[str, Restore]]:
    """For each line of the last step's undo at which another command may stand: that line, and the plan with it."""
    place = len(restore.steps) + len(restore.swap) - 1
    step = [*restore.steps, *restore.swap][place]
    assert isinstance(step, Run | Feed)
    assert step.undo
    head, text = step.undo[:2], step.undo[2]
    for found in LINE.finditer(text):
        above, below = text[: found.start()], text[found.start() :]
        with_words, with_brace = (f"{above}{more}{below}".encode() for more in (words.lstrip(), ")\n"))
        is_quoted = execute("sh", "-n", input=with_brace).returncode == 0
        is_continued = above.rstrip().endswith(("&&", "||", "|", "\\"))
        if not is_quoted and not is_continued and execute("sh", "-n", input=with_words).returncode == 0:
            undo = (*head, with_words.decode(), *step.undo[3:])
            yield found[0].strip(), with_step(restore, place, lambda step, undo=undo: replace(step, undo=undo))


def ending(script: str, step: Run | Feed) -> Run | Feed:
    """The step with another script."""
    return replace(step, argv=(*step.argv[:2], script, *step.argv[3:]))


def reached(text: str, behind: int) -> list[int]:
    """Where the lines begin that a script runs: those behind its head, and of the functions that these name."""
    functions = {found[1]: found for found in FUNCTION.finditer(text)}
    parts, named = [text[behind:]], set[str]()
    while parts:
        new = {*re.findall(r"\w+", parts.pop())} & functions.keys() - named
        named |= new
        parts += [functions[name][2] for name in new]
    spans = [(behind, len(text)), *(functions[name].span(2) for name in named)]
    return sorted({line.start() for start, end in spans for line in LINE.finditer(text, start, end)})


@contextmanager
def waiting(applies: Applies, engine: Engine, server: str, restore: Restore, place: int) -> Iterator[Applying]:
    """A restore that waits just after the step of this number has done everything, and that has to fail then."""
    plan = with_step(restore, place, wrapped(f'"$@" && : >{REACHED} && sleep 100'))
    applying = applies(engine, server, plan)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(applying.run)
        reached = ("docker", "cp", f"{server}:{REACHED}", "-")  # An exec would look like an app to some restores.
        eventually(lambda: done.done() or execute(*reached).returncode == 0, seconds=60, what="the step is done")
        assert not done.done(), done.result()
        docker("exec", server, "rm", REACHED)
        yield applying
        with pytest.raises(SidecarError, match=r"stream|connection|stopped"):
            done.result(60)


@contextmanager
def cut_off(applies: Applies, server: str, restore: Restore, place: int, folder: Path) -> Iterator[Applying]:
    """A restore whose connection to the engine breaks just after the step of this number has done everything."""
    with FaultProxy(folder) as proxy:
        engine = Engine(proxy.address)
        with waiting(applies, engine, server, restore, place) as applying:
            assert proxy.cut(EXEC)
        yield applying
        engine.close()


def killed(applies: Applies, engine: Engine, server: str, restore: Restore, place: int) -> Applying:
    """A restore whose container is killed just after the step of this number has done everything, and started again."""
    with waiting(applies, engine, server, restore, place) as applying:
        docker("kill", server)
    assert not applying.undone
    docker("start", server)
    return applying


def undo(applying: Applying) -> None:
    """What is still owed, once the container runs again."""
    for argv in applying.owed:
        applying.session.ask(argv)
