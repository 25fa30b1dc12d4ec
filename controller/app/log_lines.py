"""The lines of the log that tell what has ended."""

from loguru import logger

from controller.core.events import RunEnded


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
