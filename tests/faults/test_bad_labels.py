"""Every bad label on a real container beside good ones: it breaks its own target, and names place and remedy."""

import io
import re
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.faults.conftest import config_folder
from tests.kit import stage
from tests.kit.stage import LABEL, PROJECT, SERVICE, App, Sidecar, eventually, image

pytestmark = pytest.mark.e2e

NUMBER = "com.docker.compose.container-number"
POLICY = {"labels": {"lock": ["user"]}, "min-keep": 3}
SECRET = "hunter2-and-more"
NOTE = {"commands.backup": "echo note"}
FILES = {"strategy": "filesystem"}
RUN = {"command": ["sleep", "infinity"], "init": True}
OLD_DASH = """\
#!/usr/bin/dash
[ "$1" = -c ] || exec dash "$@"
text=$(printf %s "$2" | sed 's/set -o pipefail/set -o unheard-of/')
shift 2
exec dash -c "$text" "$@"
"""
"""A dash that knows `pipefail` as little as those before 2024 did."""


@dataclass(frozen=True)
class Bad:
    """One container with one bad label."""

    fault: str
    code: str
    """The problem's; `problem` and its container's state are expected, unless it is a warning."""
    labels: Mapping[str, str]
    """Without `backup.`."""
    label: str
    """What the place names, after `label `."""
    remedy: str
    """Words of the hint."""
    warning: bool = False
    of: str = "BUSYBOX"
    others: Mapping[str, str] = field(default_factory=dict)
    """Labels of others: Compose's."""
    options: Mapping[str, Any] = field(default_factory=lambda: RUN)

    @property
    def expected(self) -> str:
        return f"{'warned' if self.warning else 'only its target is broken'}: `{self.code}`"


def bad(fault: str, code: str, labels: Mapping[str, str], remedy: str, label: str = "", **more: Any) -> Bad:
    """A row; the label that is bad is the first."""
    return Bad(fault, code, labels, label or f"backup.{next(iter(labels))}", remedy, **more)


ROWS = [
    bad("`backup.enable=yse`", "bad-enable", {"enable": "yse", **NOTE}, "Write `true`"),
    bad("unknown key `backup.stratgy`", "unknown-label", {"stratgy": "filesystem", **NOTE}, "`strategy`"),
    bad("unknown strategy `postgers`", "unknown-strategy", {"strategy": "postgers"}, "`postgres`"),
    bad("strategy `command` without a command", "no-command", {"strategy": "command"}, "Add the command"),
    bad("empty command", "empty-command", {"commands.backup": " "}, "Write a text for a shell"),
    bad("NUL in a value", "bad-characters", {"commands.backup": "echo a\0b"}, "Remove them"),
    bad("control characters in a value", "bad-characters", {"commands.backup": "echo a\x07b\x7f"}, "Remove them"),
    bad("ANSI colours in a value", "bad-characters", {"timeout": "\x1b[31m1h", **NOTE}, "Remove them"),
    bad(
        "right-to-left mark in a key",
        "bad-characters",
        {"u\u202eser": "x", **NOTE},
        "Remove them",
        r"backup.u\u202eser",
    ),
    bad("1 MB of labels", "labels-too-large", {"commands.backup": "x" * (1 << 20)}, "script", " "),
    bad("broken JSON array", "bad-value", {"commands.backup": '["echo", "a"'}, "double quotes"),
    bad(
        "a password in a command",
        "password-in-command",
        {"commands.backup": f"echo --password={SECRET} >&2; echo data"},
        "expand a variable",
        warning=True,
    ),
    bad("`../../etc/cron.d/x` in a name", "bad-target-name", {"targets.../../etc/cron.d/x.timeout": "1h"}, "a-z, 0-9"),
    bad("`%2f` in a name", "bad-target-name", {"targets.%2fetc.timeout": "1h"}, "a-z, 0-9"),
    bad(
        "`user=root` where the policy forbids it", "locked-label", {"user": "root", **NOTE}, "have the operator set it"
    ),
    *(
        bad(f"`backup.{key}`", "operator-only", {key: "x", **NOTE}, "Remove the label")
        for key in ("privileged", "container", "image", "volume", "env-file")
    ),
    bad("relative workdir", "bad-value", {"workdir": "srv", **NOTE}, "beginning with `/`"),
    bad("workdir with `..`", "bad-value", {"workdir": "/srv/../proc/1/root", **NOTE}, "beginning with `/`"),
    bad("workdir under `/proc`", "bad-value", {"workdir": "//proc/1/root", **NOTE}, "own file system"),
    bad("workdir that is not there", "no-such-workdir", {"workdir": "/nowhere", **NOTE}, "backup.workdir", " "),
    bad("cron with four fields", "bad-value", {"schedule": "0 3 * *", **NOTE}, "five fields"),
    bad("minute 61", "bad-value", {"schedule": "61 3 * * *", **NOTE}, "five fields"),
    bad("cron below the minimum interval", "below-minimum", {"schedule": "* * * * *", **NOTE}, "at least 5m apart"),
    bad("duration `10`", "bad-value", {"timeout": "10", **NOTE}, "with a unit"),
    bad("duration `-5m`", "bad-value", {"stall-timeout": "-5m", **NOTE}, "with a unit"),
    bad("duration `1y`", "bad-value", {"expect.max-age": "1y", **NOTE}, "with a unit"),
    bad("retention 0", "bad-value", {"retention.keep-last": "0", **NOTE}, "such as `7`"),
    bad(
        "retention below the operator's minimum",
        "below-minimum",
        {"retention.keep-daily": "2", "retention.keep-weekly": "none", **NOTE},
        "3 or more",
    ),
    bad("relative path", "bad-value", {"filesystem.paths": "data", **FILES}, "beginning with `/`"),
    bad("missing path", "missing-path", {"filesystem.paths": "/srv/none", **FILES}, "backup.filesystem.paths", " "),
    bad(
        "symlink as a path",
        "symlink-path",
        {"filesystem.paths": "/bin", **FILES},
        "it leads to: /usr/bin",
        " ",
        of="PYTHON",
    ),
    bad(
        "path on tmpfs in a target without tar",
        "tmpfs-path",
        {"filesystem.paths": "/scratch/data", **FILES},
        "in a volume",
        " ",
        of="DISTROLESS",
        options={"command": ["infinity"], "tmpfs": {"/scratch": ""}},
    ),
    bad(
        "a service that Compose never writes",
        "forged-label",
        NOTE,
        "by Docker Compose",
        SERVICE,
        others={SERVICE: "../../etc/cron.d/x"},
    ),
    bad("a key that belongs to the operator", "operator-only", {"api.token": SECRET, **NOTE}, "config.yaml"),
]


