"""The types of settings: each takes what a person writes and gives one plain value, or says what is wrong with it.

Errors are `PydanticCustomError` whose context carries a `hint`. They describe what was found by its kind, and never
repeat the value: it may be a password that was put in the wrong place. Strategies build their options of these too.
"""

import json
import re
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic_core import PydanticCustomError

from config.wording import MULTI_LINE, UNSAFE, is_unsafe, is_variable_name


class Model(BaseModel):
    """What all models of settings share: kebab-case outside (`keep-daily`), snake_case in Python (`keep_daily`)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        alias_generator=lambda name: name.replace("_", "-"),
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


def model_in(annotation: Any) -> type[Model] | None:
    """The model of settings in a type, if there is one: `Retention`, `Orchestrator | None`, `dict[str, OwnTarget]`."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Model) else None
    return next((model for inner in get_args(annotation) if (model := model_in(inner))), None)


def invalid(message: str, hint: str, code: str = "bad-value") -> PydanticCustomError:
    """An error for a validator to raise; `code` becomes the problem's code. Neither text may hold the value."""
    return PydanticCustomError("problem", "{message}", {"message": message, "hint": hint, "code": code})


def readable(text: str, allowed: str = MULTI_LINE) -> str:
    """The text itself; raises for characters that deceive a reader or that no argument of a program can hold."""
    if is_unsafe(text, allowed):
        raise invalid(f"holds {UNSAFE}", "Remove them.", "bad-characters")
    return text


# --- durations, sizes, shares ---------------------------------------------------------------------------------------

_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_LONGEST_DURATION = timedelta(days=36_500)
_DURATION_HINT = "Write it with a unit (s, m, h, d, w): `90s`, `15m`, `1h30m`, `2d`, `1w`."


def _span(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return _bounded(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise invalid("a bare number is not a duration, because its unit would be a guess", _DURATION_HINT)
    if not isinstance(value, str):
        raise invalid("is not a duration", _DURATION_HINT)
    text = value.strip()
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise invalid(_why_no_duration(text), _DURATION_HINT)
    weeks, days, hours, minutes, seconds = (int((group or "0")[:12]) for group in match.groups())
    try:
        return _bounded(timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds))
    except OverflowError:
        raise invalid("a duration may not be above 36500 days", _DURATION_HINT) from None


def _bounded(duration: timedelta) -> timedelta:
    if not timedelta(0) <= duration <= _LONGEST_DURATION:
        raise invalid("a duration may be neither negative nor above 36500 days", _DURATION_HINT)
    return duration


def _duration(value: Any) -> timedelta:
    if not (duration := _span(value)):
        raise invalid("a duration has to be above zero", _DURATION_HINT)
    return duration


def _why_no_duration(text: str) -> str:
    reasons = {
        r"": "is empty, and a duration is wanted",
        r"[+-]?\d+([.,]\d+)?": "a bare number is not a duration, because its unit would be a guess",
        r"-.*": "a duration cannot be negative",
        r"\d+:[\d:]+": "a clock time is not a duration",
        r"(?i)\d+ *(y|mo|years?|months?)": "years and months have no fixed length",
        r"\d+[.,]\d+.*": "a duration is made of whole numbers",
    }
    return next((why for pattern, why in reasons.items() if re.fullmatch(pattern, text)), "is not a duration")


def written(duration: timedelta) -> str:
    """A duration as a person writes it: `1h30m`."""
    seconds, text = int(duration.total_seconds()), ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(written, when_used="json")]
"""`90s`, `15m`, `1h30m`, `2d`, `1w` -> timedelta above zero."""
Span = Annotated[timedelta, BeforeValidator(_span), PlainSerializer(written, when_used="json")]
"""A duration that may also be `0s`."""

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kKMGT]?)(i?)B")
_SIZE_HINT = "Write it with a unit (B, kB, MB, GB, KiB, MiB, GiB): `10MiB`."


def _size(value: Any) -> int:
    if isinstance(value, int | float) or (isinstance(value, str) and re.fullmatch(r"\s*\d+\s*", value)):
        raise invalid("a bare number is not a size, because its unit would be a guess", _SIZE_HINT)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or (match[3] and not match[2]):
        raise invalid("is not a size", _SIZE_HINT)
    power = " kMGT".index(match[2].replace("K", "k") or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


Size = Annotated[int, BeforeValidator(_size)]
"""`512B`, `10MB`, `10MiB` -> bytes."""


def _share(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value.strip() == "none"):
        return None
    match = re.fullmatch(r"\s*(\d{1,2}(?:\.\d+)?) ?%\s*", value) if isinstance(value, str) else None
    if match is None or float(match[1]) == 0:
        raise invalid("is not a share above 0 % and below 100 %", "Write it in per cent: `50%`, or `none`.")
    return float(match[1]) / 100


def _per_cent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


Share = Annotated[float | None, BeforeValidator(_share), PlainSerializer(_per_cent, when_used="json")]
"""`50%` -> 0.5; `none` -> None."""


def _count(value: Any) -> int | None:
    if value is None or (isinstance(value, str) and value.strip() == "none"):
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,6}", text) or int(text) == 0:
        raise invalid("is not a number of runs from 1 on", "Write a number such as `7`, or `none` to drop this rule.")
    return int(text)


