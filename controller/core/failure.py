"""Why a run, a restore or a drill did not succeed."""

from typing import Self

from loguru import logger

from controller.core.errors import SidecarError
from controller.core.records import Record
from controller.core.redaction import Redact

STDERR_CHARACTERS = 4096
"""How much of a command's last words a report keeps."""


class Failure(Record):
    """Why an activity did not succeed, and the next step."""

    code: str
    message: str
    hint: str = ""
    transient: bool = False
    exit_code: int | None = None
    stderr: str = ""
    """The last lines, redacted and bounded."""

    @classmethod
    def of(cls, error: SidecarError, redact: Redact = str, where: str = "") -> Self:
        """What a report tells of an error, and of where it came about, unless its message does."""
        place = f" ({where})" if where and where not in error.message else ""
        return cls(
            code=error.code,
            message=redact(error.message) + place,
            hint=redact(error.hint),
            transient=error.transient,
            exit_code=getattr(error, "exit_code", None),
            stderr=redact(getattr(error, "stderr", ""))[-STDERR_CHARACTERS:],
        )

    @classmethod
    def defect(cls, activity: str, error: Exception, redact: Redact) -> Self:
        """What a report tells of a defect of this program, which is logged with its traceback."""
        logger.opt(exception=error).error("{} ended by a defect of this program", activity)
        message = redact(f"{type(error).__name__}: {error}")
        return cls(code=SidecarError.code, message=message, hint="Please report it with the log.")

    @classmethod
    def interrupted(cls, detail: str = "", hint: str = "Start it again.", *, transient: bool = True) -> Self:
        """What a report tells of an activity whose sidecar died."""
        message = "; ".join(filter(None, ("the sidecar ended while it was under way", detail)))
        return cls(code="interrupted", message=message, hint=hint, transient=transient)
