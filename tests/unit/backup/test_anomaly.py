"""Which runs look wrong beside those before them, though each of their bytes is proved."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from config.target import Expect
from controller.backup.anomaly import reasons
from controller.core.key import Key
from controller.core.manifest import Artifact, Manifest
from controller.core.run import Report
from tests.kit.world import World, client, is_problem, serving

KEY = Key(project="shop", service="db")
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
HALF = Expect.model_validate({"max-shrink": "50%"})


def manifest(size: int, seconds: float = 60) -> Manifest:
    artifact = Artifact(
        name="x", format="x", compression="zstd", size=1, sha256="0", plain_size=size, plain_sha256="0", proof="full"
    )
    facts = dict.fromkeys(("run", "strategy", "container", "container_id", "image", "image_id", "engine"), "x")
    times = {"started": NOW, "finished": NOW + timedelta(seconds=seconds)}
    return Manifest.model_validate(
        facts | times | {"sidecar": "x", "target": KEY, "proof": "full", "artifacts": (artifact,)}
    )


def good(size: int, seconds: float = 60) -> Report:
    return Report(id="x", target=KEY, state="succeeded", trigger="api", created=NOW, bytes=size, seconds=seconds)


@pytest.mark.parametrize(("size", "odd"), [(100, False), (50, False), (49, True), (0, True), (500, False)])
def test_a_run_that_shrank_by_more_than_is_allowed_is_suspicious(size: int, odd: bool) -> None:
    found = reasons(manifest(size), [good(100), good(10_000)], HALF)

    assert bool(found) is odd
    assert all(why.startswith("shrunk:") for why in found)


def test_without_max_shrink_or_without_a_good_run_nothing_is_suspicious() -> None:
    assert reasons(manifest(1), [good(100)], Expect()) == ()
    assert reasons(manifest(1), [], HALF) == ()
    assert reasons(manifest(1), [good(0)], HALF) == ()


def counted(name: str = "shop.pgdump", approximate: tuple[str, ...] = (), **counts: int) -> Artifact:
    facts = {"name": name, "format": "x", "size": 1, "sha256": "0", "plain_size": 1, "plain_sha256": "0"}
    compression = "zstd" if name.endswith(".zst") else "none"
    told = {"compression": compression, "proof": "full", "counts": counts, "approximate": approximate}
    return Artifact.model_validate(facts | told)


def fewer(before: Artifact, now: Artifact, expect: Expect = HALF) -> tuple[str, ...]:
    last = good(1).model_copy(update={"artifacts": (before,), "id": "last"})
    return reasons(manifest(1).model_copy(update={"artifacts": (now,)}), [last], expect)


@pytest.mark.parametrize(
    ("before", "now", "odd"),
    [
        (1000, 499, True),
        (1000, 500, False),
        (1000, 0, True),
        (100, 49, True),
        (99, 0, False),
        (1000, 5000, False),
        (0, 0, False),
    ],
)
def test_a_table_that_lost_more_rows_than_may_be_is_suspicious_unless_it_had_few(
    before: int, now: int, odd: bool
) -> None:
    found = fewer(counted(orders=before, users=before), counted(orders=now, users=before))

    told = f"fewer: orders in shop.pgdump: {now} of {before}, 50% are allowed since run last"
    assert found == ((told,) if odd else ())


def test_a_table_that_is_gone_has_no_rows_and_what_was_not_counted_says_nothing() -> None:
    assert fewer(counted(orders=1000, users=5), counted(users=5))[0].startswith(
        "fewer: orders in shop.pgdump: 0 of 1000"
    )
    assert fewer(counted(orders=1000), counted()) == ()
    assert fewer(counted(), counted(orders=1000)) == ()
    assert fewer(counted("other.pgdump", orders=1000), counted(orders=0)) == ()
    assert fewer(counted(orders=1000), counted(orders=0), Expect()) == ()


def test_what_is_just_allowed_is_allowed() -> None:
    assert fewer(counted(orders=1000), counted(orders=700), Expect.model_validate({"max-shrink": "30%"})) == ()


def test_another_compression_is_the_same_dump() -> None:
    assert fewer(counted("shop.pgdump", orders=1000), counted("shop.pgdump.zst", orders=1))


@pytest.mark.parametrize("rough", ["before", "now"])
@pytest.mark.parametrize(("rows", "odd"), [(499, False), (250, False), (249, True)])
def test_a_number_in_motion_may_miss_half_of_the_rest_as_well(rough: str, rows: int, odd: bool) -> None:
    moving = {name: ("orders",) if name == rough else () for name in ("before", "now")}
    found = fewer(counted(orders=1000, approximate=moving["before"]), counted(orders=rows, approximate=moving["now"]))
    assert bool(found) is odd


def test_of_many_tables_those_that_lost_most_are_named() -> None:
    before = {f"t{number}": 100 + number for number in range(12)}
    found = fewer(counted(**before), counted(x=1))
    assert [why.split()[1] for why in found] == ["t11", "t10", "t9", "t8", "t7", "7"]
    assert found[-1] == "fewer: 7 more like these"


@given(
    before=some.dictionaries(some.sampled_from("abcdefgh"), some.integers(0, 10_000)),
    now=some.dictionaries(some.sampled_from("abcdefgh"), some.integers(0, 10_000), min_size=1),
    percent=some.integers(1, 99),
)
def test_a_run_is_odd_exactly_when_some_table_lost_more_than_its_share(
    before: dict[str, int], now: dict[str, int], percent: int
) -> None:
    expect = Expect.model_validate({"max-shrink": f"{percent}%"})
    lost = [name for name, rows in before.items() if rows >= 100 and (rows - now.get(name, 0)) * 100 > percent * rows]
    found = fewer(counted(**before), counted(**now), expect)
    assert bool(found) is bool(lost)
    assert len(found) == min(len(lost), 6)


@pytest.mark.parametrize(
    ("before", "seconds", "odd"),
    [
        ((60, 60, 60), 5, True),
        ((60, 60, 60), 6, False),
        ((60, 60), 1, False),
        ((9, 9, 9), 0.1, False),
        ((900, 60, 1), 5, True),
    ],
)
def test_a_run_that_took_hardly_any_time_is_suspicious(before: tuple[int, ...], seconds: float, odd: bool) -> None:
    found = reasons(manifest(100, seconds), [good(100, usual) for usual in before], HALF)

    assert [why.partition(":")[0] for why in found] == (["hasty"] if odd else [])


def good_run(world: World) -> str:
    found = world.catalog.last_good(KEY)
    return found.id if found else ""


def test_an_accepted_run_is_the_new_base_and_only_a_suspicious_one_can_be(tmp_path: Path) -> None:
    world = World(tmp_path)
    with serving(world) as server, client(server) as api:
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
