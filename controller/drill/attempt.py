"""Rehearses one restore: a run goes into a throw-away container, and what comes out is compared and checked."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from config.secrets import Secrets
from config.settings import Drills as DrillSettings
from controller.core.activity import Activity
from controller.core.drill import Comparison, Drill, DrillState
from controller.core.errors import (
    CommandFailed,
    DrillFailed,
    ImageGone,
    SidecarError,
    TargetDied,
    TargetNotReady,
    TargetUnsuitable,
    TimedOut,
    Unsupported,
)
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.core.redaction import Redact
from controller.core.structure import rehearsable
from controller.drill import disk
from controller.drill.readiness import Readiness
from controller.engine import drill_container
from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.restore.apply import Applying
from controller.storage.leases import Leases
from controller.storage.source import sources_of
from controller.storage.store import Store
from controller.targets.helper_containers import Helpers
from controller.targets.remedies import always
from controller.targets.runnable import RunnableTarget
from controller.targets.session import Session
from controller.targets.survey import Surveyor, restoring, suitable
from controller.targets.target import Target
from strategies.base import Strategy, Unsuitable, script
from strategies.plan import Argv, RestoreRequest

READY_WITHIN_SECONDS = 300.0
"""After which a throw-away container that is not ready is given up."""
SETTLING_SECONDS = 30.0
"""What a ready container whose main program is a shell is given to become the server itself: an image's script may
start one for itself first, prepare it and stop it again; what is restored into that one is cut off, and what it lacks
the next one may have."""
READY_CHECK_SECONDS = 0.5
REFUSED = "refused"
"""Code of strategies for what passes while a server starts for the first time: it does not know its account yet."""
DRILLING = "So it would not come back: mend what it complains of in the target, make another run, and drill that."
FOLDERS = 'for folder; do mkdir -p "$folder" && chmod 777 "$folder"; done'
"""For a user without root, whose own folders are in the target's volumes."""
IDLE = ("sh", "-c", "while :; do sleep 60; done")


