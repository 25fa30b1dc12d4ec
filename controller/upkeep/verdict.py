"""Answers "am I safe?", with every reason why not; pure. All that tell it, to people and programs, ask here."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from config.problems import Problem
from controller.core.errors import Busy, Tampered
from controller.core.key import Key
from controller.core.run import Report
from controller.storage.room import KEEP_LESS
from controller.upkeep.copy_freshness import CopyFreshness
from controller.upkeep.freshness import Freshness, FreshnessState, ago

OVERDUE = timedelta(minutes=10)
"""How long after its deadline a run may still be ending before it counts as stuck."""
LEAST_PATIENCE = timedelta(minutes=1)
"""How long a run may wait for its turn in any case."""
UNCONCERNED: frozenset[FreshnessState] = frozenset({"fresh", "unpromised"})
"""States of a target that nobody has to do anything about."""
ORDER: Sequence[FreshnessState] = ("stale", "never", "late", "unknown", "fresh", "unpromised")
REMEDIES: dict[FreshnessState, str] = {
    "never": "`backup-sidecar run` makes the first one.",
    "stale": "`backup-sidecar runs` says what became of the last ones.",
    "late": "`backup-sidecar runs` says what became of the last ones.",
    "unknown": "`backup-sidecar targets` says what is wrong with it.",
}
SAID = {"missed": "was missed", "interrupted": "was interrupted"}
"""How a run ended, where its state is no verb."""

OfCopies = Literal["copy-late", "copy-stale", "copy-never", "copy-unknown"]
OfTarget = Literal[
    "problem", "failed", "suspicious", "damaged", "tampered", "restoring", "unscheduled", "waiting", "no-room"
]
OfSidecar = Literal["problem", "no-targets", "no-room", "unwatched", "dead"]
Code = FreshnessState | OfTarget | OfCopies | OfSidecar
OF_COPIES: dict[FreshnessState, OfCopies] = {
    "late": "copy-late",
    "stale": "copy-stale",
    "never": "copy-never",
    "unknown": "copy-unknown",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is wrong: which kind, what exactly, and the next step."""

    code: Code
    message: str
    hint: str = ""
    key: Key | None = None
    """None: it is the sidecar's own."""

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Pending:
    """A run that is queued or under way."""

    run: str
    reason: str
    """Why it is queued; empty while it is under way."""
    waited: timedelta = timedelta(0)
    """Since it was asked for."""
    overdue: timedelta = timedelta(0)
    """Since its deadline."""


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What is known of one target."""

    freshness: Freshness
    problems: tuple[Problem, ...] = ()
    last: Report | None = None
    """The newest run that failed, was missed, or whose artifacts are there."""
    pending: Pending | None = None
    timeout: timedelta = timedelta(hours=1)
    restore: str = ""
    """The restore that has it."""
    copies: tuple[CopyFreshness, ...] = ()
    idle_schedules: tuple[str, ...] = ()
    """Settings whose schedule never comes due, or starts nothing."""
    allowed: int | None = None
    """Bytes that `policy.max-store-per-target` leaves its next run, where that is like the last and will not fit."""


@dataclass(frozen=True, slots=True)
class SidecarFacts:
    """What is known of the sidecar itself."""

    problems: tuple[Problem, ...] = ()
    dead: tuple[str, ...] = ()
    """Parts of the program that have ended, or work no more."""
    watching: bool = True
    """Whether the list of containers is current."""
    needed: int = 0
    """Bytes that the next run of every target takes, if it is like the last."""
    free: int | None = None
    """Bytes that the store can take; None: nobody knows."""
    may_idle: bool = False
    """It is right that there is nothing to back up here: what there is may be on another node, with a sidecar there."""


@dataclass(frozen=True, slots=True)
class Status:
    """The answer to "am I safe?"."""

    targets: tuple[Freshness, ...]
    copies: tuple[CopyFreshness, ...] = ()
    damaged: tuple[Report, ...] = ()
    reasons: tuple[Reason, ...] = ()
    """Why not, the targets' first."""

    @property
    def safe(self) -> bool:
        return not self.reasons

    @property
    def verdict(self) -> str:
        if self.safe and not self.targets:
            return "safe: there is nothing to back up on this node"
        states = Counter(one.state for one in self.targets)
        if self.safe and states["fresh"] == len(self.targets):
            return f"safe: every target is fresh ({len(self.targets)})"
        others = Counter(reason.code for reason in self.reasons if reason.code not in ORDER)
        counts = [f"{states[state]} {state}" for state in ORDER if states[state]]
        counts += [f"{count} {code}" for code, count in others.items() if code != "no-targets"]
        return f"{'safe' if self.safe else 'not safe'}: {', '.join(counts) or 'there is nothing to back up'}"


def judged(targets: Sequence[TargetFacts], damaged: Sequence[Report], sidecar: SidecarFacts) -> Status:
    """The one verdict."""
    reasons = [of_damage(run) for run in damaged if run.tampered]
    reasons += [reason for facts in targets for reason in of_target(facts)]
    reasons += [of_damage(run) for run in damaged if not run.tampered]
    reasons += of_sidecar(sidecar)
    if not targets and not sidecar.may_idle:
        hint = "`backup-sidecar targets` lists what carries labels; label what is to be backed up."
        reasons.append(Reason("no-targets", "there is nothing to back up", hint))
    copies = tuple(copies for facts in targets for copies in facts.copies)
    return Status(tuple(facts.freshness for facts in targets), copies, tuple(damaged), tuple(reasons))


