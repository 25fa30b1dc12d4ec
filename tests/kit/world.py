"""A sidecar for tests of what is served: real store, catalog, queue and HTTP; only the engine is played."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from config.loading import Loaded, load
from config.problems import Problem
from controller.api.server import Server
from controller.app.identity import identity
from controller.backup.jobs import Job, Jobs
from controller.core.errors import Cancelled, UnknownTarget
from controller.core.events import Bus
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.run import Report
from controller.drill.attempt import Drill
from controller.drill.drills import Drills
from controller.engine.client import Engine
from controller.engine.models import Listed, NetworkEndpoint
from controller.restore.plan import Decider
from controller.restore.restores import Restores
from controller.storage.leases import Leases
from controller.storage.marks import succeeded
from controller.storage.rebuild import opened
from controller.storage.store import Store
from controller.targets.discovery import SERVICE, find, nearest
from controller.targets.helper_containers import Helpers
from controller.targets.scope import PROJECT, Scope
from controller.targets.survey import Surveyor
from controller.targets.target import Target
from controller.upkeep.expectations import Expectations
from controller.upkeep.pruner import Pruner
from controller.upkeep.verifier import Verifier
from strategies import discover

TOKEN = "a-token-of-the-tests-0123456789"
KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
PASSWORD = "correct-horse-battery"
POSTGRES = {"backup.enable": "true", "backup.strategy": "postgres", "backup.env.PGPASSWORD": PASSWORD}
FILES = {"backup.enable": "true", "backup.strategy": "filesystem", "backup.filesystem.paths": "/data"}


class World:
    """A `controller.views.facade.Sidecar` whose runs wait for `go`, then publish `content` or end in `failure`."""

    def __init__(self, folder: Path, *, config: str = "", services: dict[str, dict[str, str]] | None = None) -> None:
        self.folder = folder
        (folder / "config").mkdir()
        self.loaded: Loaded
        self.configure(config)
        self.store, self.socket = Store(folder / "artifacts"), folder / "sidecar.sock"
        self.store.acquire()
        self.catalog = opened(folder / "work/catalog.sqlite")
        self.events = Bus()
        self.jobs = Jobs(self.execute, self.catalog, 4, self.events)
        self.drills = Drills(self.rehearse, self.catalog, self.store, allowed=True)
        self.leases = Leases()
        self.pruner = Pruner(
            self.store,
            self.catalog,
            self.leases,
            self.targets,
            folder / "work",
            safety=lambda: self.loaded.settings.policy.safety,
            clock=utc_now,
        )
        engine = Engine(f"unix://{folder}/no-engine.sock")
        self.decider = Decider(
            engine,
            store=self.store,
            catalog=self.catalog,
            surveyor=Surveyor(engine, discover(), Helpers(engine, "", allowed=False)),
            strategies=discover(),
            secrets=lambda: self.loaded.secrets,
            targets=self.targets,
            scope=lambda: Scope(frozenset({"n1"}), None, None),
        )
        self.restores = Restores(self.decider, self.jobs, self.leases, self.catalog, folder / "work/restores")
        self.due: dict[Key, datetime] = {}
        self.verifier = Verifier(
            self.store,
            self.catalog,
            self.leases,
            folder / "work",
            settings=lambda: self.loaded.settings.verify,
            give_way=lambda: None,
            clock=lambda: datetime.now(UTC),
        )
        self.expectations = Expectations(
            self.targets,
            self.catalog,
            self.jobs,
            folder / "work",
            orchestrated=lambda: self.loaded.settings.orchestrator is not None,
            clock=lambda: datetime.now(UTC),
        )
        self.identity, self.instance, self.version = identity(folder / "work"), "test-1", "0.1.0"
        self.own_address: str | None = "10.9.8.7"
        self.watching = self.alive = True
        self.reconnects = 0
        self.pinged: dict[tuple[str, str], int] = {}
        self.problems: Sequence[Problem] = ()
        self.services = {"db": POSTGRES} if services is None else services
        self.content: dict[str, bytes] = {"shop.pgdump.zst": b"all rows of the shop" * 5000}
        self.failure: Failure | None = None
        self.go = threading.Event()
        self.go.set()

    def configure(self, config: str) -> None:
        """The operator's words, also later ones."""
        (self.folder / "config/config.yaml").write_text(config)
        environment = {"BACKUP_API_TOKEN": TOKEN, "ORCHESTRATOR_KEY": KEY}
        self.loaded = load(self.folder / "config", environment, discover().keys())

    def redact(self, text: str) -> str:
        return self.loaded.secrets.redact(text)

    def targets(self) -> list[Target]:
        containers = [listed(service, labels) for service, labels in self.services.items()]
        found = find(self.loaded, Scope(frozenset({"n1"}), None, None), containers, discover())
        return [replace(one, state="ready") if one.state == "pending" else one for one in found.values()]

    def target(self, key: Key) -> Target:
        known = {str(target.key): target for target in self.targets()}
        if str(key) not in known:
            raise UnknownTarget(f"no target {key}", hint=nearest(key, known.keys()))
        return known[str(key)]

    def next_due(self, key: Key) -> datetime | None:
        return self.due.get(key)

    def ping_counts(self) -> Mapping[tuple[str, str], int]:
        return self.pinged

    def start(self, key: Key, trigger: str) -> Job:
        self.target(key).demand_runnable()
        return self.jobs.start(key, trigger)

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
        return job.ending(**{name: getattr(done, name) for name in fields})

    def rehearse(self, drill: Drill, job: Job) -> Drill:
        self.go.wait()
        return drill.model_copy(update={"state": "passed", "finished": datetime.now(UTC), "seconds": 0.5})

    def manifest(self, report: Report) -> Manifest:
        now = datetime.now(UTC)
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
            started=now,
            finished=now,
            proof="full",
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


def utc_now() -> datetime:
    return datetime.now(UTC)


def listed(service: str, labels: dict[str, str]) -> Listed:
    everything = {PROJECT: "shop", SERVICE: service} | labels
    networks = {"shop_app_internal": NetworkEndpoint("n1", "10.0.0.2")}
    return Listed(f"id-{service}", f"shop-{service}-1", "image", "image-id", everything, "running", networks, 1)


@contextmanager
def serving(world: World, port: int = 0) -> Iterator[Server]:
    """The real server on the loopback, by default on a free port, and on its unix socket."""
    server = Server(world)
    server.host, server.port = "127.0.0.1", port
    server.start()
    try:
        yield server
    finally:
        world.go.set()
        server.stop()
        world.close()


def client(server: Server, *, token: str = TOKEN) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=20)


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
