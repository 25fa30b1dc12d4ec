"""Room is looked at before the first byte of a restore."""

import time
from typing import Any

import pytest

from controller.core.errors import NoRoom
from controller.core.manifest import Artifact
from controller.engine.context import ExecContext
from controller.restore.room import Room, look
from controller.targets.session import Session
from strategies.base import Answer
from strategies.plan import Argv, Restore

DF = """Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/a name      100000 50000     49000      51% /var
"""
RESERVE_BYTES = Restore("there").reserve


class PlayedEngine:
    def __init__(self, free: Answer, size: Answer) -> None:
        self.answers = {("df",): free, ("size",): size}

    def ask(self, _: object, argv: Argv, **__: object) -> Answer:
        return self.answers[argv]


def looked_at(answer: Answer, *, freed: str = "", drops: bool = False, growth: float = 3, **sizes: Any) -> Room:
    context = ExecContext("c1", "sh", run="r1", deadline=time.monotonic() + 60)
    session = Session(PlayedEngine(answer, Answer(0, freed)), context, str)  # type: ignore[arg-type]  # played
    facts: dict[str, Any] = {"name": "x", "format": "raw", "compression": "none", "size": 1, "sha256": ""}
    facts |= {"plain_sha256": "", "proof": "full", "plain_size": 1000}
    restore = Restore("x", room=("df",), frees=("size",) if freed else None, growth=growth)
    room = look(session, restore, [Artifact(**facts | sizes)], drops=drops)
    assert room
    return room


def test_what_the_data_took_counts_with_a_tenth_more_else_the_dump_three_times() -> None:
    assert looked_at(Answer(0, DF), disk=10_000).needed == 11_000 + RESERVE_BYTES
    assert looked_at(Answer(0, DF)).needed == 3000 + RESERVE_BYTES
    assert looked_at(Answer(0, DF), growth=1.1).needed == 1100 + RESERVE_BYTES


def test_where_there_is_no_room_nothing_is_begun() -> None:
    room = looked_at(Answer(0, DF))
    assert room.free == 49_000 * 1024
    with pytest.raises(NoRoom, match=r"no room in db: 256 MiB are needed .* 48 MiB are free"):
        room.demand("db")
    looked_at(Answer(0, DF.replace("49000", "9000000"))).demand("db")


def test_where_there_is_no_df_it_is_only_warned_of() -> None:
    room = looked_at(Answer(127, "", "sh: df: not found"))
    assert room.warnings[0].startswith("room-unknown: ")
    room.demand("db")


def test_what_can_be_dropped_first_is_offered_where_it_helps_and_counts_once_it_is() -> None:
    with pytest.raises(NoRoom) as much:
        looked_at(Answer(0, DF), freed=str(1 << 30)).demand("db")
    with pytest.raises(NoRoom) as little:
        looked_at(Answer(0, DF), freed="1000").demand("db")
    assert "--drop-first" in much.value.hint
    assert little.value.hint == NoRoom.remedy
    looked_at(Answer(0, DF), freed=str(1 << 30), drops=True).demand("db")
    with pytest.raises(NoRoom, match="49 MiB are dropped"):
        looked_at(Answer(0, DF), freed=str(49 << 20), drops=True).demand("db")
