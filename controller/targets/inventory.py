"""The list of targets: what the last look at the engine found, and what was found out about each since."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from controller.core.errors import EngineUnreachable, UnknownTarget
from controller.core.events import Bus, TargetChanged
from controller.core.key import Key
from controller.core.run import Report
from controller.targets.discovery import nearest
from controller.targets.origin import is_task
from controller.targets.scope import Scope
from controller.targets.target import LIVE, Target

FIRST_LOOK_SECONDS = 10.0
"""For which a question about one target waits after a start: nobody knows before the first look which there are."""


class Inventory:
    """Safe to use from several threads; what changes is published."""

    def __init__(
        self,
        remembered: Callable[[Key], bool],
        forgotten: Callable[[Key], bool],
        events: Bus,
        last_good: Callable[[Key], Report | None] = lambda _: None,
    ) -> None:
        """`remembered` tells whether a key has a good run: then it stays listed, as `absent`, without a container.

        `forgotten` tells whether somebody has let go of it: then it is listed only while its container runs.
        """
        self._remembered, self._forgotten, self._events = remembered, forgotten, events
        self._last_good = last_good
        self._lock = threading.Lock()
        self._targets: Mapping[str, Target] = {}
        self._has_looked = threading.Event()
        self.scope: Scope | None = None
        """Where the sidecar is and looks, as of the last look; None before it."""

    @property
    def own_address(self) -> str | None:
        """The sidecar's IPv4 on the network shared with the orchestrator; None when it is not there."""
        return self.scope.address if self.scope else None

    def targets(self) -> list[Target]:
        """By key."""
        known = self._targets
        return [known[key] for key in sorted(known)]

    def target(self, key: Key) -> Target:
        """Raises `UnknownTarget` with the nearest keys, and `EngineUnreachable` where none was found yet."""
        if not self._has_looked.wait(FIRST_LOOK_SECONDS):
            message = "the engine has not told its containers since the sidecar started"
            raise EngineUnreachable(message, hint="`check` says why; ask again then.")
        known = self._targets
        if str(key) not in known:
            raise UnknownTarget(f"no target {key}", hint=nearest(key, known.keys()))
        return known[str(key)]

    def take(self, scope: Scope, found: Mapping[str, Target]) -> None:
        """Replace the list by what a look found."""
        found = {key: target.after(self._last_good) for key, target in found.items()}
        with self._lock:
            before, self.scope = self._targets, scope
            self._targets = now = merged(before, found, self._remembered, self._forgotten)
        self._has_looked.set()
        for key, target in now.items():
            self._publish(before.get(key), target)
        for key in before.keys() - now.keys():
            self._events.publish(TargetChanged(before[key].key, "gone", before[key].container.name))

    def let_go(self, key: Key) -> None:
        """List a target no longer of which no container runs."""
        with self._lock:
            target = self._targets.get(str(key))
            if target is None or not target.is_gone:
                return
            self._targets = {name: other for name, other in self._targets.items() if name != str(key)}
        self._events.publish(TargetChanged(target.key, "gone", target.container.name))

    def enter(self, pending: Target, answer: Target) -> bool:
        """Put what a target answered in its place; False where that is not the pending one any more."""
        key = str(pending.key)
        with self._lock:
            current = self._targets.get(key)
            if current is None or current.state == "absent" or not is_same(current, pending):
                return False
            self._targets = {**self._targets, key: answer}
        self._publish(current, answer)
        return True

    def _publish(self, old: Target | None, new: Target) -> None:
        if old is None or (old.state, old.problems) != (new.state, new.problems):
            self._events.publish(TargetChanged(new.key, new.state, new.container.name, new.problems))


def merged(
    before: Mapping[str, Target],
    found: Mapping[str, Target],
    remembered: Callable[[Key], bool],
    forgotten: Callable[[Key], bool],
) -> dict[str, Target]:
    """What was found, with what is known of it; what was not found and has a good run stays, as `absent`.

    What is gone and forgotten does not stay, nor is it taken up by a container that has stopped. A Swarm task that has
    ended without a good run here is none of ours: Swarm runs another one, maybe on another node.
    """

    def is_over(target: Target) -> bool:
        is_left = is_task(target.container) and not remembered(target.key)
        return target.is_gone and (is_left or forgotten(target.key))

    found = {key: target for key, target in found.items() if not is_over(target)}
    gone = {
        key: target
        for key, target in before.items()
        if key not in found and remembered(target.key) and not forgotten(target.key)
    }
    kept = {key: carry_over(before.get(key), target) for key, target in found.items()}
    return kept | {key: replace(target, state="absent", problems=(), survey=None) for key, target in gone.items()}


def carry_over(old: Target | None, new: Target) -> Target:
    """What was found out before still holds while container and settings are the same."""
    if old is None or new.state != "pending" or old.container.state not in LIVE or not old.resolved:
        return new
    if old.state not in ("ready", "problem") or not is_same(old, new):
        return new
    return replace(new, state=old.state, problems=old.problems, survey=old.survey)


def is_same(old: Target, new: Target) -> bool:
    """Whether what the old one answered holds for the new one."""
    return (old.container.id, old.resolved) == (new.container.id, new.resolved)