def slug(row: Bad) -> str:
    return re.sub("[^a-z0-9]+", "-", row.fault.lower()).strip("-")


@dataclass(frozen=True)
class Seen:
    """Everything that the sidecar says of the containers, once it knows them all."""

    sidecar: Sidecar
    targets: Mapping[str, dict[str, Any]]
    """By container."""
    metrics: str
    log: str

    def problem(self, container: str, code: str) -> dict[str, str]:
        target = self.targets[container]
        found = [problem for problem in target["problems"] if problem["code"] == code]
        assert found, target["problems"]
        return found[0]


@pytest.fixture(scope="module")
def seen(sidecar_image: str, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """One sidecar; all containers made before the first one starts, and all known."""
    config = config_folder(tmp_path_factory.mktemp("labels") / "config", token, policy=POLICY)
    with stage.sidecar(f"labels-{secrets.token_hex(3)}", config, token) as (own, app):
        engine = docker.from_env()
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda extra: create(engine, app, extra[1], extra[0]), EXTRA.items()))
            made += pool.map(lambda row: create(engine, app, row), ROWS)
            list(pool.map(lambda container: container.start(), made))
        engine.close()
        eventually(lambda: is_known(own, len(ROWS) + len(EXTRA) - 1), seconds=30, what="all targets are known")
        targets = {
            target["container"]["name"]: own.http.get(f"/v1/targets/{key}").json()
            for key, target in own.targets().items()
        }
        yield Seen(own, targets, own.http.get("/metrics").text, own.log())


GOOD = bad("good", "", NOTE, "")
EXTRA = {
    "good": GOOD,
    "scaled-1": bad("scaled", "", NOTE, "", others={NUMBER: "1"}),
    "scaled-2": bad("scaled", "", NOTE, "", others={NUMBER: "2"}),
    "claimed": bad("claimed", "", NOTE, "", others={NUMBER: "1"}),
    "forged": bad("claimed", "", NOTE, "", others={NUMBER: "0"}),
    "stranger": bad("stranger", "", NOTE, "", others={PROJECT: "another"}),
    "no-pipefail": bad("no-pipefail", "", {"commands.backup": "false | echo data"}, "", of="DEBIAN"),
}
"""Containers beside the table, by the end of their names; all but the stranger are listed."""


def create(engine: docker.DockerClient, app: App, row: Bad, name: str = "") -> Container:
    labels = {LABEL: app.project, PROJECT: app.project, SERVICE: slug(row), **row.others, "backup.enable": "true"}
    labels |= {f"backup.{key}": value for key, value in row.labels.items()}
    name = f"{app.project}-{name or slug(row)}"
    made = engine.containers.create(image(row.of), name=name, network=app.network, labels=labels, **row.options)
    if row.of == "DEBIAN":
        made.put_archive("/usr/bin", without_bash())
    return made


