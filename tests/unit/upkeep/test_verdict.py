"""The one verdict: what makes it red, and that all who tell it say the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.problems import Problem
from controller.api.server import Server
from controller.core.failure import Failure
from controller.core.key import Key
from controller.core.loop import Loop
from controller.core.run import BY_HAND, Report
from controller.storage import disk
from controller.storage.room import room_for
from controller.upkeep.freshness import Freshness, FreshnessState
from controller.upkeep.verdict import Pending, SidecarFacts, Status, TargetFacts, judged
from tests.kit.receiver import receiving
from tests.kit.world import PASSWORD, POSTGRES, World, client, is_problem, local, serving

KEY = Key(project="shop", service="db")
NOW = datetime(2026, 3, 10, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
ERROR = Problem("no-client", "container shop-db-1", "has no pg_dump", "Install it.")


def run(state: str = "succeeded", when: datetime = NOW, **more: object) -> Report:
    name = f"{when:%Y%m%dT%H%M%SZ}-0a1b2c3d"
    fields = {"id": name, "target": KEY, "state": state, "trigger": "schedule", "created": when}
    return Report.model_validate(fields | {"finished": when + timedelta(minutes=5)} | more)


def failed(code: str = "command-failed", state: str = "failed", when: datetime = NOW) -> Report:
    return run(state, when, failure=Failure(code=code, message="it went wrong.", hint="Look."))


def facts(state: FreshnessState = "fresh", good: Report | None = None, **more: object) -> TargetFacts:
    return TargetFacts(Freshness(KEY, state, "so old", good), **more)  # type: ignore[arg-type]


def codes(target: TargetFacts | None = None, damaged: tuple[Report, ...] = (), **sidecar: object) -> list[str]:
    status = judged([target or facts()], damaged, SidecarFacts(**sidecar))  # type: ignore[arg-type]
    assert status.safe is not bool(status.reasons)
    return [reason.code for reason in status.reasons]


# --- a target -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["late", "stale", "never", "unknown"])
def test_what_is_not_fresh_is_red(state: FreshnessState) -> None:
    assert codes(facts(state)) == [state]


def test_what_promises_nothing_is_named_and_not_red() -> None:
    status = judged([facts("unpromised"), facts()], (), SidecarFacts())
    assert status.safe
    assert status.verdict == "safe: 1 fresh, 1 unpromised"


def test_a_target_with_a_problem_is_red_and_one_with_a_warning_is_not() -> None:
    (reason,) = judged([facts(problems=(ERROR,))], (), SidecarFacts()).reasons
    assert reason.code == "problem"
    assert str(reason) == "shop/db cannot be backed up: container shop-db-1: has no pg_dump [no-client]. Install it."
    assert codes(facts(problems=(replace(ERROR, severity="warning"),))) == []


def test_nobody_is_told_to_run_what_cannot_be_backed_up() -> None:
    never, problem = judged([facts("never", problems=(ERROR,))], (), SidecarFacts()).reasons
    assert str(never) == "shop/db is never: so old"
    assert problem.hint == "Install it."
    (alone,) = judged([facts("never")], (), SidecarFacts()).reasons
    assert "backup-sidecar run" in alone.hint


@pytest.mark.parametrize("state", ["failed", "interrupted", "missed"])
def test_a_last_run_that_failed_is_red_until_one_is_good_since(state: str) -> None:
    last, earlier = failed(state=state), run(when=NOW - HOUR)
    assert codes(facts(last=last, good=earlier)) == ["failed"]
    assert codes(facts(last=last)) == ["failed"]
    assert codes(facts(last=last, good=run(when=NOW - timedelta(minutes=2)))) == []


def test_a_run_that_ended_while_the_clock_was_ahead_hides_no_later_failure() -> None:
    earlier = run(when=NOW - HOUR, started=NOW - HOUR, finished=NOW + 99 * HOUR, seconds=60)
    assert codes(facts(last=failed(), good=earlier)) == ["failed"]
    assert codes(facts(last=failed(), good=earlier.model_copy(update={"seconds": 3700}))) == []


def test_how_a_run_ended_is_told_once() -> None:
    runs = failed("missed", "missed"), failed()
    told = [judged([facts(last=last)], (), SidecarFacts()).reasons[0].message for last in runs]
    assert told[0].endswith(" was missed: it went wrong")
    assert told[1].endswith(" failed: command-failed: it went wrong")


def test_a_due_time_at_which_a_run_was_under_way_is_no_failure_before_that_has_ended() -> None:
    busy = failed("run-in-progress", "missed")
    assert codes(facts(last=busy, pending=Pending("r", ""))) == []
    assert codes(facts(last=busy)) == ["failed"]


@pytest.mark.parametrize(
    ("last", "damaged", "wanted"),
    [
        (run(suspicious=("shrunk: by much",)), (), ["suspicious"]),
        (run(suspicious=("shrunk: by much",), accepted=True), (), []),
        (run(damaged="x"), (run(damaged="x"),), ["damaged"]),
        (run(), (), []),
    ],
)
def test_a_suspicious_or_damaged_newest_run_is_red(
    last: Report, damaged: tuple[Report, ...], wanted: list[str]
) -> None:
    assert codes(facts(last=last), damaged) == wanted


def test_a_target_that_a_restore_holds_is_red() -> None:
    assert codes(facts(restore="20260310T030000Z-00000000")) == ["restoring"]


def test_a_schedule_that_starts_nothing_is_red() -> None:
    status = judged([facts(idle_schedules=("schedule", "drill.schedule"))], (), SidecarFacts())
    assert [reason.code for reason in status.reasons] == ["unscheduled", "unscheduled"]
    assert "policy.create-containers" in status.reasons[1].hint


@pytest.mark.parametrize(
    ("pending", "stuck"),
    [
        (Pending("r", "slot", waited=HOUR / 2), False),
        (Pending("r", "slot", waited=2 * HOUR), True),
        (Pending("r", "away", waited=2 * HOUR), True),
        (Pending("r", "", waited=9 * HOUR), False),
        (Pending("r", "", overdue=timedelta(minutes=9)), False),
        (Pending("r", "", overdue=timedelta(minutes=11)), True),
    ],
)
def test_a_queue_that_does_not_move_is_red(pending: Pending, *, stuck: bool) -> None:
    assert codes(facts(pending=pending)) == ["waiting"] * stuck
    assert codes(facts(pending=pending, timeout=3 * HOUR)) == ["waiting"] * (stuck and not pending.reason)


def test_a_run_may_wait_for_its_turn_as_long_as_it_may_take() -> None:
    waiting = Pending("r", "slot", waited=timedelta(minutes=3))
    assert codes(facts(pending=waiting, timeout=timedelta(minutes=2))) == ["waiting"]
    assert codes(facts(pending=waiting, timeout=timedelta(minutes=4))) == []


# --- the sidecar ----------------------------------------------------------------------------------------------------


def test_every_error_of_a_self_check_is_red_and_a_warning_is_not() -> None:
    assert codes(problems=(ERROR,)) == ["problem"]
    assert codes(problems=(replace(ERROR, severity="warning"),)) == []


def test_a_store_that_will_not_take_the_next_night_is_red() -> None:
    assert codes(needed=1001, free=1000) == ["no-room"]
    assert codes(needed=1000, free=1000) == []
    assert codes(needed=1000, free=None) == []


def test_an_engine_that_is_not_watched_and_a_part_that_is_dead_are_red() -> None:
    assert codes(watching=False, dead=("schedule",)) == ["unwatched", "dead"]


def test_nothing_to_back_up_is_red() -> None:
    assert judged([], (), SidecarFacts()).verdict == "not safe: there is nothing to back up"


def test_nothing_to_back_up_is_right_on_one_node_of_many() -> None:
    status = judged([], (), SidecarFacts(may_idle=True))
    assert (status.safe, status.verdict) == (True, "safe: there is nothing to back up on this node")


def test_the_verdict_counts_what_is_wrong() -> None:
    told = judged([facts(), facts("late", last=failed())], (run(damaged="x"),), SidecarFacts(watching=False))
    assert told.verdict == "not safe: 1 late, 1 fresh, 1 failed, 1 damaged, 1 unwatched"
    assert Status((Freshness(KEY, "fresh", ""),)).verdict == "safe: every target is fresh (1)"


# --- as it is gathered, and told ------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    """With a target that was just backed up."""
    found = World(tmp_path, services={"db": POSTGRES | {"backup.expect.max-age": "1h", "backup.schedule": "none"}})
    found.start(KEY, "api").future.result(timeout=20)
    return found


def seen(world: World) -> list[str]:
    return [reason.code for reason in world.situation.status().reasons]


def test_a_run_by_hand_that_failed_is_seen_and_a_cancelled_one_a_safety_backup_or_one_of_the_future_is_not(
    world: World,
) -> None:
    assert seen(world) == []
    world.failure = Failure(code="store-full", message="no room")
    world.start(KEY, "restore").future.result(timeout=20)
    world.catalog.put(run("cancelled", datetime.now(UTC), failure=Failure(code="cancelled", message="x")))
    world.catalog.put(failed(when=datetime.now(UTC) + 1000 * HOUR))
    assert seen(world) == []

    world.start(KEY, "cli").future.result(timeout=20)
    assert seen(world) == ["failed"]

    world.failure = None
    world.start(KEY, "restore").future.result(timeout=20)
    assert seen(world) == ["failed"], "what a restore was about to replace is no night made good"
    world.start(KEY, "cli").future.result(timeout=20)
    assert seen(world) == []


def test_a_restore_that_holds_the_target_is_seen(world: World) -> None:
    world.jobs.reserve([KEY], "20260310T030000Z-00000000")
    assert seen(world) == ["restoring"]
    world.jobs.release("20260310T030000Z-00000000")
    assert seen(world) == []


def test_a_run_that_waits_too_long_is_seen(world: World) -> None:
    world.go.clear()
    job = world.start(KEY, "cli")
    job.update(state="queued", reason="slot", created=datetime.now(UTC) - 2 * HOUR)
    assert seen(world) == ["waiting"]
    assert 7200 <= world.jobs.queued()[str(KEY)] < 7300


def test_a_drill_that_nobody_may_do_is_seen(world: World) -> None:
    world.services["db"] |= {"backup.drill.schedule": "@weekly"}
    assert seen(world) == []
    world.drills.allowed = False
    assert seen(world) == ["unscheduled"]


def test_a_store_that_has_no_room_for_what_was_there_last_is_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free", lambda _: 1000)
    assert seen(world) == ["no-room"]

    gone = run(when=NOW - HOUR, pruned=NOW, size=1 << 30, artifacts=world.catalog.runs()[0].artifacts)
    world.catalog.put(gone.model_copy(update={"cause": BY_HAND}))
    assert seen(world) == ["no-room"]
    world.catalog.put(gone.model_copy(update={"cause": "keep-daily"}))
    assert seen(world) == []


def test_a_policy_that_leaves_the_next_run_no_room_is_seen_before_the_night(world: World) -> None:
    world.situation.status()
    (good,) = world.catalog.good(KEY, limit=1)

    size, older = good.size or 0, good.model_copy(update={"id": f"2025{good.id[4:]}", "pruned": NOW, "cause": BY_HAND})

    def reasons(runs: int) -> list[str]:
        world.configure(f"policy: {{max-store-per-target: {room_for(size) + runs * size}B}}")
        return list(map(str, world.situation.status().reasons))

    assert reasons(1) == []
    (told,) = reasons(0)
    assert told.startswith(f"the next run of {KEY} will not fit: policy.max-store-per-target leaves it ")
    world.catalog.put(older)
    assert len(reasons(1)) == 1, "nobody gives up what a person has deleted"
    world.catalog.put(older.model_copy(update={"cause": "keep-daily"}))
    assert reasons(1) == []


def test_no_secret_of_a_label_is_in_a_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.services["db"] = {"backup.enable": "true", "backup.commands.backup": f"dump --password={PASSWORD}"}
    (target,) = world.targets()
    broken = target.with_problem(replace(ERROR, message=f"says {PASSWORD}"))
    monkeypatch.setattr(world, "targets", lambda: [broken])
    (told,) = [reason for reason in world.situation.status().reasons if reason.code == "problem"]
    assert "says ***" in told.message


def test_a_loop_that_fails_at_each_step_is_a_dead_part() -> None:
    from controller.app.services import Services  # noqa: PLC0415

    def step() -> None:
        raise ZeroDivisionError

    loop = Loop("schedule", step, seconds=100)
    services = Services(loop)
    services.start()
    try:
        loop.wake()
        until = datetime.now(UTC) + timedelta(seconds=15)
        while not services.dead and datetime.now(UTC) < until:
            pass
        assert (services.alive, services.dead) == (True, ("schedule",))
    finally:
        services.stop()


@contextmanager
def told(world: World) -> Iterator[Server]:
    with serving(world) as server:
        yield server


def test_all_who_are_asked_say_the_same(world: World) -> None:
    with told(world) as server, client(server) as api, client(server, token="") as stranger, local(server) as own:
        assert stranger.get("/freshz").json() == {"status": "ok"}
        assert own.get("/v1/status").json()["safe"] is True
        assert api.get("/v1/targets/shop/db").json()["freshness"]["state"] == "fresh"
        metrics = api.get("/metrics").text
        assert 'backup_target_fresh{target="shop/db"} 1.0' in metrics
        assert "backup_safe 1.0" in metrics

        world.problems = (ERROR,)
        answer = stranger.get("/freshz")
        assert is_problem(answer, 503, "not-fresh")
        assert "shop" not in answer.text
        status = own.get("/v1/status").json()
        assert (status["safe"], status["verdict"]) == (False, "not safe: 1 fresh, 1 problem")
        (reason,) = status["reasons"]
        assert (reason["code"], reason["key"], reason["hint"]) == ("problem", None, "Install it.")
        metrics = api.get("/metrics").text
        assert "backup_safe 0.0" in metrics
        assert 'backup_unsafe_reasons{code="problem",target=""} 1.0' in metrics
        assert world.announcer.announcement(60, ()).freshness.reasons[0].code == "problem"

        world.watch.watching = False
        assert is_problem(stranger.get("/freshz"), 503, "not-fresh")
        assert [one["code"] for one in own.get("/v1/status").json()["reasons"]] == ["problem", "unwatched"]
        assert stranger.get("/healthz").is_success


def test_the_ping_tells_every_reason(world: World) -> None:
    with receiving() as check:
        world.configure(f"ping: {{url: '{check.url('own')}'}}")
        world.problems = (ERROR,)
        world.pings.look()
        (ping,) = check.wait(1)
    assert ping["path"] == "/own/fail"
    assert ping["body"].splitlines() == [
        "not safe: 1 fresh, 1 problem",
        "container shop-db-1: has no pg_dump [no-client]. Install it.",
    ]
