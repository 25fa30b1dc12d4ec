"""Files: every type and attribute that a user can give them; what the system tells of each has to be the same."""

from pathlib import Path

import pytest

from tests.corpus.ways import WAYS, Corpus, backed_up
from tests.kit.stage import App, Sidecar

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CODE = (Path(__file__).parent / "files.py").read_text()
PROGRAM = "python3 $(ls /data/files.py /restore-*/data/files.py 2>/dev/null | head -n 1)"
"""It lies among the data, and a drill restores beside."""
NO_DATA = ["sockets"]
"""They hold none: whoever listens makes them."""
CORPUS = Corpus(
    "files",
    "PYTHON",
    {"strategy": "filesystem"},
    fill=f"cat >/data/files.py <<'END'\n{CODE}\nEND\n{PROGRAM} make",
    note=f"{PROGRAM} note",
    differing=f"{PROGRAM} differing",
    destroy=f"{PROGRAM} destroy",
    write="while echo x >>/data/busy; do sleep 0.1; done",
    in_place=("--in-place",),
    over=("--mirror",),
    options=("--volume", "/data"),
)


@pytest.mark.slow
def test_every_row_comes_back_by_each_way(stand: tuple[Sidecar, App], tmp_path: Path) -> None:
    there = backed_up(CORPUS, *stand)
    assert {name: way(there, tmp_path) for name, way in WAYS.items()} == dict.fromkeys(WAYS, NO_DATA)
