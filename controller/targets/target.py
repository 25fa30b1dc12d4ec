"""One thing to back up, as labels, file and probes describe it."""

from dataclasses import dataclass, replace
from typing import Literal

from config.problems import Problem
from config.resolve import Resolved
from config.target import TargetSettings
from controller.core.errors import TargetGone, TargetUnsuitable
from controller.core.key import Key
from controller.engine.models import Listed
from controller.targets.survey import Survey
from strategies.base import Options

LIVE = {"running", "paused", "restarting"}


TargetState = Literal["ready", "pending", "problem", "disabled", "replica", "absent"]


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to back up, and whether that is possible."""

    key: Key
    state: TargetState
    """`pending`: being asked; `problem`: see `problems`; `replica`: of a scaled service; `absent`: not running."""
    container: Listed
    resolved: Resolved | None = None
    options: Options | None = None
    """The strategy's, validated; None where something is wrong with the labels."""
    problems: tuple[Problem, ...] = ()
    survey: Survey | None = None

    @property
    def strategy(self) -> str:
        return (self.settings.strategy if self.settings else None) or ""

    @property
    def settings(self) -> TargetSettings | None:
        """None where something is wrong with the labels."""
        return self.resolved.settings if self.resolved else None

    def demand_runnable(self) -> None:
        """Raises `TargetGone` or `TargetUnsuitable` for a target that no run can be started for."""
        if self.state == "absent":
            raise TargetGone(f"{self.key} has no running container", hint="Start it.")
        if self.options is None or self.state == "replica":
            told = "; ".join(f"{problem.place}: {problem.message}" for problem in self.problems)
            hint = "`backup-sidecar targets` shows each problem with its remedy."
            if self.state == "disabled":
                hint = "Set `backup.enable=true` on it."
            code = self.problems[0].code if self.problems else self.state
            raise TargetUnsuitable(f"{self.key} cannot be backed up: {told or self.state}", hint=hint, code=code)

    def asked(self) -> tuple[TargetSettings, Options]:
        """Settings and options of a target that can run; raises like `demand_runnable`."""
        self.demand_runnable()
        assert self.settings is not None and self.options is not None  # noqa: PT018  # A state that cannot be.
        return self.settings, self.options

    def with_survey(self, survey: Survey) -> "Target":
        return replace(self, state="ready", survey=survey, problems=self.resolved.problems if self.resolved else ())

    def with_problem(self, problem: Problem) -> "Target":
        known = self.resolved.problems if self.resolved else ()
        return replace(self, state="problem", survey=None, problems=(*known, problem))
