"""Which runs look wrong beside those before them, though each of their bytes is proved."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from config.target import Expect
from controller.backup.anomaly import HISTORY, Judgement, judged, share_lost
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.run import SAFETY, Report
from strategies.checks import rows_in
from tests.kit.world import TOKENS, World, client, is_problem, serving

KEY = Key(project="shop", service="db")
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
HALF = Expect.model_validate({"max-shrink": "50%"})
UNCHECKED = Expect.model_validate({"max-shrink": "none"})


def manifest(size: int, seconds: float = 60) -> Manifest:
    facts = dict.fromkeys(("run", "strategy", "container", "container_id", "image", "image_id", "engine"), "x")
    times = {"started": NOW, "finished": NOW + timedelta(seconds=seconds)}
    return Manifest.model_validate(
        facts | times | {"sidecar": "x", "target": KEY, "proof": "full", "artifacts": (dump(size=size),)}
    )


def dump(
    name: str = "shop.pgdump",
    size: int = 100,
    form: str = "x",
    moving: tuple[str, ...] = (),
    subject: str = "",
    **rows: int,
) -> Artifact:
    facts = {"name": name, "format": form, "size": 1, "sha256": "0", "plain_size": size, "plain_sha256": "0"}
    compression = "zstd" if name.endswith(".zst") else "none"
    counts = {table if form == "sqlite" else f"rows of {table}": number for table, number in rows.items()}
    counts |= {"indexes": 5} if counts else {}
    told = {"compression": compression, "proof": "full", "counts": counts, "subject": subject}
    return Artifact.model_validate(facts | told | {"approximate": [f"rows of {table}" for table in moving]})


def good(size: int = 100, seconds: float = 60, *artifacts: Artifact) -> Report:
    facts = {"state": "succeeded", "trigger": "api", "created": NOW, "seconds": seconds}
    return Report.model_validate(facts | {"id": "last", "target": KEY, "artifacts": artifacts or (dump(size=size),)})


def seen(
    now: Artifact | tuple[Artifact, ...], *past: Artifact | tuple[Artifact, ...], expect: Expect | None = None
) -> Judgement:
    """Of a run beside those before it, newest first."""

    def of(run: Artifact | tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        return run if isinstance(run, tuple) else (run,)

    made = manifest(100).model_copy(update={"artifacts": of(now)})
    return judged(made, [good(100, 60, *of(run)) for run in past], expect or Expect())


@pytest.mark.parametrize(("size", "odd"), [(100, False), (20, False), (19, True), (0, True), (500, False)])
def test_a_run_that_shrank_by_four_fifths_is_suspicious(size: int, odd: bool) -> None:
    found = judged(manifest(size), [good(100), good(10_000)], Expect()).suspicious

    less = f"{100 - size}% less"
    told = f"shrunk: shop.pgdump: {size} bytes are {less} than the 100 of run last, 80% are allowed"
    assert found == ((told,) if odd else ())


@pytest.mark.parametrize(("size", "odd"), [(50, False), (49, True)])
def test_how_much_may_be_gone_can_be_set(size: int, odd: bool) -> None:
    assert bool(judged(manifest(size), [good(100)], HALF).suspicious) is odd
    assert judged(manifest(70), [good(100)], Expect.model_validate({"max-shrink": "30%"})) == Judgement()


def test_with_none_or_without_a_good_run_nothing_is_odd() -> None:
    assert judged(manifest(1), [good(100)], UNCHECKED) == Judgement()
    assert judged(manifest(1), [], Expect()) == Judgement()
    assert judged(manifest(1), [good(0)], Expect()) == Judgement()
    assert seen(dump(orders=0), dump(orders=5000), expect=UNCHECKED) == Judgement()


def test_a_single_dump_that_shrank_is_suspicious_though_all_together_hardly_did() -> None:
    before = dump("log.pgdump", 10_000), dump("shop.pgdump", 1000)
    found = seen((dump("log.pgdump", 10_000), dump("shop.pgdump", 100)), before).suspicious

    assert [why.split(":")[:2] for why in found] == [["shrunk", " shop.pgdump"]]


def test_a_dump_that_is_gone_counts_in_the_sum_of_all() -> None:
    before = dump("shop.pgdump", 10_000), dump("globals.sql", 500)
    found = seen(dump("globals.sql", 500), before).suspicious

    assert [why.split(":")[:2] for why in found] == [["missing", f" shop.pgdump{MISSING}"], ["shrunk", " all dumps"]]
    assert [why.split(":")[0] for why in seen(dump("shop.pgdump", 10_000), before).suspicious] == ["missing"]


MISSING = ", which run last has"


@pytest.mark.parametrize(
    ("before", "now", "lacking"),
    [
        (
            dump("a.tar", form="tar", subject="/data '/with blank'"),
            dump("a.tar", form="tar", subject="/data"),
            "/with blank",
        ),
        (dump("a.tar", form="tar", subject="/data /srv"), dump("srv.tar", form="tar", subject="/srv"), "/data"),
        (dump("a.pgdump", subject="shop"), dump("b.pgdump", subject="log"), "shop"),
        (dump("a.pgdump.zst"), dump("b.pgdump.zst"), "a.pgdump"),
        (dump(orders=1, users=9), dump(users=9), "rows of orders in shop.pgdump"),
        (dump(form="sqlite", orders=0), dump(form="sqlite", users=9), "orders in shop.pgdump"),
    ],
)
def test_what_the_last_good_run_had_is_missed_however_small(before: Artifact, now: Artifact, lacking: str) -> None:
    for expect in (Expect(), UNCHECKED):
        assert f"missing: {lacking}{MISSING}" in seen(now, before, expect=expect).suspicious
    assert not any(why.startswith("missing") for why in (*seen(before, before).suspicious, *seen(now, now).suspicious))
    ignored = Expect.model_validate({"ignore": [lacking.removeprefix("rows of ").removesuffix(" in shop.pgdump")]})
    assert seen(now, before, expect=ignored).suspicious == ()


def with_parts(artifact: Artifact, *parts: str) -> Artifact:
    """The same, of which some tables are parts of another one."""
    return artifact.model_copy(update={"counts": artifact.counts | {f"partition {part}": 1 for part in parts}})


def test_partitions_come_and_go_and_the_rows_are_those_of_their_table() -> None:
    before = with_parts(dump(log=2000, log_1=1000, log_2=1000), "log_1", "log_2")
    now = with_parts(dump(log=2000, log_2=1000, log_3=1000), "log_2", "log_3")
    assert seen(now, before) == Judgement()
    assert seen(now, dump(log_2=1000, log_3=1000)) == Judgement(), "a run of before partitions were counted as such"
    emptied = with_parts(dump(log=0, log_2=0), "log_2")
    assert any("rows of log in" in why for why in seen(emptied, before).suspicious)
    assert any("missing: rows of log in" in why for why in seen(dump(users=1), before).suspicious)


def test_files_that_are_packed_otherwise_are_no_less() -> None:
    together = dump("files.tar", form="tar", subject="/data /srv")
    assert seen(
        (dump("data.tar", form="tar", subject="/data"), dump("srv.tar", form="tar", subject="/srv")), together
    ) == (Judgement())


def test_another_strategy_has_other_dumps() -> None:
    made = manifest(100).model_copy(update={"strategy": "sqlite"})
    before = good(100, 60, dump("shop.tar", 100)).model_copy(update={"strategy": "filesystem"})
    assert judged(made, [before], Expect()) == Judgement()


@pytest.mark.parametrize(
    ("before", "now", "odd"), [(1000, 199, True), (1000, 200, False), (999, 2, False), (1000, 5000, False)]
)
def test_of_a_thousand_rows_in_all_a_fifth_has_to_be_left(before: int, now: int, odd: bool) -> None:
    """In two tables, of which neither is empty."""
    found = seen(dump(orders=now - 1, users=1), dump(orders=before - 1, users=1)).suspicious

    less = f"{1 - now / before:.0%} less"
    told = f"fewer: shop.pgdump: {now} rows are {less} than the {before} of run last, 80% are allowed"
    assert found == ((told,) if odd else ())


def test_rows_of_all_databases_are_one_sum() -> None:
    before = dump("a.pgdump", orders=600), dump("b.pgdump", users=600)
    assert (
        seen((dump("a.pgdump", orders=100), dump("b.pgdump", users=100)), before)
        .suspicious[0]
        .startswith("fewer: all dumps: 200 rows")
    )
    assert not seen((dump("a.pgdump", orders=600), dump("b.pgdump", users=100)), before).suspicious
    assert not seen((dump("a.pgdump", orders=100), dump("b.pgdump")), before).suspicious, "b was not counted"


def test_a_large_table_that_became_empty_is_suspicious() -> None:
    before = dump(orders=1000, users=4000)

    found = seen(dump(orders=0, users=4000), before)
    told = "emptied: rows of orders in shop.pgdump: 0 of 1000 since run last"
    assert found == Judgement(suspicious=(told,))


@pytest.mark.parametrize("before", [dump(orders=999, users=4001), dump(orders=99, users=1), dump(orders=5, users=9)])
def test_a_small_table_that_became_empty_is_a_warning(before: Artifact) -> None:
    users = before.counts["rows of users"]
    found = seen(dump(orders=0, users=users), before)

    rows = before.counts["rows of orders"]
    assert found == Judgement(warnings=(f"fewer: rows of orders in shop.pgdump: 0 of {rows} since run last",))


def test_a_table_that_was_empty_in_one_of_the_last_good_runs_may_be_so_again() -> None:
    full, empty = dump(queue=1000, users=1000), dump(queue=0, users=1000)

    assert seen(empty, full, full, full).suspicious
    assert seen(empty, full, full, dump(users=1000)) == seen(empty, full, full, empty)
    assert [why.split(":")[0] for why in seen(empty, full, full, empty).warnings] == ["fewer"]
    assert seen(empty, full, full, dump()).suspicious, "a run of which nothing was counted says nothing"
    assert HISTORY == 7


def test_a_table_that_lost_much_and_has_rows_left_is_a_warning() -> None:
    found = seen(dump(queue=100, users=9000), dump(queue=1000, users=9000))

    assert found == Judgement(warnings=("fewer: rows of queue in shop.pgdump: 100 of 1000 since run last",))
    assert seen(dump(queue=9, users=9000), dump(queue=99, users=9000)) == Judgement()


def test_a_table_that_is_loaded_while_it_is_counted_is_a_warning() -> None:
    found = seen(dump(orders=0, users=1000, moving=("orders",)), dump(orders=1000, users=1000))
    assert (len(found.suspicious), len(found.warnings)) == (0, 1)


@pytest.mark.parametrize("pattern", ["sessions", "sess*", "public.sessions", "public.*"])
def test_ignored_tables_are_left_out_of_everything(pattern: str) -> None:
    expect = Expect.model_validate({"ignore": f"{pattern}, queue"})
    before = dump(size=1000, users=50, **{"public.sessions": 5000})

    assert seen(dump(size=10, users=50, **{"public.sessions": 0}), before, expect=expect) == Judgement()
    assert seen(dump(size=10, users=50, **{"public.sessions": 5000}), before, expect=expect).suspicious, (
        "it still has its rows, so the bytes are those of others"
    )
    assert seen(dump(size=10, users=50, **{"public.sessions": 0}), before).suspicious
    others = dump(size=1000, orders=2000, **{"public.sessions": 5000})
    assert seen(dump(size=1000, orders=0, **{"public.sessions": 0}), others, expect=expect).suspicious


def test_bytes_tell_where_what_may_be_emptied_was_but_a_small_part() -> None:
    expect = Expect.model_validate({"ignore": "sessions"})
    before, emptied = dump(size=1000, documents=60, sessions=5), dump(size=10, documents=20, sessions=0)
    assert [why.split(":")[0] for why in seen(emptied, before, expect=expect).suspicious] == ["shrunk"]
    many = dump(size=1000, documents=60, sessions=15)
    assert seen(emptied, many, expect=expect) == Judgement()


def test_a_small_database_without_any_row_is_suspicious_unless_it_was_so_before() -> None:
    before, void = dump(users=60, orders=50), dump(users=0, orders=0)
    (told,) = seen(void, before).suspicious
    assert told == "fewer: shop.pgdump: 0 rows are 100% less than the 110 of run last, 80% are allowed"
    assert not seen(dump(users=0, orders=1), before).suspicious
    assert not seen(void, before, void).suspicious
    assert not seen(void, dump(users=9)).suspicious
    assert not seen(void, before, expect=UNCHECKED).suspicious
    assert not seen(dump(users=0, orders=0, moving=("orders",)), before).suspicious, "it is being loaded"


@pytest.mark.parametrize("form", ["sqlite", "x"])
def test_a_database_without_any_table_lacks_those_that_it_had(form: str) -> None:
    before, none = dump(form=form, users=60), dump(form=form)
    assert seen(none, before) == Judgement(), "nobody has counted"
    told, *_ = judged(manifest(100), [good(100, 60, before)], Expect(), {"shop.pgdump"}).suspicious
    assert told.startswith("missing: ")
    assert told.endswith("users in shop.pgdump, which run last has")


def test_a_redis_without_a_key_lacks_no_database_and_is_told_as_one_without_rows() -> None:
    def told(keys: int) -> list[str]:
        before = dump().model_copy(update={"counts": {"keys in db0": keys}})
        judgement = judged(manifest(100), [good(100, 60, before)], Expect(), {"shop.pgdump"})
        return [why.split(":")[0] for why in judgement.suspicious]

    assert (told(9), told(10)) == ([], ["fewer"])


def test_a_run_is_not_compared_with_what_a_restore_has_replaced(tmp_path: Path) -> None:
    """It held what was wrong, such as a flood of rows, so that the night after looks as if it had lost them."""
    world = World(tmp_path)
    night = world.start(KEY, "schedule").future.result(timeout=15)
    world.start(KEY, SAFETY).future.result(timeout=15)
    assert [run.id for run in world.good(KEY)] == [night.id]
    assert len(world.catalog.good(KEY, limit=9)) == 2


def test_a_quoted_name_is_ignored_by_what_is_in_the_quotes() -> None:
    before = dump(users=50, **{'public."Queue Jobs"': 5000})
    expect = Expect.model_validate({"ignore": ["Queue *"]})
    assert seen(dump(users=50, **{'public."Queue Jobs"': 0}), before, expect=expect) == Judgement()


def test_tables_of_sqlite_and_keys_and_files_are_rows_and_roles_are_none() -> None:
    counts = {"keys in db0": 5, "files": 3, "bytes": 9, "role x": 1, "views": 2}
    assert rows_in("tar", counts) == {"keys in db0": 5, "files": 3}
    assert seen(dump(form="sqlite", views=0), dump(form="sqlite", views=900)).suspicious


def test_what_was_not_counted_says_nothing_of_rows() -> None:
    assert seen(dump(), dump(orders=1000)) == Judgement()
    assert seen(dump(orders=1000), dump()) == Judgement()


def test_another_compression_is_the_same_dump() -> None:
    assert seen(dump("shop.pgdump.zst", orders=1), dump("shop.pgdump", orders=1000)).suspicious


def test_of_many_tables_those_that_lost_most_are_named() -> None:
    before = {f"t{number}": 10 + number for number in range(12)}
    found = seen(dump(users=9, **dict.fromkeys(before, 0)), dump(users=9, **before)).warnings
    assert [why.split()[3] for why in found[:-1]] == ["t11", "t10", "t9", "t8", "t7"]
    assert found[-1] == "fewer: 7 more like these"


@given(
    before=some.dictionaries(some.sampled_from("abcdefgh"), some.integers(0, 10_000)),
    now=some.dictionaries(some.sampled_from("abcdefgh"), some.integers(0, 10_000), min_size=1),
    percent=some.integers(1, 99),
)
def test_a_run_is_suspicious_exactly_when_the_sum_a_large_table_or_every_row_is_lost(
    before: dict[str, int], now: dict[str, int], percent: int
) -> None:
    expect = Expect.model_validate({"max-shrink": f"{percent}%"})
    whole, left = sum(before.values()), sum(now.values())
    is_short = whole >= 1000 and (whole - left) * 100 > percent * whole
    is_emptied = any(rows >= 100 and rows * 5 >= whole and not now.get(name) for name, rows in before.items())
    is_emptied = is_emptied or (whole >= 10 and left == 0)

    found = seen(dump(**now), dump(**before), expect=expect)

    is_lacking = bool(before.keys() - now.keys())
    assert bool(found.suspicious) is bool(before and (is_short or is_emptied or is_lacking))
    lost = [name for name, rows in before.items() if rows and not now.get(name)]
    told = [why for why in (*found.suspicious, *found.warnings) if "0 of" in why or "missing" in why]
    assert len(told) >= min(len(lost), 1)


@pytest.mark.parametrize(
    ("before", "seconds", "odd"),
    [
        ((60, 60, 60), 5, True),
        ((60, 60, 60), 6, False),
        ((60, 60, 60), -3570, False),
        ((60, 60), 1, False),
        ((9, 9, 9), 0.1, False),
        ((900, 60, 1), 5, True),
    ],
)
def test_a_run_that_took_hardly_any_time_is_a_warning(before: tuple[int, ...], seconds: float, odd: bool) -> None:
    found = judged(manifest(100, seconds), [good(100, usual) for usual in before], Expect())

    assert [why.partition(":")[0] for why in found.warnings] == (["hasty"] if odd else [])
    assert not found.suspicious


def good_run(world: World) -> str:
    found = world.catalog.last_good(KEY)
    return found.id if found else ""


def test_an_accepted_run_is_the_new_base_and_only_a_suspicious_one_can_be(tmp_path: Path) -> None:
    world = World(tmp_path)
    with serving(world) as server, client(server, token=TOKENS["admin"]) as api:
        runs = []
        for _ in range(2):
            job = world.start(KEY, "api")
            runs.append(job.future.result(timeout=20))
        runs.sort(key=lambda run: run.id)
        odd = runs[1].model_copy(update={"suspicious": ("shrunk: by much",)})
        world.catalog.put(odd)
        assert good_run(world) == runs[0].id

        answer = api.post(f"/v1/runs/{odd.id}/accept")

        assert (answer.status_code, answer.json()["accepted"]) == (200, True)
        assert good_run(world) == odd.id
        assert (world.store.folder(KEY, odd.id) / "marks" / "accepted.json").is_file()
        assert is_problem(api.post(f"/v1/runs/{runs[0].id}/accept"), 409, "not-suspicious")
        assert is_problem(api.post("/v1/runs/nonsense/accept"), 404, "unknown-run")


def test_what_left_something_has_not_lost_all() -> None:
    assert [share_lost(now, 441_110) for now in (0, 2193, 441_109)] == ["100%", "99%", "0%"]
