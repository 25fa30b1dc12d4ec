"""Who listens hears everything of its kind, and harms nobody."""

from datetime import UTC, datetime

from loguru import logger

from controller.core.events import Bus, RunBegan, RunEnded
from controller.core.key import Key
from controller.core.run import Report

REPORT = Report(
    id="20260101T000000Z-00000000",
    target=Key(project="shop", service="db"),
    state="running",
    trigger="cli",
    created=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_subscribers_hear_events_of_their_kind_in_the_order_in_which_they_came() -> None:
    bus, heard = Bus(), list[str]()
    bus.subscribe(RunEnded, lambda event: heard.append(f"first {event.report.state}"))
    bus.subscribe(RunEnded, lambda event: heard.append(f"second {event.report.state}"))
    bus.subscribe(RunBegan, lambda event: heard.append(f"began {event.report.state}"))

    bus.publish(RunEnded(REPORT))

    assert heard == ["first running", "second running"]


def test_a_subscriber_s_defect_is_logged_and_reaches_neither_the_others_nor_the_publisher() -> None:
    bus, heard, lines = Bus(), list[object](), list[str]()

    def broken(event: RunEnded) -> None:
        raise ZeroDivisionError

    bus.subscribe(RunEnded, broken)
    bus.subscribe(RunEnded, heard.append)
    sink = logger.add(lambda message: lines.append(message.record["message"]))
    try:
        bus.publish(RunEnded(REPORT))
    finally:
        logger.remove(sink)

    assert heard == [RunEnded(REPORT)]
    assert lines == ["RunEnded: a subscriber ended by a defect of this program"]
