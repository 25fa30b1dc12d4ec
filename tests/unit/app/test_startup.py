"""The last good configuration holds when the file is broken at a start; a token is made where none is given."""

import json
from pathlib import Path

import pytest

from config.loading import Loaded
from config.problems import ConfigurationError
from config.sources import FILE
from controller.app import api_token, last_good, program, startup
from controller.app.reload import Reloader
from controller.core.events import Bus

TOKEN = "gK4c0nT2vQ8yZp1LrX6w"
GOOD = "defaults: {timeout: 50m, env: {WHO: '${WHO:-me}'}}\n"
BROKEN = "defaults: {timeout: 10}\n"


class Operator:
    """The operator's folder and the work folder, with starts that go well or not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder / "config", folder / "work"
        self.folder.mkdir()
        self.env(f"BACKUP_API_TOKEN={TOKEN}\n")

    def write(self, text: str) -> None:
        (self.folder / FILE).write_text(text)

    def env(self, text: str) -> None:
        (self.folder / ".env").write_text(text)

    def start(self) -> Loaded:
        """As `serve` begins, and keeps what was good."""
        loaded = startup.with_token(startup.configuration_at_start())
        if not loaded.refused:
            last_good.keep(loaded, self.work)
        return loaded

    def refused(self) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            self.start()
        return [problem.code for problem in caught.value.problems]

    def kept(self) -> str:
        return (self.work / last_good.FILE).read_text()


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setenv("SIDECAR_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("SIDECAR_PATHS_WORKDIR", str(tmp_path / "work"))
    monkeypatch.setattr(program, "REPOSITORY", tmp_path / "repository")
    (tmp_path / "repository").mkdir()
    return Operator(tmp_path)


# --- a broken file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [BROKEN, "a: [1, 2\n", "\tx", "targets: {shop: {}}\n"])
def test_a_file_that_was_good_before_still_holds(operator: Operator, broken: str) -> None:
    operator.write(GOOD)
    operator.start()
    operator.write(broken)

    found = operator.start()

    assert str(found.settings.defaults.timeout) == "0:50:00"
    assert found.settings.defaults.env == {"WHO": "me"}
    assert found.refused[0].code == "last-good-holds"
    assert [problem.severity for problem in found.refused] == ["error"] * len(found.refused)
    assert found.places.of(("defaults", "timeout")) == "last good config.yaml defaults.timeout"
    with pytest.raises(ConfigurationError):  # So `check` ends with 78.
        startup.configuration()


def test_what_is_refused_is_a_problem_until_it_is_mended(operator: Operator) -> None:
    operator.write(GOOD)
    operator.start()
    operator.write(BROKEN)
    reloader = Reloader(operator.start(), operator.folder, startup.checked, Bus(), program.env_files())
    assert [problem.code for problem in reloader.problems] == ["last-good-holds", "bad-value"]

    operator.write("defaults: {timeout: 10m}\n")
    for _ in range(2):
        reloader.look()

    assert reloader.problems == ()
    assert str(reloader.loaded.settings.defaults.timeout) == "0:10:00"


def test_nothing_holds_at_the_first_start(operator: Operator) -> None:
    operator.write(BROKEN)
    assert operator.refused() == ["bad-value"]


def test_a_file_that_holds_no_last_good_one_is_set_aside(operator: Operator) -> None:
    operator.write(GOOD)
    operator.start()
    (operator.work / last_good.FILE).write_text("{}")
    assert operator.start().refused == ()
    (operator.work / last_good.FILE).write_text("[")
    operator.write(BROKEN)
    assert operator.refused() == ["bad-value"]
    assert list(operator.work.glob("last-good.json.bad-*"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("paths: {artifacts: /}\n", "bad-value"),
        (f"paths: {{artifacts: /elsewhere}}\n{BROKEN}", "bad-value"),
        ("schema: 2\n", "unknown-schema"),
        ("orchestrator: {url: 'http://o', key: another-key-of-it}\n", "missing-secret"),
    ],
)
def test_what_cannot_wait_ends_the_start(operator: Operator, text: str, code: str) -> None:
    operator.env("")
    operator.write(GOOD)
    operator.start()
    operator.write(text)
    assert operator.refused() == [code]


def test_a_fault_of_the_env_file_is_not_helped_by_an_older_config_yaml(operator: Operator) -> None:
    operator.write(GOOD)
    operator.start()
    operator.env(f"BACKUP_API_TOKEN={TOKEN}\nBROKEN\n")
    assert operator.refused() == ["bad-variable"]


@pytest.mark.parametrize(
    "text",
    [
        f"api: {{token: {TOKEN}-of-the-file}}",
        "targets: {shop/db: {env: {DB_PASSWORD: correct-horse}}}",
        "targets: {shop/db: {commands: {backup: ['dump --password=correct-horse']}}}",
        "targets: {shop/db: {commands: {backup: [[dump, --password, correct-horse]]}}}",
        "targets: {shop/db: {ping: {url: 'https://hc/correct-horse'}}}",
        f"defaults: {{user: {TOKEN}}}",
    ],
)
def test_a_file_that_holds_a_secret_is_not_kept(operator: Operator, text: str) -> None:
    operator.write(GOOD)
    operator.start()
    operator.write(text)
    operator.start()

    assert json.loads(operator.kept())["written"] is None
    assert "correct-horse" not in operator.kept()
    assert TOKEN not in operator.kept()
    operator.write(BROKEN)
    assert "not-kept" in operator.refused()


def test_names_of_secrets_and_references_are_kept_and_values_are_not(operator: Operator) -> None:
    operator.env(f"BACKUP_API_TOKEN={TOKEN}\nURL=https://hc/correct-horse\nA_PASSWORD=battery-staple\n")
    operator.write("secrets: [A_PASSWORD]\nping: {url: {secret: URL}}\ndefaults: {env: {PASSWORD: '${A_WORD:-x}'}}\n")
    operator.start()
    operator.write(BROKEN)

    assert dict(operator.start().secrets) == {"A_PASSWORD": "battery-staple"}
    assert not [word for word in (TOKEN, "correct-horse", "battery-staple") if word in operator.kept()]


# --- a copy that Compose made -----------------------------------------------------------------------------------------


def test_what_compose_copied_out_of_a_file_gives_way_to_it_also_after_a_restart(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_API_TOKEN", TOKEN)
    operator.env("")
    shared = tmp_path / "repository" / ".env"
    shared.write_text(f"BACKUP_API_TOKEN={TOKEN}\n")
    assert operator.start().api_token == TOKEN

    shared.write_text(f"BACKUP_API_TOKEN=another-{TOKEN}\n")
    assert startup.checked().api_token == f"another-{TOKEN}"

    monkeypatch.setattr("socket.gethostname", lambda: "another-container")
    assert operator.start().api_token == TOKEN


# --- a token of its own -----------------------------------------------------------------------------------------------


def test_a_token_is_made_once_and_kept_for_its_owner_only(operator: Operator) -> None:
    operator.env("")
    first, second = operator.start(), operator.start()

    assert len(first.api_token) >= 32
    assert first.api_token == second.api_token == api_token.known(operator.work)
    assert (operator.work / api_token.FILE).stat().st_mode & 0o777 == 0o600
    assert first.secrets.redact(f"Bearer {first.api_token}") == "Bearer ***"
    assert first.api_token not in f"{first!r}{operator.kept()}"


def test_the_operators_token_goes_before_one_that_was_made(operator: Operator) -> None:
    operator.env("")
    operator.start()
    operator.env(f"BACKUP_API_TOKEN={TOKEN}\n")
    assert operator.start().api_token == TOKEN


def test_none_is_made_in_place_of_one_that_was_lost(operator: Operator) -> None:
    operator.start()
    operator.env("")
    assert operator.refused() == ["missing-secret"]
    assert api_token.known(operator.work) is None


def test_a_file_that_is_no_token_is_set_aside(operator: Operator) -> None:
    operator.env("")
    operator.work.mkdir()
    (operator.work / api_token.FILE).write_text("x")
    assert len(operator.start().api_token) >= 32
    assert len(list(operator.work.glob("api-token.bad-*"))) == 1
