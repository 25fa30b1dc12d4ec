"""Pings the operator's dead man's switches: at each run of a target that has one, every few minutes for the sidecar.

As healthchecks.io and its like understand it (healthchecks.io/docs/http_api): `/start`, the plain URL for success,
`/fail`, and a run id that pairs them. Whatever is not a good run is a failure, a suspicious one too, because what the
switch watches over is a backup that counts. A run neither waits for a ping nor fails by one.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

from loguru import logger

from config.loading import Loaded
from controller.core.errors import Busy, TargetGone, UnknownTarget
from controller.core.events import Bus, RunBegan, RunEnded
from controller.core.key import Key
from controller.core.loop import Loop
from controller.core.run import SAFETY, Report
from controller.outbound.sender import Answer, send
from controller.targets.target import Target
from controller.upkeep.situation import Situation

INTERVAL_SECONDS, MIN_INTERVAL_SECONDS = 300.0, 60.0
"""Between two pings for the sidecar; and at least, where it has something new to say, or was not heard."""
LOOK_SECONDS = 5.0
"""Between two looks at the verdict; what a run has to say goes out at once."""
TIMEOUT_SECONDS, FAREWELL_TIMEOUT_SECONDS = 10.0, 2.0
"""For each step of an answer."""
RETRY_SECONDS = (1.0, 4.0)
"""Before the second try and the third, which is the last."""
MAX_BODY_BYTES = 10_000
"""What healthchecks.io keeps of a body unless it is told otherwise."""
CAUGHT_UP_CODES = frozenset({"missed", TargetGone.code, UnknownTarget.code})
"""Why a run was missed that is caught up."""

Kind = Literal["start", "success", "fail"]


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing to be told to a check."""

    check: str
    """Key of the target; empty for the sidecar."""
    kind: Kind
    body: str
    run: str = ""

    def url(self, base: str) -> str:
        """Where to send it; a query of the operator's own (`?create=1`) stays."""
        parts = urlsplit(base)
        path = parts.path.rstrip("/") + ("" if self.kind == "success" else f"/{self.kind}")
        query = [parts.query] if parts.query else []
        query += [f"rid={uuid5(NAMESPACE_OID, self.run)}"] if self.run else []
        return parts._replace(path=path, query="&".join(query)).geturl()


