"""`api.tokens`: names, roles and secrets, and what is refused at once."""

from pathlib import Path

import pytest

from config.loading import Loaded, load
from config.problems import ConfigurationError

TOKEN, OTHER, THIRD = (f"gK4c0nT2vQ8yZp1LrX6{letter}" for letter in "wxy")
ENVIRON = {"BACKUP_API_TOKEN": TOKEN, "ONE_TOKEN": OTHER, "TWO_TOKEN": THIRD}
ONE = "{name: grafana, secret: ONE_TOKEN, role: read}"


def loaded(folder: Path, *entries: str, **environ: str) -> Loaded:
    (folder / "config.yaml").write_text(f"api: {{tokens: [{', '.join(entries)}]}}\n")
    return load(folder, ENVIRON | environ)


def test_each_token_has_a_name_and_a_role_and_that_of_the_orchestrator_backs_up(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, ONE, "{name: ops, secret: TWO_TOKEN, role: admin}")
    found = [(token.name, token.role, token.value) for token in configuration.tokens]
    assert found == [("api", "backup", TOKEN), ("grafana", "read", OTHER), ("ops", "admin", THIRD)]
    assert configuration.secrets.redact(f"{OTHER} {THIRD}") == "*** ***"
    assert OTHER not in repr(configuration)


def test_a_variable_may_hold_the_list(tmp_path: Path) -> None:
    text = '[{"name": "grafana", "secret": "ONE_TOKEN", "role": "read"}]'
    (found,) = load(tmp_path, ENVIRON | {"SIDECAR_API_TOKENS": text}).more_tokens
    assert (found.name, found.role) == ("grafana", "read")


@pytest.mark.parametrize("name", ["grafana", "api"])
def test_two_tokens_of_one_name_let_clients_change(tmp_path: Path, name: str) -> None:
    role = "backup" if name == "api" else "read"
    tokens = [f"{{name: {name}, secret: {secret}, role: {role}}}" for secret in ("ONE_TOKEN", "TWO_TOKEN")]
    used = tokens[: 2 if name == "grafana" else 1]
    assert [token.name for token in loaded(tmp_path, *used).tokens].count(name) == 2


@pytest.mark.parametrize(
    ("entries", "code", "place", "words"),
    [
        (["{name: grafana, secret: NOWHERE, role: read}"], "missing-secret", "api.tokens.0.secret", "NOWHERE"),
        (["{name: grafana, role: read}"], "missing-key", "api.tokens.0.secret", "missing"),
        (["{name: grafana, secret: ONE_TOKEN, role: root}"], "bad-value", "api.tokens.0.role", "'admin'"),
        (["{name: Grafana!, secret: ONE_TOKEN, role: read}"], "bad-value", "api.tokens.0.name", "match"),
        (["{name: grafana, secret: 5-no-name, role: read}"], "bad-value", "api.tokens.0.secret", "name a secret"),
        (["{name: grafana, secret: WEAK, role: read}"], "weak-token", "api.tokens.0.secret", "16"),
        ([ONE, "{name: ops, secret: ONE_TOKEN, role: admin}"], "same-token", "api.tokens.1.secret", "same"),
        (["{name: ops, secret: BACKUP_API_TOKEN, role: admin}"], "same-token", "api.tokens.0.secret", "same"),
        ([ONE, "{name: grafana, secret: TWO_TOKEN, role: admin}"], "bad-value", "api.tokens.1.secret", "role"),
        (["{name: api, secret: ONE_TOKEN, role: admin}"], "bad-value", "api.tokens.0.secret", "role"),
        ([ONE, ONE.replace("ONE", "TWO"), ONE.replace("ONE", "MORE")], "bad-value", "tokens.2.secret", "too many"),
    ],
)
def test_what_is_wrong_with_a_token_is_told_with_its_place(
    tmp_path: Path, entries: list[str], code: str, place: str, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, *entries, WEAK="k3j4h5g6", MORE_TOKEN=f"more-{TOKEN}")
    (problem,) = caught.value.problems
    assert (problem.code, place in problem.place, words in problem.message) == (code, True, True), problem
    assert "k3j4h5g6" not in str(problem)


def test_the_value_of_a_token_cannot_be_filled_into_the_text_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"api: {{tokens: [{ONE}], advertise: 'http://${{ONE_TOKEN}}'}}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, ENVIRON)
    assert [OTHER in str(problem) for problem in caught.value.problems] == [False]
