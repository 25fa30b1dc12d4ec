"""The one loop that matters most goes on, whatever happens in it."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from loguru import logger

from config.loading import Loaded, load
from controller.core.events import Bus
from controller.engine.client import Engine
from controller.engine.models import Listed, NetworkInfo
from controller.targets import watch as watching
from controller.targets.helper_containers import Helpers
from controller.targets.inventory import Inventory
from controller.targets.resolution import Resolution
from controller.targets.scope import find_scope
from controller.targets.survey import Surveyor
from controller.targets.surveys import Surveys
from controller.targets.watch import Watch
from strategies import discover
from tests.kit.played_engine import ID, LISTED, NETWORKS, PlayedEngine, playing, well
from tests.unit.engine.test_answers import odd

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
ELSEWHERE = "f" * 64
"""The container of the sidecar: tests that run in one do not ask the engine which it is."""


def test_a_defect_of_a_look_is_logged_once_and_the_next_look_is_taken(tmp_path: Path) -> None:
    engine, inventory = Engine(f"unix://{tmp_path}/no-engine.sock"), Inventory(lambda _: False, lambda _: False, Bus())
    surveys = Surveys(Surveyor(engine, discover(), Helpers(engine, "", allowed=False)), inventory)
    looks, lines = list[float](), list[str]()

    def loaded() -> Loaded:
        looks.append(time.monotonic())
        raise ZeroDivisionError

    watch = Watch(engine, Resolution(discover()), inventory, surveys, loaded=loaded, looked=lambda: None)
    watch._own_id = ELSEWHERE
    sink = logger.add(lambda message: lines.append(message.record["message"]))
    watch.start()
    try:
        deadline = time.monotonic() + 15
        while len(looks) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert watch.alive
        assert not watch.watching
    finally:
        watch.stop()
        logger.remove(sink)
    assert lines.count("watch: a step ended by a defect of this program") == 1


# --- an engine that answers anything


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlayedEngine]:
    with playing(tmp_path_factory.mktemp("played")) as engine:
        yield engine


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("config")
    (folder / "config.yaml").write_text("scope: {project: any}")
    return load(folder, {"BACKUP_API_TOKEN": "0123456789abcdef-token"}, discover().keys())


@pytest.fixture(scope="module")
def watch(played: PlayedEngine, loaded: Loaded) -> Iterator[Watch]:
    """Its steps are taken by the test, one after the other: a defect in one of them fails it."""
    engine, inventory = Engine(played.address), Inventory(lambda _: False, lambda _: False, Bus())
    surveys = Surveys(Surveyor(engine, discover(), Helpers(engine, "", allowed=False)), inventory)
    watch = Watch(engine, Resolution(discover()), inventory, surveys, loaded=lambda: loaded, looked=lambda: None)
    watch._own_id = ELSEWHERE
    yield watch
    watch.stop()


@settings(max_examples=2 * settings.default.max_examples)
@given(some.lists(odd, min_size=1, max_size=4))
def test_after_answers_of_any_shape_the_targets_are_known_again(
    played: PlayedEngine, watch: Watch, answers: list[bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watching, "SETTLE_SECONDS", 0.0)
        coming = itertools.chain(answers, itertools.repeat(answers[-1]))
        played.script = lambda _: next(coming)
        watch._engine.renegotiate()
        watch._dirty.set()
        watch._look_where_due()
        watch._listen()
        played.script = well
        watch._engine.renegotiate()
        watch._dirty.set()
        watch._look_where_due()
        assert [(str(target.key), target.container.id) for target in watch._inventory.targets()] == [("shop/web", ID)]


# --- labels that say anything

ends = """enable strategy schedule timezone catch-up timeout stall-timeout retries retention.keep-within quiesce user
    retention.keep-last retention.max-age compression commands.pre commands.backup commands.post commands.pre.1 env.A
    workdir expect.min-size expect.max-shrink expect.max-age drill.schedule drill.check filesystem.paths sqlite.paths
    postgres.databases targets.a.enable targets.a.strategy targets.b.filesystem.paths targets..x cron type enabled"""
values = """true false 1 yes filesystem postgres mysql redis sqlite command /data @daily none 7 -1 1h 90s 10MiB 80% UTC
    [] {} Europe/Madrid zstd:19 pause [[]] ["a","b"] [["a"],["b"]] ${HOME} a,b , null 1e999 \\ud800"""
key = some.sampled_from(ends.split()) | some.text(max_size=12)
names = key.map(lambda end: f"backup.{end}") | some.text()
words = some.sampled_from([*values.split(), "0 3 * * *", "H H * * *", "9" * 400, "[" * 5000]) | some.text()
label_sets = some.dictionaries(names, words, max_size=8)


@settings(max_examples=20 * settings.default.max_examples)
@given(label_sets, some.booleans())
def test_labels_that_say_anything_break_no_target_but_their_own_and_that_by_no_defect(
    loaded: Loaded, labels: dict[str, str], is_enabled: bool
) -> None:
    enabled = {"backup.enable": "true", "backup.strategy": "filesystem"} if is_enabled else {}
    odd_one = LISTED | {"Id": "a" * 64, "Names": ["/shop-odd-1"], "Labels": {**labels, **enabled}}
    listed = [Listed.from_json(row) for row in (LISTED, odd_one)]
    scope = find_scope(loaded, None, listed, map(NetworkInfo.from_json, NETWORKS))
    targets = Resolution(discover()).find(loaded, scope, listed)
    assert targets["shop/web"].state == "pending"
    assert "internal-error" not in {problem.code for target in targets.values() for problem in target.problems}
