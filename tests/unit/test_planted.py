"""The search for planted secrets finds them however they are spelled, and tells them by name."""

import base64
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.kit import planted
from tests.kit.stage import environment_in, said

VALUE = "c0rrect/h%rse+ñ"


@pytest.fixture(autouse=True)
def _forgotten_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planted, "PLANTED", {})


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        f"postgres://u:{quote(VALUE, safe='')}@db/shop",
        base64.b64encode(VALUE.encode()).decode(),
        base64.b64encode(f"user:{VALUE}:more".encode()).decode(),
        base64.urlsafe_b64encode(f"ab{VALUE}".encode()).decode(),
        "c0rrect/h%rse+\\u00f1",
    ],
)
def test_a_secret_is_found_in_each_spelling_and_told_by_its_name_alone(text: str) -> None:
    planted.plant("DB_PASSWORD", VALUE)
    with pytest.raises(AssertionError, match=r"the log shows what is secret: DB_PASSWORD$") as found:
        planted.demand_nothing_of_it("the log", f"before {text} after")
    assert text not in str(found.value)
    planted.demand_nothing_of_it("the log", "before *** after")


def test_secrets_are_known_by_the_names_of_variables_and_by_urls(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SSH_KEY='-----BEGIN-----\nAAAABBBBCCCC\n-----END-----'\nGREETING=hello-hello\n")
    planted.plant_file(tmp_path / ".env")
    planted.plant_all(dict(environment_in(["--env", "A_TOKEN=0123456789", "--env=URL=http://u:9876543210@h", "--x"])))
    for text, name in {"AAAABBBBCCCC": "SSH_KEY", "0123456789": "A_TOKEN", "9876543210": "URL"}.items():
        with pytest.raises(AssertionError, match=name):
            planted.demand_nothing_of_it("x", text)
    planted.demand_nothing_of_it("x", "hello-hello -----BEGIN-----")


def test_an_answer_that_shows_one_fails_who_asked() -> None:
    planted.plant("TOKEN", "0123456789")
    answers = {"/json": "application/json", "/backup": "application/octet-stream"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text='"0123456789"', headers={"content-type": answers[request.url.path]})

    client = httpx.Client(transport=httpx.MockTransport(answer), event_hooks={"response": [planted.listen]})
    assert client.get("http://x/backup").is_success
    with pytest.raises(AssertionError, match="GET /json shows what is secret: TOKEN"):
        client.get("http://x/json")


@pytest.mark.parametrize("command", [("backup-sidecar", "status"), ("logs", "shop-sidecar-1")])
def test_a_command_or_a_log_of_a_sidecar_that_shows_one_fails_who_asked(command: tuple[str, ...]) -> None:
    planted.plant("TOKEN", "0123456789")
    with pytest.raises(AssertionError, match="shows what is secret: TOKEN"):
        said("echo", "0123456789", *command)


def test_what_an_application_says_itself_and_the_command_that_shows_the_token_may_hold_one() -> None:
    planted.plant("TOKEN", "0123456789")
    assert "0123456789" in said("echo", "0123456789", "logs", "app").stdout
    assert "0123456789" in said("echo", "0123456789", "backup-sidecar", "token").stdout