@dataclass(frozen=True, slots=True)
class Driller:
    """Executes drills. Holds no state of its own between two of them."""

    engine: Engine
    store: Store
    surveyor: Surveyor
    helpers: Helpers
    strategies: Mapping[str, Strategy[Any]]
    target: Callable[[Key], Target]
    secrets: Callable[[], Secrets]
    leases: Leases
    limits: DrillSettings
    owner: str
    """Identity of this sidecar, so that no other one takes our containers for its own."""

    def __call__(self, activity: Activity[Drill]) -> Drill:
        """Do the whole drill and give its outcome; never raises."""
        begun, started = time.monotonic(), datetime.now(UTC)
        attempt = DrillAttempt(self, activity, begun + self.limits.timeout.total_seconds())
        state: DrillState = "passed"
        failed: Failure | None = None
        try:
            attempt.run()
        except SidecarError as error:
            is_late = isinstance(error, TimedOut)
            cause = TimedOut(error.message, hint="Raise drills.timeout.") if is_late else error
            state = "cancelled" if activity.cancelled else "unsupported" if isinstance(error, Unsupported) else "failed"
            failed = Failure.of(cause, attempt.redact)
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one outcome, whatever happens.
            state, failed = "failed", Failure.defect("drill", error, attempt.redact)
        return activity.report.model_copy(
            update={
                "state": state,
                "started": started,
                "finished": datetime.now(UTC),
                "seconds": round(time.monotonic() - begun, 3),
                "rehearsed": attempt.rehearsed,
                "image": attempt.image,
                "remarks": tuple(attempt.remarks),
                "compared": attempt.compared,
                "check": attempt.checked,
                "failure": failed,
            }
        )


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is rehearsed."""

    manifest: Manifest
    target: RunnableTarget
    strategy: Strategy[Any]
    by_helper: bool
    """Its data is read by a helper, so that only another one can take it back."""


class DrillAttempt:
    """The order of one drill, and what has become known of its outcome."""

    def __init__(self, parts: Driller, activity: Activity[Drill], deadline: float) -> None:
        self.parts, self.activity, self.drill, self.deadline = parts, activity, activity.report, deadline
        self.redact: Redact = parts.secrets().redact
        self.rehearsed = self.image = ""
        self.remarks: list[str] = []
        self.compared: tuple[Comparison, ...] = ()
        self.checked: str | None = None

    def run(self) -> None:
        """Raises `SidecarError`; whatever happens the throw-away container is gone afterwards."""
        rehearsal = self.rehearsal()
        engine, allowed = self.parts.engine, disk.allowance(rehearsal.manifest, self.parts.limits.disk)
        with (
            self.parts.leases.held(rehearsal.manifest.run),
            self.container(rehearsal) as container,
            disk.bounded(engine, container, allowed),
        ):
            applying = self.ready(container, rehearsal)
            check = self.check_argv(rehearsal, applying.session)
            try:
                applying.verify()
                applying.run()
            finally:
                self.compared = tuple(comparisons(applying))
                self.remarks += applying.warnings
            if check:
                self.checked = self.check(check, rehearsal, applying.session)

    def rehearsal(self) -> Rehearsal:
        """Raises `Unsupported` where the run is another strategy's than the target."""
        manifest = self.parts.store.manifest(self.drill.target, self.drill.run)
        self.rehearsed = rehearsable(manifest)
        target = self.parts.target(self.drill.target)
        runnable = target.runnable()
        if manifest.strategy != target.strategy:
            message = f"run {manifest.run} was made by {manifest.strategy}, and the target is {target.strategy} now"
            raise Unsupported(message, hint="Drill a newer run.")
        by_helper = target.survey is not None and target.survey.helper is not None
        return Rehearsal(manifest, runnable, self.parts.strategies[target.strategy], by_helper)

    def replaceable(self, target: RunnableTarget, strategy: Strategy[Any]) -> tuple[str, ...]:
        """Files that are mounted into the target and hold nothing but a password, which may be another one here.

        Raises `Unsupported` for any other that its command line or a variable names, since a container without any
        mount cannot be like the target then.
        """
        engine, container = self.parts.engine, target.container.id
        named, context = engine.named_binds(container), ExecContext(container)
        files = {path: words for path, words in named.items() if engine.ask(context, ("test", "-f", path)).ok}
        hidden = engine.inspect(container).tmpfs if files else ()
        for path, words in files.items():
            of_passwords = {f"{name}_FILE={path}" for name in strategy.passwords}
            if not of_passwords.issuperset(words) or any(path.startswith(f"{folder}/") for folder in hidden):
                hint = "Put it into the image, or let a variable hold what is in it."
                raise Unsupported(f"unsupported: needs {path} by bind mount", hint=hint)
        return tuple(files)

    @contextmanager
    def container(self, rehearsal: Rehearsal) -> Iterator[str]:
        """The throw-away container, started."""
        engine, strategy = self.parts.engine, rehearsal.strategy
        passwords = self.replaceable(rehearsal.target, strategy) if strategy.serves else ()
        container = self.create(rehearsal)
        try:
            for path in passwords:
                engine.put_file(container, path, token_hex(16).encode())
                self.remarks.append(f"other-password: {path} holds a random one there, and not the target's")
            engine.start_own_container(container)
            if not strategy.serves and not rehearsal.by_helper:
                folders = [mount.path for mount in engine.inspect(rehearsal.target.container.id).mounts]
                engine.ask(ExecContext(container, user="0"), ("sh", "-c", FOLDERS, "sh", *folders))
            yield container
        finally:
            try:
                engine.remove_own_container(container)
            except SidecarError as error:
                name = f"the throw-away container {container[:12]}"
                self.remarks.append(f"left: {name} is left until the next start: {error.message}")

    def create(self, rehearsal: Rehearsal) -> str:
        """From the image of the backup, else from the target's present one."""
        labels = {drill_container.LABEL: self.drill.id, drill_container.OWNER: self.parts.owner}
        limits = drill_container.Limits(self.parts.limits.memory, self.parts.limits.cpus)
        engine, like = self.parts.engine, rehearsal.target.container.id
        idle = () if rehearsal.strategy.serves else IDLE
        if rehearsal.by_helper:
            self.image = self.parts.helpers.image()
            self.remarks.append("by-helper: the target lacks the client, so it is restored with the sidecar's own")
            return engine.create_helper_container(None, self.image, labels, self.deadline - time.monotonic())
        self.image = rehearsal.manifest.image_id
        try:
            return engine.create_drill_container(like, self.image, labels, limits, idle=idle)
        except ImageGone:
            missing, self.image = self.image, engine.inspect(like).image_id
            self.remarks.append(f"other-image: the engine no longer has {missing}; the target's present image is used")
            return engine.create_drill_container(like, self.image, labels, limits, idle=idle)

    def ready(self, container: str, rehearsal: Rehearsal) -> Applying:
        """Wait until the strategy can restore into it; raises `Unsupported` when that does not come about."""
        readiness = Readiness(self.parts.engine, container)
        began, since, unfit, reason = time.monotonic(), 0.0, 0.0, "its probes were not answered"
        while True:
            self.activity.check()
            now, is_settling = time.monotonic(), True
            readiness.demand_running()
            try:
                is_settling = rehearsal.strategy.serves and readiness.is_settling()
                applying = self.planned(container, rehearsal)
            except (TargetNotReady, TargetUnsuitable, TargetDied, CommandFailed, TimedOut) as error:
                is_unfit = isinstance(error, TargetUnsuitable) and error.code != REFUSED
                unfit = (unfit or now) if is_unfit else 0.0
                if unfit and (not is_settling or now - unfit > SETTLING_SECONDS):
                    raise Unsupported(f"unsupported: {error.message}", hint=error.hint) from error
                since, reason = 0.0, error.message
            else:
                since = since or now
                if not is_settling or now - since > SETTLING_SECONDS:
                    return applying
            if now - began > READY_WITHIN_SECONDS or now > self.deadline:
                readiness.give_up(f"was not ready after {now - began:.0f} s: {reason}")
            time.sleep(READY_CHECK_SECONDS)

    def planned(self, container: str, rehearsal: Rehearsal) -> Applying:
        """The restore into it; raises `TargetNotReady` or `TargetUnsuitable` while that is not possible."""
        manifest, target = rehearsal.manifest, rehearsal.target
        if rehearsal.by_helper:
            target = replace(target, settings=target.settings.model_copy(update={"user": None, "workdir": None}))
        probed = self.parts.surveyor.probe(target, container)
        run, deadline = self.drill.id, self.deadline
        session = restoring(self.parts.engine, target, probed, self.parts.secrets(), run=run, deadline=deadline)
        session = replace(session.heard_by(self.activity.reading), remedy=always(DRILLING))
        self.redact = session.redact
        sources = sources_of(manifest, self.parts.store.folder(manifest.target, manifest.run))
        stored = tuple(source.stored for source in sources.values())
        request = RestoreRequest(manifest.run, stored, replace=rehearsal.strategy.serves, restore=self.drill.id)
        with suitable(probed.redact):
            facts = replace(probed.facts, helper=rehearsal.by_helper)
            restore = rehearsal.strategy.restore(probed.container, facts, target.options, request)
        return Applying(session, restore, sources, check=self.activity.check, warnings=list(restore.warnings))

    def check_argv(self, rehearsal: Rehearsal, session: Session) -> Argv | None:
        """What `drill.check` runs; raises `Unsupported` for a text where there is no shell."""
        check = rehearsal.target.settings.drill.check
        try:
            return None if check is None else script([check], session.context.shell)
        except Unsuitable as error:
            raise Unsupported(f"drill.check cannot run: {error.message}", hint=error.hint) from error

    def check(self, argv: Argv, rehearsal: Rehearsal, session: Session) -> str:
        """What `drill.check` printed in the restored container; raises `DrillFailed` unless it exits 0."""
        environment = {**rehearsal.target.settings.env, "BACKUP_KEY": str(self.drill.target)}
        context = replace(session.context, environment=environment)
        answer = session.engine.ask(context, argv, timeout=max(1.0, self.deadline - time.monotonic()))
        printed = self.redact(answer.stdout + answer.stderr).strip()[-500:]
        if not answer.ok:
            message = f"drill.check ended with exit code {answer.code}: {printed}"
            hint = "Look at what it says: the restored data is not as it demands."
            raise DrillFailed(message, hint=hint, code="check-failed")
        return printed


def comparisons(applying: Applying) -> Iterator[Comparison]:
    """What was counted at the dump beside what was found now; nothing where it did not come to that."""
    for name, numbers in applying.counted.items():
        artifact = applying.sources[name].artifact
        for what, number in artifact.counts.items():
            yield Comparison(artifact=artifact.name, what=what, dumped=number, restored=numbers.get(what))