class Pings:
    """A channel in a thread of its own."""

    def __init__(
        self,
        version: str,
        *,
        loaded: Callable[[], Loaded],
        target: Callable[[Key], Target],
        watching: Callable[[], bool],
        situation: Situation,
    ) -> None:
        self._version, self._loaded, self._target = version, loaded, target
        self._watching, self._situation = watching, situation
        self._waiting: dict[tuple[str, Kind], Signal] = {}
        """In their order, one of a kind for each check: a newer one takes the place of one that still waits."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lost: dict[str, str] = {}
        """Why the last ping of a check was not delivered."""
        self._last_verdict: tuple[str, bool] | None = None
        """What the sidecar said of itself, to which URL; None where it was not heard."""
        self._last_verdict_at = -inf
        """Of `monotonic()`."""
        self._lock = threading.Lock()
        self._hurried = threading.Event()
        self._loop = Loop("ping", self.look, seconds=LOOK_SECONDS)

    def listen(self, events: Bus) -> None:
        events.subscribe(RunBegan, self._run_began)
        events.subscribe(RunEnded, self._run_ended)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Tell what still waits, once each and not for long."""
        self._hurried.set()
        self._loop.stop()
        if not self._loop.alive:
            self._deliver_all()

    @property
    def alive(self) -> bool:
        return self._loop.alive

    def counts(self) -> dict[tuple[str, str], int]:
        """How many were `delivered` and `lost`, by check and outcome, since the process began."""
        with self._lock:
            return dict(self._counts)

    def _run_began(self, event: RunBegan) -> None:
        """A run has left the queue."""
        if (report := event.report).trigger != SAFETY:
            self._put(Signal(str(report.target), "start", f"run {report.id} has begun", report.id))

    def _run_ended(self, event: RunEnded) -> None:
        """What is made up for says nothing, since what makes up for it will."""
        report = event.report
        if report.trigger != SAFETY and not self._is_made_up_for(report, cut=event.cut):
            kind: Kind = "success" if report.good else "fail"
            self._put(Signal(str(report.target), kind, summary(report), report.id))

    def look(self) -> None:
        """Send all that is due."""
        self._look_at_verdict()
        self._deliver_all()

    def _put(self, signal: Signal) -> None:
        if signal.check not in self._loaded().pings:
            return
        with self._lock:
            self._waiting.pop((signal.check, signal.kind), None)
            self._waiting[signal.check, signal.kind] = signal
        self._loop.wake()

    def _is_made_up_for(self, report: Report, *, cut: bool) -> bool:
        """By a catch-up, or by the run that was in its way; a target that is not known yet may have one."""
        code = report.failure.code if report.failure else ""
        if report.trigger != "schedule" or code == Busy.code:
            return code == Busy.code
        return (cut or (report.state == "missed" and code in CAUGHT_UP_CODES)) and self._is_caught_up(report)

    def _is_caught_up(self, report: Report) -> bool:
        try:
            settings = self._target(report.target).settings
        except UnknownTarget:
            return True
        return settings is None or settings.catch_up

    def _look_at_verdict(self) -> None:
        """Not before the containers are known: until then every promise looks broken."""
        url = self._loaded().pings.get("")
        if not url or (self._last_verdict_at == -inf and not self._watching()):
            return
        status, now = self._situation.status(), monotonic()
        is_news = self._last_verdict != (url, status.safe)
        if now - self._last_verdict_at < (MIN_INTERVAL_SECONDS if is_news else INTERVAL_SECONDS):
            return
        self._last_verdict, self._last_verdict_at = (url, status.safe), now
        self._put(
            Signal("", "success" if status.safe else "fail", "\n".join((status.verdict, *map(str, status.reasons))))
        )

    def _deliver_all(self) -> None:
        while signal := self._next():
            if url := self._loaded().pings.get(signal.check):
                self._note(signal, refusal(self._deliver(signal, url)))

    def _next(self) -> Signal | None:
        with self._lock:
            return self._waiting.pop(next(iter(self._waiting))) if self._waiting else None

    def _deliver(self, signal: Signal, url: str) -> Answer:
        """A few tries, while there is time for them."""
        for pause in RETRY_SECONDS:
            answer = self._send(signal, url)
            if not is_passing(answer) or self._hurried.wait(pause):
                return answer
        return self._send(signal, url)

    def _send(self, signal: Signal, url: str) -> Answer:
        body = self._loaded().secrets.redact(signal.body).encode()[:MAX_BODY_BYTES].decode(errors="ignore").encode()
        headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": f"backup-sidecar/{self._version}"}
        timeout = FAREWELL_TIMEOUT_SECONDS if self._hurried.is_set() else TIMEOUT_SECONDS
        return send("POST", signal.url(url), body, headers, timeout)

    def _note(self, signal: Signal, lost: str) -> None:
        """Count it, and log a change."""
        if lost and not signal.check:
            self._last_verdict = None
        with self._lock:
            self._counts[signal.check, "lost" if lost else "delivered"] += 1
        if (before := self._lost.get(signal.check, "")) == lost:
            return
        self._lost[signal.check] = lost
        who = signal.check or "the sidecar"
        if lost:
            reason = self._loaded().secrets.redact(lost)
            logger.bind(code="ping-lost").warning("the ping of {} was not delivered: {}; backups go on", who, reason)
        elif before:
            logger.info("pings of {} are delivered again", who)


def summary(report: Report) -> str:
    """A run's end in a few lines."""
    if report.good:
        return f"run {report.id} succeeded: {report.size} bytes are stored, proof {report.proof}"
    if report.suspicious:
        hint = f"Look at it; `backup-sidecar accept {report.id}` takes it for good."
        return "\n".join((f"run {report.id} is suspicious", *report.suspicious, hint))
    failure = report.failure
    why = f": {failure.code}: {failure.message}\n{failure.hint}" if failure else ""
    return f"run {report.id} {report.state}{why}".rstrip()


def is_passing(answer: Answer) -> bool:
    """Whether another try may succeed."""
    return answer.status in (0, 429) or answer.status >= 500


def refusal(answer: Answer) -> str:
    """Why a ping does not count; healthchecks.io answers 200 and `OK (not found)` for a check that it does not know."""
    if not answer.good:
        return f"answered {answer.status} {answer.reason}".rstrip() if answer.status else answer.reason
    words = answer.body[:40].decode(errors="replace")
    return words if words.startswith("OK (") else ""