Count = Annotated[int | None, BeforeValidator(_count)]
"""A number from 1 on, or `none`."""

# --- lists and names ------------------------------------------------------------------------------------------------


def _comma_list(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = json_array(value) if value.lstrip().startswith("[") else [item.strip() for item in value.split(",")]
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise invalid("is not a list of words", 'Write `a, b` or `["a", "b"]`.')
    return tuple(readable(item) for item in value if item)


def json_array(text: str) -> list[Any]:
    """Read a JSON array; the error names the column at which it breaks."""
    hint = 'Write it with double quotes: `["a","b"]`.'
    try:
        array = json.loads(text)
    except json.JSONDecodeError as error:
        raise invalid(f"is a broken JSON array, at line {error.lineno} column {error.colno}", hint) from None
    except RecursionError:
        raise invalid("is a JSON array that is nested too deeply", hint) from None
    except ValueError:
        raise invalid("is a JSON array with a number that is too long", hint) from None
    if not isinstance(array, list):
        raise invalid("is not a JSON array", hint)
    return array


CommaItems = BeforeValidator(_comma_list)
CommaList = Annotated[tuple[str, ...], CommaItems]
"""`a, b` or `["a", "b"]` -> a tuple; empty entries are left out."""


def _variable_name(value: str) -> str:
    if not is_variable_name(value):
        raise invalid("is not the name of a variable", "Use letters, digits and `_`, not beginning with a digit.")
    if value.upper().startswith("BACKUP_"):
        raise invalid(
            "begins with `BACKUP_`, which is reserved for the sidecar", "Choose another name.", "reserved-name"
        )
    return value


VariableName = Annotated[str, AfterValidator(_variable_name)]
"""Name of an environment variable that a user may set; `BACKUP_*` is reserved."""


def _variable_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str) or "\0" in value:
        raise invalid("is not the text of a variable", "Write it in quotes.")
    return value


VariableNames = Annotated[tuple[VariableName, ...], CommaItems]
VariableValue = Annotated[str, BeforeValidator(_variable_value)]


def _user(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?", value):
        raise invalid("is not a user", "Write `name`, `uid`, `name:group` or `uid:gid`.")
    return value


User = Annotated[str, AfterValidator(_user)]
"""`postgres`, `999`, `999:999`."""


def absolute(path: str) -> str:
    """The path itself; raises for one that is relative, leads up again or cannot be read."""
    if not readable(path).startswith("/") or ".." in path.split("/"):
        hint = "Write the path in the target's container, beginning with `/` and without `..`."
        raise invalid("is not an absolute path", hint)
    return path


AbsolutePaths = Annotated[tuple[Annotated[str, AfterValidator(absolute)], ...], BeforeValidator(_comma_list)]


def _folder(path: Path) -> Path:
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts:
        raise invalid("is not an absolute path", "Write the folder in the sidecar's container, beginning with `/`.")
    if len(pure.parts) == 1:
        raise invalid(
            "is the root of the file system", "Name a folder of its own, such as `/var/lib/sidecar/artifacts`."
        )
    return Path(*pure.parts)


Folder = Annotated[Path, AfterValidator(_folder)]
"""In the sidecar's own container."""


def _workdir(value: str) -> str:
    folders = [part for part in absolute(readable(value, "")).split("/") if part not in ("", ".")]
    if folders[:1] in (["proc"], ["sys"], ["dev"]):
        raise invalid("lies under /proc, /sys or /dev", "Choose a folder of the container's own file system.")
    return value


Workdir = Annotated[str, AfterValidator(_workdir)]
"""Absolute path in the target, not under /proc, /sys or /dev."""

# --- compression ----------------------------------------------------------------------------------------------------


Codec = Literal["zstd", "gzip", "none"]


class Compression(NamedTuple):
    """What the store does to a stream."""

    codec: Codec
    level: int = 0
    """1 to 19 for zstd, 1 to 9 for gzip, 0 for none and for reading."""

    def __str__(self) -> str:
        return f"{self.codec}:{self.level}" if self.level else self.codec


_LEVELS = {"zstd": (3, 19), "gzip": (6, 9), "none": (0, 0)}


def _compression(value: Any) -> Compression:
    if isinstance(value, Compression):
        return value
    hint = "Write `zstd`, `zstd:1` to `zstd:19`, `gzip`, `gzip:1` to `gzip:9`, or `none`."
    match = re.fullmatch(r"\s*(zstd|gzip|none)(?::(\d{1,2}))?\s*", value) if isinstance(value, str) else None
    if match is None:
        raise invalid("is not a compression", hint)
    codec: Codec = match[1]  # type: ignore[assignment]  # The expression allows no other.
    usual, highest = _LEVELS[codec]
    level = usual if match[2] is None else int(match[2])
    if match[2] is not None and not 1 <= level <= highest:
        raise invalid(f"is not a level of {codec}", hint)
    return Compression(codec, level)


CompressionField = Annotated[Compression, BeforeValidator(_compression), PlainSerializer(str, when_used="json")]
"""`zstd`, `zstd:19`, `gzip`, `none` -> `Compression`."""
