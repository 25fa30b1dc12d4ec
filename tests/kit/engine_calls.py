"""Everything that is ever asked of an engine, each once."""

from collections.abc import Callable

from controller.engine.client import Engine
from controller.engine.context import ExecContext
from controller.engine.drill_container import Limits
from tests.kit.played_engine import ID

CONTEXT = ExecContext(ID)


def archived(engine: Engine) -> int:
    with engine.archive(CONTEXT.within(5), "/x") as stream:
        return sum(map(len, stream))


CALLS: dict[str, Callable[[Engine], object]] = {
    "version": lambda engine: engine.version(),
    "ping": lambda engine: engine.ping(5),
    "containers": lambda engine: engine.containers(),
    "networks": lambda engine: engine.networks(),
    "inspect": lambda engine: engine.inspect(ID),
    "events": lambda engine: list(engine.events(silence=5)),
    "ask": lambda engine: engine.ask(CONTEXT.within(5), ["true"]),
    "feed": lambda engine: engine.feed(CONTEXT.within(5), ["cat"], [b"x"]),
    "pause": lambda engine: engine.transition(ID, "pause"),
    "exists": lambda engine: engine.exists(ID, "/x"),
    "put": lambda engine: engine.put(ID, "/", [b"x"]),
    "archive": archived,
    "drill": lambda engine: engine.create_drill_container(ID, "i", {}, Limits(1, 1.0)),
    "helper": lambda engine: engine.create_helper_container(ID, "i", {}, 1),
    "remove": lambda engine: engine.remove_own_container(ID),
    "start": lambda engine: engine.start_own_container(ID),
    "written": lambda engine: engine.written(ID),
    "binds": lambda engine: engine.named_binds(ID),
    "log": lambda engine: engine.log_tail(ID),
}
