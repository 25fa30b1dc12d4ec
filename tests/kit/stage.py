"""What the tests on the real engine share: the docker command, containers that go away again, and a sidecar's user."""

import contextlib
import io
import itertools
import json
import os
import secrets
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from tests.kit import planted

REPOSITORY = Path(__file__).parents[2]
LABEL = "backup-sidecar.test"
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
SIDECAR_IMAGE = os.environ.get("SIDECAR_IMAGE", "backup-sidecar:local")
FALLBACKS = {"DEBIAN": "debian:trixie-slim", "PYTHON": "python:3.13-slim", "POSTGRES": "postgres:17"} | {
    "BUSYBOX": "busybox:1.37",
    "MARIADB": "mariadb:11.8",
    "REDIS": "redis:8",
    "DISTROLESS": "backup-sidecar-local/distroless:1",
    "SQLITE": "backup-sidecar-local/sqlite:3",
    "POSTGRES15": "backup-sidecar-local/postgres15:1",
    "POSTGRES_EXTENSIONS": "backup-sidecar-local/postgres-extensions:17",
    "MARIADB10": "backup-sidecar-local/mariadb10:1",
    "MARIADB_PLUGINS": "backup-sidecar-local/mariadb-plugins:11",
    "REDIS7": "backup-sidecar-local/redis7:1",
    "OPENLDAP25": "backup-sidecar-local/openldap25:1",
    "ETCD34": "backup-sidecar-local/etcd34:1",
    "RABBITMQ3": "backup-sidecar-local/rabbitmq3:1",
    "VALKEY": "backup-sidecar-local/valkey:8",
    "OPENLDAP": "backup-sidecar-local/openldap:2",
    "ETCD": "backup-sidecar-local/etcd:3",
    "INFLUXDB": "backup-sidecar-local/influxdb:1",
    "RABBITMQ": "backup-sidecar-local/rabbitmq:4",
}
SLEEP = ("sleep", "infinity")
HOME = "/var/lib/sidecar"
"""Of the sidecar, in its container."""
STORE, WORK = f"{HOME}/artifacts", f"{HOME}/work"

Answer = TypeVar("Answer")
Json = dict[str, Any]


def image(name: str) -> str:
    return os.environ.get(f"{name}_IMAGE", FALLBACKS[name])


