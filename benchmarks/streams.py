"""How fast a dump is captured and proved, against plain tools, and how much memory that takes."""

from collections.abc import Iterator

from benchmarks.contest import Contest
from benchmarks.figures import Figure, of_ratio
from benchmarks.lab import Lab, Sizes, docker, image, wait_for
from benchmarks.sidecar import Sidecar, serving
from controller.core.key import Key

INCOMPRESSIBLE = "/data/random"


def postgres(lab: Lab, sizes: Sizes) -> Iterator[Figure]:
    """A database of pgbench, uncompressed from `pg_dump`, compressed behind it on both sides."""
    group = "postgres"
    options = ("--env=POSTGRES_PASSWORD=bench", "--env=POSTGRES_DB=bench", "--shm-size=256m")
    labels = {"backup.enable": "true", "backup.strategy": "postgres", "backup.postgres.databases": "bench"}
    container = lab.create(group, image("POSTGRES", "postgres:17"), labels=labels, options=options)
    docker("start", container)
    client = ("exec", "--user=postgres", container)
    lab.say(f"filling PostgreSQL with pgbench, scale {sizes.scale}")
    # By TCP, which is closed while the container makes its cluster.
    wait_for("PostgreSQL", lambda: "accepting" in docker(*client, "sh", "-c", "pg_isready --host=localhost || true"))
    docker(*client, "pgbench", "--initialize", "--quiet", f"--scale={sizes.scale}", "bench")
    docker(*client, "psql", "--command=vacuum analyze", "--command=checkpoint", "bench")
    try:
        own, rival = Contest(lab, Key(project=lab.name, service=group)).rounds(sizes.repeats)
    finally:
        lab.remove([container])
    size, captured, proved = own[0].size, [one.captured for one in own], [one.proved for one in own]
    yield of_ratio(group, "captured: last byte hashed", 1.0, captured, [one.captured for one in rival], size=size)
    yield of_ratio(group, "proved: whole run, published", 1.0, proved, [one.proved for one in rival], size=size)


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
