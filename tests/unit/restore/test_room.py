"""Room is looked at before the first byte of a restore."""

import time
from typing import Any

import pytest

from controller.core.errors import NoRoom
from controller.core.manifest import Artifact
from controller.engine.context import ExecContext
from controller.restore.room import RESERVE_BYTES, Room, look
from controller.targets.session import Session
from strategies.base import Answer

DF = """Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/a name      100000 50000     49000      51% /var
"""
GIBIBYTE = 1 << 30


class PlayedEngine:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def ask(self, *_: object, **__: object) -> Answer:
        return self.answer


def looked_at(answer: Answer, **sizes: Any) -> Room:
    context = ExecContext("c1", "sh", run="r1", deadline=time.monotonic() + 60)
    session = Session(PlayedEngine(answer), context, str)  # type: ignore[arg-type]  # played
    facts: dict[str, Any] = {"name": "x", "format": "raw", "compression": "none", "size": 1, "sha256": ""}
    facts |= {"plain_sha256": "", "proof": "full", "plain_size": 1000}
    return look(session, ("df",), [Artifact(**facts | sizes)])


def test_what_the_data_took_counts_with_a_tenth_more_else_the_dump_three_times() -> None:
    assert looked_at(Answer(0, DF), disk=10_000).needed == 11_000 + RESERVE_BYTES
    assert looked_at(Answer(0, DF)).needed == 3000 + RESERVE_BYTES


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
