"""What the operator wrote, what the environment overrides and what labels add; and that a secret stays one."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.kit.stage import LABEL, SIDECAR_IMAGE, App, Sidecar, docker, eventually, execute, said, within

pytestmark = pytest.mark.e2e

SOCKET = "/var/run/docker.sock"


def explained(sidecar: Sidecar, service: str) -> dict[str, Any]:
    done = sidecar.cli("explain", sidecar.key(service), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plain(sidecar: Sidecar, report: dict[str, Any], folder: Path) -> str:
    """The decompressed only artifact of a run."""
    copied = sidecar.fetch(report, folder)
    name = report["artifacts"][0]["name"]
    return execute("zstd", "-dc", name, cwd=copied).stdout.decode()


# --- the merge ------------------------------------------------------------------------------------------------------


def test_every_setting_says_where_it_comes_from(sidecar: Sidecar, app: App) -> None:
    app.target("merged", {"compression": "zstd:7", "env.WHO": "me"}, "--volume", "/data")
    sidecar.wait("merged")

    found = explained(sidecar, "merged")

    source, settings = found["provenance"], found["settings"]
    assert (found["strategy"], source["strategy"]) == ("filesystem", "environment SIDECAR_STRATEGY_TYPE")
    assert source["compression"] == "label backup.compression"
    assert re.fullmatch(r"config\.yaml:\d+ defaults\.timeout", source["timeout"])
    assert source["stall-timeout"] == "built-in"
    assert re.fullmatch(r"config\.yaml:\d+ strategy\.commands\.pre", source["commands.pre"])
    assert settings["compression"] == "zstd:7"
    assert source["env.WHO"] == "label backup.env.WHO"


def test_the_operators_word_on_one_target_beats_its_labels(sidecar: Sidecar, app: App) -> None:
    app.target("overruled", {"timeout": "10m", "compression": "none", "commands.backup": "echo data"})

    report = sidecar.backup("overruled")
    source = explained(sidecar, "overruled")["provenance"]

    assert "targets" in source["timeout"]
    assert report["artifacts"][0]["name"] == "backup.gz"


def test_a_label_that_names_a_strategy_drops_the_files_commands(sidecar: Sidecar, app: App) -> None:
    container = app.target("dropped", {"strategy": "filesystem", "filesystem.paths": "/etc"})

    sidecar.backup("dropped")

    assert within(container, "ls /tmp") == ""


# --- secrets --------------------------------------------------------------------------------------------------------


def test_commands_of_the_file_see_the_operators_secrets_intact(
    sidecar: Sidecar, app: App, operator_secrets: dict[str, str]
) -> None:
    container = app.target("plain", {}, "--volume", "/data")

    sidecar.backup("plain")

    seen = docker("exec", container, "cat", "/tmp/seen-by-file")
    assert seen == "\n".join(operator_secrets.values()).rstrip()
    assert within(container, "cat /tmp/greeting") == "hello from .env"


def test_a_backup_command_of_the_file_sees_the_operators_secrets(
    sidecar: Sidecar, app: App, operator_secrets: dict[str, str], tmp_path: Path
) -> None:
    app.target("url", {})

    report = sidecar.backup("url")

    assert plain(sidecar, report, tmp_path) == "".join(f"{value}\n" for value in operator_secrets.values())


def test_a_label_beside_commands_of_the_file_sees_no_secret_of_the_operator(sidecar: Sidecar, app: App) -> None:
    post = 'echo "seen: $DATABASE_URL$SSH_PRIVATE_KEY" >/tmp/seen-by-label'
    container = app.target("mixed", {"commands.post": post}, "--volume", "/data")

    sidecar.backup("mixed")

    assert within(container, "cat /tmp/seen-by-label") == "seen:"
    assert within(container, "cat /tmp/seen-by-file") != ""


def test_a_command_of_a_label_sees_no_secret_of_the_operator(
    sidecar: Sidecar, app: App, operator_secrets: dict[str, str], token: str, tmp_path: Path
) -> None:
    app.target("curious", {"commands.backup": "env; cat /proc/*/environ"})

    seen = plain(sidecar, sidecar.backup("curious"), tmp_path)

    assert "BACKUP_KEY=" in seen
    assert "DATABASE_URL" not in seen
    assert "SSH_PRIVATE_KEY" not in seen
    assert token not in seen


@pytest.mark.usefixtures("mariadb")
def test_no_secret_is_ever_shown(
    sidecar: Sidecar, app: App, operator_secrets: dict[str, str], token: str, password: str, tmp_path: Path
) -> None:
    own = "a container's own password"
    app.target("leaky", {}, "--env", f"OWN_PASSWORD={own}")
    app.target("plain", {"env.MY_TOKEN": "a label's own token"}, "--volume", "/data")
    good = sidecar.backup("plain")
    bad = sidecar.run("leaky")
    assert bad["failure"]["code"] == "command-failed"
    assert "***" in bad["failure"]["stderr"]

    keys = [sidecar.key(service) for service in ("leaky", "plain", "mariadb")]
    shown = {
        "log": sidecar.log(),
        "explain": str(sidecar.cli("explain", keys[0])) + str(sidecar.cli("explain", keys[1], "--json")),
        "check": str(sidecar.cli("check", "--json")),
        "runs": str(sidecar.cli("runs", "--json")),
        "run": str(sidecar.cli("run", keys[0])),
        "targets": "".join(sidecar.http.get(f"/v1/targets/{key}").text for key in keys),
        "lists": "".join(sidecar.http.get(path).text for path in ("/v1/targets", "/v1/runs", "/metrics")),
        "manifest": (sidecar.fetch(good, tmp_path) / "manifest.json").read_text(),
        "inspect": docker("inspect", sidecar.container),
    }

    lines = [line for value in operator_secrets.values() for line in value.splitlines() if len(line) > 8]
    pieces = [*lines, token, own, "a label's own token", password, operator_secrets["DATABASE_URL"].split(":")[2][:24]]
    leaked = [(place, piece) for place, text in shown.items() for piece in pieces if piece in text]
    assert leaked == []


# --- what stops it from starting ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    return tmp_path / "config"


def start(folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of a sidecar that cannot start."""
    mounts = ("--volume", f"{folder}:/etc/sidecar:ro", "--volume", f"{SOCKET}:{SOCKET}")
    done = said("docker", "run", "--rm", "--label", f"{LABEL}=settings", *mounts, *options, SIDECAR_IMAGE, timeout=90)
    return done.returncode, done.stdout + done.stderr


