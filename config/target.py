"""What may be set for one target, by labels or in the file; the text under a field is its reference, written once.

Keys are kebab-case outside (`keep-daily`) and snake_case in Python (`keep_daily`).
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from config.commands import CommandField, CommandList
from config.cron import Cron, Timezone
from config.fields import (
    Compression,
    CompressionField,
    Count,
    Duration,
    Share,
    Size,
    Span,
    User,
    VariableName,
    VariableValue,
    Workdir,
)

TARGET_NAME = r"[a-z0-9][a-z0-9-]{0,31}"


class Model(BaseModel):
    """What all models share."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        alias_generator=lambda name: name.replace("_", "-"),
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


class Commands(Model):
    """Commands that run in the target."""

    pre: CommandList = ()
    """Commands before the backup, in order; one that fails ends the run."""
    backup: CommandList = ()
    """Commands whose joined standard output is the backup; they stop at the first failure, and replace the strategy."""
    post: CommandList = ()
    """Commands after the backup, also after a failed one, with `BACKUP_OUTCOME` set."""
    restore: CommandList = ()
    """Commands that take back from standard input what `commands.backup` wrote, for a restore."""


class Retention(Model):
    """Which runs stay, in restic's words: a run stays if any rule wants it."""

    keep_within: Span = timedelta(days=2)
    """Time before the newest good run in which every run stays, `max-age` or not; `0s` turns it off.

    Where it is set and no number is, nothing else stays; the built-in one alone lets nothing go.
    """
    keep_last: Count = None
    """Newest runs to keep, whatever their age."""
    keep_hourly: Count = None
    """Hours of which the newest run stays."""
    keep_daily: Count = 7
    """Days of which the newest run stays."""
    keep_weekly: Count = 4
    """Weeks of which the newest run stays."""
    keep_monthly: Count = None
    """Months of which the newest run stays."""
    keep_yearly: Count = None
    """Years of which the newest run stays."""
    max_age: Duration | None = None
    """Age above which a run goes, unless `keep-within` keeps it or it is the newest good one."""

    @property
    def keeps_within(self) -> bool:
        """Whether somebody has set `keep-within`, so that it is a rule even where no number is set."""
        return bool(self.keep_within) and "keep_within" in self.model_fields_set


class Expect(Model):
    """What a good backup looks like."""

    min_size: Size | None = None
    """Size of the dumped stream below which the run fails, because it cannot be whole."""
    max_shrink: Share | None = None
    """Share by which a backup, or a table in it, may be smaller than in the last good one; else it is `suspicious`."""
    max_age: Duration | None = None
    """Age of the last good run up to which the target counts as fresh."""


class Drill(Model):
    """Rehearsals of the restore."""

    schedule: Cron = "none"
    """When to rehearse a restore into a throw-away container."""
    check: CommandField | None = None
    """Command that runs in the restored container and exits 0 when the data is right."""


class CommonSettings(Model):
    """The settings that do not depend on the strategy."""

    schedule: Cron | None = None
    """Cron, `@daily`, `H` for a minute or hour spread by key, or `none`; unset is once a night, from 00 to 05."""
    timezone: Timezone = "UTC"
    """IANA name of the zone in which the schedule is meant, and in which the days of retention begin."""
    catch_up: bool = True
    """Whether a run that was missed while sidecar, host or target were down is made up for, once."""
    timeout: Duration = timedelta(hours=1)
    """Longest time for a whole run."""
    stall_timeout: Duration = timedelta(minutes=10)
    """Longest time without a single byte of the dump, which tells a hanging dump from a slow one."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a run that failed for a passing reason, such as a lost engine, begins anew within its timeout."""
    retention: Retention = Retention()
    """Which runs stay."""
    compression: CompressionField = Compression("zstd", 3)
    """`zstd`, `zstd:19`, `gzip` or `none`."""
    quiesce: Literal["none", "pause", "stop"] = "none"
    """Hold writes while reading: `pause` or `stop` the container; only for `filesystem`."""
    user: User | None = None
    """User of every command in the target; unset is the image's own."""
    workdir: Workdir | None = None
    """Working directory of every command in the target; unset is the image's own."""
    env: dict[VariableName, VariableValue] = Field(default_factory=dict)
    """Variables of every command in the target; `BACKUP_*` is reserved."""
    counts: bool = True
    """Whether rows, keys and files are counted beside each dump, so that a restore can be compared with it."""
    expect: Expect = Expect()
    """What a good backup looks like."""
    drill: Drill = Drill()
    """Rehearsals of the restore."""


class TargetLayer(CommonSettings):
    """`targets.<key>` of the file: the labels without prefix; a strategy's options stand beneath its name."""

    strategy: str | None = None
    """How the data is dumped, checked and restored; not needed with `commands.backup`."""
    commands: Commands = Commands()
    """Commands that run in the target."""


class TargetSettings(TargetLayer):
    """Everything that holds for one target, merged; `strategy` is the canonical name."""

    options: dict[str, Any] = Field(default_factory=dict)
    """The strategy's own options as they were written, nested; its model validates them."""


def submodel(field: FieldInfo) -> type[BaseModel] | None:
    """The model that a field holds, if it holds one of this file."""
    if get_origin(field.annotation) is dict:
        return None
    candidates = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Model)), None)


def leaves(model: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting that is not a section, by the path of its keys: `("retention", "keep-daily")`."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        if (inner := submodel(field)) is None:
            yield (key,), field
        else:
            yield from (((key, *path), leaf) for path, leaf in leaves(inner))
