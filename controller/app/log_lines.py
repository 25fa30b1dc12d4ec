"""The lines of the log that tell what has happened."""

from loguru import logger

from controller.core.events import RunEnded, TargetChanged


def run_ended(event: RunEnded) -> None:
    """The one line of a finished run."""
    report = event.report
    facts = {"target": str(report.target), "run": report.id, "state": report.state}
    bound = logger.bind(**facts, seconds=report.seconds, size=report.size, proof=report.proof)
    if failure := report.failure:
        bound.bind(code=failure.code).error("run {}: {}. {}", report.state, failure.message, failure.hint)
    elif report.suspicious:
        hint = f"Look at it; `backup-sidecar accept {report.id}` takes it for good."
        bound.warning("run succeeded, but it is suspicious: {}. {}", "; ".join(report.suspicious), hint)
    else:
        bound.info("run {}", report.state)


def target_changed(event: TargetChanged) -> None:
    """A target's state, and its problems with their remedies."""
    bound = logger.bind(target=str(event.key), state=event.state, container=event.container)
    bound.info("target {} is {}", event.key, event.state)
    for problem in event.problems:
        bound.bind(code=problem.code).log(problem.severity.upper(), "{}", problem)
