"""What is shipped for people to copy and to read agrees with the program."""

import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from config.loading import load
from config.settings import Settings
from config.target import leaves
from scripts.reference import config_table, label_table

TOKEN = "gK4c0nT2vQ8yZp1LrX6w"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for source, name in (("config.example.yaml", "config.yaml"), (".env.example", ".env")):
        (tmp_path / name).write_text(files("config").joinpath(source).read_text())
    return tmp_path


def test_the_example_says_what_holds_without_it(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with (copied / ".env").open("a") as file:
        file.write(f"\nORCHESTRATOR_KEY={TOKEN}\n")
    environ = {"BACKUP_API_TOKEN": TOKEN}
    assert load(copied, environ).settings == load(tmp_path_factory.mktemp("empty"), environ).settings


def uncommented(folder: Path) -> str:
    """The example with everything that is commented out in effect."""
    return re.sub(r"(?m)^( *)#(?! \S)", r"\1", (folder / "config.yaml").read_text())


def test_the_example_shows_each_key(copied: Path) -> None:
    shown = yaml.safe_load(uncommented(copied))
    missing = []
    for path in (*(path for path, _ in leaves(Settings)), ("targets", "shop/db", "ping", "url")):
        section = shown
        for key in path:
            section = section.get(key) if isinstance(section, dict) else None
        missing += [".".join(path)] if section is None else []
    assert missing == []


def test_the_example_with_everything_uncommented_is_valid(copied: Path) -> None:
    (copied / "config.yaml").write_text(uncommented(copied))
    environ = dict.fromkeys(("BACKUP_API_TOKEN", "ORCHESTRATOR_KEY", "DATABASE_URL", "SSH_PRIVATE_KEY"), TOKEN)
    environ |= {"COPIES_SIGNING_KEY": "of copies", "S3_KEY_ID": "of the bucket", "S3_KEY": "key of the bucket"}
    environ |= dict.fromkeys(("PING_URL", "SHOP_PING_URL"), "https://hc/x") | {"GRAFANA_TOKEN": f"another-{TOKEN}"}
    loaded = load(copied, environ, ("filesystem", "postgres"))
    settings = loaded.settings
    assert settings.strategy.type == "filesystem"
    assert settings.orchestrator is not None
    assert settings.secrets == ("DATABASE_URL", "SSH_PRIVATE_KEY")
    assert settings.targets["shop/db"].strategy == "postgres"
    assert set(loaded.pings) == {"", "shop/db"}


@pytest.mark.parametrize(("path", "field"), list(leaves(Settings)))
def test_every_setting_is_documented(path: tuple[str, ...], field: object) -> None:
    assert (getattr(field, "description", "") or "").endswith("."), path


def test_the_label_table_has_labels_options_and_defaults() -> None:
    class Options(BaseModel):
        model_config = ConfigDict(use_attribute_docstrings=True)
        one_file: bool = Field(default=True, alias="one-file")
        """Whether a|b.

        More that the table leaves out.
        """

    table = label_table({"postgres": Options})
    assert "| `backup.timeout` | Maximum duration of a run, retries included. | `1h` |" in table
    assert "| `backup.postgres.one-file` | Whether a\\|b. | `true` |" in table
    assert "| `backup.env.NAME` |" in table
    assert "backup.targets.<name>.<key>" in table
    assert "More that" not in table


def test_the_table_of_settings_has_every_key_with_its_default() -> None:
    table = config_table()
    for key, default in {
        "api.token": "`{secret: BACKUP_API_TOKEN}`",
        "orchestrator.interval": "`15s`",
        "drills.memory": "`1GiB`",
        "paths.tmp": "`/var/lib/sidecar/tmp`",
        "defaults.<setting>": "",
    }.items():
        assert re.search(rf"(?m)^\| `{re.escape(key)}` \| .*\. \| {re.escape(default)} \|$", table), key
