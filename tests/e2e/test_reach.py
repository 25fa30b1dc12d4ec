"""What a container says reaches no further than itself."""

import base64
from collections.abc import Iterator

import pytest

from config.wording import is_unsafe
from tests.e2e.test_restore import refused
from tests.kit import stage
from tests.kit.stage import App, Sidecar, docker, execute, image

pytestmark = pytest.mark.e2e

SPEAKS = """FROM {}
ONBUILD LABEL backup.enable=true
LABEL backup.user=root backup.commands.backup="id >/tmp/was-here; cat /tmp/was-here"
"""


@pytest.fixture
def speaking(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An image that brings labels, one of them from the image that it was built from."""
    names = (f"{sidecar.project}-base", f"{sidecar.project}-speaks")
    for name, lines in zip(names, (SPEAKS.format(image("BUSYBOX")), f"FROM {names[0]}\n"), strict=True):
        docker("build", "--quiet", "--tag", name, "-", input=lines.encode())
    monkeypatch.setitem(stage.FALLBACKS, "SPEAKS", names[1])
    yield
    docker("image", "rm", "--force", *names)


@pytest.mark.usefixtures("speaking")
def test_an_image_enrols_no_container_and_says_not_as_whom_it_is_backed_up(sidecar: Sidecar, app: App) -> None:
    silent = app.start("silent", {}, "--user", "1000", of="SPEAKS")
    app.target("spoken", {"enable": "yes", "commands.backup": "id -u"}, "--user", "1000", of="SPEAKS")

    problems = sidecar.wait("silent", "disabled")["problems"]
    assert [problem["code"] for problem in problems] == ["image-labels"]
    assert sidecar.http.post(f"/v1/targets/{sidecar.key('silent')}/runs").status_code == 409
    report = sidecar.backup("spoken")
    assert any(warning.startswith("image-labels") for warning in report["warnings"])
    assert report["artifacts"][0]["plain_size"] == len("1000\n")
    assert execute("docker", "exec", silent, "test", "-e", "/tmp/was-here").returncode == 1


def test_no_other_container_takes_a_key_not_even_while_its_own_is_made_anew(sidecar: Sidecar, app: App) -> None:
    first = ("--label", "com.docker.compose.container-number=1")
    own = app.target("ledger", {"commands.backup": "echo own"}, *first)
    sidecar.backup("ledger")

    forged = app.target("ledger", {"commands.backup": "echo forged >/tmp/was-here"}, *first)
    beside = f"ledger@{forged}"
    (problem,) = sidecar.wait(beside, "problem")["problems"]
    assert problem["code"] == "key-taken"
    assert own in problem["message"]
    assert sidecar.backup("ledger")["state"] == "succeeded"

    again = app.target("ledger", {"commands.backup": "echo own"}, *first)
    docker("rm", "--force", own)
    sidecar.wait("ledger", "problem")
    assert sidecar.http.post(f"/v1/targets/{sidecar.key('ledger')}/runs").status_code == 409
    assert execute("docker", "exec", forged, "test", "-e", "/tmp/was-here").returncode == 1
    docker("rm", "--force", forged)
    assert sidecar.wait("ledger")["container"]["name"] == again
    sidecar.backup("ledger")


def test_a_restore_into_another_container_runs_nothing_of_the_first_ones_labels(sidecar: Sidecar, app: App) -> None:
    labels = {"user": "root", "commands.backup": "echo x", "commands.restore": "cat >/dev/null; id >/tmp/was-here"}
    app.target("reach", labels)
    beside = app.start("beside", {}, "--user", "1000")
    sidecar.backup("reach")

    assert "say nothing in container" in refused(sidecar, "reach", "--to", beside)
    assert execute("docker", "exec", beside, "test", "-e", "/tmp/was-here").returncode == 1


HOSTILE = r"""printf '\033]0;T\007\033[2J\342\200\256\r\nall backups are fine\n' >&2; exit 4"""


def test_what_a_container_prints_acts_on_no_terminal_and_looks_like_no_line_of_ours(sidecar: Sidecar, app: App) -> None:
    app.target("forger", {"commands.backup": HOSTILE, "retries": "0"})
    done = sidecar.cli("run", sidecar.key("forger"))
    assert done.returncode == 1
    for shown in (done.stdout, done.stderr, sidecar.log()):
        assert not is_unsafe(shown, "\n")
        assert "all backups are fine" not in shown.splitlines()
    assert r"\x1b]0;T\x07" in done.stdout + done.stderr


TELLS = """tell() { env; printf %s "$LABEL_TOKEN" | base64; printf %s "$OWN_URI" | base64; }
tell >&2; tell; exit $CODE"""


def test_secrets_of_labels_and_of_a_containers_environment_stand_nowhere(sidecar: Sidecar, app: App) -> None:
    labels = {"commands.backup": TELLS, "retries": "0", "env.LABEL_TOKEN": "Lab/el+tok=77", "env.CODE": "3"}
    secret = ["Lab/el+tok=77", "urip%40ss55", "urip@ss55"]
    secret += [base64.b64encode(value.encode()).decode()[:12] for value in secret]
    environment = ("--env", "OWN_URI=mongodb://u:urip%40ss55@h/x")
    app.target("teller", labels, *environment)

    done = sidecar.cli("run", sidecar.key("teller"))
    assert "OWN_URI=mongodb://u:***@h/x" in done.stderr
    run = sidecar.http.get("/v1/runs", params={"target": sidecar.key("teller")}).text
    told = (run, sidecar.http.get("/v1/targets").text, sidecar.http.get("/v1/status").text, sidecar.log())
    for text in (done.stdout, done.stderr, *told):
        assert not [value for value in secret if value in text]
