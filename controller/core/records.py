"""Frozen records, and times as RFC 3339."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer


def rfc3339(time: datetime) -> str:
    """`2026-03-01T03:00:00.123Z`: RFC 3339 in UTC with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str) -> datetime:
    """The opposite of `rfc3339`; raises ValueError for what is no time, or one without a zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no zone")
    return found.astimezone(UTC)


Time = Annotated[datetime, PlainSerializer(rfc3339, when_used="json")]


class Record(BaseModel):
    """Frozen, and forgiving to fields that a later release adds."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)