def of_target(facts: TargetFacts) -> Iterator[Reason]:
    """What is wrong with one target, the age of its last good run first."""
    fresh, key = facts.freshness, facts.freshness.key
    errors = [problem for problem in facts.problems if problem.severity == "error"]
    if fresh.state not in UNCONCERNED:
        hint = "" if errors else REMEDIES.get(fresh.state, "")
        yield Reason(fresh.state, f"{key} is {fresh.state}: {fresh.reason}", hint, key)
    for problem in errors:
        message = f"{key} cannot be backed up: {problem.place}: {problem.message} [{problem.code}]"
        yield Reason("problem", message, problem.hint, key)
    if facts.last and (reason := of_last_run(facts.last, fresh.good, is_pending=facts.pending is not None)):
        yield reason
    for copies in facts.copies:
        if (code := OF_COPIES.get(copies.state)) and not (fresh.good is None and fresh.state not in UNCONCERNED):
            message = f"the copies of {key} at {copies.destination} are {copies.state}: {copies.reason}"
            yield Reason(code, message, "`backup-sidecar copies` says what is in the way.", key)
    if facts.restore:
        hint = "`backup-sidecar restores` says how far it is; what it still has to undo needs its container."
        yield Reason("restoring", f"{key} cannot be backed up while restore {facts.restore} holds it", hint, key)
    yield from (of_schedule(key, setting) for setting in facts.idle_schedules)
    if facts.allowed is not None:
        message = f"the next run of {key} will not fit: policy.max-store-per-target leaves it {facts.allowed} bytes"
        yield Reason("no-room", message, KEEP_LESS, key)
    if facts.pending and (reason := of_pending(key, facts.pending, max(facts.timeout, LEAST_PATIENCE))):
        yield reason


def of_last_run(last: Report, good: Report | None, *, is_pending: bool) -> Reason | None:
    """Why the newest run is no reason to be calm; damage is told elsewhere."""
    key = last.target
    if last.stored:
        if last.good or last.damaged:
            return None
        hint = f"Look at it; `backup-sidecar accept {last.id}` takes it for good."
        return Reason(
            "suspicious", f"the newest run of {key}, {last.id}, is suspicious: {last.suspicious[0]}", hint, key
        )
    failure = last.failure
    if good and good.ended > last.created:
        return None
    if is_pending and failure and failure.code == Busy.code:
        return None  # The run that was in its way is still under way.
    code = "" if failure is None or failure.code == last.state else f"{failure.code}: "
    why = f": {code}{failure.message}".rstrip(".") if failure else ""
    hint = (failure.hint if failure else "") or f"`backup-sidecar run {key}` tries again."
    return Reason("failed", f"the last run of {key}, {last.id}, {SAID.get(last.state, last.state)}{why}", hint, key)


def of_schedule(key: Key, setting: str) -> Reason:
    """A schedule that is idle."""
    hint = f"Correct `{setting}`, or set it to `none`."
    if setting.startswith("drill."):
        hint = f"Set `policy.create-containers: true` in config.yaml, or remove `{setting}`."
    return Reason("unscheduled", f"`{setting}` of {key} will never start anything", hint, key)


def of_pending(key: Key, pending: Pending, patience: timedelta) -> Reason | None:
    """A run that does not get on."""
    hint = f"`backup-sidecar runs` shows what is under way; `backup-sidecar cancel {pending.run}` ends it."
    if pending.reason and pending.waited > patience:
        message = f"run {pending.run} of {key} has been queued for {ago(pending.waited)} ({pending.reason})"
        return Reason("waiting", message, hint, key)
    if not pending.reason and pending.overdue > OVERDUE:
        message = f"run {pending.run} of {key} goes on {ago(pending.overdue)} after its deadline"
        return Reason("waiting", message, hint, key)
    return None


def of_damage(run: Report) -> Reason:
    if run.tampered:
        return Reason("tampered", f"TAMPERED: run {run.id} of {run.target}: {run.damaged}", Tampered.remedy, run.target)
    hint = "Make a new run and look at the store's disk; `backup-sidecar adopt` takes the same run in from a copy."
    return Reason("damaged", f"run {run.id} of {run.target} is damaged: {run.damaged}", hint, run.target)


def of_sidecar(facts: SidecarFacts) -> Iterator[Reason]:
    """What is wrong beside the targets."""
    for problem in facts.problems:
        if problem.severity == "error":
            yield Reason("problem", f"{problem.place}: {problem.message} [{problem.code}]", problem.hint)
    if not facts.watching:
        hint = "Look at the log; `docker info` says whether the engine answers."
        yield Reason("unwatched", "the engine is not being watched, so nobody knows what runs", hint)
    if facts.free is not None and facts.needed > facts.free:
        message = f"the next run of every target takes {facts.needed} bytes, and the store can take {facts.free}"
        yield Reason("no-room", message, "Make room on the store's disk, or keep fewer runs.")
    for part in facts.dead:
        yield Reason("dead", f"a part of the program does not work: {part}", "Restart the sidecar, and report its log.")
