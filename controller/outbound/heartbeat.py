"""Keeps the sidecar's lease at the orchestrator, and tells it what ended while it was away.

It says that the sidecar lives; a lease that holds does not say that backups are fresh.
"""

import json
import random
import threading
import time
from collections import deque
from math import isfinite
from typing import Any
from urllib.parse import urlsplit

from loguru import logger

from config.settings import Orchestrator
from controller.core.events import Bus, RunEnded
from controller.core.run import Report
from controller.outbound.sender import send
from controller.outbound.signing import signed_headers
from controller.views.announcement import Announcer, Greeting

TIMEOUT_SECONDS, FAREWELL_TIMEOUT_SECONDS = 10.0, 2.0
"""That the orchestrator has for each step of an answer."""
POLL_SECONDS = 0.5
"""Between two looks whether something changed that should not wait for the interval."""
MAX_BACKOFF_SECONDS, UNKNOWN_BACKOFF_SECONDS = 300.0, 3600.0
"""Between attempts at an orchestrator that is away; at one that does not know announcements."""
MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS = 1.0, 300.0
"""Within which an answer may set the interval."""
LEASE_INTERVALS = 3
"""For which a lease holds."""
MAX_WAITING_REPORTS, MAX_REPORTS_PER_BEAT = 500, 50
"""Reports that wait for the orchestrator at most, the newest; and how many of them one heartbeat carries."""

Json = dict[str, Any]


class Heartbeat:
    """A channel in a thread of its own; only for settings that name an orchestrator."""

    def __init__(self, settings: Orchestrator, key: str, announcer: Announcer) -> None:
        self._key, self._announcer = key, announcer
        self._url = f"{settings.url}/v1/sidecars/{announcer.identity}"
        self._interval = settings.interval.total_seconds()
        self._backlog: deque[Report] = deque(maxlen=MAX_WAITING_REPORTS)
        self._lock = threading.Lock()
        self._stopping, self._ended = threading.Event(), threading.Event()
        self._failures, self._outcome, self._announced = 0, "", ""
        self._thread = threading.Thread(target=self._loop, name="heartbeat", daemon=True)

    def listen(self, events: Bus) -> None:
        events.subscribe(RunEnded, self._enqueue)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the lease in good order: what is still to be told, then a farewell; neither waits long."""
        self._stopping.set()
        self._ended.set()
        if not self._thread.is_alive():
            return
        self._thread.join(timeout=FAREWELL_TIMEOUT_SECONDS)
        if self._outcome == "accepted" and not self._thread.is_alive():
            if self._backlog:
                self._beat(FAREWELL_TIMEOUT_SECONDS)
            self._send("DELETE", self._announcer.greeting(), FAREWELL_TIMEOUT_SECONDS)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _enqueue(self, event: RunEnded) -> None:
        with self._lock:
            self._backlog.append(event.report)
        self._ended.set()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._wait(self._beat(TIMEOUT_SECONDS))
            except Exception as error:  # noqa: BLE001  # The lease must not end by one bad beat.
                logger.opt(exception=error).error("heartbeat ended by a defect of this program")
                self._stopping.wait(MAX_BACKOFF_SECONDS)

    def _wait(self, delay: float) -> None:
        """Until the next beat: sooner when a run ended or a target changed, unless the orchestrator is in trouble."""
        until = time.monotonic() + delay
        while not self._stopping.is_set() and (left := until - time.monotonic()) > 0:
            if self._failures:
                self._stopping.wait(left)
            elif self._ended.wait(min(left, POLL_SECONDS)) or self._announcer.fingerprint() != self._announced:
                return

    def _beat(self, timeout: float) -> float:
        """One heartbeat; gives the seconds until the next."""
        self._ended.clear()
        with self._lock:
            reports = list(self._backlog)[:MAX_REPORTS_PER_BEAT]
        fingerprint = self._announcer.fingerprint()
        interval = self._interval
        status, answer = self._send("PUT", self._announcer.announcement(LEASE_INTERVALS * interval, reports), timeout)
        if 200 <= status < 300:
            self._announced, self._failures = fingerprint, 0
            self._note("accepted", "orchestrator has accepted the heartbeat")
            self._forget(reports)
            self._take_interval(answer)
            return min(interval, self._interval) * jitter(0.9, 1.1)
        self._failures += 1
        if status in (404, 405):
            self._note("unknown", "orchestrator does not know announcements; asked again every hour")
            return UNKNOWN_BACKOFF_SECONDS * jitter(0.9, 1.0)
        reason = f"answers {status}" if status else "cannot be reached"
        self._note(reason, f"orchestrator {reason}: {answer.get('reason') or 'no reason given'}; backups go on")
        return min(interval * 2.0 ** min(self._failures, 16), MAX_BACKOFF_SECONDS) * jitter(0.5, 1.0)

    def _forget(self, accepted: list[Report]) -> None:
        """The backlog may have lost its oldest meanwhile."""
        known = {report.id for report in accepted}
        with self._lock:
            while self._backlog and self._backlog[0].id in known:
                self._backlog.popleft()
            if self._backlog:
                self._ended.set()

    def _take_interval(self, answer: Json) -> None:
        interval = answer.get("interval")
        if isinstance(interval, int | float) and not isinstance(interval, bool) and isfinite(interval):
            self._interval = min(max(float(interval), MIN_INTERVAL_SECONDS), MAX_INTERVAL_SECONDS)

    def _note(self, outcome: str, message: str) -> None:
        """Log a change, not every beat."""
        if outcome != self._outcome:
            self._outcome = outcome
            logger.log("INFO" if outcome == "accepted" else "WARNING", "{}", message)

    def _send(self, method: str, message: Greeting, timeout: float) -> tuple[int, Json]:
        """Status and answer; 0 and a reason where there was none."""
        body = message.model_dump_json().encode()
        signed = signed_headers(self._key, body, time.time(), f"{method} {urlsplit(self._url).path}")
        headers = {"Content-Type": "application/json", **signed}
        answer = send(method, self._url, body, headers, timeout)
        return answer.status, parsed(answer.body) if answer.good else {"reason": answer.reason}


def parsed(body: bytes) -> Json:
    """A JSON object; anything else counts as an empty one."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def jitter(low: float, high: float) -> float:
    """Keeps a fleet from beating in step."""
    return random.uniform(low, high)  # noqa: S311  # Not a secret.
