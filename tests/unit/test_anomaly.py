"""Which runs look wrong beside those before them, though each of their bytes is proved."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.target import Expect
from controller.anomaly import reasons
from controller.report import Artifact, Key, Manifest, Report
from tests.unit.serving import World, client, is_problem, serving

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
