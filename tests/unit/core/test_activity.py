"""What is under way gives its slot back, also by a defect of this program."""

from datetime import UTC, datetime

from controller.core.activity import Activities, Activity
from controller.core.key import Key
from controller.core.run import Report


def test_a_defect_fails_the_activity_and_frees_its_slot() -> None:
    now = datetime.now(UTC)
    report = Report(id="r", target=Key(project="shop", service="db"), state="running", trigger="api", created=now)
    activities, activity = Activities[Activity[Report], Report](), Activity(report)

    activities.start("shop/db", activity, lambda _: 1 // 0)

    ended = activity.future.result(10)
    assert (ended.state, ended.failure.code, bool(ended.finished)) == ("failed", "internal-error", True)
    assert activities.at("shop/db") is None


def test_a_defect_after_the_end_changes_no_report() -> None:
    now = datetime.now(UTC)
    report = Report(id="r", target=Key(project="shop", service="db"), state="running", trigger="api", created=now)
    activities, activity = Activities[Activity[Report], Report](), Activity(report)

    def work(activity: Activity[Report]) -> None:
        activities.finish(activity, activity.report.model_copy(update={"state": "succeeded"}))
        raise ZeroDivisionError

    activities.start("shop/db", activity, work)
    activities.join(10)

    assert activity.future.result(0).state == activity.report.state == "succeeded"
