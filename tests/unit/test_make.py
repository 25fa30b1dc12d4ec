"""Targets of the Makefile that no other target runs."""

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_make_fuzz_tries_what_parses_for_as_long_as_it_is_told() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "MAKE"))}
    command = ["make", "fuzz", "SECONDS=0.1", "ARGS=-n0 -k range"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
