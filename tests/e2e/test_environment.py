"""A target whose environment and start-up files tell its tools otherwise: probes, counts, dumps, checks and restores
are as without them, byte for byte. All that the tools' manuals name at once, and in `make faults` each by itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.bent_tools import SHELL, TOOLS, Tool
from tests.kit.few import few
from tests.kit.stage import App, Json, Sidecar, docker, eventually, execute

pytestmark = pytest.mark.e2e


class Scene:
    """The containers of one tool: the server, where there is one, and targets beside it."""

    def __init__(self, app: App, tool: Tool, name: str) -> None:
        self.app, self.tool, self.name = app, tool, name
        self.server = ""
        if tool.serves:
            data = ("--env", "PGDATA=/var/lib/postgresql/data") if tool.of == "POSTGRES" else ()
            self.server = app.start(f"{name}-server", {}, *tool.server, *data, of=tool.of, command=tool.serves)
            self._ready(self.server)
            self.clean(self.server, tool.fill)

    def target(self, service: str, variables: Mapping[str, str]) -> str:
        """A target of which these are variables, with the tool's data."""
        tool = self.tool
        given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        shared = ("--volumes-from", self.server, "--entrypoint", "sleep") if self.server else ()
        command = ("infinity",) if self.server else tool.command
        made = self.app.target(service, tool.labels, *shared, *tool.options, *given, of=tool.of, command=command)
        self.clean(made, tool.files)
        if not self.server:
            self._ready(made)
            self.clean(made, tool.fill)
        return made

    def clean(self, container: str, script: str) -> str:
        """What a script prints where only who connects is told."""
        return docker("exec", "--user", "0", container, *self._clean, "sh", "-c", script)

    def dumped(self, container: str, argv: list[str]) -> bytes:
        """The same dump, as without a hostile variable."""
        done = execute("docker", "exec", container, *self._clean, *argv)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def _clean(self) -> tuple[str, ...]:
        path = "PATH=/usr/lib/postgresql/17/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ("env", "-i", path, "HOME=/nowhere", *self.tool.clean)

    def _ready(self, container: str) -> None:
        ready = ("docker", "exec", container, *self._clean, "sh", "-c", self.tool.ready)
        eventually(lambda: execute(*ready).returncode == 0, seconds=90, what=f"{self.name} is ready")


@contextmanager
def scene(sidecar: Sidecar, kind: str) -> Iterator[Scene]:
    with App(sidecar.project) as app:
        yield Scene(app, TOOLS[kind], f"bent-{kind}")
    sidecar.forgets(app.started)


def demand_the_same(sidecar: Sidecar, scene: Scene, service: str, variables: Mapping[str, str], folder: Path) -> None:
    """A run and a restore of a target with these variables, compared with what there is without."""
    tool, container = scene.tool, scene.target(service, variables)
    before = scene.clean(container, tool.seen)
    sidecar.wait(service)
    report = sidecar.backup(service)
    assert report["warnings"] == []
    assert report["proof"] == ("full" if "strategy" in tool.labels else "sealed")
    folder.mkdir()
    copied = sidecar.fetch(report, folder)
    artifacts: list[Json] = report["artifacts"]
    for artifact in artifacts:
        plain = execute("zstd", "-dc", copied / str(artifact["name"])).stdout
        expected = scene.dumped(container, list(map(str, artifact["argv"])))
        assert tool.same(plain) == tool.same(expected), artifact["name"]
    counted = {name: count for artifact in artifacts for name, count in artifact["counts"].items()}
    assert tool.counts.items() <= counted.items(), counted
    if tool.restore:
        scene.clean(container, tool.drop)
        done = sidecar.cli("restore", sidecar.key(service), *tool.restore)
        assert done.returncode == 0, done.stderr
    assert scene.clean(container, tool.seen) == before


@pytest.mark.parametrize("kind", few(TOOLS, *(kind for kind in TOOLS if kind not in ("mariadb", "redis"))))
def test_nothing_that_the_manuals_name_changes_a_backup_or_a_restore(
    sidecar: Sidecar, tmp_path: Path, kind: str
) -> None:
    with scene(sidecar, kind) as made:
        demand_the_same(sidecar, made, f"bent-{kind}", SHELL | made.tool.variables, tmp_path / kind)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", TOOLS)
def test_no_variable_changes_a_backup_or_a_restore_by_itself(sidecar: Sidecar, tmp_path: Path, kind: str) -> None:
    with scene(sidecar, kind) as made:
        for number, (name, value) in enumerate(made.tool.variables.items()):
            demand_the_same(sidecar, made, f"bent-{kind}-{number}", {name: value}, tmp_path / str(number))
