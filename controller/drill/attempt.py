"""One drill: a run goes into a throw-away container, and what comes out is compared and checked.

Apart from the restore itself, which knows one container to restore into; here is decided where that container comes
from, when it is ready, how the outcome is judged, and that it goes away again.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from secrets import token_hex
from typing import Any, NoReturn

from config.secrets import Secrets
from config.settings import Drills as Limits
from controller.backup.jobs import Job
from controller.core.drill import Comparison, Drill
from controller.core.errors import (
    CommandFailed,
    DrillFailed,
    ImageGone,
    SidecarError,
    TargetDied,
    TargetUnsuitable,
    TimedOut,
    Unsupported,
)
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.manifest import Manifest
from controller.engine import drill_container
from controller.engine.client import Engine
from controller.restore.apply import Applying
from controller.storage.leases import Leases
from controller.storage.source import Source
from controller.storage.store import Store
from controller.targets.helper_containers import Helpers
from controller.targets.session import Session
from controller.targets.survey import Surveyor, suitable
from controller.targets.target import Target
from strategies.base import Strategy, Wanted, script

READY_WITHIN = 300.0
"""Seconds in which a throw-away container has to be ready."""
SETTLING = 30.0
"""Seconds that a ready container whose main program is a shell is given to become the server itself: an image's script
may start one for itself first, prepare it and stop it again, and what is restored into that one is cut off."""
LOOK_EVERY = 0.5
NOT_READY = {"not-ready", "refused"}
"""Codes of strategies for what passes while a server starts for the first time."""
SHELLS = {"sh", "bash", "dash", "ash", "busybox"}
INITS = {"docker-init", "tini", "dumb-init", "catatonit"}
"""Programs that only stand above the main one."""
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
    limits: Limits
    owner: str
    """Identity of this sidecar, so that no other one takes our containers for its own."""

    def __call__(self, drill: Drill, job: Job) -> Drill:
        """Do the whole drill and give its outcome; never raises."""
        begun, redact = time.monotonic(), self.secrets().redact
        attempt = Attempt(self, drill, job, begun + self.limits.timeout.total_seconds())
        changes: dict[str, Any]
        try:
            attempt.run()
            changes = {"state": "passed"}
        except SidecarError as error:
            if isinstance(error, TimedOut):
                error.hint = "Raise drills.timeout."
            state = "cancelled" if job.cancelled else "unsupported" if isinstance(error, Unsupported) else "failed"
            changes = {"state": state, "failure": Failure.of(error, attempt.redact)}
        except Exception as error:  # noqa: BLE001  # The boundary: exactly one outcome, whatever happens.
            changes = {"state": "failed", "failure": Failure.defect("drill", error, redact)}
        ended = {"finished": datetime.now(UTC), "seconds": round(time.monotonic() - begun, 3)}
        return drill.model_copy(update=attempt.found | changes | ended)


class Attempt:
    """The order of one drill."""

    def __init__(self, parts: Driller, drill: Drill, job: Job, deadline: float) -> None:
        self.parts, self.drill, self.job, self.deadline = parts, drill, job, deadline
        self.redact = parts.secrets().redact
        self.found: dict[str, Any] = {"started": datetime.now(UTC)}
        """Fields of the outcome, as they become known."""
        self.passwords: tuple[str, ...] = ()
        """Files that the throw-away container gets with a random password in each."""

    def run(self) -> None:
        """Raises `SidecarError`; whatever happens the throw-away container is gone afterwards."""
        manifest = self.parts.store.manifest(self.drill.target, self.drill.run)
        target = self.parts.target(self.drill.target)
        strategy = self.supported(target, manifest)
        with self.parts.leases.held(manifest.run), self.container(target, manifest, strategy) as container:
            applying = self.ready(container, target, strategy, manifest)
            try:
                applying.verify()
                applying.run()
            finally:
                self.found["compared"] = tuple(comparisons(applying))
                self.found["remarks"] = (*self.found.get("remarks", ()), *applying.warnings)
            self.found["check"] = self.check(target, applying.session)

    def supported(self, target: Target, manifest: Manifest) -> Strategy[Any]:
        """The strategy; raises `Unsupported` where a container without any mount cannot be like the target."""
        target.asked()
        if manifest.strategy != target.strategy:
            was = f"run {manifest.run} was made by {manifest.strategy}, and the target is {target.strategy} now"
            raise Unsupported(was, hint="Drill a newer run.")
        strategy = self.parts.strategies[target.strategy]
        if strategy.serves:
            self.passwords = self.replaceable(target, strategy)
        return strategy

    def replaceable(self, target: Target, strategy: Strategy[Any]) -> tuple[str, ...]:
        """Files that are mounted into the target and hold nothing but a password, which may be another one here.

        Raises `Unsupported` for any other that its command line or a variable names.
        """
        engine, container = self.parts.engine, target.container.id
        named = engine.named_binds(container)
        files = {path: words for path, words in named.items() if engine.ask(container, ("test", "-f", path)).ok}
        hidden = engine.inspect(container).tmpfs if files else ()
        for path, words in files.items():
            of_passwords = {f"{name}_FILE={path}" for name in strategy.passwords}
            if not of_passwords.issuperset(words) or any(path.startswith(f"{folder}/") for folder in hidden):
                hint = "Put it into the image, or let a variable hold what is in it."
                raise Unsupported(f"unsupported: needs {path} by bind mount", hint=hint)
        return tuple(files)

    @contextmanager
    def container(self, target: Target, manifest: Manifest, strategy: Strategy[Any]) -> Iterator[str]:
        """The throw-away container, started."""
        engine, container = self.parts.engine, self.create(target, manifest, () if strategy.serves else IDLE)
        try:
            for path in self.passwords:
                engine.put_file(container, path, token_hex(16).encode())
                self.remark(f"other-password: {path} holds a random one there, and not the target's")
            engine.start_throwaway(container)
            yield container
        finally:
            try:
                engine.remove_throwaway(container)
            except SidecarError as error:
                told = f"the throw-away container {container[:12]} is left until the next start: {error.message}"
                self.remark(f"left: {told}")

    def create(self, target: Target, manifest: Manifest, idle: tuple[str, ...]) -> str:
        """From the image of the backup, else from the target's present one."""
        labels = {drill_container.LABEL: self.drill.id, drill_container.OWNER: self.parts.owner}
        limits = drill_container.Limits(self.parts.limits.memory, self.parts.limits.cpus)
        engine, like, image = self.parts.engine, target.container.id, manifest.image_id
        if is_helped(target):
            self.found["image"] = image = self.parts.helpers.image()
            self.remark("by-helper: the target lacks the client, so it is restored with the sidecar's own")
            return engine.helper(None, image, labels, self.deadline - time.monotonic())
        try:
            container = engine.throwaway(like, image, labels, limits, idle=idle)
        except ImageGone:
            image = engine.inspect(like).image_id
            self.remark(
                f"other-image: the engine no longer has {manifest.image_id}; the target's present image is used"
            )
            container = engine.throwaway(like, image, labels, limits, idle=idle)
        self.found["image"] = image
        return container

    def ready(self, container: str, target: Target, strategy: Strategy[Any], manifest: Manifest) -> Applying:
        """Wait until the strategy can restore into it; raises `DrillFailed` when that does not come about."""
        began, since, reason = time.monotonic(), 0.0, "its probes were not answered"
        while True:
            self.job.check()
            now = time.monotonic()
            self.demand_running(container)
            try:
                settling = strategy.serves and self.is_settling(container)
                applying = self.decide(container, target, strategy, manifest)
            except (TargetUnsuitable, TargetDied, CommandFailed, TimedOut) as error:
                if isinstance(error, TargetUnsuitable) and error.code not in NOT_READY:
                    raise Unsupported(f"unsupported: {error.message}", hint=error.hint) from error
                since, reason = 0.0, error.message
            else:
                since = since or now
                if not settling or now - since > SETTLING:
                    return applying
            if now - began > READY_WITHIN or now > self.deadline:
                self.give_up(container, f"was not ready after {now - began:.0f} s: {reason}", "not-ready")
            time.sleep(LOOK_EVERY)

    def demand_running(self, container: str) -> None:
        """Raises `DrillFailed` when it has stopped."""
        state = self.parts.engine.inspect(container)
        if not state.running:
            memory = " (killed for memory: see drills.memory)" if state.oom else ""
            self.give_up(container, f"ended with exit code {state.exit_code}{memory}", "container-ended")

    def give_up(self, container: str, why: str, code: str) -> NoReturn:
        words = self.parts.engine.last_words(container)
        hint = "See whether its image starts without mounts and network."
        raise DrillFailed(f"the throw-away container {why}; its log ends: {words}", hint=hint, code=code)

    def is_settling(self, container: str) -> bool:
        """Whether its main program is a shell that may become something else; asked before the server is, since what a
        server says that is about to be stopped holds no longer.
        """
        name = self.program(container, "1")
        if name in INITS:
            children = self.parts.engine.ask(container, ("cat", "/proc/1/task/1/children")).stdout.split()
            name = self.program(container, children[0]) if children else ""
        return name in SHELLS

    def program(self, container: str, process: str) -> str:
        """By its command line, since the `comm` of a script is the script's own name."""
        answer = self.parts.engine.ask(container, ("cat", f"/proc/{process}/cmdline"))
        return PurePosixPath(answer.stdout.split("\0")[0]).name

    def decide(self, container: str, target: Target, strategy: Strategy[Any], manifest: Manifest) -> Applying:
        """The restore into it; raises `TargetUnsuitable` while that is not possible."""
        settings, options = target.asked()
        if is_helped(target):
            settings = settings.model_copy(update={"user": None, "workdir": None})
        survey = self.parts.surveyor.ask(container, settings, options)
        resolved = target.resolved
        secrets = self.parts.secrets().with_also((*survey.sensitive, *(resolved.sensitive if resolved else ())))
        self.redact = secrets.redact
        trusted = bool(resolved and resolved.origins.get("restore") == "file")
        session = Session(
            engine=self.parts.engine,
            container=container,
            shell=survey.facts.shell,
            user=settings.user or "",
            workdir=settings.workdir or "",
            run=self.drill.id,
            redact=secrets.redact,
            deadline=self.deadline,
            environment={**(secrets if trusted else {}), **survey.environment},
        )
        folder = self.parts.store.folder(manifest.target, manifest.run)
        sources = {
            source.stored.name: source
            for source in (Source(artifact, folder / artifact.name) for artifact in manifest.artifacts)
        }
        wanted = Wanted(manifest.run, tuple(source.stored for source in sources.values()), replace=strategy.serves)
        with suitable():
            facts = replace(survey.facts, helper=is_helped(target))
            restore = strategy.restore(survey.container, facts, options, wanted)
        return Applying(session, restore, sources, check=self.job.check, warnings=list(restore.warnings))

    def check(self, target: Target, session: Session) -> str | None:
        """Run `drill.check` in the restored container; raises `DrillFailed` unless it exits 0."""
        settings, _ = target.asked()
        if settings.drill.check is None:
            return None
        answer = session.engine.ask(
            session.container,
            script([settings.drill.check], session.shell),
            environment={**settings.env, "BACKUP_KEY": str(self.drill.target)},
            user=session.user,
            workdir=session.workdir,
            shell=session.shell,
            run=session.run,
            timeout=max(1.0, self.deadline - time.monotonic()),
        )
        told = self.redact(answer.stdout + answer.stderr).strip()[-500:]
        if not answer.ok:
            hint = "Look at what it says: the restored data is not as it demands."
            raise DrillFailed(f"drill.check ended with exit code {answer.code}: {told}", hint=hint, code="check-failed")
        return told

    def remark(self, text: str) -> None:
        self.found["remarks"] = (*self.found.get("remarks", ()), text)


def is_helped(target: Target) -> bool:
    """Whether its data is read by a helper, so that only another one can take it back."""
    return target.survey is not None and target.survey.helper is not None


def comparisons(applying: Applying) -> Iterator[Comparison]:
    """What was counted at the dump beside what was found now; nothing where it did not come to that."""
    for name, found in applying.found.items():
        artifact = applying.sources[name].artifact
        for what, number in artifact.counts.items():
            yield Comparison(artifact=artifact.name, what=what, dumped=number, restored=found.get(what))