BROKEN = """\
schema: 1
strategy:
  typ: filesystem
defaults:
  timeout: 90
api:
  port: 99999
  token: {secret: MISSING_TOKEN}
secrets: [DATABASE_URL]
policy:
  labels: {lock: [user]}
targets:
  shop: {timeout: 1h}
"""
PRIVATE = "correct-horse-battery"


@pytest.mark.usefixtures("sidecar_image")
def test_a_broken_file_ends_with_78_and_every_error_at_once(folder: Path) -> None:
    (folder / "config.yaml").write_text(BROKEN)
    (folder / ".env").write_text(f'DATABASE_URL="{PRIVATE}\nSSH_PRIVATE_KEY=-----BEGIN KEY-----\n{PRIVATE}\n')

    code, told = start(folder, "--env", "SIDECAR_API_PROT=1")

    assert code == 78
    for place in ("config.yaml:3", "config.yaml:5", "config.yaml:7", "config.yaml:13", ".env:1", "SIDECAR_API_PROT"):
        assert place in told
    assert "type" in told
    assert PRIVATE not in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("sidecar_image")
def test_a_weak_token_ends_with_78(folder: Path) -> None:
    (folder / ".env").write_text("BACKUP_API_TOKEN=changeme\n")
    (folder / "config.yaml").write_text(f"orchestrator: {{url: 'http://o', key: {PRIVATE}}}\n")

    code, told = start(folder)

    assert code == 78
    assert "BACKUP_API_TOKEN" in told or "api.token" in told
    assert "default" in told


@pytest.mark.usefixtures("sidecar_image")
def test_an_operators_user_is_respected_and_a_closed_socket_ends_with_78(folder: Path) -> None:
    (folder / ".env").write_text("BACKUP_API_TOKEN=0123456789abcdef0\n")

    code, told = start(folder, "--user", "54321:54321", "--tmpfs", "/var/lib/sidecar:mode=1777")

    assert code == 78
    assert "54321" in told
    assert "group_add" in told


