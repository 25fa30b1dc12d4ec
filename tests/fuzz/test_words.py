"""What people write, and what lies in the store: labels, `config.yaml`, `.env`, manifests, `Range`."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers

from config.loading import Loaded, load
from config.problems import ConfigurationError, Problem
from config.wording import is_unsafe
from controller.api.download import Delivery
from controller.api.problems import Refused
from controller.core.errors import StoreError
from controller.core.key import Key
from controller.storage.bundle import Bundle
from controller.storage.leases import Leases
from controller.storage.rebuild import rebuild
from controller.storage.source import sources_of
from controller.storage.store import Store
from controller.targets.discovery import targets_of
from strategies import discover
from tests.kit.fuzzing import Fuzz
from tests.kit.world import listed

REPOSITORY = Path(__file__).parents[2]
TOKEN = "gK4c0nT2vQ8yZp1LrX6w"
BETWEEN = b"\n# --- .env ---\n"


def told(problems: Iterable[Problem]) -> str:
    """What people are told, which holds no secret and acts on no terminal."""
    for text in map(str, problems):
        assert TOKEN not in text
        assert not is_unsafe(text, allowed=""), text
    return " ".join(f"{problem.code} {problem.message}" for problem in problems)


# --- labels

LABELS = b"""backup.enable=true
backup.strategy=filesystem
backup.filesystem.paths=/data,/srv/a b
backup.filesystem.exclude=["*.log", "cache"]
backup.schedule=H 3 * * *
backup.timezone=Europe/Madrid
backup.retention.keep-daily=7
backup.timeout=1h30m
backup.compression=zstd:19
backup.expect.min-size=1KiB
backup.commands.pre.1=["psql", "-c", "checkpoint"]
backup.commands.backup=PGPASSWORD=secret pg_dump shop | gzip
backup.env.PGPASSWORD=correct-horse
backup.targets.one.strategy=postgres
backup.targets.one.postgres.databases=shop
backup.drill.check=test -s /data/x"""
LABEL_TOKENS = (
    *(b"backup.", b"targets.", b"commands.", b"retention.", b"env.", b"=", b",", b"5200w", b"none", b"@daily", b"*/5"),
    *(b"strategy=command\n", b"\nbackup.", b"postgres://u:p@h/d", b"enable=false\n", b"user=root\n"),
)


def labels_of(data: bytes) -> dict[str, str]:
    """A line for each, which may end with a backslash to hold a line break."""
    lines = data.decode("utf-8", "surrogateescape").replace("\\\n", "\v").split("\n")
    return {name: value.replace("\v", "\n") for name, _, value in (line.partition("=") for line in lines)}


def test_labels_of_any_kind_are_problems_at_worst(fuzz: Fuzz, tmp_path: Path) -> None:
    loaded = load(tmp_path, {"BACKUP_API_TOKEN": TOKEN}, discover())

    def attempt(data: bytes) -> str:
        targets = list(targets_of(loaded, listed("web", labels_of(data)), discover()))
        for target in targets:
            is_wrong = any(problem.severity == "error" for problem in target.problems)
            assert target.state == "disabled" or is_wrong == (target.state == "problem"), target
        return " ".join(f"{target.state} {told(target.problems)}" for target in targets)

    without_targets = b"\n".join(line for line in LABELS.split(b"\n") if b"targets" not in line)
    fuzz([LABELS, without_targets], LABEL_TOKENS, attempt)


# --- config.yaml and .env

ENV = b"""BACKUP_API_TOKEN=aaaaaaaaaaaaaaaaaaaaaaaaaa
DATABASE_URL="postgres://ledger:pw@db/shop"
SSH_PRIVATE_KEY='-----BEGIN OPENSSH PRIVATE KEY-----
AAAA
-----END OPENSSH PRIVATE KEY-----'
SHOP_PING_URL_FILE=/run/secrets/ping
SIDECAR_STRATEGY_TYPE=filesystem
export X=${DATABASE_URL}
"""
CONFIG = b"""schema: 1
secrets: [DATABASE_URL]
strategy: {type: postgres, postgres: {databases: [shop]}}
defaults: {schedule: "H 3 * * *", retention: {keep-daily: 7}, timeout: 1h, env: {A: "${X:-y}"}}
targets: {shop/db: {timeout: 3h, commands: {backup: ["pg_dump", "shop"]}, ping: {url: {secret: SHOP_PING_URL}}}}
policy: {labels: {lock: [user, "commands.*"]}, max-store-per-target: 100GiB, image-labels: [shop/db]}
orchestrator: {url: "https://o.example", key: {secret: DATABASE_URL}, interval: 5s}
"""
CONFIG_TOKENS = (b": ", b"- ", b"&a ", b"*a ", b"!!python/object ", b"<<: ", b"? ", b"\t", b"2026-01-01", b"no", b"|\n")


def test_a_configuration_of_any_kind_is_refused_at_worst_and_never_shown(fuzz: Fuzz, tmp_path: Path) -> None:
    def attempt(data: bytes) -> str:
        config, _, env = data.partition(BETWEEN)
        (tmp_path / "config.yaml").write_bytes(config)
        (tmp_path / ".env").write_bytes(env)
        try:
            loaded: Loaded = load(tmp_path, {"ORCHESTRATOR_KEY": TOKEN, "Y": TOKEN}, discover())
        except ConfigurationError as refused:
            return told(refused.problems)
        return f"taken {told(loaded.problems)}"

    example = (REPOSITORY / "config/config.example.yaml").read_bytes()
    fuzz([CONFIG + BETWEEN + ENV, example + BETWEEN + ENV], CONFIG_TOKENS, attempt)


# --- manifests

SAMPLE = next((REPOSITORY / "tests/fixtures/volume-0.1.0").rglob("artifacts/*/*/*/manifest.json"))
MANIFEST_TOKENS = (b"..", b"\\ud800", b"\\u0000", b"NaN", b'"schema": 2', b"[[[[", b'{"a":', b"true", b"adopted")


def test_a_manifest_of_any_kind_is_one_or_is_told_as_unreadable(fuzz: Fuzz, tmp_path: Path) -> None:
    store, number = Store(tmp_path / "artifacts"), 0

    def attempt(data: bytes) -> str:
        nonlocal number
        number += 1
        folder.joinpath("manifest.json").write_bytes(data)
        said = []
        for manifest in store.manifests():
            if isinstance(manifest, StoreError):
                said.append(f"{manifest.message} {manifest.__cause__}")
            else:
                sources_of(manifest, folder)
                said.append(f"read {manifest.proof} {len(manifest.artifacts)}")
        if number % 20 == 0 or said[0].startswith("read"):
            made = rebuild(store, tmp_path / "catalog.sqlite")
            assert made.runs + len(made.unreadable) == 1
        return " ".join(said)

    sample = SAMPLE.read_bytes()
    folder = store.root.joinpath(*Key.model_validate(json.loads(sample)["target"]).folders, SAMPLE.parent.name)
    folder.mkdir(parents=True)
    fuzz([sample], MANIFEST_TOKENS, attempt)


# --- Range

SIZE = 1000
BUNDLE = Bundle((), SIZE, "ab" * 32, "x.zst", "application/zstd", "raw+zstd", "full", ("r",))
RANGES = (b"bytes=0-99", b"bytes=-5", b"bytes=999-", b'bytes=7-8\0"' + b"ab" * 32 + b'"')


def wanted(text: str) -> tuple[int, int] | None:
    """Another reading of RFC 9110, 14.1.2: first and last byte of one range; None for what is none."""
    unit, equals, spec = text.partition("=")
    first, dash, last = spec.strip(" \t").partition("-")
    if unit != "bytes" or not equals or not dash or not (first or last):
        return None
    if any(each and not (each.isascii() and each.isdigit()) for each in (first, last)):
        return None
    if not first:
        return max(SIZE - int(last), 0), SIZE - 1
    return int(first), min(int(last), SIZE - 1) if last else SIZE - 1


def test_a_range_of_any_kind_is_a_part_of_what_there_is_or_is_refused(fuzz: Fuzz) -> None:
    def attempt(data: bytes) -> str:
        # What the server's parser lets through.
        text, _, condition = (part.decode("latin-1") for part in re.sub(rb"[\r\n]", b"", data[:4000]).partition(b"\0"))
        headers = {"range": text} | ({"if-range": condition} if condition else {})
        expected = None if condition not in ("", f'"{BUNDLE.sha256}"') else wanted(text)
        try:
            sent = Delivery(BUNDLE, Leases(), Headers(headers))
        except Refused as refused:
            assert expected is not None
            assert expected[0] > expected[1] or expected[0] >= SIZE
            return f"refused {refused.status}"
        fields = dict(sent.raw_headers)
        assert int(fields[b"Content-Length"]) == len(sent.span)
        if sent.status_code == 200:
            return f"whole {expected is None}"
        assert expected == (sent.span.start, sent.span.stop - 1)
        return "part"

    fuzz(RANGES, (b"bytes=", b"-", b",", b" ", b"\xb2", b"999", b"1000", b"1001", b"\t"), attempt)
