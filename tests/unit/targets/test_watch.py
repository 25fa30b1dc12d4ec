"""The one loop that matters most goes on, whatever happens in it."""

import time
from pathlib import Path

from loguru import logger

from config.loading import Loaded
from controller.core.events import Bus
from controller.engine.client import Engine
from controller.targets.helper_containers import Helpers
from controller.targets.inventory import Inventory
from controller.targets.resolution import Resolution
from controller.targets.survey import Surveyor
from controller.targets.surveys import Surveys
from controller.targets.watch import Watch
from strategies import discover


def test_a_defect_of_a_look_is_logged_once_and_the_next_look_is_taken(tmp_path: Path) -> None:
    engine, inventory = Engine(f"unix://{tmp_path}/no-engine.sock"), Inventory(lambda _: False, lambda _: False, Bus())
    surveys = Surveys(Surveyor(engine, discover(), Helpers(engine, "", allowed=False)), inventory)
    looks, lines = list[float](), list[str]()

    def loaded() -> Loaded:
        looks.append(time.monotonic())
        raise ZeroDivisionError

    watch = Watch(engine, Resolution(discover()), inventory, surveys, loaded=loaded, looked=lambda: None)
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
