"""What README and docs tell people to type, to copy and to open is there; the READMEs agree in both languages."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.labels import parse
from config.loading import load
from controller.cli import COMMANDS
from scripts.reference import DOCS, pages
from strategies import discover

REPOSITORY = DOCS.parent
ENGLISH, SPANISH = READMES = (REPOSITORY / "README.md", REPOSITORY / "README.es.md")
PAGES = (*READMES, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "SECURITY.md", *sorted(DOCS.glob("*.md")))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST = 250
"""Lines of a README, which then takes about ten minutes."""
both = pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.name)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced code block; what people read after a `#` is left out."""
    return [(language, re.sub(r" +# .*", "", text)) for language, text in FENCED.findall(page.read_text())]


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text())


def typed(page: Path, program: str) -> set[str]:
    """What follows the program's name in code blocks and between backticks."""
    code = [text for _, text in blocks(page)] + re.findall(r"`([^`\n]+)`", prose(page))
    return set(re.findall(rf"(?m)(?:^|\s){program} ([a-z][a-z0-9-]*)", "\n".join(code)))


def commands() -> set[str]:
    return {*COMMANDS, "serve"}


@pytest.mark.parametrize(("page", "text"), pages().items(), ids=lambda value: getattr(value, "name", ""))
def test_the_tables_are_up_to_date(page: Path, text: str) -> None:
    assert text == page.read_text()


@both
def test_a_readme_is_short(readme: Path) -> None:
    assert len(readme.read_text().splitlines()) <= LONGEST


def test_both_have_the_same_sections() -> None:
    english, spanish = (re.findall(r"(?m)^#+ ", prose(readme)) for readme in READMES)
    assert len(english) > 1
    assert english == spanish


def test_both_have_the_same_code() -> None:
    english, spanish = map(blocks, READMES)
    assert english
    assert english == spanish


def test_both_have_the_same_labels_and_links() -> None:
    for pattern in (r"`(backup\.[^`]+)`", r"\]\((?!README)([^)]+)\)"):
        english, spanish = (re.findall(pattern, prose(readme)) for readme in READMES)
        assert english
        assert sorted(english) == sorted(spanish)


@each_page
def test_each_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text()))
    assert typed(page, "make") <= targets


@each_page
def test_each_command_exists(page: Path) -> None:
    assert typed(page, "backup-sidecar") <= commands()


@both
def test_the_table_has_each_command(readme: Path) -> None:
    heads = re.findall(r"(?m)^\| (.*?) \|", prose(readme).split("backup-sidecar ...`")[1].split("\n## ")[0])
    assert set(re.findall(r"`([a-z-]+)", " ".join(heads))) == commands()


@each_page
def test_each_link_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)", prose(page)) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, *link.partition("#")[::2])] == []


def test_each_folder_that_contributors_are_told_of_exists() -> None:
    named = re.findall(r"`([a-z_/]+/)`", (REPOSITORY / "CONTRIBUTING.md").read_text())
    rooms = {f"{room.relative_to(REPOSITORY)}/" for room in (REPOSITORY / "controller").glob("[a-z]*/")}
    assert [folder for folder in named if not (REPOSITORY / folder).is_dir()] == []
    assert rooms <= set(named)


def test_each_threat_of_security_names_tests_that_exist() -> None:
    tables = re.findall(r"(?m)^\| threat \|.*\n\| ---.*\n((?:\|.*\n)+)", (DOCS / "security.md").read_text())
    rows = [row.strip("| ").split(" | ") for table in tables for row in table.splitlines()]
    texts = [(path.name, path.read_text()) for path in (REPOSITORY / "tests").rglob("test_*.py")]
    assert len(rows) > 30
    for threat, handled, named in rows:
        assert handled
        tests = re.findall(r"`(test_\w+\.py)::(test_\w+)`", named)
        assert tests, threat
        for file, test in tests:
            assert any(file == name and f"def {test}(" in text for name, text in texts), test


def test_the_architecture_names_each_rung_in_its_order_and_only_files_that_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rungs = next(contract["layers"] for contract in contracts if contract.get("containers") == ["controller"])
    drawn = [re.findall(r"(?:^|\| )([a-z_]+) {2,}", line) for line in text.split("```")[1].splitlines()[1:]]
    assert drawn == [rung.split(" | ") for rung in rungs]
    files = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text)
    roots = (REPOSITORY, REPOSITORY / "controller")
    assert len(files) > 15
    assert [file for file in files if not any((root / file).is_file() for root in roots)] == []


def leads_somewhere(page: Path, path: str, section: str) -> bool:
    there = page.parent / path if path else page
    if not section:
        return there.exists()
    headings = re.findall(r"(?m)^#+ (.+)$", prose(there))
    return section in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_label_of_a_readme_is_in_the_reference() -> None:
    known = set(re.findall(r"(?m)^\| `(backup\.[^`]+)`", (DOCS / "labels.md").read_text()))
    named = set(re.findall(r"`(backup\.[^`]+)`", prose(ENGLISH)))
    assert named
    assert named <= known


@pytest.mark.parametrize("page", [*READMES, DOCS / "labels.md"], ids=lambda page: page.name)
def test_each_label_of_a_compose_file_is_known(page: Path) -> None:
    documents = yaml_of(page)
    services = [service for document in documents for service in document.get("services", {"": document}).values()]
    labels = [service["labels"] for service in services if "labels" in service]
    assert labels
    for own in labels:
        parts = parse(own, "db", strategies=discover())
        assert parts
        assert all(part.enabled and not part.problems for part in parts)


@pytest.mark.parametrize(
    "page", [*READMES, *(DOCS / f"{name}.md" for name in ("configuration", "operations", "orchestrator"))], ids=str
)
def test_each_config_yaml_can_be_loaded(page: Path, tmp_path: Path) -> None:
    environ = dict.fromkeys(("BACKUP_API_TOKEN", "DATABASE_URL", "ORCHESTRATOR_KEY"), "gK4c0nT2vQ8yZp1LrX6w")
    environ |= dict.fromkeys(("PING_URL", "SHOP_PING_URL"), "https://hc.example/1")
    environ |= {name: f"gK4c0nT2vQ8yZp1LrX6w-{name}" for name in ("GRAFANA_TOKEN", "OPS_TOKEN")}
    files = [document for document in yaml_of(page) if "services" not in document]
    assert files
    for file in files:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(file))
        assert load(tmp_path, environ, discover()).problems == ()


def yaml_of(page: Path) -> list[dict[str, Any]]:
    return [yaml.safe_load(text) for language, text in blocks(page) if language == "yaml"]
