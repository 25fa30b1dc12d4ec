"""Every bad `config.yaml`: the program ends with 78, tells all at once with line and remedy, and asks no engine."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.faults.starting import GOOD_ENV, PROGRAM, TOKEN, refused, told
from tests.kit.stage import LABEL, SIDECAR_IMAGE, said

pytestmark = pytest.mark.thorough

PRIVATE = "correct-horse-battery"
ENV = {".env": f"{GOOD_ENV}THE_PASSWORD={PRIVATE}\n"}
MANY = """\
schema: 1
paths:
  artifacts: /
api:
  port: 8000
  host: 0.0.0.0
  port: 9000
  prot: 1
log: {level: loud}
defaults:
  timeout: 08:00
  compression: no
  user: ${NOT_SET}
  env: {A: "${THE_PASSWORD"}
policy:
  max-concurrent-runs: many
  min-keep: 0
targets:
  shop: {timeout: 1h}
"""
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
IDENTITY = "AGE-SECRET-KEY-1HYMW0EZLAW2CRA7AEY4KS2XZAKM6DYGYSSMGYZYKPHDUJJKLJSESRYY26T"
COPIES = f"""\
copies:
  recipients:
    - age1short
    - {IDENTITY}
  destinations:
    cloud:
      s3: {{bucket: shop-backups}}
      lock: 401d
    nas: {{path: /copies, lock: 35d}}
"""
EXPECTED = "exit 78, all at once, with line and remedy"
Told = Callable[[str, object], None]


def row(fault: str, place: str, code: str, words: str, config: str | Mapping[str, str] = MANY) -> object:
    files = {"config.yaml": config} if isinstance(config, str) else config
    return pytest.param(ENV | files, place, code, words, marks=pytest.mark.fault(0, fault, EXPECTED), id=fault)


@pytest.mark.parametrize(
    ("files", "place", "code", "words"),
    [
        row("store folder `/`", "config.yaml:3 paths.artifacts", "bad-value", "a folder of its own"),
        row("duplicate key", "config.yaml:7", "duplicate-key", "line 5 and line 7"),
        row("unknown key", "config.yaml:8 api.prot", "unknown-key", "Did you mean `port`?"),
        row("a word that is not one of those allowed", "config.yaml:9 log.level", "bad-value", "'debug'"),
        row("`08:00` where a duration is wanted", "config.yaml:11", "bad-value", "a clock time is not a duration"),
        row("`no` where a word is wanted", "config.yaml:12", "bad-value", "or `none`"),
        row("unset `${VAR}`", "config.yaml:13 defaults.user", "unset-variable", "Set NOT_SET"),
        row("broken `${VAR`", "config.yaml:14", "bad-reference", "`$${...}`"),
        row("wrong type", "config.yaml:16 policy.max-concurrent-runs", "bad-value", "has to be a valid integer"),
        row("a minimum of 0", "config.yaml:17 policy.min-keep", "bad-value", "greater than or equal to 1"),
        row("a key that names no target", "config.yaml:19", "bad-value", "project/service"),
        row("config.yaml is a folder", "config.yaml", "not-a-file", "Mount the folder", {"config.yaml/x": ""}),
        row("config.yaml above 1 MiB", "config.yaml", "too-large", "right file", "#" * (1 << 20) + "\n"),
        row("config.yaml is called config.yml", "config.yml", "misnamed-file", "Rename", {"config.yml": "schema: 1"}),
        row("alias bomb", "config.yaml", "too-many-values", "without aliases", BOMB),
        row("tab", "config.yaml:2", "broken-yaml", "Indent with spaces", "api:\n\tport: 1\n"),
        row("bad recipient", "config.yaml:3 copies.recipients.0", "bad-value", "`age1...`", COPIES),
        row("an identity as a recipient", "config.yaml:4 copies.recipients.1", "bad-value", "can decrypt", COPIES),
        row("a lock above 400 days", "config.yaml:8 copies.destinations.cloud.lock", "bad-value", "400d", COPIES),
        row("a lock of a folder", "config.yaml:9 copies.destinations.nas", "bad-value", "only a bucket", COPIES),
        row("broken YAML", "config.yaml:2", "broken-yaml", "at column 4", "api: {port: 1\nlog: x\n"),
    ],
)
def test_a_bad_file_ends_the_start(
    files: Mapping[str, str], place: str, code: str, words: str, record_property: Told
) -> None:
    found = told(files)

    line = found.line(place, f"[{code}]")
    assert words in line
    refused(found, PRIVATE, TOKEN, IDENTITY[:30])
    record_property("seen", line.removeprefix("error: "))


def test_serve_tells_the_same_and_leaves_the_engine_alone() -> None:
    files = ENV | {"config.yaml": MANY}

    running, checked = (told(files, command) for command in ("serve", "check"))

    refused(running, PRIVATE, TOKEN)
    assert sorted(running.text.splitlines()) == sorted(checked.text.splitlines())
    assert len(running.text.splitlines()) == 11


@pytest.mark.fault(0, "the folder of config.yaml is missing", "exit 78 with the remedy")
def test_a_missing_folder_ends_the_start(record_property: Told) -> None:
    found = told({}, SIDECAR_CONFIG="/nowhere")

    line = found.line("folder /nowhere", "[no-folder]", "Mount the folder")
    refused(found)
    record_property("seen", line.removeprefix("error: "))


@pytest.mark.fault(0, "config.yaml missing beside `.env`", "every default holds")
def test_without_a_file_the_defaults_hold() -> None:
    found = told(ENV)

    assert "[" not in "".join(line for line in found.text.splitlines() if "config.yaml" in line)
    assert found.connections > 0


# --- what needs the image: another user, other folders ---------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The operator's, which anybody may read."""
    for path in (tmp_path, *list(tmp_path.parents)[:2]):
        path.chmod(0o755)
    (tmp_path / ".env").write_text(GOOD_ENV)
    return tmp_path


