"""An error as a report tells it."""

from controller.core.errors import SidecarError
from controller.core.redaction import Redact
from controller.core.report import Failure


def failure(error: SidecarError, redact: Redact) -> Failure:
    """What the report tells of an error."""
    return Failure(
        code=error.code,
        message=redact(error.message),
        hint=error.hint,
        transient=error.transient,
        exit_code=getattr(error, "exit_code", None),
        stderr=redact(getattr(error, "stderr", ""))[-4096:],
    )