@pytest.mark.usefixtures("sidecar_image")
def test_a_socket_that_only_its_owner_may_use_ends_with_78_and_what_helps(folder: Path, tmp_path: Path) -> None:
    """As Podman's is; no group would help."""
    (folder / ".env").write_text("BACKUP_API_TOKEN=0123456789abcdef0\n")
    path = tmp_path / "owner.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        code, told = start(folder, "--volume", f"{path}:/owner.sock", "--env", "DOCKER_HOST=unix:///owner.sock")

    assert code == 78
    assert "0600" in told
    assert "SocketMode=0660" in told
    assert "group_add" not in told


@pytest.mark.usefixtures("sidecar_image")
def test_a_missing_engine_ends_with_78_and_the_remedy(folder: Path) -> None:
    (folder / ".env").write_text("BACKUP_API_TOKEN=0123456789abcdef0\n")

    code, told = start(folder, "--env", "DOCKER_HOST=unix:///nowhere.sock")

    assert code == 78
    assert "/nowhere.sock" in told


@pytest.mark.fault(33, "two sidecars on one store", "the second says so and refuses")
def test_a_second_sidecar_on_the_same_store_refuses_to_start(sidecar: Sidecar, config_folder: Path) -> None:
    code, told = start(config_folder, "--volumes-from", sidecar.container)

    assert code == 78
    assert "another sidecar" in told


# --- where and how commands run -------------------------------------------------------------------------------------


def test_variables_of_a_label_reach_every_question_of_a_run(sidecar: Sidecar, app: App) -> None:
    """The password in the server's own environment is an old one; what the server holds is listed and counted."""
    labels = {"strategy": "mariadb", "env.MARIADB_ROOT_PASSWORD": "the-new-password"}
    old = ("--env", "MARIADB_ROOT_PASSWORD=the-old-password", "--env", "MARIADB_DATABASE=shop")
    container = app.target("changed", labels, "--tmpfs", "/var/lib/mysql", *old, of="MARIADB", command=("mariadbd",))
    client = ("docker", "exec", "--env", "MYSQL_PWD=the-old-password", container, "mariadb", "--user=root")
    ready = (*client, "--host=127.0.0.1", "--execute=select 1")
    eventually(lambda: execute(*ready).returncode == 0, seconds=60, what="the server is ready")
    change = "create table shop.item as select 1 as id; set password for root@localhost = password('the-new-password')"
    assert execute(*client, f"--execute={change}").returncode == 0

    report = sidecar.backup("changed")

    counts = {artifact["name"]: artifact["counts"] for artifact in report["artifacts"]}
    assert counts["shop.sql.zst"]["rows of item"] == 1


@pytest.mark.parametrize("name", ["pre", "backup", "post"])
def test_a_text_where_there_is_no_shell_is_a_problem_by_day(sidecar: Sidecar, app: App, name: str) -> None:
    strategy = {} if name == "backup" else {"strategy": "filesystem", "filesystem.paths": "/etc"}
    app.target(f"mute-{name}", {**strategy, f"commands.{name}": "sync"}, of="DISTROLESS")

    (problem,) = sidecar.wait(f"mute-{name}", "problem")["problems"]
    report = sidecar.run(f"mute-{name}")

    assert problem["code"] == report["failure"]["code"] == "no-shell"
    assert f"label backup.commands.{name} is a text" in problem["message"]
    assert "argv" in problem["hint"]
    assert report["state"] == "failed"


def test_an_argv_list_needs_no_shell(sidecar: Sidecar, app: App) -> None:
    files = {"strategy": "filesystem", "filesystem.paths": "/etc"}
    app.target("terse", {**files, "commands.pre": '["/sleep","0"]', "commands.post": '["/sleep","0"]'}, of="DISTROLESS")

    assert sidecar.backup("terse")["warnings"] == []


def test_a_text_for_later_where_there_is_no_shell_keeps_no_backup(sidecar: Sidecar, app: App) -> None:
    files = {"strategy": "filesystem", "filesystem.paths": "/etc"}
    app.target("later", {**files, "drill.check": "test -s /etc/passwd"}, of="DISTROLESS")

    problems = {problem["code"]: problem for problem in sidecar.wait("later")["problems"]}

    assert "label backup.drill.check" in problems["no-shell"]["place"]
    assert problems["no-shell"]["severity"] == "warning"
    sidecar.backup("later")
