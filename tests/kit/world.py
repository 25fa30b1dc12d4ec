"""A sidecar for tests of what is served: real store, catalog, queue and HTTP; only the engine is played."""

import hashlib
import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from config.loading import Loaded, load
from config.problems import Problem
from controller.api.server import Server
from controller.app.outward import Outward
from controller.backup.jobs import Job
from controller.core.activity import Activity
from controller.core.drill import Drill
from controller.core.errors import Cancelled, UnknownTarget
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.run import Report
from controller.core.structure import rehearsable
from controller.drill.drills import Drills
from controller.engine.client import Engine
from controller.engine.models import Listed, NetworkEndpoint
from controller.storage.marks import succeeded
from controller.targets.discovery import find, nearest
from controller.targets.origin import PROJECT, SERVICE
from controller.targets.scope import Scope
from controller.targets.target import Target
from strategies import discover
from tests.kit import planted

TOKEN = "a-token-of-the-tests-0123456789"
TOKENS = {"backup": TOKEN} | {role: f"a-token-that-may-{role}-9876543210" for role in ("read", "restore", "admin")}
"""By role."""
KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PASSWORD = "correct-horse-battery"
planted.plant_all({f"{role}'s TOKEN": token for role, token in TOKENS.items()} | {"KEY": KEY, "PASSWORD": PASSWORD})
POSTGRES = {"backup.enable": "true", "backup.strategy": "postgres", "backup.env.PGPASSWORD": PASSWORD}
FILES = {"backup.enable": "true", "backup.strategy": "filesystem", "backup.filesystem.paths": "/data"}


@dataclass
class PlayedWatch:
    """As of an engine that is there."""

    watching: bool = True
    reconnects: int = 0


