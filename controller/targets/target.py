"""One thing to back up, as labels, file and probes describe it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from config.problems import Problem
from config.resolve import Resolved
from config.target import TargetSettings
from controller.core.errors import TargetGone, TargetUnsuitable
from controller.core.key import Key
from controller.core.run import Report
from controller.engine.models import Listed
from controller.targets.runnable import RunnableTarget
from controller.targets.survey import Survey
from strategies.base import Options

LIVE = {"running", "paused", "restarting"}
IMAGE_LABELS = "image-labels"
"""Code of the problem of labels that an image brings, and of the warning of a run without them."""


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
    def is_gone(self) -> bool:
        """Whether no container of it runs."""
        return self.state == "absent" or self.container.state not in LIVE

    @property
    def is_wanted(self) -> bool:
        """Whether a container of it runs, and asks for backups."""
        return not self.is_gone and self.state != "disabled"

    @property
    def strategy(self) -> str:
        return (self.settings.strategy if self.settings else None) or ""

    def has(self, code: str) -> bool:
        """Whether there is a problem of that code."""
        return any(problem.code == code for problem in self.problems)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Those of its problems that keep it from being backed up."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def reasons(self) -> str:
        """Its errors in a line, each with its place."""
        return "; ".join(f"{problem.place}: {problem.message}" for problem in self.errors)

    @property
    def settings(self) -> TargetSettings | None:
        """None where something is wrong with the labels."""
        return self.resolved.settings if self.resolved else None

    @property
    def sensitive(self) -> tuple[str, ...]:
        """Values of its labels and of its container that nobody may see."""
        if self.survey:
            return self.survey.probed.sensitive
        return self.resolved.sensitive if self.resolved else ()

    @property
    def described(self) -> RunnableTarget | None:
        """What labels and file say of it, whether its container runs or not; None where something is wrong there."""
        if self.resolved is None or self.settings is None or self.options is None:
            return None
        return RunnableTarget(
            self.key,
            self.container,
            self.settings,
            self.strategy,
            self.options,
            self.resolved.sensitive,
            self.resolved.origins,
            self.resolved.secrets,
            self.resolved.provenance,
            tuple(f"{one.code}: {one.message}" for one in self.resolved.problems if one.code == IMAGE_LABELS),
        )

    def runnable(self) -> RunnableTarget:
        """The target as a run needs it; raises `TargetGone` or `TargetUnsuitable` where none can be started for it."""
        if self.state == "absent":
            raise TargetGone(f"{self.key} has no running container", hint="Start it.")
        if (described := self.described) is None or self.state == "replica":
            reasons, hint = self.reasons or self.state, "`backup-sidecar targets` shows each problem with its remedy."
            if self.state == "disabled":
                silenced = next((one.hint for one in self.problems if one.code == IMAGE_LABELS), "")
                reasons, hint = "it does not opt in", silenced or "Set `backup.enable=true` on it."
            code = next((problem.code for problem in (*self.errors, *self.problems)), self.state)
            raise TargetUnsuitable(f"{self.key} cannot be backed up: {reasons}", hint=hint, code=code)
        return described

    def after(self, last_good: Callable[[Key], Report | None]) -> "Target":
        """The target, or a problem where its last good run may have followed labels that count for nothing now.

        A run without them says so in a warning.
        """
        lost = next((problem for problem in self.problems if problem.code == IMAGE_LABELS), None)
        good = last_good(self.key) if lost else None
        if lost is None or good is None:
            return self
        if self.state != "disabled" and any(warning.startswith(IMAGE_LABELS) for warning in good.warnings):
            return self
        error = replace(lost, message=f"there are runs by labels that are lost now: {lost.message}", severity="error")
        others = tuple(problem for problem in self.problems if problem is not lost)
        return Target(self.key, "problem", self.container, problems=(error, *others))

    def with_survey(self, survey: Survey) -> "Target":
        """Without what the probes said, which a run asks for anew."""
        known = self.resolved.problems if self.resolved else ()
        probed = replace(survey.probed, facts=replace(survey.probed.facts, answers={}))
        survey = replace(survey, probed=probed)
        return replace(self, state="ready", survey=survey, problems=(*known, *survey.problems))

    def with_problem(self, problem: Problem) -> "Target":
        known = self.resolved.problems if self.resolved else ()
        return replace(self, state="problem", survey=None, problems=(*known, problem))
