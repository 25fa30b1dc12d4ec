"""Dumps whose last bytes are written by somebody who outlives the command, in containers of every kind.

What counts as a backup has every byte; whoever never ends makes the run fail.
"""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.stage import App, Json, Sidecar, eventually

pytestmark = pytest.mark.e2e

SIZE, HALF = 600_000, 300_000
HEAD = f"head -c {HALF} /dev/zero"
REST = f"sleep 0.$(($$ % 6)); {HEAD}"
WRITERS = {
    "late": f"{HEAD}; ({REST}) &",
    "descriptor": f"exec 5>&1; {HEAD}; ({REST} >&5) >/dev/null &",
    "twice": f"{HEAD}; ( ({REST}) & ) &",
    "session": f"{HEAD}; setsid sh -c '{REST}' &",
    "stubborn": f"{HEAD}; (trap '' TERM HUP INT; {REST}) &",
    "deaf": f"{HEAD}; exec 2>&- </dev/null; ({REST}) &",
    "piped": f"({HEAD}; ({REST}) &) | cat",
    "another": f"exec 3>&1 4>&1; {HEAD} >&4; ({REST} >&3 3>&- 4>&-) >&- &",
    "nested": f"sh -c '{HEAD}; ({REST}) &' &",
    "stays": f"{HEAD}; (while :; do echo more; sleep 1; done) &",
}
"""Lines of shell; the last one never ends."""
CONTAINERS = {
    "busybox": ("BUSYBOX",),
    "dash": ("DEBIAN",),
    "nobody": ("BUSYBOX", "--user", "65534"),
    "user": ("DEBIAN", "--user", "1000:1000"),
    "bare": ("DEBIAN", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "40"),
    "single": ("BUSYBOX", "--init=false", "--read-only"),
}
"""Image and options."""


@pytest.fixture(scope="module")
def stand(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sidecar, App]]:
    defaults = {"schedule": "none", "timeout": "2m", "stall-timeout": "5s", "retries": 0, "compression": "none"}
    config = config_folder(tmp_path_factory.mktemp("odd") / "config", token, defaults=defaults)
    with stage.sidecar(f"odd-{secrets.token_hex(3)}", config, token) as (sidecar, app):
        yield sidecar, app


def run(sidecar: Sidecar, service: str) -> Json:
    return sidecar.ended(sidecar.start(service), seconds=120)


@pytest.mark.fault(1, "a writer outlives the command, whatever it is and where", "every byte, or the run fails")
@pytest.mark.parametrize(
    ("kinds", "times"),
    [
        pytest.param(["bare"], 1, id="a sample"),
        pytest.param([*CONTAINERS], 17, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_what_counts_has_every_byte_whoever_writes_it(
    stand: tuple[Sidecar, App], kinds: list[str], times: int, record_property: Callable[[str, object], None]
) -> None:
    sidecar, app = stand
    with App(sidecar.project, app.network) as own:
        services = {f"{kind}-{writer}": (kind, writer) for kind, writer in product(kinds, WRITERS)}

        def start(service: str) -> None:
            (of, *options), line = CONTAINERS[services[service][0]], WRITERS[services[service][1]]
            own.target(service, {"commands.backup": line}, *options, of=of)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(start, services))
            known = {*services}
            eventually(
                lambda: known <= {name for name, state in sidecar.states().items() if state == "ready"}, seconds=60
            )
            reports = [(service, pool.submit(run, sidecar, service)) for _ in range(times) for service in services]
            ended = [(services[service][1], report.result()) for service, report in reports]
    sidecar.forgets(own.started)

    sizes = {(writer, report["state"], report["bytes"]) for writer, report in ended if report["state"] == "succeeded"}
    assert sizes == {(writer, "succeeded", SIZE) for writer in WRITERS if writer != "stays"}
    assert {report["state"] for writer, report in ended if writer == "stays"} == {"failed"}
    record_property("cases", len(ended))
