"""How fast a dump is captured and proved, against plain tools, and how much memory that takes."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from benchmarks.contest import Contest
from benchmarks.figures import Figure, of_difference, of_ratio
from benchmarks.lab import Lab, Sizes, docker, image, wait_for
from benchmarks.sidecar import Sidecar, serving
from controller.core.key import Key

INCOMPRESSIBLE = "/data/random"
SMALL_DATABASES = 11
SMALL = "create table one as select g, md5(g::text) from generate_series(1, 1000) g"


def postgres(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """A database of pgbench, uncompressed from `pg_dump`, compressed behind it on both sides."""
    group = "postgres"
    container = server(lab, group, {"backup.postgres.databases": "bench"})
    lab.say(f"filling PostgreSQL with pgbench, scale {sizes.scale}")
    docker(*client(container), "pgbench", "--initialize", "--quiet", f"--scale={sizes.scale}", "bench")
    docker(*client(container), "psql", "--command=vacuum analyze", "--command=checkpoint", "bench")
    try:
        own, rival = Contest(lab, Key(project=lab.name, service=group), "bench").rounds(sizes.repeats)
    finally:
        lab.remove([container])
    size, captured, proved = own[0].size, [one.captured for one in own], [one.proved for one in own]
    yield of_ratio(group, "captured: last byte hashed", 1.0, captured, [one.captured for one in rival], size=size)
    yield of_ratio(group, "proved: whole run, published", 1.0, proved, [one.proved for one in rival], size=size)


def databases(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """Many small databases on one server: what each costs above a bare `docker exec pg_dump`."""
    group = "databases"
    container = server(lab, group)
    for number in range(SMALL_DATABASES - 1):
        docker(*client(container), "createdb", f"small-{number}")
        docker(*client(container), "psql", f"--dbname=small-{number}", "--command", SMALL)
    docker(*client(container), "psql", "--command=checkpoint", "bench")
    contest = Contest(lab, Key(project=lab.name, service=group))
    try:
        own, loop = contest.loops(sizes.repeats)
    finally:
        lab.remove([container])
    yield of_difference(group, "each above a bare docker exec pg_dump", 0.08, own, loop, parts=SMALL_DATABASES)


def server(lab: Lab, service: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """PostgreSQL that answers, with an empty database `bench`; gives the container."""
    options = ("--env=POSTGRES_PASSWORD=bench", "--env=POSTGRES_DB=bench", "--shm-size=256m")
    labels = {"backup.enable": "true", "backup.strategy": "postgres", **more}
    container = lab.create(service, image("POSTGRES", "postgres:17"), labels=labels, options=options)
    docker("start", container)
    ready = (*client(container), "sh", "-c", "pg_isready --host=localhost || true")
    # By TCP, which is closed while the container makes its cluster.
    wait_for("PostgreSQL", lambda: "accepting" in docker(*ready))
    return container


def client(container: str) -> tuple[str, ...]:
    return ("exec", "--user=postgres", container)


def stream(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """Incompressible bytes out of memory, without compression on either side."""
    key = Key(project=lab.name, service="random")
    container = random_bytes(lab, sizes, {"stream": f'["cat","{INCOMPRESSIBLE}"]'})
    try:
        own, rival = Contest(lab, key.model_copy(update={"name": "stream"})).rounds(sizes.repeats)
    finally:
        lab.remove([container])
    name = f"{sizes.stream >> 20} MiB incompressible, captured"
    captured, theirs = [one.captured for one in own], [one.captured for one in rival]
    yield of_ratio("stream", name, 0.9, captured, theirs, size=sizes.stream)


def memory(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """The most that a fresh sidecar ever needs for a small and for a large stream, with the default compression."""
    commands = {
        "small": f'["head","-c","{sizes.small}","{INCOMPRESSIBLE}"]',
        "large": f"cat {INCOMPRESSIBLE} {INCOMPRESSIBLE} | head -c {sizes.large}",
    }
    container = random_bytes(lab, sizes, commands, compression="zstd:3")
    try:
        with serving(lab, targets=len(commands)) as sidecar:
            most = {name: peak(lab, sidecar, name) for name in commands}
    finally:
        lab.remove([container])
    name = f"growth from {sizes.small >> 20} to {sizes.large >> 20} MiB"
    note = f"peaks {most['small']:.1f} and {most['large']:.1f} MiB"
    yield Figure("memory", name, 16, "MiB", most["large"] - most["small"], note)


def peak(lab: Lab, sidecar: Sidecar, name: str) -> float:
    """MiB that a sidecar needed at most in its life, which is one run of the target."""
    lab.say(f"memory: the {name} stream")
    sidecar.stop()
    sidecar.start()
    wait_for("the target's answer", lambda: sidecar.targets("ready") == 2)
    sidecar.run(Key(project=lab.name, service="random", name=name))
    return sidecar.memory()[1]


def random_bytes(lab: Lab, sizes: Sizes, commands: dict[str, str], *, compression: str = "none") -> str:
    """A container with a file of random bytes in memory, and a target for each command."""
    labels = {f"backup.targets.{name}.commands.backup": command for name, command in commands.items()}
    labels |= {"backup.enable": "true", "backup.compression": compression}
    options = (f"--tmpfs=/data:size={sizes.stream + (1 << 20)}", "--stop-signal=SIGKILL")
    container = lab.create(
        "random", image("DEBIAN", "debian:trixie-slim"), "sleep", "infinity", labels=labels, options=options
    )
    docker("start", container)
    lab.say(f"making {sizes.stream >> 20} MiB of random bytes")
    docker("exec", container, "sh", "-c", f"head -c {sizes.stream} /dev/urandom >{INCOMPRESSIBLE}")
    return container
