"""The order of a restore: everything is verified, then applied, then compared; what fails is undone. The engine is
played; on the real one it is `tests/e2e/test_restore.py`.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from controller.core.errors import (
    Cancelled,
    CommandFailed,
    CountsDiffer,
    Damaged,
    StoreFull,
    TargetDied,
    UnsafeArtifact,
)
from controller.core.manifest import Artifact
from controller.engine.context import ExecContext
from controller.engine.models import ExecResult
from controller.restore.apply import Applying
from controller.storage.codecs import compressor
from controller.storage.source import Source
from controller.targets.session import Session
from strategies.base import Answer
from strategies.checks import read_counts
from strategies.plan import RESTART, Archive, Count, Exec, Feed, Put, Restore, Run, Unsafe

PLAIN = b"create table item (id int);\n" * 5000
COUNT = Count(Exec(("count",)), read_counts)


class PlayedEngine:
    """Remembers what was done; `fails` names the commands that end with exit code 3."""

    def __init__(self, *fails: str, counts: bytes = b"", says: Mapping[str, str] = MappingProxyType({})) -> None:
        self.fails, self.counts, self.says = fails, counts, says
        self.done: list[str] = []
        self.fed: dict[str, bytes] = {}

    def ask(self, context: ExecContext, argv: Sequence[str], **_: object) -> Answer:
        self.done.append(argv[0])
        return Answer(3, "", "no\n") if argv[0] in self.fails else Answer(0, self.says.get(argv[0], ""))

    def feed(self, context: ExecContext, argv: Sequence[str], chunks: Iterable[bytes]) -> ExecResult:
        self.done.append(argv[0])
        self.fed[argv[0]] = b"".join(chunks)
        return ExecResult(3 if argv[0] in self.fails else 0, False, "line 7: no such table\n")

    def put(self, container: str, folder: str, chunks: Iterable[bytes]) -> None:
        self.done.append(f"put {folder}")
        self.fed[folder] = b"".join(chunks)

    def exists(self, container: str, path: str) -> bool:
        return path == "/there"

    def transition(self, container: str, what: str, *, deadline: float) -> None:
        self.done.append(what)
        if what in self.fails:
            raise TargetDied("it does not start")

    def kill(self, context: ExecContext, age: float) -> tuple[str, ...]:
        self.done.append("end")
        return ()

    def archive(self, context: ExecContext, path: str) -> "PlayedStream":
        if path not in self.says:
            return PlayedStream(self.counts)
        self.done.append(path)
        return PlayedStream(self.says[path].encode())


class PlayedStream:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def __enter__(self) -> list[bytes]:
        return [self.content]

    def __exit__(self, *_: object) -> None: ...


def compressed(plain: bytes) -> bytes:
    made = compressor(("zstd", 3))
    return bytes(made.compress(plain)) + made.flush()


def stored(folder: Path, name: str = "shop.sql", **facts: Any) -> Source:
    path = folder / f"{name}.zst"
    path.write_bytes(compressed(PLAIN))
    return Source(
        Artifact(
            name=path.name,
            format="mysql",
            compression="zstd",
            size=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            plain_size=len(PLAIN),
            plain_sha256=hashlib.sha256(PLAIN).hexdigest(),
            proof="full",
            **facts,
        ),
        path,
    )


def applying(engine: PlayedEngine, restore: Restore, *sources: Source, **more: Any) -> Applying:
    session = Session(
        engine=engine,  # type: ignore[arg-type]  # played
        context=ExecContext("c1", "sh", run="r1", deadline=time.monotonic() + 60),
        redact=lambda text: text.replace("hunter2", "***"),
    )
    return Applying(session, restore, {source.stored.name: source for source in sources}, **more)


STEPS = (Run(("aside",), undo=("back",)), Feed("shop.sql", ("load",), undo=("drop",)))


def test_the_plain_stream_reaches_the_command_whole_and_in_order(tmp_path: Path) -> None:
    engine, sizes = PlayedEngine(), []
    one = applying(engine, Restore("x", steps=STEPS, finish=(("tidy",),)), stored(tmp_path), on_bytes=sizes.append)
    one.verify()
    assert engine.done == []
    one.run()
    assert engine.done == ["aside", "load", "tidy"]
    assert engine.fed["load"] == PLAIN
    assert sizes[-1] == len(PLAIN)
    assert not one.undone


def test_a_failing_step_undoes_it_and_those_before_the_last_one_first(tmp_path: Path) -> None:
    engine = PlayedEngine("load")
    one = applying(engine, Restore("x", steps=(*STEPS, Run(("never",))), finish=(("tidy",),)), stored(tmp_path))
    with pytest.raises(CommandFailed, match="load failed with exit code 3: line 7: no such table"):
        one.run()
    assert engine.done == ["aside", "load", "end", "drop", "back"]
    assert one.undone


def test_what_an_undo_tells_is_a_warning_and_what_else_it_prints_is_not(tmp_path: Path) -> None:
    engine = PlayedEngine("load", says={"back": "dropped\nwritten-meanwhile: it is in /kept\n"})
    one = applying(engine, Restore("x", steps=STEPS), stored(tmp_path))
    with pytest.raises(CommandFailed):
        one.run()
    assert (one.undone, one.warnings) == (True, ["written-meanwhile: it is in /kept"])


def test_what_would_undo_is_told_before_each_step_and_what_clears_up_once_all_is_compared(tmp_path: Path) -> None:
    engine, told = PlayedEngine(), []
    steps = (*STEPS, Run(("clear",), leaves="it was cleared"))

    def owe(one: Applying) -> None:
        told.append((tuple(engine.done), one.owed, one.left, one.whole))

    applying(engine, Restore("x", steps=steps, finish=(("tidy",),)), stored(tmp_path), on_owed=owe).run()
    assert told == [
        ((), (("back",),), (), False),
        (("aside",), (("drop",), ("back",)), (), False),
        (("aside", "load"), (("drop",), ("back",)), ("perhaps it was cleared",), False),
        (("aside", "load", "clear"), (("tidy",),), ("it was cleared",), True),
        (("aside", "load", "clear", "tidy"), (), ("it was cleared",), True),
    ]


def test_what_could_not_be_undone_is_still_owed_and_what_could_is_not(tmp_path: Path) -> None:
    one = applying(PlayedEngine("load", "drop"), Restore("x", steps=STEPS), stored(tmp_path))
    with pytest.raises(CommandFailed):
        one.run()
    assert one.owed == (("drop",),)


def test_a_step_whose_undoing_cannot_be_noted_is_not_taken(tmp_path: Path) -> None:
    def owe(one: Applying) -> None:
        raise StoreFull("no room")

    engine = PlayedEngine()
    with pytest.raises(StoreFull):
        applying(engine, Restore("x", steps=STEPS), stored(tmp_path), on_owed=owe).run()
    assert "aside" not in engine.done


def test_what_was_not_begun_is_not_undone(tmp_path: Path) -> None:
    engine = PlayedEngine("aside")
    one = applying(engine, Restore("x", steps=STEPS), stored(tmp_path))
    with pytest.raises(CommandFailed):
        one.run()
    assert engine.done == ["aside", "end", "back"]


def test_an_undo_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    engine = PlayedEngine("load", "drop")
    one = applying(engine, Restore("x", steps=STEPS), stored(tmp_path))
    with pytest.raises(CommandFailed, match="load"):
        one.run()
    assert engine.done[-2:] == ["drop", "back"]
    assert any(warning.startswith("not-undone: drop failed") for warning in one.warnings)
    assert not one.undone


def test_what_swaps_comes_after_the_comparison_and_is_undone_like_any_step(tmp_path: Path) -> None:
    engine = PlayedEngine("swap", counts=b"3\trows of item\n")
    swap = (Run(("away",), undo=("open",)), Run(("swap",), undo=("swap back",)))
    restore = Restore("x", steps=STEPS, counts=BY_ARCHIVE, swap=swap, finish=(("tidy",),))
    one = applying(engine, restore, stored(tmp_path, counts={"rows of item": 3}))
    with pytest.raises(CommandFailed):
        one.run()
    assert engine.done == ["aside", "load", "away", "swap", "end", "swap back", "open", "drop", "back"]
    assert (one.compared, one.undone) == (1, True)


def test_a_restart_is_the_engines_work_and_so_is_the_one_that_undoes_it(tmp_path: Path) -> None:
    engine = PlayedEngine("await", counts=b"3\trows of item\n")
    swap = (Run(("look",), undo=RESTART), Run(("swap",), undo=("swap back",)), Run(RESTART, undo=("true",)))
    restore = Restore("x", steps=STEPS, counts=BY_ARCHIVE, swap=(*swap, Run(("await",), undo=("true",))))
    one = applying(engine, restore, stored(tmp_path, counts={"rows of item": 3}))
    with pytest.raises(CommandFailed):
        one.run()
    assert engine.done[2:] == [
        "look",
        "swap",
        "restart",
        "await",
        "end",
        "true",
        "swap back",
        "restart",
        "drop",
        "back",
    ]
    assert one.undone


def test_what_does_not_start_again_is_still_owed(tmp_path: Path) -> None:
    engine = PlayedEngine("restart", counts=b"3\trows of item\n")
    swap = (Run(("look",), undo=RESTART), Run(("swap",), undo=("swap back",)), Run(RESTART, undo=("true",)))
    one = applying(engine, Restore("x", counts=BY_ARCHIVE, swap=swap), stored(tmp_path, counts={"rows of item": 3}))
    with pytest.raises(TargetDied):
        one.run()
    assert one.owed == (RESTART,)


@pytest.mark.parametrize(("settled", "fails"), [("no", True), ("yes", False)])
def test_a_last_step_that_was_done_all_the_same_is_not_undone(tmp_path: Path, settled: str, fails: bool) -> None:
    engine = PlayedEngine("swap", says={"settled": settled})
    swap = (Run(("away",), undo=("open",)), Run(("swap",), undo=("swap back",)))
    restore = Restore("x", steps=STEPS, swap=swap, settled=("settled",), finish=(("tidy",),))
    one = applying(engine, restore, stored(tmp_path))
    with pytest.raises(CommandFailed) if fails else nullcontext():
        one.run()
    assert (one.whole, one.undone) == (not fails, fails)
    end = ["swap back", "open", "drop", "back"] if fails else ["tidy"]
    assert engine.done == ["aside", "load", "away", "swap", "end", "settled", *end]


def test_what_fails_before_the_last_step_is_undone_without_a_question(tmp_path: Path) -> None:
    engine = PlayedEngine("away", says={"settled": "yes"})
    swap = (Run(("away",), undo=("open",)), Run(("swap",), undo=("swap back",)))
    with pytest.raises(CommandFailed):
        applying(engine, Restore("x", steps=STEPS, swap=swap, settled=("settled",)), stored(tmp_path)).run()
    assert engine.done[-4:] == ["end", "open", "drop", "back"]


def test_what_does_not_clear_up_is_a_warning_and_nothing_is_owed(tmp_path: Path) -> None:
    engine = PlayedEngine("tidy")
    one = applying(engine, Restore("x", steps=STEPS, finish=(("tidy",), ("rest",))), stored(tmp_path))
    one.run()
    assert engine.done[-2:] == ["tidy", "rest"]
    assert [warning.partition(":")[0] for warning in one.warnings] == ["not-cleared-up"]
    assert (one.whole, one.owed) == (True, ())


def test_what_a_step_tells_is_a_warning(tmp_path: Path) -> None:
    engine = PlayedEngine()
    engine.ask = lambda *_, **__: Answer(0, "sessions-ended: 2\n")  # type: ignore[method-assign]
    one = applying(engine, Restore("x", steps=(Run(("away",), tells=True), Run(("quiet",)))))
    one.run()
    assert one.warnings == ["sessions-ended: 2"]


def test_a_command_may_read_another_stream_than_the_artifacts(tmp_path: Path) -> None:
    engine = PlayedEngine()
    fed = Feed("shop.sql", ("load",), rewrite=lambda chunks: (chunk.upper() for chunk in chunks))
    applying(engine, Restore("x", steps=(fed,)), stored(tmp_path)).run()
    assert engine.fed["load"] == PLAIN.upper()


def test_what_cannot_be_undone_is_named(tmp_path: Path) -> None:
    steps = (Run(("drop",), leaves="the database shop was dropped"), Run(("clear",)))
    one = applying(PlayedEngine("clear"), Restore("x", steps=steps), stored(tmp_path))
    with pytest.raises(CommandFailed):
        one.run()
    assert one.warnings == [
        "not-undone: the database shop was dropped",
        "not-undone: perhaps what clear has done stays",
    ]
    assert not one.undone


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"x" + data[1:], lambda data: data + b"x"])
def test_every_artifact_is_read_to_its_end_before_anything(tmp_path: Path, damage: Any) -> None:
    good, bad = stored(tmp_path, "good.sql"), stored(tmp_path, "bad.sql")
    bad.path.write_bytes(damage(bad.path.read_bytes()))
    with pytest.raises(Damaged, match=r"bad\.sql\.zst"):
        applying(PlayedEngine(), Restore("x"), good, bad).verify()


def test_a_file_that_is_exchanged_after_it_was_verified_is_found(tmp_path: Path) -> None:
    engine, source = PlayedEngine(), stored(tmp_path)
    one = applying(engine, Restore("x", steps=STEPS), source)
    one.verify()
    source.path.write_bytes(compressed(PLAIN.replace(b"item", b"evil")))
    with pytest.raises(Damaged, match="changed while"):
        one.run()
    assert engine.done[-2:] == ["drop", "back"]


def test_a_guard_is_asked_before_anything_is_applied(tmp_path: Path) -> None:
    def guard(stream: Any) -> None:
        raise Unsafe(f"{stream.read(6).decode()} leads out")

    with pytest.raises(UnsafeArtifact, match=r"shop\.sql\.zst: create leads out"):
        applying(PlayedEngine(), Restore("x", guards={"shop.sql": guard}), stored(tmp_path)).verify()


def test_a_restore_is_cancelled_in_the_middle_of_a_guard(tmp_path: Path) -> None:
    read: list[bytes] = []

    def check() -> None:
        raise Cancelled("enough")

    one = applying(
        PlayedEngine(),
        Restore("x", guards={"shop.sql": lambda stream: read.append(stream.read())}),
        stored(tmp_path),
        check=check,
    )
    with pytest.raises(Cancelled):
        one.verify()
    assert read == []


COUNTED = {"counts": {"rows of item": 3, "rows of log": 9}, "approximate": ("rows of log",)}
BY_ARCHIVE = {"shop.sql": Count(Archive("/x"), read_counts)}


def test_what_is_found_again_is_compared(tmp_path: Path) -> None:
    engine = PlayedEngine(counts=b"3\trows of item\n8\trows of log\n")
    one = applying(engine, Restore("x", steps=STEPS, counts=BY_ARCHIVE), stored(tmp_path, **COUNTED))
    one.run()
    assert one.compared == 2
    (warning,) = one.warnings
    assert warning.startswith("approximate: shop.sql.zst: rows of log: 8, 9 were counted")


def test_what_differs_is_named_and_everything_undone(tmp_path: Path) -> None:
    engine = PlayedEngine(counts=b"2\trows of item\n9\trows of log\n")
    restore = Restore("x", steps=STEPS, counts=BY_ARCHIVE, finish=(("tidy",),))
    one = applying(engine, restore, stored(tmp_path, **COUNTED))
    with pytest.raises(CountsDiffer, match="rows of item: 2, 3 were counted"):
        one.run()
    assert engine.done == ["aside", "load", "end", "drop", "back"]
    assert one.undone


def test_what_differs_is_kept_where_that_is_accepted_and_told(tmp_path: Path) -> None:
    engine = PlayedEngine(counts=b"2\trows of item\n9\trows of log\n")
    one = applying(
        engine,
        Restore("x", steps=STEPS, counts=BY_ARCHIVE, finish=(("tidy",),)),
        stored(tmp_path, **COUNTED),
        accept_differences=True,
    )
    one.run()
    assert engine.done == ["aside", "load", "tidy"]
    assert one.warnings[0].startswith("accepted: shop.sql.zst: rows of item: 2, 3 were counted")


DEFINED = {"counts": {"rows of item": 3, "definition of view v": 7}}
ROWS = Count(Archive("/x"), read_counts, covers=lambda what: what.startswith("rows"))
VIEWS = Count(Archive("views"), read_counts, covers=lambda what: what.startswith("definition"))
MOVED = (Run(("move",), undo=("unmove",)), Run(("settle",), undo=("unsettle",)))


def moving(engine: PlayedEngine, folder: Path, **more: Any) -> Applying:
    restore = Restore("x", steps=STEPS, counts={"shop.sql": ROWS}, swap=MOVED, swapped={"shop.sql": VIEWS})
    return applying(engine, restore, stored(folder, **DEFINED), **more)


def test_what_only_the_swap_brings_is_compared_before_its_last_step(tmp_path: Path) -> None:
    engine = PlayedEngine(counts=b"3\trows of item\n", says={"views": "7\tdefinition of view v\n"})
    one = moving(engine, tmp_path)
    one.run()
    assert engine.done == ["aside", "load", "move", "views", "settle"]
    assert (one.compared, one.warnings) == (2, [])
    assert one.counted == {"shop.sql": {"rows of item": 3, "definition of view v": 7}}


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ("", "definition of view v: none is there; the dump lacks it"),
        ("8\tdefinition of view v\n", "definition of view v: its digest is 8, and was 7; somebody changed it"),
    ],
)
def test_what_the_swap_has_not_brought_is_named_and_the_swap_undone(tmp_path: Path, there: str, told: str) -> None:
    engine = PlayedEngine(counts=b"3\trows of item\n", says={"views": there})
    one = moving(engine, tmp_path)
    with pytest.raises(CountsDiffer, match=told):
        one.run()
    assert engine.done == ["aside", "load", "move", "views", "end", "unmove", "drop", "back"]
    assert one.undone


def test_what_nobody_has_counted_is_told_once(tmp_path: Path) -> None:
    restore = Restore("x", steps=STEPS, counts={"shop.sql": ROWS}, swap=MOVED, swapped={"shop.sql": VIEWS})
    one = applying(PlayedEngine(), restore, stored(tmp_path))
    one.run()
    assert one.warnings == ["not-compared: nothing was counted when shop.sql.zst was made"]


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_belated_is_loaded_once_all_is_in_place_and_undoes_nothing(tmp_path: Path, fails: bool) -> None:
    engine = PlayedEngine(*["late"] * fails)
    belated = (lambda: None, lambda: Feed("shop.sql", ("late",)))
    one = applying(engine, Restore("x", steps=STEPS, belated=belated, finish=(("tidy",),)), stored(tmp_path))
    one.run()
    assert engine.done == ["aside", "load", "late", "tidy"]
    assert engine.fed["late"] == PLAIN
    told = ["not-loaded: shop.sql: late failed with exit code 3: line 7: no such table"] if fails else []
    assert [warning.strip() for warning in one.warnings] == told


def test_what_has_failed_is_fed_again_as_long_as_the_step_says_that_it_would_help(tmp_path: Path) -> None:
    def again(printed: str) -> Feed | None:
        assert "no such table" in printed
        return Feed("shop.sql", ("better",), rewrite=lambda chunks: iter([b"other"]))

    engine = PlayedEngine("load")
    one = applying(engine, Restore("x", steps=(Feed("shop.sql", ("load",), again=again),)), stored(tmp_path))
    one.run()
    assert engine.done == ["load", "better"]
    assert engine.fed["better"] == b"other"
    failing = Restore("x", steps=(Feed("shop.sql", ("load",), again=lambda printed: None),))
    with pytest.raises(CommandFailed, match="no such table"):
        applying(PlayedEngine("load"), failing, stored(tmp_path)).run()


def test_an_answer_that_is_no_number_fails_the_comparison(tmp_path: Path) -> None:
    engine = PlayedEngine(counts=b"ERROR\n")
    with pytest.raises(CommandFailed, match="ERROR"):
        applying(engine, Restore("x", steps=STEPS, counts=BY_ARCHIVE), stored(tmp_path, **COUNTED)).run()


def test_a_run_without_counts_is_restored_with_a_warning(tmp_path: Path) -> None:
    one = applying(PlayedEngine(), Restore("x", steps=STEPS, counts=BY_ARCHIVE), stored(tmp_path))
    one.run()
    assert one.warnings == ["not-compared: nothing was counted when shop.sql.zst was made"]


def test_a_cancelled_restore_applies_nothing_more(tmp_path: Path) -> None:
    def check() -> None:
        if "aside" in engine.done:
            raise Cancelled("enough")

    engine = PlayedEngine()
    with pytest.raises(Cancelled):
        applying(engine, Restore("x", steps=STEPS), stored(tmp_path), check=check).run()
    assert engine.done == ["aside", "end", "back"]


def test_a_tar_may_be_put_by_the_engine(tmp_path: Path) -> None:
    engine = PlayedEngine()
    applying(engine, Restore("x", steps=(Put("shop.sql", "/srv"),)), stored(tmp_path)).run()
    assert engine.fed["/srv"] == PLAIN


def test_what_is_in_the_way_is_a_line_or_a_path(tmp_path: Path) -> None:
    session = applying(PlayedEngine(), Restore("x")).session
    assert session.in_the_way(Archive("/there")) == ["/there"]
    assert session.in_the_way(Archive("/elsewhere")) == []
    assert session.in_the_way(Exec(("ask",))) == []


def test_a_secret_in_what_a_command_says_is_not_repeated(tmp_path: Path) -> None:
    engine = PlayedEngine()
    engine.ask = lambda *_, **__: Answer(1, "", "password hunter2 refused")  # type: ignore[method-assign]
    with pytest.raises(CommandFailed) as error:
        applying(engine, Restore("x", steps=(Run(("x",)),))).run()
    assert "hunter2" not in error.value.message + error.value.stderr
