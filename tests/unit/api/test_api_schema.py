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

from controller.api.server import Server
from tests.kit.world import TOKEN, World, client, serving

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


def test_every_answer_is_one_that_the_document_promises(document: schemathesis.BaseSchema) -> None:
    tried = []
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def answers(case: schemathesis.Case) -> None:
            # Without any backup, 503 is what is promised there.
            checks = CHECKS[1:] if case.path == "/freshz" else CHECKS
            case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, checks=checks)

        answers()
        tried.append(operation.label)
    assert len(tried) >= 15
