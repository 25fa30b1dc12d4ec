"""`make bench QUICK=1`: every group still measures what it is there for, which says nothing about how fast."""

import sys

import pytest

from benchmarks.__main__ import GROUPS
from tests.kit.few import few
from tests.kit.stage import REPOSITORY, said

pytestmark = pytest.mark.e2e


QUICK = {"copies", "retention", "stream"}
"""The others are in `make faults`."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("group", few(GROUPS, *QUICK))
def test_a_group_measures_its_figures(group: str, sidecar_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_IMAGE", sidecar_image)
    done = said(sys.executable, "-m", "benchmarks", group, "--quick", cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert f"{group} " in done.stdout
    assert "figures met" in done.stdout
