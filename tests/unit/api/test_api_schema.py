"""The API against its own OpenAPI document, with requests that nobody would write by hand."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.tokens import ROLES, Role
from controller.api.server import Server
from tests.kit.world import TOKEN, TOKENS, World, client, serving

pytestmark = pytest.mark.thorough

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(World(tmp_path_factory.mktemp("world"))) as running:
        yield running


@pytest.fixture(scope="module")
def document(server: Server) -> schemathesis.BaseSchema:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json", headers=headers)


def test_every_json_answer_of_the_native_api_has_a_model(server: Server) -> None:
    with client(server) as connection:
        document = connection.get("/openapi.json").json()
    answers = {
        f"{method} {path} {status}": answer["content"]["application/json"]["schema"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for status, answer in operation["responses"].items()
        if path.startswith("/v1/") and "application/json" in answer.get("content", {})
    }
    assert len(answers) >= 15
    assert {name for name, schema in answers.items() if "$ref" not in schema} == set()


@pytest.mark.parametrize("token", [None, "read", "backup", "admin"])
def test_every_answer_is_one_that_the_document_promises_to_this_token(
    document: schemathesis.BaseSchema, token: str | None
) -> None:
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 15
    for operation in operations:
        fuzz(operation, token, refusal(token, operation.definition.raw.get("x-role")))


def refusal(token: str | None, needed: Role | None) -> int | None:
    """With which status a token is refused; None where it is not."""
    if needed is None:
        return None
    if token is None:
        return 401
    return 403 if list(ROLES).index(needed) > list(ROLES).index(token) else None


def fuzz(operation: schemathesis.APIOperation, token: str | None, refused: int | None) -> None:
    headers = {"Authorization": f"Bearer {TOKENS[token]}"} if token else {}

    @settings(suppress_health_check=list(HealthCheck), max_examples=3 if refused else 10)
    @given(case=operation.as_strategy())
    def answers(case: schemathesis.Case) -> None:
        # Without any backup, 503 is what is promised there.
        checks = CHECKS[1:] if case.path == "/freshz" else CHECKS
        answer = case.call_and_validate(headers=headers, checks=checks)
        is_nowhere = refused == 403 and answer.json()["type"] in ("unknown-route", "wrong-method")
        assert is_nowhere or (answer.status_code if answer.status_code in (401, 403) else None) == refused

    answers()