def execute(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A finished command, whatever its exit code."""
    done = subprocess.run(command, capture_output=True, check=False, **options)
    sweep(command, done.stdout + done.stderr)
    return done


def said(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """A finished command whose output is text, whatever its exit code."""
    done = subprocess.run(command, capture_output=True, check=False, text=True, **options)
    sweep(command, done.stdout + done.stderr)
    return done


def sweep(command: Sequence[str | Path], output: bytes | str) -> None:
    """Fails where a command of a sidecar, or a sidecar's log, shows a secret of the tests; `token` is there for one."""
    words = list(map(str, command))
    asked = "backup-sidecar" in words and words[words.index("backup-sidecar") + 1 :][:1] != ["token"]
    if asked or ("logs" in words and "sidecar" in words[-1]):
        planted.demand_nothing_of_it(f"`{' '.join(words)[:100]}`", output)


def docker(*arguments: str | Path, **options: Any) -> str:
    """What the docker command printed; fails the test with its error."""
    done = execute("docker", *arguments, **options)
    assert done.returncode == 0, f"docker {' '.join(map(str, arguments))[:500]}: {done.stderr.decode()}"
    return done.stdout.decode().strip()


def within(container: str, script: str, *, user: str = "0") -> str:
    """What a shell script printed in a container."""
    return docker("exec", "--user", user, container, "sh", "-c", script)


@contextlib.contextmanager
def acts(container: str) -> Iterator[list[str]]:
    """What is done to a container meanwhile, known at the end; a busy engine that is asked only then has forgotten."""
    mark, done = f"{container}-mark", list[str]()
    asked = ("docker", "events", "--since", f"{time.time():.9f}", "--format", "{{.Action}}")
    filters = ("--filter", f"container={container}", "--filter", f"container={mark}")
    with subprocess.Popen((*asked, *filters), stdout=subprocess.PIPE, text=True) as events:
        try:
            yield done
            docker("create", "--name", mark, image("BUSYBOX"))
            docker("rm", mark)
            assert events.stdout
            done += itertools.takewhile(lambda action: action != "create", map(str.strip, events.stdout))
        finally:
            events.kill()


def eventually(question: Callable[[], Answer], *, seconds: float = 15, what: str = "") -> Answer:
    """The first answer that is true; fails with the last one. What takes long to ask is asked less often."""
    deadline = (asked := time.monotonic()) + seconds
    while not (answer := question()):
        now = time.monotonic()
        assert now < deadline, f"not within {seconds} s: {what} {answer!r}"
        time.sleep(max(0.03, now - asked))
        asked = time.monotonic()
    return answer


def image_files(name: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file in an image."""
    container = docker("create", "--label", f"{LABEL}=image", name)
    try:
        with (
            subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as tar,
        ):
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                yield member.name, file.read() if file else b""
    finally:
        docker("rm", container)


def copy_repository(target: Path) -> Path:
    """What a clone would hold."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, check=True, text=True).stdout
    for name in names.split("\0"):
        if name and ((source := REPOSITORY / name).is_file() or source.is_symlink()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name, follow_symlinks=False)
    return target


def clear(project: str) -> None:
    """Remove whatever carries the project's test label."""
    mine = ("--filter", f"label={LABEL}={project}")
    for kind, listing in (
        ("container", ("ps", "--all", "--quiet")),
        ("network", ("network", "ls", "--quiet")),
        ("volume", ("volume", "ls", "--quiet")),
    ):
        if found := docker(*listing, *mine).split():
            flags = ("--force", "--volumes") if kind == "container" else ()
            execute("docker", kind, "rm", *flags, *found)


class App:
    """A Compose project as the engine sees it: containers with Compose's labels on the project's network.

    A context manager that removes what was started in it.
    """

    def __init__(self, project: str, network: str | None = None) -> None:
        self.project, self.network = project, network or f"{project}_app_internal"
        self.started: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.started:
            execute("docker", "rm", "--force", "--volumes", *self.started)

    def start(
        self,
        service: str,
        labels: Mapping[str, str],
        *options: str,
        of: str = "BUSYBOX",
        command: tuple[str, ...] = SLEEP,
        name: str | None = None,
    ) -> str:
        """Start a container of a service; gives its name. Labels are written without `backup.`."""
        name = name or f"{self.project}-{service}-{secrets.token_hex(2)}"
        told = {PROJECT: self.project, SERVICE: service, LABEL: self.project}
        told |= {f"backup.{key}": value for key, value in labels.items()}
        flags = [flag for key, value in told.items() for flag in ("--label", f"{key}={value}")]
        given = [*options, *(f"--env={key[4:]}={value}" for key, value in labels.items() if key.startswith("env."))]
        planted.plant_all(dict(environment_in(given)))
        docker(
            *("run", "--detach", "--init", "--name", name, "--hostname", service, "--network", self.network),
            *(*flags, *options),
            *(image(of), *(command[1:] if of == "DISTROLESS" else command)),
        )
        self.started.append(name)
        return name

    def target(self, service: str, labels: Mapping[str, str], *options: str, **more: Any) -> str:
        """Start a container that opts in; gives its name."""
        return self.start(service, {"enable": "true", **labels}, *options, **more)


def environment_in(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values of `--env NAME=value` and `--env=NAME=value`."""
    for option, following in itertools.pairwise([*options, ""]):
        name, _, value = (following if option == "--env" else option.removeprefix("--env=")).partition("=")
        if option.startswith("--env"):
            yield name, value


UNMARK = """
import json, pathlib, sys
from controller.app.program import CATALOG
from controller.storage.catalog import Catalog
folder = pathlib.Path(sys.argv[1])
Catalog(pathlib.Path("/var/lib/sidecar/work", CATALOG)).amend(folder.name, artifacts=(), mark="")
path = folder / "marks/report.json"
path.write_text(json.dumps(json.loads(path.read_text()) | {"mark": "", "artifacts": []}))
"""


def administrator(token: str) -> dict[str, str]:
    """Variables that give a sidecar a second token, which may do everything, beside its own."""
    entries = '[{"name": "tests", "secret": "TESTS_TOKEN", "role": "admin"}]'
    return {"SIDECAR_API_TOKENS": entries, "TESTS_TOKEN": f"admin-{token[::-1]}"}


class Sidecar:
    """A running sidecar as its users see it: by its API, as orchestrator or administrator, and by `docker exec`."""

    def __init__(self, container: str, project: str, address: str, token: str) -> None:
        self.container, self.project, self.token = container, project, token
        tokens = {"the API's token": token, "the administrator's token": administrator(token)["TESTS_TOKEN"]}
        self.http, self.admin = (
            httpx.Client(
                base_url=address,
                headers={"Authorization": f"Bearer {planted.plant(name, each)}"},
                timeout=60,
                event_hooks={"response": [planted.listen]},
            )
            for name, each in tokens.items()
        )

    def close(self) -> None:
        """Fails where a secret of the tests lies in what it leaves."""
        self.http.close()
        self.admin.close()
        for where, content in self.left():
            planted.demand_nothing_of_it(f"{where} of {self.container or self.project}", content)

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Its log, its work folder with the catalog, and what it tells of each run; nothing where it is gone."""
        done = execute("docker", "logs", self.container)
        yield "the log", done.stdout + done.stderr
        work = execute("docker", "cp", "-q", f"{self.container}:{WORK}", "-")
        if work.returncode == 0:
            with tarfile.open(fileobj=io.BytesIO(work.stdout)) as tar:
                for member in filter(tarfile.TarInfo.isfile, tar):
                    file = tar.extractfile(member)
                    yield member.name, file.read() if file else b""
        told = ("find", STORE, "-name", "*.json", "-type", "f", "-exec", "cat", "{}", "+")
        yield "what is told of runs", execute("docker", "exec", self.container, *told).stdout

    def begin(self) -> None:
        """Start it again."""
        docker("start", self.container)
        self.is_back()

    def is_back(self) -> None:
        """Wait until it serves after a start, which may have given it another port."""
        port = docker("port", self.container, "8000/tcp").splitlines()[0].rpartition(":")[2]
        for client in (self.http, self.admin):
            client.base_url = f"http://127.0.0.1:{port}"
        eventually(lambda: is_up(self), seconds=60, what="the sidecar is ready")

    def key(self, service: str) -> str:
        return f"{self.project}/{service}"

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return said("docker", "exec", self.container, "backup-sidecar", *arguments)

    def log(self) -> str:
        done = said("docker", "logs", self.container)
        return done.stdout + done.stderr

    def targets(self) -> dict[str, Json]:
        """By key."""
        return {target["key"]: target for target in self.http.get("/v1/targets").json()["targets"]}

    def target(self, service: str) -> Json:
        """Everything about one target; empty when there is none."""
        answer = self.http.get(f"/v1/targets/{self.key(service)}")
        return answer.json() if answer.is_success else {}

    def states(self) -> dict[str, str]:
        """By service."""
        return {key.partition("/")[2]: target["state"] for key, target in self.targets().items()}

    def forgets(self, containers: list[str]) -> None:
        """Wait until no target stands for one of these, so that the next one of its name is not taken for it."""

        def known() -> set[str]:
            return {target["container"]["name"] for target in self.targets().values() if target["state"] != "absent"}

        eventually(lambda: known().isdisjoint(containers), what="containers are forgotten")

    def wait(self, service: str, state: str = "ready", seconds: float = 60) -> Json:
        """The target, once it has this state."""
        eventually(lambda: self.states().get(service) == state, seconds=seconds, what=f"{service} is {state}")
        return self.target(service)

    def start(self, service: str) -> str:
        """Start a run; gives its id."""
        answer = self.http.post(f"/v1/targets/{self.key(service)}/runs")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def report(self, run: str) -> Json:
        found: Json = self.http.get(f"/v1/runs/{run}").json()
        return found

    def ended(self, run: str, seconds: float = 60) -> Json:
        """The report of a run, once it has ended."""
        eventually(lambda: self.report(run)["finished"], seconds=seconds, what=f"run {run} has ended")
        return self.report(run)

    def run(self, service: str) -> Json:
        """Wait for the target to be known, run it, wait for the end; gives the report."""
        unknown = ("pending", "absent", None)
        eventually(lambda: self.states().get(service) not in unknown, what=f"{service} is known")
        return self.ended(self.start(service))

    def backup(self, service: str) -> Json:
        """A run that succeeded."""
        self.wait(service)
        report = self.run(service)
        assert report["state"] == "succeeded", report
        return report

    def reaches(self, run: str, size: int) -> Json:
        """The report of a run, once so many bytes have come."""
        eventually(lambda: self.report(run)["bytes"] >= size, seconds=60, what=f"{size} bytes of {run}")
        return self.report(run)

    def unmark(self, folder: str) -> None:
        """Let a run in the store be changed unseen, as one of an early release, which has no mark."""
        docker("exec", "--interactive", self.container, "python", "-", folder, input=UNMARK.encode())

    def stored(self, service: str) -> list[str]:
        """Every file in the store for a target, whatever it is."""
        folder = "/".join([STORE, self.project, service])
        return within(self.container, f"[ ! -d {folder} ] || find {folder} -type f").splitlines()

    def fetch(self, report: Json, folder: Path) -> Path:
        """Copy a run's folder out of the store, as its operator would; gives the copy."""
        parts = [report["target"]["project"], report["target"]["service"], report["target"].get("name")]
        docker("cp", "-q", f"{self.container}:{'/'.join([STORE, *filter(None, parts), report['id']])}", folder)
        return folder / str(report["id"])


@contextlib.contextmanager
def sidecar(
    project: str, config: Path, token: str, *options: str, network: str | None = None, schedule: str | None = "none"
) -> Iterator[tuple[Sidecar, App]]:
    """A further sidecar in a project of its own, with that project as an app; all removed at the end.

    `schedule` is of targets that name none; None leaves it unset.
    """
    app = App(project, network)
    planted.plant_file(config / ".env")
    planted.plant_all(dict(environment_in(options)))
    variables = (
        {"SIDECAR_DRILLS_AUTO": "false"}
        | administrator(token)
        | ({"SIDECAR_DEFAULTS_SCHEDULE": schedule} if schedule else {})
    )
    usual = [f"--env={name}={value}" for name, value in variables.items()]
    label = ("--label", f"{LABEL}={project}")
    try:
        if network is None:
            network_labels = ("--label", "com.docker.compose.network=app_internal", "--label", f"{PROJECT}={project}")
            docker("network", "create", *label, *network_labels, app.network)
        container = docker(
            *("run", "--detach", "--name", f"{project}-sidecar", *label, "--label", f"{PROJECT}={project}"),
            *("--network", app.network, "--publish", "127.0.0.1::8000", "--volume", f"{config}:/etc/sidecar:ro"),
            *("--volume", "/var/run/docker.sock:/var/run/docker.sock", *usual),
            *(*options, SIDECAR_IMAGE),
        )
        port = docker("port", container, "8000/tcp").splitlines()[0].rpartition(":")[2]
        with contextlib.closing(Sidecar(f"{project}-sidecar", project, f"http://127.0.0.1:{port}", token)) as running:
            eventually(lambda: is_up(running), seconds=60, what="the sidecar is ready")
            yield running, app
    finally:
        clear(project)


def is_up(running: Sidecar) -> bool:
    try:
        return running.http.get("/readyz").is_success
    except httpx.TransportError:
        state = json.loads(docker("inspect", "--format", "{{json .State}}", running.container))
        assert state["Running"], f"the sidecar ended with exit code {state['ExitCode']}: {running.log()}"
        return False


def restored(folder: Path, artifact: Json, container: str, *variables: str) -> None:
    """Follow the manifest's line of plain tools: what follows the first `|` runs where the data belongs.

    A person may have to add `NAME=value` that stands in no manifest.
    """
    decode, _, restore = artifact["restore"].partition(" | ")
    given = [word for variable in variables for word in ("--env", variable)]
    inside = () if restore.startswith("docker ") else ("docker", "exec", "--interactive", *given, container)
    with subprocess.Popen(["sh", "-c", decode], cwd=folder, stdout=subprocess.PIPE) as plain:
        done = execute(*inside, "sh", "-c", restore, stdin=plain.stdout)
    assert done.returncode == 0, f"{restore}: {done.stderr.decode()}"
    assert plain.returncode == 0
