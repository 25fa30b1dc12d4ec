"""Why a run, a restore or a drill did not succeed."""

from controller.core.errors import SidecarError
from controller.core.records import Record
from controller.core.redaction import Redact


class Failure(Record):
    """Why a run did not succeed."""

    code: str
    message: str
    hint: str = ""
    transient: bool = False
    exit_code: int | None = None
    stderr: str = ""
    """The last lines, redacted and bounded."""


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