def without_bash() -> bytes:
    """What takes the place of the shells in an image."""
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w") as tar:
        for shell, content, mode in (("sh", OLD_DASH, 0o755), ("bash", "", 0o644)):
            member = tarfile.TarInfo(shell)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content.encode()))
    return found.getvalue()


def is_known(own: Sidecar, number: int) -> bool:
    states = [target["state"] for target in own.targets().values()]
    return len(states) >= number and not {"pending", "absent"} & {*states}


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=pytest.mark.fault(0, row.fault, row.expected), id=slug(row)) for row in ROWS]
)
def test_a_bad_label_breaks_its_own_target_only(
    row: Bad, seen: Seen, record_property: Callable[[str, object], None]
) -> None:
    container = f"{seen.sidecar.project}-{slug(row)}"
    problem = seen.problem(container, row.code)
    key = seen.targets[container]["key"]
    told = f"{row.label.strip() or 'container'}: {problem['message']}. {problem['hint']}"
    record_property("seen", told.replace(key, "shop/db"))

    assert f"container {container}" in problem["place"]
    assert row.label.strip() in problem["place"]
    assert row.remedy in problem["hint"]
    assert f'backup_target_problem{{code="{row.code}",target="{key}"}} 1.0' in seen.metrics
    assert any(container in line and row.code in line for line in seen.log.splitlines())
    assert problem["severity"] == ("warning" if row.warning else "error")
    assert seen.targets[container]["state"] == ("ready" if row.warning else "problem")
    if not row.warning:
        assert refusal(seen.sidecar, key) in {one["code"] for one in seen.targets[container]["problems"]}


def refusal(sidecar: Sidecar, key: str) -> str:
    """Why no run succeeds: refused at once, or after a new look into the container, which may have changed."""
    answer = sidecar.http.post(f"/v1/targets/{key}/runs")
    if answer.status_code == 202:
        return str(sidecar.ended(answer.json()["id"])["failure"]["code"])
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    return str(answer.json()["type"])


def test_the_good_target_beside_them_is_backed_up(seen: Seen) -> None:
    assert seen.sidecar.backup("good")["proof"] == "sealed"


def test_what_the_bad_ones_say_harms_no_terminal_and_tells_no_password(seen: Seen) -> None:
    shown = "".join(
        (seen.log, str(seen.targets), seen.metrics, str(seen.sidecar.cli("targets")), str(seen.sidecar.cli("check")))
    )

    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", seen.log)
    assert SECRET not in shown
    assert "x" * 1000 not in shown


@pytest.mark.fault(0, "two containers for one key (scale 2)", "the first is the target, the other a `replica`")
def test_of_two_containers_for_one_key_the_first_is_the_target(
    seen: Seen, record_property: Callable[[str, object], None]
) -> None:
    project = seen.sidecar.project
    first, second = seen.targets[f"{project}-scaled-1"], seen.targets[f"{project}-scaled-2"]
    record_property("seen", f"`{second['key'].partition('/')[2].replace(project, 'shop')}` is a replica")

    assert (first["key"], first["state"]) == (f"{project}/scaled", "ready")
    assert second["state"] == "replica"


@pytest.mark.fault(0, "a container that claims a service and the number 0", "both `key-taken`, if nobody had the key")
def test_where_nobody_had_the_key_a_made_up_number_does_not_get_it(
    seen: Seen, record_property: Callable[[str, object], None]
) -> None:
    claimed, forged = (seen.targets[f"{seen.sidecar.project}-{name}"]["problems"] for name in ("claimed", "forged"))
    record_property("seen", f"`{forged[0]['code']}`: {forged[0]['message'].replace(seen.sidecar.project, 'shop')}")

    assert [problem["code"] for problem in (*claimed, *forged)] == ["key-taken", "key-taken"]
    assert f"{seen.sidecar.project}-claimed" in forged[0]["message"]
    assert seen.targets[f"{seen.sidecar.project}-scaled-1"]["state"] == "ready"


@pytest.mark.fault(0, "a forged Compose project", "another project's container on the network is no target")
def test_a_container_of_another_project_is_no_target(seen: Seen) -> None:
    assert f"{seen.sidecar.project}-stranger" not in seen.targets


@pytest.mark.fault(0, "a pipe where the shell has no `pipefail`", "runs, and plan and report say `no-pipefail`")
def test_a_pipe_without_pipefail_is_warned_of(seen: Seen, record_property: Callable[[str, object], None]) -> None:
    planned = seen.targets[f"{seen.sidecar.project}-no-pipefail"]["plan"]
    report = seen.sidecar.backup("no-pipefail")
    warning = next(warning for warning in report["warnings"] if warning.startswith("no-pipefail"))
    record_property("seen", warning)

    assert warning in planned["warnings"]
