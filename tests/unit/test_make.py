"""Targets of the Makefile that no other target runs, and what those that run leave out."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

REPOSITORY = Path(__file__).parents[2]


def told(*words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "MAKE"))}
    command = ["make", *words, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_make_fuzz_tries_what_parses_for_as_long_as_it_is_told() -> None:
    assert "1 passed" in told("fuzz", "SECONDS=0.1", "ARGS=-n0 -k range")


def test_make_check_leaves_out_what_is_thorough_and_make_test_does_not() -> None:
    assert "-m 'not (e2e or slow or fuzz or thorough)'" in told("--dry-run", "check")
    assert "-m 'not (e2e or slow or fuzz)'" in told("--dry-run", "test")


def test_make_leaves_out_no_folder_that_holds_a_test_of_its_kind() -> None:
    """What is left out by its folder is not even read, so that each worker begins sooner."""
    left_out = re.findall(r"addprefix --ignore=tests/,(.*?)\) -m '(not )?", (REPOSITORY / "Makefile").read_text())
    assert len(left_out) == 2
    for folders, unit in left_out:
        files = [file for folder in folders.split() for file in (REPOSITORY / "tests" / folder).rglob("test_*.py")]
        assert len(files) > 1
        for file in files:
            text = file.read_text()
            whole = re.search(r"(?m)^pytestmark = .*mark\.(e2e|slow)", text) or "/fuzz/" in str(file)
            assert whole if unit else not re.search(r"mark\.e2e|\bfuzz: Fuzz", text), file
