"""What the sidecar costs while nothing happens, and how soon it knows what there is."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.figures import Figure, of_median
from benchmarks.lab import Lab, Sizes, wait_for
from benchmarks.sidecar import Sidecar, serving
from controller.core.key import Key
from controller.engine.models import Event

SETTLING = 5.0
"""Seconds after the last answer, until nothing happens any more."""


def idle(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """Memory and processor time of the process, while nobody asks."""
    fleet = lab.sleepers([f"idle-{number}" for number in range(sizes.some)])
    try:
        with serving(lab, targets=sizes.some) as sidecar:
            used, events = quietest(lab, sidecar, sizes)
            resident, most = sidecar.memory()
    finally:
        lab.remove(fleet)
    what, note = f"with {sizes.some} targets", f"over {sizes.idle:.0f} s with {events} events of other containers"
    yield Figure("idle", f"resident memory {what}", 75, "MiB", resident, f"peak {most:.1f} MiB")
    yield Figure("idle", f"of one core {what}", 0.5, "%", used * 100, note)


def quietest(lab: Lab, sidecar: Sidecar, sizes: Sizes) -> tuple[float, int]:
    """Share of one core and number of events, of the quietest of a few windows.

    An event of any container on the engine makes the sidecar look, so that it is idle only while there is none.
    """
    windows: list[tuple[int, float]] = []
    while len(windows) < sizes.repeats and not (windows and min(windows)[0] == 0):
        time.sleep(SETTLING)
        lab.say(f"idle: {sizes.idle:.0f} s")
        with counting(lab) as events:
            before, begun = sidecar.processor_time(), time.monotonic()
            time.sleep(sizes.idle)
            used = (sidecar.processor_time() - before) / (time.monotonic() - begun)
        windows.append((len(events), used))
    fewest, used = min(windows)
    return used, fewest


@contextmanager
def counting(lab: Lab) -> Iterator[list[Event]]:
    """The events that the sidecar is told meanwhile."""
    stream, events = lab.engine.events(), list[Event]()
    listener = threading.Thread(target=lambda: events.extend(stream), daemon=True)
    listener.start()
    try:
        yield events
    finally:
        stream.close()
        listener.join()


def start(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """From `docker start` of the sidecar until it is ready, and of a container until it is listed."""
    with serving(lab, targets=0) as sidecar:
        ready, started = zip(*(readiness(sidecar) for _ in range(sizes.repeats)), strict=True)
        listed = [appearance(lab, sidecar, f"new-{number}") for number in range(sizes.repeats)]
    note = f"from before `docker start`, which itself takes {median(started):.2f} s"
    yield of_median("start", "ready: /readyz answers 200", 1.5, ready, note)
    yield of_median("start", "new container is listed", 1.0, listed, "from before `docker start`")


def readiness(sidecar: Sidecar) -> tuple[float, float]:
    """Seconds from before `docker start` until it is ready, and until that command has ended.

    The cache is warm: image and files are in memory, since it has run before.
    """
    sidecar.stop()
    begun = sidecar.start()
    started = time.monotonic() - begun
    wait_for("readiness", sidecar.ready, pause=0.01)
    return time.monotonic() - begun, started


def appearance(lab: Lab, sidecar: Sidecar, service: str) -> float:
    """Seconds from before the start of a new container until the API lists it as a target that runs."""
    key = Key(project=lab.name, service=service)
    begun = time.monotonic()
    container = lab.sleepers([service])
    wait_for(str(key), lambda: sidecar.lists(key), pause=0.01)
    passed = time.monotonic() - begun
    lab.remove(container)
    return passed


def fleet(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """From `docker start` of the sidecar until all of many running containers are listed."""
    containers = lab.sleepers([f"fleet-{number}" for number in range(sizes.many)])
    listed, asked = [], 0.0
    try:
        with serving(lab, targets=0) as sidecar:
            for _ in range(sizes.repeats):
                sidecar.stop()
                begun = sidecar.start()
                wait_for("the list", lambda: sidecar.targets() >= sizes.many, pause=0.05)
                listed.append(time.monotonic() - begun)
            asked = listed[-1] + wait_for("all answers", lambda: sidecar.targets("ready") >= sizes.many, pause=0.5)
    finally:
        lab.remove(containers)
    note = f"from before `docker start` of the sidecar; all asked after {asked:.0f} s"
    yield of_median("fleet", f"{sizes.many} targets are listed", 2.0, listed, note)
