"""What copies cost: processor and memory of their worker, a run beside a dead destination, a host that comes back."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from benchmarks.figures import Figure
from benchmarks.lab import LABEL, Failed, Lab, Sizes, docker, image, wait_for
from benchmarks.sidecar import Sidecar
from benchmarks.streams import client, random_bytes, server
from config.fields import Compression
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.run import new_run_id
from controller.storage.capture import Captured, capture
from controller.storage.codecs import compressor
from controller.storage.copies import sealing, signing
from controller.storage.copies.orders import Answer, Prepare, Send, Sent, Setup
from controller.storage.store import Store
from controller.upkeep.copy_worker import MODULE

GROUP, HOST, KEY = "copies", "comeback", Key(project="bench", service="copies")
BLOCK = 1 << 20
PATTERN = 64
"""Blocks until the data repeats, far beyond any window of zstd:3."""
ZSTD, PLAIN = Compression("zstd", 3), Compression("none", 0)
RESTIC_AND_BORG = """
set -e
apt-get update -qq && apt-get install -qq --yes --no-install-recommends restic borgbackup time >/dev/null 2>&1
export RESTIC_PASSWORD=bench RESTIC_REPOSITORY=/tmp/restic BORG_PASSPHRASE=bench
restic init --quiet && borg init --encryption=repokey-blake2 /tmp/borg 2>/dev/null
cat /data/plain >/dev/null
/usr/bin/time --format 'restic %e %U %S %M' restic backup --quiet --stdin </data/plain
/usr/bin/time --format 'borg %e %U %S %M' borg create --compression zstd,3 /tmp/borg::one - </data/plain
"""


def copies(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """The worker alone."""
    yield from of_worker(lab, sizes)
    yield from of_sparse(lab, sizes)


def comeback(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """The sidecar as it is deployed."""
    yield from of_dead(lab, sizes)
    yield from of_comeback(lab, sizes)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a worker has used, from its start to its end."""

    seconds: float
    processor: float
    memory: float
    """The most at a time, in MiB."""


