"""A look after a look: only what has changed is worked out anew, and nobody's labels harm the others."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import field_validator

from config.loading import Loaded, load
from controller.engine.models import NetworkInfo
from controller.targets.resolution import Resolution
from controller.targets.scope import Scope
from strategies import discover
from strategies.base import Options
from strategies.command import CommandStrategy
from tests.kit.world import POSTGRES, listed

SCOPE = Scope(frozenset({"n1"}), None, None)
ODD = {"backup.enable": "true", "backup.strategy": "odd", "backup.odd.word": "fail"}


class OddOptions(Options):
    """Counts how often it is asked, and has a defect."""

    asked: ClassVar[list[str]] = []
    word: str

    @field_validator("word")
    @classmethod
    def _odd(cls, word: str) -> str:
        cls.asked.append(word)
        if word == "fail":
            raise RecursionError
        return word


class Odd(CommandStrategy):
    names, options = ("odd",), OddOptions


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    OddOptions.asked.clear()
    return load(tmp_path, {"BACKUP_API_TOKEN": "0123456789abcdef-token"}, resolution()._strategies.keys())


def resolution() -> Resolution:
    return Resolution({**discover(), "odd": Odd()})


def test_a_defect_at_one_containers_labels_is_its_own_problem_and_the_others_are_found(loaded: Loaded) -> None:
    found = resolution().find(loaded, SCOPE, [listed("bad", ODD), listed("db", POSTGRES)])

    (problem,) = found["shop/bad"].problems
    assert found["shop/bad"].state == "problem"
    assert (problem.code, problem.place) == ("internal-error", "container shop-bad-1")
    assert "RecursionError" in problem.message
    assert found["shop/db"].state == "pending"


def test_the_same_labels_are_read_once_until_container_or_configuration_change(loaded: Loaded) -> None:
    looks, container = resolution(), listed("one", ODD | {"backup.odd.word": "echo"})

    first = looks.find(loaded, SCOPE, [container])
    assert looks.find(loaded, SCOPE, [container]) == first
    assert len(OddOptions.asked) == 1

    looks.find(loaded, SCOPE, [replace(container, labels=container.labels | {"backup.timeout": "2h"})])
    assert len(OddOptions.asked) == 2
    looks.find(replace(loaded), SCOPE, [container])
    looks.find(loaded, SCOPE, [])
    looks.find(loaded, SCOPE, [container])
    assert len(OddOptions.asked) == 4


def test_labels_of_a_container_that_is_not_on_the_network_are_read_once_too(loaded: Loaded) -> None:
    looks = resolution()
    outside = replace(listed("one", ODD | {"backup.odd.word": "echo"}), networks={})
    both = [listed("sidecar", {}), outside]
    network = NetworkInfo("n1", "shop_app_internal", {"com.docker.compose.network": "app_internal"})
    for _ in range(3):
        scope = looks.scope(loaded, both[0].id, both, [network])
        assert "not-on-network" in [problem.code for problem in scope.problems if "shop-one-1" in problem.place]
        looks.find(loaded, scope, both)
    assert len(OddOptions.asked) == 1
