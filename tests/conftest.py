"""Names the images of the stand, as `make` does, so that `pytest` alone works after `make setup`."""

import os
from pathlib import Path

pytest_plugins = ["tests.faulttable"]
IMAGES = Path(__file__).parents[1] / ".build" / "images.env"

if IMAGES.is_file():
    for line in IMAGES.read_text().splitlines():
        name, _, image = line.partition("=")
        if image and not line.startswith("#"):
            os.environ.setdefault(name, image)