class Place:
    """A store, and a folder as destination."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "nas").mkdir(parents=True)
        self.recipients = tuple(sealing.new_identity()[1] for _ in range(2))
        self.signing_key = signing.new_key()

    @cached_property
    def store(self) -> Store:
        return Store(self.folder / "store")

    def published(self, pieces: Iterator[bytes], compression: Compression) -> tuple[Path, Captured]:
        """A run with one artifact of what is captured."""
        with self.store.draft(KEY, run := new_run_id(datetime.now(UTC))) as draft:
            with draft.open("data") as file:
                captured = capture(pieces, file, compression)
            draft.publish(manifest(run, captured, compression))
        return self.store.folder(KEY, run), captured

    def sparse(self, size: int, noise: int) -> Path:
        """A run with one artifact that begins with noise, and goes on as a hole."""
        digest, whole = sha256(), os.urandom(min(noise, size))
        with self.store.draft(KEY, run := new_run_id(datetime.now(UTC))) as draft:
            with draft.open("data") as file:
                file.write(whole)
                file.truncate(size)
            digest.update(whole)
            left = size - len(whole)
            for _ in range(left // BLOCK):
                digest.update(bytes(BLOCK))
            digest.update(bytes(left % BLOCK))
            captured = Captured(size, digest.hexdigest(), size, digest.hexdigest())
            draft.publish(manifest(run, captured, PLAIN))
        return self.store.folder(KEY, run)

    def copied(self, folder: Path) -> tuple[Sent, Cost]:
        """Have a run copied by a worker that is started for it, as `serve` does."""
        setup = Setup(
            name="nas",
            kind="path",
            options={"path": str(self.folder / "nas"), "same_disk": True},
            store=self.store.root,
            ledger=self.folder / "nas.sqlite",
            writer="bench",
            recipients=self.recipients,
            signing_key=self.signing_key,
        )
        begun = time.monotonic()
        worker = subprocess.Popen([sys.executable, "-m", MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert worker.stdin
        assert worker.stdout
        orders: list[BaseModel] = [setup, Prepare(take_over=True), Send(folder=folder, trigger="schedule")]
        worker.stdin.write(b"".join(each.model_dump_json().encode() + b"\n" for each in orders))
        worker.stdin.flush()
        ends = (answer for line in worker.stdout if (answer := Answer.model_validate_json(line)).progress is None)
        prepared, copied = next(ends), next(ends)
        # As getrusage(2) has it, the most is also that of the process that had started it.
        status = dict(line.split(":", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines())
        worker.stdin.close()
        _, code, used = os.wait4(worker.pid, 0)
        worker.returncode = os.waitstatus_to_exitcode(code)
        if failed := prepared.failure or copied.failure:
            raise Failed(f"nothing was copied: {failed.message}")
        memory = int(status["VmHWM"].split()[0]) / 1024
        return Sent.model_validate(copied.result), Cost(time.monotonic() - begun, used.ru_utime + used.ru_stime, memory)

    def objects(self) -> int:
        """Files at the destination, of any kind."""
        return sum(len(files) for _, _, files in os.walk(self.folder / "nas"))


def of_worker(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """A full and a night without changes; the rival is the run's own compression, by the same code."""
    place, count = Place(lab.folder / "full"), sizes.copied // BLOCK
    lab.say(f"copies: a full of {count} MiB")
    pattern = [os.urandom(BLOCK // 2).hex().encode() for _ in range(PATTERN)]
    rival = [squeezed(repeated(pattern, count)) for _ in range(sizes.repeats)]
    begun = time.monotonic()
    folder, captured = place.published(repeated(pattern, count), ZSTD)
    running = time.monotonic() - begun
    cost = place.copied(folder)[1]
    ratio = cost.processor / median(rival)
    note = f"{cost.processor:.2f} s of a core, zstd:3 {median(rival):.2f} s; {captured.stored_size >> 20} MiB stored"
    yield Figure(GROUP, "a full: processor, start and read-back too", 0.6, "x", ratio, note, [cost.processor], rival)
    before = place.objects()
    again, night = place.copied(place.published(repeated(pattern, count), ZSTD)[0])
    note = f"{again.sent} of {again.objects} slices sent; {night.processor:.2f} s of a core"
    yield Figure(GROUP, "a night without changes", 1, "objects", place.objects() - before, note)
    if sizes.repeats > 1:
        yield from of_rivals(lab, repeated(pattern, count), Cost(running + cost.seconds, cost.processor, cost.memory))


def of_rivals(lab: Lab, pieces: Iterator[bytes], own: Cost) -> Iterator[Figure]:
    """Told, not demanded: Debian's restic and borg of the same bytes, which neither read back."""
    lab.say("copies: restic and borg of Debian")
    folder = lab.folder / "plain"
    folder.mkdir()
    with (folder / "plain").open("wb") as file:
        file.writelines(pieces)
    mark = f"--label={LABEL}={lab.name}"
    debian = image("DEBIAN", "debian:trixie-slim")
    command = ("docker", "run", "--rm", mark, f"--volume={folder}:/data:ro", debian, "bash", "-c", RESTIC_AND_BORG)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"restic and borg: {done.stderr[-1000:]}")
    for line in done.stderr.splitlines():
        name, *rest = line.split()
        if name in ("restic", "borg"):
            wall, user, system, memory = map(float, rest)
            note = (
                f"{own.seconds:.1f} s with capture and read-back; {name} {wall:.1f} s, {user + system:.1f} s of a core"
            )
            yield Figure(
                GROUP, f"against {name}, told only", 100, "x", own.seconds / wall, f"{note}, {memory / 1024:.0f} MiB"
            )


def of_sparse(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """The most that a worker needs, whatever the size."""
    noise, most = 4 * 8 * BLOCK, dict[int, float]()
    for size in (sizes.sparse // 40, sizes.sparse):
        lab.say(f"copies: {size >> 20} MiB, sparse")
        place = Place(lab.folder / f"sparse-{size}")
        _, cost = place.copied(place.sparse(size, noise))
        most[size] = cost.memory
    small, large = most.values()
    yield Figure(GROUP, f"memory of the worker, {sizes.sparse >> 20} MiB", 96, "MiB", max(most.values()), "")
    note = f"{small:.1f} and {large:.1f} MiB"
    yield Figure(GROUP, f"growth from {sizes.sparse // 40 >> 20} MiB", 4, "MiB", large - small, note)


def of_dead(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """Runs of a target beside a destination that takes connections and says nothing, and without one."""
    key = Key(project=lab.name, service="random", name="stream")
    container = random_bytes(lab, sizes, {"stream": f"head -c {sizes.small} /data/random"}, compression="zstd:3")
    try:
        with silence(lab) as (host, port):
            words = {"host": host, "port": port, "user": "bench", "path": "bench", "host-key": host_key()}
            folder = configured(lab, "dead", {"box": {"sftp": words}}, [sealing.new_identity()[1] for _ in range(2)])
            secret = ("--env=SSH_PRIVATE_KEY=never used", f"--env=COPIES_SIGNING_KEY={signing.new_key()}")
            with sidecar(lab, 1, f"--volume={folder}:/etc/sidecar:ro", *secret) as dead, sidecar(lab, 1) as none:
                rounds = []
                for count in range(2 * sizes.repeats + 1):
                    lab.say(f"copies: a dead destination, round {count}" if count else "copies: warming up")
                    order = (dead, none) if count % 2 else (none, dead)
                    took = {each.id: float(each.run(key)["seconds"]) for each in order}
                    rounds.append((took[dead.id], took[none.id]))
    finally:
        lab.remove([container])
    own, rival = zip(*rounds[1:], strict=True)
    more = 100 * (median(own) / median(rival) - 1)
    note = f"{median(own):.2f} s, without any destination {median(rival):.2f} s"
    yield Figure(HOST, "a run beside a dead destination, longer by", 2, "%", more, note, own, rival)


def of_comeback(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """From `up` on a bare host to compared rows, without the restore itself."""
    key, nas = Key(project=lab.name, service=GROUP), f"{lab.name}-nas"
    identity, recipient = sealing.new_identity()
    private = signing.new_key()
    docker("volume", "create", f"--label={LABEL}={lab.name}", nas)
    places = {"nas": {"path": "/copies/nas", "same-disk": True}}
    folder = configured(lab, "comeback", places, [recipient, sealing.new_identity()[1]])
    options = (f"--volume={folder}:/etc/sidecar:ro", f"--volume={nas}:/copies/nas")
    try:
        container = server(lab, GROUP)
        lab.say(f"filling PostgreSQL with pgbench, scale {sizes.comeback}")
        docker(*client(container), "pgbench", "--initialize", "--quiet", f"--scale={sizes.comeback}", "bench")
        rows = accounts(container)
        with sidecar(lab, 1, *options, f"--env=COPIES_SIGNING_KEY={private}") as first:
            size = first.run(key)["bytes"]
            for command in (("prepare",), ("send",)):
                docker("exec", first.id, "backup-sidecar", "copies", *command)
        lab.remove([container])
        lab.say("copies: the host is gone, and comes back")
        begun = time.monotonic()
        container = server(lab, GROUP)
        kit = f"{identity}\nverify: {signing.Signer(private).public}\n"
        with sidecar(lab, 1, *options) as second:
            exec_into = ("docker", "exec", "--interactive", second.id, "backup-sidecar")
            subprocess.run((*exec_into, "adopt", "nas", "--identity", "-"), input=kit.encode(), check=True, stdout=2)
            (back,) = json.loads(docker("exec", second.id, "backup-sidecar", "restore", "--all", "--json"))
        seconds = time.monotonic() - begun
        if accounts(container) != rows:
            raise Failed("what came back is not what was there")
        lab.remove([container])
    finally:
        docker("volume", "rm", "--force", nas)
    restoring = float(back["report"]["seconds"])
    note = f"{seconds:.1f} s from `up`, of which the restore {restoring:.1f} s; {size >> 20} MiB dumped"
    yield Figure(HOST, "a bare host, more than the restore itself", 60, "s", seconds - restoring, note)


def accounts(container: str) -> str:
    sums = "select count(*), sum(aid), sum(bid) from pgbench_accounts"
    return docker(*client(container), "psql", "--tuples-only", f"--command={sums}", "bench")


def repeated(pattern: Sequence[bytes], count: int) -> Iterator[bytes]:
    """So many blocks, each of which differs from its like before in its first bytes."""
    for number in islice(range(count), count):
        yield number.to_bytes(8, "big") + pattern[number % len(pattern)][8:]


def squeezed(pieces: Iterator[bytes]) -> float:
    """Seconds of a core that the compression of a run takes by itself."""
    blocks, packing = list(pieces), compressor(ZSTD)
    begun = time.process_time()
    for block in blocks:
        packing.compress(block)
    packing.flush()
    return time.process_time() - begun


def manifest(run: str, captured: Captured, compression: Compression) -> Manifest:
    now = datetime.now(UTC)
    artifact = Artifact(
        name="data",
        format="raw",
        compression=compression.codec,
        size=captured.stored_size,
        sha256=captured.stored_sha256,
        plain_size=captured.plain_size,
        plain_sha256=captured.plain_sha256,
        proof="sealed",
        restore="cat data",
    )
    facts = {"strategy": "command", "container": "c", "container_id": "1", "image": "i", "image_id": "2"}
    facts |= {"engine": "26.1.5", "sidecar": "0.1.0", "proof": "sealed"}
    return Manifest.model_validate(
        {"run": run, "target": KEY, "started": now, "finished": now, "artifacts": (artifact,), **facts}
    )


def configured(lab: Lab, name: str, destinations: Mapping[str, object], recipients: Sequence[str]) -> Path:
    """A folder with the operator's words."""
    folder = lab.folder / name
    folder.mkdir()
    words = {"copies": {"recipients": list(recipients), "destinations": destinations}}
    (folder / "config.yaml").write_text(json.dumps(words))
    return folder


@contextmanager
def sidecar(lab: Lab, targets: int, *options: str) -> Iterator[Sidecar]:
    """As `serving`, with further options of the container."""
    running = Sidecar(lab, *options)
    with closing(running):
        running.start()
        wait_for("readiness", running.ready)
        wait_for("the answers of all targets", lambda: running.targets("ready") >= targets, pause=0.5)
        yield running


@contextmanager
def silence(lab: Lab) -> Iterator[tuple[str, int]]:
    """An address that takes connections, as the lab's containers see it."""
    gateway = docker("network", "inspect", "--format={{(index .IPAM.Config 0).Gateway}}", lab.network)
    with socket.create_server((gateway, 0)) as listening:
        yield gateway, listening.getsockname()[1]


def host_key() -> str:
    return f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{secrets.token_hex(21)}A"
