"""What each token may do, route by route, and by whom something was done."""

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import APIRouter

from config.tokens import ROLES
from controller.api.application import build
from controller.api.callers import ADMIN, READ
from controller.api.server import Server
from controller.core.key import Key
from controller.core.restoration import Restoration
from tests.kit.stage import eventually
from tests.kit.world import TOKENS, World, client, is_problem, local, serving
from tests.unit.api.test_restore_api import UNDER_WAY

NEEDED = {
    "backup": {
        "POST /backup/export",
        "POST /targets/{key}/backup/export",
        "POST /v1/targets/{key}/runs",
        "POST /v1/runs/{run}/cancel",
        "POST /v1/runs/{run}/verify",
        "POST /v1/copies/{destination}/send",
        "POST /v1/copies/{destination}/verify",
    },
    "restore": {
        "POST /v1/targets/{key}/restore",
        "POST /v1/runs/{run}/restore",
        "POST /v1/restores/{name}/cancel",
        "POST /v1/targets/{key}/drills",
        "POST /v1/drills/{drill}/cancel",
    },
    "admin": {
        "DELETE /v1/runs/{run}",
        "DELETE /v1/runs/{run}/pin",
        "PUT /v1/runs/{run}/pin",
        "POST /v1/adopt",
        "POST /v1/copies/{destination}/check",
        "POST /v1/copies/{destination}/prepare",
        "POST /v1/copies/{destination}/receipts",
        "POST /v1/prune",
        "POST /v1/runs/{run}/accept",
        "POST /v1/runs/{run}/forget",
        "POST /v1/runs/{run}/undelete",
        "POST /v1/targets/{key}/adopt",
        "POST /v1/targets/{key}/forget",
    },
}
OPEN = {"/healthz", "/readyz", "/freshz"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


@pytest.fixture(scope="module")
def routes(server: Server) -> dict[str, str]:
    """The role of each route, as the document says."""
    with client(server) as http:
        paths = http.get("/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path.replace(':path', '')}": operation["x-role"]
        for path, operations in paths.items()
        if path not in OPEN
        for method, operation in operations.items()
    }


def asked(http: httpx.Client, route: str) -> httpx.Response:
    """The answer of a route about what is not there."""
    method, _, path = route.partition(" ")
    return http.request(method, re.sub(r"\{[a-z]+\}", "nothing", path.replace("{key}", "shop/nowhere")))


def test_reading_needs_read_and_each_change_its_own_role(routes: dict[str, str]) -> None:
    changes = {route: role for route, role in routes.items() if not route.startswith("GET ")}
    assert {role: {route for route, needed in changes.items() if needed == role} for role in NEEDED} == NEEDED
    assert {role for route, role in routes.items() if route not in changes} == {"read"}


@pytest.mark.parametrize("token", [None, *ROLES])
def test_each_token_may_do_what_its_role_says_and_nothing_else(
    server: Server, routes: dict[str, str], token: str | None
) -> None:
    may = ROLES[: ROLES.index(token) + 1] if token else ()
    with client(server, token=TOKENS[token] if token else "") as http:
        for route, needed in routes.items():
            answer = asked(http, route)
            if token is None:
                assert is_problem(answer, 401, "unauthorized"), route
            elif needed not in may:
                assert is_problem(answer, 403, "role-needed"), route
            else:
                assert answer.status_code not in (401, 403, 405), route


def test_the_refusal_names_the_role_and_the_lines_to_write(server: Server) -> None:
    with client(server) as http:
        answer = http.delete("/v1/runs/x")
    assert is_problem(answer, 403, "role-needed")
    assert answer.json()["role"] == "admin"
    assert "role admin" in answer.json()["detail"]
    assert "api: {tokens: [{name: admin, secret: ADMIN_TOKEN, role: admin}]}" in answer.json()["hint"]


def test_the_unix_socket_is_the_operators(server: Server, routes: dict[str, str]) -> None:
    with local(server) as http:
        for route in routes:
            assert asked(http, route).status_code not in (401, 403, 405), route


@pytest.mark.parametrize("dependencies", [[], [READ, ADMIN]])
def test_a_route_that_does_not_declare_one_role_is_not_served(dependencies: list[object]) -> None:
    router = APIRouter()

    @router.get("/v1/new", dependencies=dependencies)  # type: ignore[arg-type]
    def new() -> str:
        return ""

    with pytest.raises(ValueError, match=r"/v1/new declares [02] roles"):
        build("1", APIRouter(), [router], str)


def test_each_run_and_drill_tells_who_asked_and_from_where(world: World, server: Server) -> None:
    with client(server) as orchestrator, local(server) as operator, client(server, token=TOKENS["admin"]) as admin:
        export = orchestrator.post("/targets/shop/db/backup/export").headers["X-Backup-Run"]
        assert orchestrator.get(f"/v1/runs/{export}").json()["by"] == "api@127.0.0.1"
        lie = {"X-Forwarded-For": "10.9.9.9", "Forwarded": "for=10.9.9.9"}
        run = orchestrator.post("/v1/targets/shop/db/runs", headers=lie).json()
        assert run["by"] == "api@127.0.0.1"
        eventually(lambda: orchestrator.get(f"/v1/runs/{run['id']}").json()["finished"], what="the run has ended")
        own = operator.post("/v1/targets/shop/db/runs").json()
        assert (own["by"], own["trigger"]) == ("socket", "cli")
        eventually(lambda: operator.get(f"/v1/runs/{own['id']}").json()["finished"], what="the run has ended")
        drill = admin.post("/v1/targets/shop/db/drills").json()
        assert (drill["by"], drill["trigger"]) == ("admin@127.0.0.1", "api")
    key = Key(project="shop", service="db")
    scheduled = world.start(key, "schedule").future.result(10)
    assert scheduled.by == ""


def test_a_run_is_cancelled_by_who_started_it_and_by_administrators(world: World, server: Server) -> None:
    world.go.clear()
    with client(server) as http, client(server, token=TOKENS["restore"]) as other:
        run = http.post("/v1/targets/shop/db/runs").json()["id"]
        answer = other.post(f"/v1/runs/{run}/cancel")
        assert is_problem(answer, 403, "role-needed")
        assert "api@127.0.0.1 has started" in answer.json()["detail"]
        assert http.post(f"/v1/runs/{run}/cancel").status_code == 202
        eventually(lambda: http.get(f"/v1/runs/{run}").json()["finished"], what="the run has ended")
        job = world.start(Key(project="shop", service="db"), "schedule")
        assert is_problem(http.post(f"/v1/runs/{job.id}/cancel"), 403, "role-needed")
    with local(server) as operator:
        assert operator.post(f"/v1/runs/{job.id}/cancel").status_code == 202
    assert job.future.result(10).state == "cancelled"
    world.go.set()


def test_a_report_of_before_there_were_names_can_be_read() -> None:
    assert Restoration.model_validate_json(UNDER_WAY.model_dump_json(exclude={"by"})).by == ""
