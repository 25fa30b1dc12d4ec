"""Several `.env` files and the environment: which goes first, what Compose copied, and which file a message names."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
import yaml

from config.loading import Loaded, load
from config.overrides import READ_ELSEWHERE
from config.problems import ConfigurationError
from config.variables import EnvFile, is_copy

REPOSITORY = Path(__file__).parents[3]
COMPOSE = (REPOSITORY / "compose.sidecar.yml", REPOSITORY / "docker-compose.yml")
TOKEN = "gK4c0nT2vQ8yZp1LrX6w"


class Files:
    """`sidecar/.env`, which Compose may read too, and `config/.env`, which goes first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write(own="", shared="")

    def write(self, *, own: str | None = None, shared: str | None = None) -> None:
        for name, text in (("own", own), ("shared", shared)):
            if text is not None:
                (self.folder / f"{name}.env").write_text(text)

    def load(self, environ: Mapping[str, str] | None = None, copies: Collection[str] = ()) -> Loaded:
        own = EnvFile(self.folder / "own.env", "config/.env")
        shared = EnvFile(self.folder / "shared.env", "sidecar/.env", copied=True)
        token = {"BACKUP_API_TOKEN": TOKEN}
        return load(self.folder, token | {**(environ or {})}, env_files=(own, shared), copies=copies)

    def refused(self) -> list[tuple[str, str, str]]:
        with pytest.raises(ConfigurationError) as caught:
            self.load()
        return [(problem.code, problem.place, problem.hint) for problem in caught.value.problems]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "config.yaml").write_text("secrets: [PASSWORD]\n")
    return Files(tmp_path)


def test_the_environment_goes_first_then_the_file_beside_config_yaml(files: Files) -> None:
    files.write(own="PASSWORD=of-config\n", shared="PASSWORD=of-sidecar\n")
    assert files.load({"PASSWORD": "of-environment"}).secrets["PASSWORD"] == "of-environment"
    assert files.load().secrets["PASSWORD"] == "of-config"
    files.write(own="")
    assert files.load().secrets["PASSWORD"] == "of-sidecar"


def test_what_is_empty_is_unset_and_hides_nothing(files: Files) -> None:
    files.write(own="PASSWORD=\n", shared="PASSWORD=of-sidecar\n")
    assert files.load({"PASSWORD": ""}).secrets["PASSWORD"] == "of-sidecar"


def test_a_message_names_the_file_that_it_means(files: Files) -> None:
    files.write(own="BROKEN\nPASSWORD=x\n", shared="A=1\nSIDECAR_API_PROT=1\nA=2\n")
    assert [place for _, place, _ in files.refused()] == [
        *("config/.env:1", "sidecar/.env:3"),
        *("sidecar/.env:2 SIDECAR_API_PROT", "config.yaml:1 secrets.0"),
    ]


def test_what_is_missing_belongs_into_the_file_that_is_there(files: Files) -> None:
    assert "in `config/.env`" in files.refused()[0][2]
    (files.folder / "own.env").unlink()
    assert "in `sidecar/.env`" in files.refused()[0][2]
    (files.folder / "shared.env").unlink()
    assert "in `config/.env`" in files.refused()[0][2]


def test_the_digest_follows_each_file(files: Files) -> None:
    digests = set()
    for shared, own in (("PASSWORD=first", ""), ("PASSWORD=second", ""), ("PASSWORD=second", "A=1")):
        files.write(own=own, shared=shared)
        digests.add(files.load().digest)
    assert len(digests) == 3


def test_a_copy_that_compose_made_gives_way_to_the_files(files: Files) -> None:
    files.write(shared="PASSWORD=a-word\n")
    found = files.load({"PASSWORD": "a-word"})
    assert found.copies == {"PASSWORD"}
    files.write(own="PASSWORD=of-config\n")
    assert files.load({"PASSWORD": "a-word"}).secrets["PASSWORD"] == "of-config"


def test_a_known_copy_is_not_taken_for_the_operators_word_when_the_file_has_changed(files: Files) -> None:
    files.write(shared="PASSWORD=a-new-word\n")
    assert files.load({"PASSWORD": "a-word"}).secrets["PASSWORD"] == "a-word"
    assert files.load({"PASSWORD": "a-word"}, copies={"PASSWORD"}).secrets["PASSWORD"] == "a-new-word"


@pytest.mark.parametrize(
    ("value", "original", "expected"),
    [
        ("a-word", "a-word", True),
        ("another", "a-word", False),
        ("p", "p$ssword", True),
        ("p-word", "p${ss}-word", True),
        ("a$b", "a$$b", True),
        ("production", "p$ssword", False),
        ("anything", "${PASSWORD}", False),
        ("", "a-word", False),
    ],
)
def test_a_copy_is_what_compose_makes_of_dollars(value: str, original: str, expected: bool) -> None:
    assert is_copy(value, original) is expected


def test_what_the_compose_files_read_is_no_unknown_variable() -> None:
    read = {name for path in COMPOSE for name in re.findall(r"\$\{(SIDECAR_[A-Z_]+)", path.read_text())}
    assert {"SIDECAR_IMAGE", "SIDECAR_CONFIG_DIR", "SIDECAR_DIR"} <= read
    handed = yaml.safe_load(COMPOSE[0].read_text())["services"]["sidecar"]["environment"]
    assert read - set(handed) <= READ_ELSEWHERE
    assert "SIDECAR_CONFIG_DIR" in READ_ELSEWHERE


def test_compose_hands_over_each_name_of_the_example() -> None:
    handed = yaml.safe_load(COMPOSE[0].read_text())["services"]["sidecar"]["environment"]
    example = (REPOSITORY / "config" / ".env.example").read_text()
    assert set(re.findall(r"(?m)^#?([A-Z_]+)=", example)) - {"SHOP_PING_URL"} <= set(handed)
    assert all(value == f"${{{name}:-}}" for name, value in handed.items() if name != "SIDECAR_CONFIG_DIR")