class World(Outward):
    """A sidecar whose runs wait for `go`, then publish `content` or end in `failure`."""

    loaded: Loaded = None
    """As `configure` has read it."""
    alive = True
    problems: Sequence[Problem] = ()

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        services: dict[str, dict[str, str]] | None = None,
        host: str | None = "127.0.0.1",
    ) -> None:
        self.folder, self.host = folder, host
        (folder / "config").mkdir(exist_ok=True)
        self.configure(config)
        super().__init__(self.loaded)
        # Many tests need no more than its parts, and leave without `close`.
        weakref.finalize(self, self.catalog.close)
        self.store.acquire()
        self.socket, self.instance, self.version = folder / "sidecar.sock", "test-1", "0.1.0"
        self.engine = Engine(f"unix://{folder}/no-engine.sock")
        self.executor = self.execute
        self.drills = Drills(self.rehearse, self.catalog, self.store, self.events, allowed=True)
        self.watch = PlayedWatch()
        self.inventory.take(Scope(frozenset({"n1"}), None, None, "10.9.8.7"), {})
        self.services = {"db": POSTGRES} if services is None else services
        self.content: dict[str, bytes] = {"shop.pgdump.zst": b"all rows of the shop" * 5000}
        self.failure: Failure | None = None
        self.suspicious: tuple[str, ...] = ()
        self.go = threading.Event()
        self.go.set()

    def configure(self, config: str) -> None:
        """The operator's words, also later ones."""
        (self.folder / "config/config.yaml").write_text(config)
        environment = {
            "BACKUP_API_TOKEN": TOKEN,
            "ORCHESTRATOR_KEY": KEY,
            **({"SIDECAR_API_HOST": self.host} if self.host else {}),
            **{f"TOKEN_OF_{role}": TOKENS[role] for role in ("read", "restore", "admin")},
            "SIDECAR_API_TOKENS": json.dumps(
                [{"name": role, "secret": f"TOKEN_OF_{role}", "role": role} for role in ("read", "restore", "admin")]
            ),
            "SIDECAR_PATHS_ARTIFACTS": str(self.folder / "artifacts"),
            "SIDECAR_PATHS_WORKDIR": str(self.folder / "work"),
            "SIDECAR_POLICY_MAX_CONCURRENT_RUNS": "4",
        }
        self.loaded = load(self.folder / "config", environment, discover().keys())

    def targets(self) -> list[Target]:
        containers = [listed(service, labels) for service, labels in self.services.items()]
        found = find(self.loaded, self.scope(), containers, self.strategies)
        return [replace(one, state="ready") if one.state == "pending" else one for one in found.values()]

    def target(self, key: Key) -> Target:
        known = {str(target.key): target for target in self.targets()}
        if str(key) not in known:
            raise UnknownTarget(f"no target {key}", hint=nearest(key, known.keys()))
        return known[str(key)]

    def execute(self, job: Job) -> Report:
        with suppress(Cancelled), job.turn():
            return self._execute(job)
        return job.ending(state="cancelled", finished=datetime.now(UTC), seconds=0.0)

    def _execute(self, job: Job) -> Report:
        while not self.go.wait(0.05) and not job.cancelled:
            pass
        if job.cancelled:
            return job.ending(state="cancelled", finished=datetime.now(UTC), seconds=0.5)
        if self.failure:
            return job.ending(state="failed", failure=self.failure, finished=datetime.now(UTC), seconds=0.5)
        with self.store.draft(job.key, job.report.id) as draft:
            for name, data in self.content.items():
                with draft.open(name) as file:
                    file.write(data)
            manifest = self.manifest(job.report)
            draft.publish(manifest)
        done = succeeded(manifest)
        fields = ("state", "strategy", "started", "finished", "seconds", "bytes", "size", "proof", "artifacts")
        told = {name: getattr(done, name) for name in (*fields, "suspicious")}
        return job.ending(**told, mark=self.store.own_marks.of(manifest))

    def rehearse(self, activity: Activity[Drill]) -> Drill:
        while not self.go.wait(0.05) and not activity.cancelled:
            pass
        drill, state = activity.report, "cancelled" if activity.cancelled else "passed"
        told = {"rehearsed": rehearsable(self.store.manifest(drill.target, drill.run))}
        return drill.model_copy(update=told | {"state": state, "finished": datetime.now(UTC), "seconds": 0.5})

    def manifest(self, report: Report) -> Manifest:
        now = self.clock()
        artifacts = tuple(
            Artifact(
                name=name,
                format="pg_custom",
                compression="zstd" if name.endswith(".zst") else "none",
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                plain_size=len(data),
                plain_sha256=hashlib.sha256(data).hexdigest(),
                proof="full",
            )
            for name, data in self.content.items()
        )
        return Manifest(
            run=report.id,
            target=report.target,
            strategy="postgres",
            container="shop-db-1",
            container_id="c1",
            image="postgres:17",
            image_id="i1",
            engine="28",
            sidecar=self.version,
            started=report.started or now,
            finished=now,
            proof="full",
            suspicious=self.suspicious,
            artifacts=artifacts,
        )

    def artifact(self, run: str, name: str = "shop.pgdump.zst") -> Path:
        """Where an artifact lies, for planting damage."""
        return self.store.folder(Key(project="shop", service="db"), run) / name

    def close(self) -> None:
        self.go.set()
        self.restores.stop()
        self.drills.stop()
        self.jobs.stop()
        self.catalog.close()
        self.store.release()
        for path in [*(self.folder / "work").rglob("*"), *(self.folder / "artifacts").rglob("*.json")]:
            if path.is_file() and self.failure is None:  # Its words are the test's own, and no run's.
                planted.demand_nothing_of_it(path.name, path.read_bytes())


def utc_now() -> datetime:
    return datetime.now(UTC)


def listed(service: str, labels: dict[str, str]) -> Listed:
    everything = {PROJECT: "shop", SERVICE: service} | labels
    networks = {"shop_app_internal": NetworkEndpoint("n1", "10.0.0.2")}
    return Listed(f"id-{service}", f"shop-{service}-1", "image", "image-id", everything, "running", networks, 1)


@contextmanager
def serving(world: World, port: int = 0) -> Iterator[Server]:
    """The real server on the loopback, by default on a free port, and on its unix socket."""
    server = world.server(lambda: world.alive)
    server.port = port
    server.start()
    try:
        yield server
    finally:
        world.go.set()
        server.stop()
        world.close()


def client(server: Server, *, token: str = TOKEN) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    hooks = {"response": [planted.listen]}
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=20, event_hooks=hooks)


def local(server: Server) -> httpx.Client:
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(server.socket)), base_url="http://sidecar:80", timeout=20)


def is_problem(response: httpx.Response, status: int, code: str) -> bool:
    """Whether the answer is a whole RFC 9457 problem."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert {"type", "title", "status", "detail"} <= set(body)
    assert "Traceback" not in response.text
    assert (response.status_code, body["status"], body["type"]) == (status, status, code), body
    return True
