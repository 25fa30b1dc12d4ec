"""Asks a target what it offers and decides what a run would do; at discovery, so that a missing client is known by day,
and again before each run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from config.target import TargetSettings
from controller.engine.client import Engine
from controller.engine.models import Inspected
from controller.errors import TargetPaused, TargetUnsuitable
from controller.redaction import sensitive
from strategies.base import Container, Facts, Options, Plan, Strategy, Unsuitable


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found out about a target, and the plan that follows from it."""

    container: Container
    image_id: str
    facts: Facts
    plan: Plan
    sensitive: tuple[str, ...]
    """Values from the container's environment that nobody may see."""


class Surveyor:
    """Needs the engine and the strategies that are there."""

    def __init__(self, engine: Engine, strategies: Mapping[str, Strategy[Any]]) -> None:
        self._engine, self._strategies = engine, strategies

    def survey(self, container_id: str, settings: TargetSettings, options: Options) -> Survey:
        """Inspect, probe, plan. Raises `TargetUnsuitable`, `TargetPaused` and the engine's errors."""
        asked = self.ask(container_id, settings, options)
        with suitable():
            plan = self._strategies[settings.strategy or ""].plan(asked.container, asked.facts, options)
        return replace(asked, plan=plan)

    def ask(self, container_id: str, settings: TargetSettings, options: Options) -> Survey:
        """Inspect and probe only: the plan is empty. Raises `TargetPaused` and the engine's errors."""
        inspected = self._engine.inspect(container_id)
        if inspected.paused or inspected.restarting:
            state = "paused" if inspected.paused else "restarting"
            raise TargetPaused(f"container {inspected.name} is {state}", hint="Resume it, or wait until it runs.")
        strategy = self._strategies[settings.strategy or ""]
        user = settings.user or ""
        shell = self._engine.find_shell(container_id, user=user)
        answers = self._engine.ask_all(
            container_id, strategy.probes(options), shell=shell, user=user, environment=settings.env
        )
        container = described(inspected, settings)
        return Survey(container, inspected.image_id, Facts(shell, answers), Plan(()), sensitive(inspected.env))


@contextmanager
def suitable() -> Iterator[None]:
    """Turn a strategy's refusal into `TargetUnsuitable`."""
    try:
        yield
    except Unsuitable as error:
        raise TargetUnsuitable(error.message, hint=error.hint, code=error.code) from error


def described(inspected: Inspected, settings: TargetSettings) -> Container:
    """What a strategy may know of the container."""
    return Container(
        id=inspected.id,
        name=inspected.name,
        image=inspected.image,
        user=settings.user or inspected.user,
        workdir=settings.workdir or inspected.workdir or "/",
        mounts=tuple(sorted(mount.path for mount in inspected.mounts if mount.kind != "tmpfs")),
        tmpfs=inspected.tmpfs,
    )
