"""What is shown of targets and runs, as JSON values; secrets end here.

Apart, because API and heartbeat show the same.
"""

from typing import Any

from controller.core.drill import Drill
from controller.core.records import rfc3339
from controller.core.redaction import Redact
from controller.core.run import Report
from controller.targets.target import Target
from controller.views.facade import Sidecar

LONG = ("settings", "provenance", "plan")
"""Of a target; shown of one, not in a list."""


def run(report: Report) -> dict[str, Any]:
    """A report, with its target's key in one piece beside the parts."""
    return report.model_dump(mode="json") | {"key": str(report.target)}


def drill(found: Drill) -> dict[str, Any]:
    """A drill, with its target's key in one piece beside the parts."""
    return found.model_dump(mode="json") | {"key": str(found.target)}


def outcome(found: Drill | None) -> dict[str, Any] | None:
    """A drill in brief, without what was compared."""
    if found is None:
        return None
    told = found.model_dump(mode="json", include={"id", "run", "state", "finished"})
    return told | {"compared": len(found.compared), "code": found.failure.code if found.failure else None}


def target(sidecar: Sidecar, found: Target) -> dict[str, Any]:
    """One target with its last good run and its next; no value of a secret of the file, the labels or the container."""
    known = (found.resolved.sensitive if found.resolved else ()) + (found.survey.sensitive if found.survey else ())
    shown: dict[str, Any] = redacted(found.as_dict(), sidecar.loaded.secrets.with_also(known).redact)
    good = sidecar.catalog.last_good(found.key)
    due = sidecar.next_due(found.key)
    last, passed = sidecar.drills.last(found.key), sidecar.drills.last_good(found.key)
    fresh = sidecar.expectations.of(found)
    return shown | {
        "last_good": run(good) if good else None,
        "last_drill": outcome(last),
        "last_good_drill": outcome(passed),
        "next_due": rfc3339(due) if due else None,
        "freshness": {"state": fresh.state, "reason": fresh.reason},
    }


def summary(sidecar: Sidecar, found: Target) -> dict[str, Any]:
    """One target in a list."""
    shown = target(sidecar, found)
    return {name: value for name, value in shown.items() if name not in LONG}


def redacted(value: Any, redact: Redact) -> Any:
    """The same JSON value with every text in it redacted, keys included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): redacted(item, redact) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, redact) for item in value]
    return value
