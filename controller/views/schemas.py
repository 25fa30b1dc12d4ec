"""What goes over every wire, as models: runs, drills, restores, problems and the status."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, computed_field

from config.problems import Severity
from controller.core.drill import Drill, DrillState
from controller.core.key import Key
from controller.core.records import Record, Time
from controller.core.redaction import Redact
from controller.core.restoration import Restoration
from controller.core.run import Report
from controller.upkeep.freshness import FreshnessState

JsonObject = dict[str, JsonValue]
KeyText = Annotated[str, BeforeValidator(str)]
"""A target's key in one piece."""
Value = TypeVar("Value")


def read(attribute: str) -> Any:
    """A field that is read from an attribute of another name."""
    return Field(validation_alias=attribute)


class View(Record):
    """Something of the program's, as others see it."""

    @classmethod
    def of(cls, shown: Any) -> Self:
        """From whatever has attributes of these names, and so for what these hold."""
        return cls.model_validate(shown, from_attributes=True)


class Keyed(View):
    """What belongs to a target, with the target's key in one piece beside its parts."""

    target: Key

    @computed_field  # type: ignore[prop-decorator]  # As pydantic documents it.
    @property
    def key(self) -> str:
        return str(self.target)


class RunView(Keyed, Report):
    """A run, while it is under way and afterwards."""


class DrillView(Keyed, Drill):
    """A drill, while it is under way and afterwards."""


class RestoreView(Keyed, Restoration):
    """A restore, while it is under way and afterwards."""


class DrillSummary(View):
    """A drill in brief."""

    id: str
    run: str
    state: DrillState
    finished: Time | None
    compared: Annotated[int, BeforeValidator(len)]
    """How many things were counted at the dump and again after the restore."""
    code: Annotated[str | None, BeforeValidator(lambda failure: failure and failure.code), read("failure")]
    """Why it failed."""


class ProblemView(View):
    """One thing that is wrong with a label, with the file, or with the sidecar's place."""

    code: str
    place: str
    message: str
    hint: str
    severity: Severity


class ErrorView(View):
    """Why something could not be done."""

    code: str
    message: str
    hint: str
    transient: bool
    """The same may succeed later."""


class StoredRun(View):
    """A good run in brief."""

    run: Annotated[str, read("id")]
    time: Time
    size: int | None


class DamagedRun(View):
    """A stored run whose bytes are not what was written."""

    run: Annotated[str, read("id")]
    key: Annotated[KeyText, read("target")]
    reason: Annotated[str, read("damaged")]


class CopyView(View):
    """How old the copies of a target at a destination are against what was promised."""

    key: KeyText
    destination: str
    state: FreshnessState
    reason: str
    run: Annotated[str | None, BeforeValidator(lambda copy: copy and copy.run), read("copy")]
    """The newest that was read back from there."""
    time: Time | None
    """Of that run."""
    proved: Annotated[Time | None, BeforeValidator(lambda copy: copy and copy.proved), read("copy")]
    """When the object was last read there whose proof is the oldest."""
    level: Annotated[str | None, BeforeValidator(lambda copy: copy and copy.level), read("copy")]
    """How far the newest copy is proved: `read-back`, or `rehearsed` with a real identity."""
    rehearsed: Time | None
    """When a copy of the target there was last decrypted with a real identity."""


class FreshnessView(View):
    """How old a target's last good run is against what was promised."""

    key: KeyText
    state: FreshnessState
    reason: str
    last_good: Annotated[StoredRun | None, read("good")]
    present: bool
    """Whether its container is there."""


class ReasonView(View):
    """One thing that is wrong."""

    code: str
    message: str
    hint: str
    key: Annotated[KeyText | None, BeforeValidator(lambda key: key and str(key))]
    """None: it is the sidecar's own."""


class StatusView(View):
    """The answer to "am I safe?"."""

    safe: bool
    verdict: str
    targets: tuple[FreshnessView, ...]
    copies: tuple[CopyView, ...]
    """Of each target, at each of its destinations."""
    damaged: tuple[DamagedRun, ...]
    reasons: tuple[ReasonView, ...]
    """Everything that is wrong; empty when `safe`."""


NAMES = {"container", "format", "id", "image", "key", "name", "project", "run", "service", "strategy", "target"}
"""Fields that say which thing is meant: a password may be `postgres`, and the strategy is called so all the same."""


def redacted(value: Value, redact: Redact) -> Value:
    """The same with every text in it redacted, but for names, keys, and the words of our own vocabulary."""
    shown: Any = value
    if isinstance(value, str):
        shown = redact(value)
    elif isinstance(value, BaseModel):
        texts = {name: item for name, item in value if not is_vocabulary(type(value).model_fields[name].annotation)}
        shown = value.model_copy(update=redacted(texts, redact))
    elif isinstance(value, Mapping):
        shown = {
            name: item if name in NAMES and isinstance(item, str) else redacted(item, redact)
            for name, item in value.items()
        }
    elif isinstance(value, list | tuple):
        shown = type(value)(redacted(item, redact) for item in value)
    result: Value = shown
    return result


def is_vocabulary(annotation: Any) -> bool:
    """Whether a field holds one of a few known words."""
    return any(get_origin(kind) is Literal for kind in (annotation, *get_args(annotation)))