def served(folder: Path, *options: str) -> str:
    """What a container told that cannot start, whose engine would answer with an error of its own."""
    mount = ("--volume", f"{folder}:/etc/sidecar:ro", "--env", "DOCKER_HOST=tcp://127.0.0.1:9")
    done = said("docker", "run", "--rm", "--label", f"{LABEL}=faults", *mount, *options, SIDECAR_IMAGE, timeout=90)
    text = done.stdout + done.stderr
    assert done.returncode == 78, text
    assert "Traceback" not in text
    assert "127.0.0.1" not in text
    return text


@pytest.mark.e2e
@pytest.mark.usefixtures("sidecar_image")
@pytest.mark.fault(0, "config.yaml unreadable", "exit 78 with the reason")
def test_an_unreadable_file_ends_the_start(folder: Path) -> None:
    (folder / "config.yaml").write_text("schema: 1\n")
    (folder / "config.yaml").chmod(0)

    text = served(folder, "--user", "54321")

    assert "config.yaml: cannot be read: Permission denied [unreadable] Make it readable" in text


@pytest.mark.e2e
@pytest.mark.usefixtures("sidecar_image")
@pytest.mark.parametrize(
    ("artifacts", "message"),
    [
        pytest.param(
            "/srv",
            "uid 54321 may not write to /srv (mode 0755, uid 0)",
            marks=pytest.mark.fault(0, "store folder not writable", "exit 78 with uid and mode"),
        ),
        pytest.param(
            "/srv/not/there",
            "/srv/not/there is not there, and uid 54321 may not write to /srv (mode 0755, uid 0)",
            marks=pytest.mark.fault(0, "store folder not there, nor to be made", "exit 78 with uid and mode"),
        ),
    ],
)
def test_a_store_that_cannot_be_written_ends_the_start(
    folder: Path, artifacts: str, message: str, record_property: Told
) -> None:
    (folder / "config.yaml").write_text(f"paths:\n  artifacts: {artifacts}\n")

    text = served(folder, "--user", "54321", "--tmpfs", "/var/lib/sidecar:mode=1777")

    assert message in text
    assert "config.yaml:2 paths.artifacts" in text
    assert "Mount a volume there" in text
    record_property("seen", message)


@pytest.mark.e2e
@pytest.mark.usefixtures("sidecar_image")
@pytest.mark.fault(0, "store folder on a read-only file system", "exit 78 and says so")
def test_a_read_only_store_ends_the_start(folder: Path) -> None:
    assert "on a read-only file system" in served(folder, "--read-only", "--tmpfs", "/tmp")


@pytest.mark.fault(0, "the engine cannot be reached", "tells the address and the remedy")
def test_an_engine_that_is_not_there_is_told(folder: Path, record_property: Told) -> None:
    environ = {"SIDECAR_CONFIG": str(folder), "DOCKER_HOST": "unix:///nowhere.sock", "PATH": "/usr/bin:/bin"}
    done = said(PROGRAM, "check", env=environ)

    assert done.returncode == 1
    assert "cannot reach the engine" in done.stderr
    assert "DOCKER_HOST" in done.stderr
    record_property("seen", done.stderr.strip().removeprefix("error: "))
