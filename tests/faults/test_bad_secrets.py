"""Every bad `.env`, secret and token: the program ends with 78, tells all at once with their lines, and no value."""

from collections.abc import Callable, Mapping

import pytest

from tests.faults.process import process
from tests.faults.starting import GOOD_ENV, TOKEN, refused, told

pytestmark = pytest.mark.thorough

PRIVATE, KEY_LINE = "correct-horse-battery", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
TOO_LARGE = "x" * (65 << 10)
ENV = f"""\
BACKUP_API_TOKEN={TOKEN}
SSH_PRIVATE_KEY=-----BEGIN OPENSSH PRIVATE KEY-----
{KEY_LINE}
-----END OPENSSH PRIVATE KEY-----
DATABASE_URL={PRIVATE}
DATABASE_URL_FILE=database
MISSING_FILE=nowhere
EMPTY_FILE=empty
FOLDER_FILE=folder
LARGE_FILE=large
DATABASE_URL={PRIVATE}
NO_EQUALS
SHORT=abc
OPEN="{PRIVATE}
"""
CONFIG = "secrets: [SSH_PRIVATE_KEY, DATABASE_URL, MISSING, EMPTY, FOLDER, LARGE, ABSENT, SHORT]\n"
FILES = {"config.yaml": CONFIG, ".env": ENV, "empty": "\n", "folder/x": "", "large": TOO_LARGE, "database": PRIVATE}
LATIN = {".env": f"{GOOD_ENV}NAME=Jos\xe9 {PRIVATE}\n".encode("latin-1")}
ORCHESTRATED = {"config.yaml": f"orchestrator: {{url: 'http://o', key: {PRIVATE}}}\n"}
EMPTY = {".env": "", **ORCHESTRATED}
CHECK = {"config.yaml": "ping: {url: {secret: CHECK}}\n", ".env": f"{GOOD_ENV}CHECK=ftp://{PRIVATE}/x\n"}
EXPECTED = "exit 78, all at once, with the line, without the value"


def row(fault: str, place: str, code: str, words: str, files: Mapping[str, str | bytes] = FILES) -> object:
    return pytest.param(files, place, code, words, marks=pytest.mark.fault(0, fault, EXPECTED), id=fault)


def token(value: str) -> dict[str, str | bytes]:
    return {".env": f"BACKUP_API_TOKEN={value}\n"}


@pytest.mark.parametrize(
    ("files", "place", "code", "words"),
    [
        row("`.env`: unquoted multi-line key", ".env:2 SSH_PRIVATE_KEY", "cut-key", "double quotes"),
        row("`.env`: missing closing quote", ".env:14", "open-quote", "Close the value"),
        row("`.env`: a line without `=`", ".env:12", "bad-variable", "NAME=value"),
        row("`.env`: one name twice", ".env:11", "duplicate-variable", "Remove one"),
        row("`X` and `X_FILE` both", "config.yaml:1 secrets.1", "ambiguous-secret", "Remove one"),
        row("`X_FILE` names a file that is missing", ".env:7 MISSING_FILE", "secret-file", "is not there"),
        row("`X_FILE` names an empty file", ".env:8 EMPTY_FILE", "secret-file", "is empty"),
        row("`X_FILE` names a folder", ".env:9 FOLDER_FILE", "secret-file", "is a folder"),
        row("`X_FILE` names a file that is too large", ".env:10 LARGE_FILE", "secret-file", "larger than 64 KiB"),
        row("a secret that is not set", "config.yaml:1 secrets.6", "missing-secret", "Set ABSENT"),
        row("a secret too short to be kept out of logs", "config.yaml:1 secrets.7", "short-secret", "longer"),
        row("`.env` is a folder", ".env", "not-a-file", "Mount the folder", {".env/x": ""}),
        row("`.env` above 1 MiB", ".env", "too-large", "right file", {".env": f"{GOOD_ENV}{'#' * (1 << 20)}"}),
        row("`.env` empty, with an orchestrator", "api.token", "missing-secret", "Set BACKUP_API_TOKEN", EMPTY),
        row("`.env` with NUL", ".env:2", "bad-characters", "UTF-8", {".env": f"{GOOD_ENV}A=\0{PRIVATE}\n"}),
        row("the URL of a check that is none", "config.yaml:1 ping.url", "bad-value", "https://host/uuid", CHECK),
        row("`.env` in Latin-1", ".env:2", "not-utf-8", "UTF-8", LATIN),
        row("no `.env`, with an orchestrator", "api.token", "missing-secret", "Set BACKUP_API_TOKEN", ORCHESTRATED),
        row("token short", "api.token", "weak-token", "openssl rand", token("k3j4h5g6")),
        row("token a known default", "api.token", "weak-token", "openssl rand", token("change-me-please-change-me")),
    ],
)  # fmt: skip
def test_a_bad_secret_ends_the_start(
    files: Mapping[str, str | bytes], place: str, code: str, words: str, record_property: Callable[[str, object], None]
) -> None:
    found = told(files)

    line = found.line(place, f"[{code}]")
    assert words in line
    refused(found, PRIVATE, KEY_LINE, TOKEN, "k3j4h5g6", "change-me-please", TOO_LARGE[:100])
    record_property("seen", line.removeprefix("error: "))


@pytest.mark.e2e
@pytest.mark.fault(0, "`.env`: one quoted line of a key", "a warning; an error of targets whose command would get it")
def test_a_quoted_line_of_a_key_breaks_only_the_targets_that_would_get_it() -> None:
    with process() as (sidecar, app):
        folder = sidecar.folder / "config"
        with (folder / ".env").open("a") as env, (folder / "config.yaml").open("a") as config:
            env.write(f'SSH_PRIVATE_KEY="-----BEGIN OPENSSH PRIVATE KEY-----{KEY_LINE}..."\n')
            config.write("secrets: [SSH_PRIVATE_KEY]\nstrategy: {commands: {backup: [env]}}\n")
        sidecar.begin()
        app.target("files", {"strategy": "filesystem", "filesystem.paths": "/etc/hostname"})
        sidecar.wait("files")

        check = sidecar.cli("check")
        app.target("user", {})
        (problem,) = sidecar.wait("user", "problem")["problems"]
        run = sidecar.http.post(f"/v1/targets/{sidecar.key('user')}/runs")

        assert check.returncode == 0, check
        assert [line[:8] for line in (check.stdout + check.stderr).splitlines() if "SSH_PRIVATE_KEY" in line] == [
            "warning:"
        ]
        assert (problem["code"], problem["place"]) == ("cut-key", f"{folder}/.env:2 SSH_PRIVATE_KEY")
        assert "cut-key" in run.text
        assert sidecar.backup("files")["state"] == "succeeded"
        assert KEY_LINE not in f"{check} {problem} {run.text} {sidecar.log()}"


@pytest.mark.fault(0, "`.env` with CRLF and a byte order mark", "read as if it had neither")
def test_line_ends_and_byte_order_mark_do_no_harm() -> None:
    found = told({".env": f'\ufeff{GOOD_ENV}A="1\n2"\nSIDECAR_API_PROT=1\n'.replace("\n", "\r\n")})

    assert [line for line in found.text.splitlines() if line.startswith("error")] == [
        found.line(".env:4", "SIDECAR_API_PORT")
    ]


def test_without_a_fault_the_engine_is_asked() -> None:
    """Else the trap that the others rely on would prove nothing."""
    found = told({".env": GOOD_ENV})

    assert found.connections > 0
    assert found.code != 78
