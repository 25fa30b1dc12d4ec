"""Names the images of the stand, as `make` does, and builds the sidecar's, so that `pytest` alone works after setup."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from loguru import logger

pytest_plugins = ["tests.kit.fault_table", "tests.kit.fuzzing"]
REPOSITORY = Path(__file__).parents[1]
# A busy machine breaks no law. `make faults` asks for the long profile.
for profile, examples in {"loop": 25, "long": 500}.items():
    settings.register_profile(
        profile, max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("loop")
IMAGES = REPOSITORY / ".build" / "images.env"

if IMAGES.is_file():
    for line in IMAGES.read_text().splitlines():
        name, _, image = line.partition("=")
        if image and not line.startswith("#"):
            os.environ.setdefault(name, image)


@pytest.fixture(scope="session")
def sidecar_image() -> str:
    """The image of the code that is being tested."""
    done = subprocess.run([REPOSITORY / "scripts" / "image"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return os.environ.get("SIDECAR_IMAGE", "backup-sidecar:local")


@pytest.fixture(scope="session")
def token() -> str:
    return secrets.token_hex(16)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the program logs meanwhile, as `LEVEL message`."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{level} {message}", level="INFO")
    yield lines
    logger.remove(sink)
