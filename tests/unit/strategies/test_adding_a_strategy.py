"""The page that shows how to add a strategy is right: its strategy passes the contract suite, and the house's style."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "adding-a-strategy.md").read_text()


def code() -> dict[str, str]:
    """The page's files by their place in the repository."""
    named = re.findall(r"^`([\w/]+\.py)`[:,]", PAGE, re.MULTILINE)
    return dict(zip(named, re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL), strict=True))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The strategies and their suite, with the page's files among them."""
    for folder in ("config", "strategies", "tests/contract", "docs"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for name, text in code().items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_contract_suite_holds_for_the_pages_strategy(copied: Path) -> None:
    suite = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--override-ini=addopts=-ra")
    done = subprocess.run(
        [*suite, "--import-mode=importlib", "-k", "dbm", "tests/contract"],
        cwd=copied,
        capture_output=True,
        text=True,
        check=False,
    )
    passed = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed
    assert int(passed[1]) > 15
    assert "skipped" not in done.stdout


def test_the_pages_files_are_in_the_houses_style(copied: Path) -> None:
    ruff = (Path(sys.executable).with_name("ruff"), "check", "--no-cache", *code())
    done = subprocess.run(ruff, cwd=copied, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_each_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:config|strategies|tests)/[\w/]+\.py)`", PAGE)) - set(code())
    assert named
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []
