"""A socket proxy that allows too little: each request that is refused is named, and what it is needed for."""

import json
from collections.abc import Callable

import pytest

from tests.faults.conftest import Behind
from tests.kit.fault_proxy import EVENTS, Fault
from tests.kit.stage import eventually

pytestmark = pytest.mark.e2e

Told = Callable[[str, object], None]
DATA = {"commands.backup": "echo data", "retries": "0"}
FILES = {"strategy": "filesystem", "filesystem.paths": "/etc", "retries": "0"}


def row(request: str, match: str, purpose: str, *more: object) -> object:
    expected = "`engine-refused`, which names the request and the feature"
    marks = pytest.mark.fault(0, f"403 on `{request}`", expected)
    return pytest.param(request, match, purpose, *more, marks=marks, id=request)


@pytest.mark.parametrize(
    ("request_", "match", "purpose"),
    [
        row("GET /version", "GET /version", "for everything"),
        row("GET /containers/json", "/containers/json", "to find targets"),
        row("GET /networks", "/networks", "to find targets"),
        row("GET /events", "/events", "to see containers start and stop"),
    ],
)
def test_what_watching_needs_is_named_in_the_log(
    request_: str, match: str, purpose: str, behind: Behind, record_property: Told
) -> None:
    before = len(behind.sidecar.log())
    behind.proxy.change(Fault(match=match, status=403))
    behind.proxy.cut(EVENTS)

    line = eventually(lambda: refusal(behind.sidecar.log()[before:]), what="it is told")

    assert f"Allow `{request_}`" in line
    assert purpose in line
    eventually(lambda: not behind.ready, what="not ready")
    record_property("seen", json.loads(line)["message"].partition("Allow ")[2])


def test_of_two_requests_that_are_refused_each_is_told(behind: Behind) -> None:
    before = len(behind.sidecar.log())
    behind.proxy.change(Fault(match="/events|/containers/json", status=403))

    behind.app.start("seen", {})  # An event, after which all containers are listed.
    eventually(lambda: "Allow `GET /containers/json`" in behind.sidecar.log()[before:], what="the list is told")
    behind.proxy.cut(EVENTS)
    eventually(lambda: "Allow `GET /events`" in behind.sidecar.log()[before:], what="the events are told")


def refusal(log: str) -> str:
    return next((line for line in log.splitlines() if "engine-refused" in line), "")


@pytest.mark.parametrize(
    ("request_", "match", "purpose", "labels", "of"),
    [
        row("GET /containers/{id}/json", r"/containers/[0-9a-f]+/json", "to find targets", DATA, "BUSYBOX"),
        row("POST /containers/{id}/exec", "/containers/.*/exec", "to run anything in a target", DATA, "BUSYBOX"),
        row("POST /exec/{id}/start", "/exec/.*/start", "to run anything in a target", DATA, "BUSYBOX"),
        row("GET /exec/{id}/json", "/exec/.*/json", "to learn how a command has ended", DATA, "BUSYBOX"),
        row("GET /containers/{id}/archive", "/archive", "for targets without tar", FILES, "DISTROLESS"),
    ],
)
def test_what_a_run_needs_is_named_in_its_report_and_where_the_target_is_asked_in_its_problem(
    request_: str, match: str, purpose: str, labels: dict[str, str], of: str, behind: Behind, record_property: Told
) -> None:
    behind.app.target("needs", labels, of=of)
    behind.sidecar.wait("needs")
    behind.proxy.change(Fault(match=match, status=403))

    report = behind.sidecar.ended(behind.sidecar.start("needs"))

    failure = report["failure"]
    assert (report["state"], failure["code"]) == ("failed", "engine-refused"), report
    assert f"Allow `{request_}`" in failure["hint"]
    assert purpose in failure["hint"]
    assert behind.sidecar.stored("needs") == []
    record_property("seen", failure["hint"].partition("Allow")[2].strip())
