"""The lines of the log that tell what has happened."""

from loguru import logger

from controller.core.events import DrillEnded, RestoreEnded, RunEnded, TargetChanged


def run_ended(event: RunEnded) -> None:
    """The one line of a finished run."""
    report = event.report
    facts = {"target": str(report.target), "run": report.id, "state": report.state}
    bound = logger.bind(**facts, **of(report.by), seconds=report.seconds, size=report.size, proof=report.proof)
    if failure := report.failure:
        bound.bind(code=failure.code).error("run {}: {}. {}", report.state, failure.message, failure.hint)
    elif report.suspicious:
        hint = f"Look at it; `backup-sidecar accept {report.id}` takes it for good."
        bound.warning("run succeeded, but it is suspicious: {}. {}", "; ".join(report.suspicious), hint)
    else:
        bound.info("run {}", report.state)


def restore_ended(event: RestoreEnded) -> None:
    """The one line of a finished restore."""
    report = event.report
    facts = {"restore": report.id, "run": report.run, "target": str(report.target), "container": report.container}
    bound = logger.bind(**facts, **of(report.by), state=report.state, seconds=report.seconds, compared=report.compared)
    if report.failure:
        bound.bind(code=report.failure.code).error("restore failed: {}", report.failure.message)
    else:
        bound.info("restore {}", report.state)


def drill_ended(event: DrillEnded) -> None:
    """The one line of a finished drill."""
    report = event.report
    facts = {"target": str(report.target), "run": report.run, "drill": report.id}
    bound = logger.bind(**facts, **of(report.by), seconds=report.seconds)
    if failure := report.failure:
        bound.bind(code=failure.code).error("drill {}: {}. {}", report.state, failure.message, failure.hint)
    else:
        bound.info("drill {}", report.state)


def of(by: str) -> dict[str, str]:
    """Who asked, as a fact; none where nobody did."""
    return {"by": by} if by else {}


def target_changed(event: TargetChanged) -> None:
    """A target's state, and its problems with their remedies."""
    bound = logger.bind(target=str(event.key), state=event.state, container=event.container)
    bound.info("target {} is {}", event.key, event.state)
    for problem in event.problems:
        bound.bind(code=problem.code).log(problem.severity.upper(), "{}", problem)
