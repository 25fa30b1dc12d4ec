"""What the READMEs tell people to type, to copy and to open is there, in both languages."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.labels import parse
from config.loading import load
from controller.cli import cli
from scripts.readme import READMES, made
from strategies import discover

ENGLISH, SPANISH = READMES
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
both = pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.name)


def blocks(readme: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced code block; what people read after a `#` is left out."""
    return [(language, re.sub(r" +# .*", "", text)) for language, text in FENCED.findall(readme.read_text())]


def prose(readme: Path) -> str:
    return FENCED.sub("", readme.read_text())


def typed(readme: Path, program: str) -> set[str]:
    """What follows the program's name in code blocks and between backticks."""
    code = [text for _, text in blocks(readme)] + re.findall(r"`([^`\n]+)`", prose(readme))
    return set(re.findall(rf"(?m)(?:^|\s){program} ([a-z][a-z0-9-]*)", "\n".join(code)))


@both
def test_the_label_table_is_up_to_date(readme: Path) -> None:
    assert made(readme) == readme.read_text()


def test_both_have_the_same_sections() -> None:
    english, spanish = (re.findall(r"(?m)^## ", prose(readme)) for readme in READMES)
    assert len(english) == len(spanish) > 0


def test_both_have_the_same_code() -> None:
    english, spanish = blocks(ENGLISH), blocks(SPANISH)
    assert len(english) == len(spanish) > 0
    # A block without a language may be translated.
    assert [block for block in english if block[0]] == [block for block in spanish if block[0]]


@both
def test_each_make_target_exists(readme: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z0-9-]+):", readme.with_name("Makefile").read_text()))
    named = typed(readme, "make")
    assert "demo" in named
    assert named <= targets


@both
def test_each_command_exists_and_is_in_the_table(readme: Path) -> None:
    commands = {command.name or command.callback.__name__ for command in cli.registered_commands if command.callback}
    named = typed(readme, "backup-sidecar")
    assert "run" in named
    assert named <= commands
    heads = re.findall(r"(?m)^\| (.*?) \|", prose(readme).split("backup-sidecar ...`")[1].split("\n## ")[0])
    assert set(re.findall(r"`([a-z-]+)", " ".join(heads))) == commands


@both
def test_each_link_leads_somewhere(readme: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", prose(readme)) if "://" not in link]
    assert links
    assert [link for link in links if not (readme.parent / link).exists()] == []


def documents(readme: Path, *, of_compose: bool) -> list[dict[str, Any]]:
    """The blocks of YAML: those for Compose, or those for config.yaml."""
    found = [yaml.safe_load(text) for language, text in blocks(readme) if language == "yaml"]
    return [document for document in found if ("services" in document) == of_compose]


@both
def test_each_label_of_a_compose_file_is_known(readme: Path) -> None:
    services = [service for file in documents(readme, of_compose=True) for service in file["services"].items()]
    labels = {name: service["labels"] for name, service in services if "labels" in service}
    assert labels
    for name, own in labels.items():
        parsed = parse(own, name, strategies=discover())
        assert parsed.enabled
        assert not [problem for part in parsed.parts for problem in part.problems]


@both
def test_each_config_yaml_can_be_loaded(readme: Path, tmp_path: Path) -> None:
    environ = dict.fromkeys(("BACKUP_API_TOKEN", "DATABASE_URL", "ORCHESTRATOR_KEY"), "gK4c0nT2vQ8yZp1LrX6w")
    files = documents(readme, of_compose=False)
    assert files
    for file in files:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(file))
        assert load(tmp_path, environ, discover()).problems == ()
