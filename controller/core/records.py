"""Frozen records, and times as RFC 3339."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer, WithJsonSchema


def utc_now() -> datetime:
    """What the system's clock says."""
    return datetime.now(UTC)


def rfc3339(time: datetime) -> str:
    """`2026-03-01T03:00:00.123Z`: RFC 3339 in UTC with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    AwareDatetime,
    PlainSerializer(rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


class Record(BaseModel):
    """Frozen, and forgiving to fields that a later release adds; a name that Python forbids has a `_` behind it."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        alias_generator=lambda name: name.rstrip("_"),
        validate_by_name=True,
        serialize_by_alias=True,
    )


class Versioned(Record):
    """A record that says by which major version of its form it was written; no other one is read."""

    schema_: Literal[1] = 1
