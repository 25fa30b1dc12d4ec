"""The models say what labels and file may set for a target; the text under a field is its reference, written once."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from config.commands import CommandField, CommandList
from config.cron import Cron, Timezone
from config.fields import (
    CommaList,
    Compression,
    CompressionField,
    Count,
    Duration,
    Model,
    Share,
    Size,
    Span,
    User,
    VariableName,
    VariableValue,
    Workdir,
    model_in,
)

TARGET_NAME = r"[a-z0-9][a-z0-9-]{0,31}"


class Commands(Model):
    """Commands that run in the target."""

    pre: CommandList = ()
    """Commands to run before the backup, in order. If one fails, the run fails."""
    backup: CommandList = ()
    """Commands that replace the strategy: their joined standard output is the backup. The first failure ends them."""
    post: CommandList = ()
    """Commands to run after the backup, even a failed one. `BACKUP_OUTCOME` holds the result."""
    restore: CommandList = ()
    """Commands that restore what `commands.backup` wrote; they read it from standard input."""


class Retention(Model):
    """Which runs stay, in restic's words: a run stays if any rule wants it."""

    keep_within: Span = timedelta(days=2)
    """Every run that is at most this much older than the newest good one stays; `0s` turns the rule off."""
    keep_last: Count = None
    """Number of newest runs to keep."""
    keep_hourly: Count = None
    """Number of hours, with a run, of which the newest one stays."""
    keep_daily: Count = 7
    """Number of days, with a run, of which the newest one stays."""
    keep_weekly: Count = 4
    """Number of weeks, with a run, of which the newest one stays."""
    keep_monthly: Count = None
    """Number of months, with a run, of which the newest one stays."""
    keep_yearly: Count = None
    """Number of years, with a run, of which the newest one stays."""
    max_age: Duration | None = None
    """Maximum age of a run; the newest good one and what `keep-within` keeps stay nevertheless."""

    @property
    def keeps_within(self) -> bool:
        """Whether somebody has set `keep-within`: then it is a rule even where no number is set.

        The built-in value alone deletes nothing, so that a target whose numbers were all unset keeps every run.
        """
        return bool(self.keep_within) and "keep_within" in self.model_fields_set


class Expect(Model):
    """What a good backup looks like."""

    min_size: Size | None = None
    """Smallest size of the dump before compression; a smaller dump fails the run."""
    max_shrink: Share = 0.8
    """Largest decrease since the last good run, such as `50%`, of a dump's size or of 1,000 or more rows in all; a run
    that shrinks more, or has lost all rows of a large table, is `suspicious`. `none`: not checked."""
    ignore: CommaList = ()
    """Names or patterns of tables that may lose their rows or go at any time: `sessions, queue_*`; or of databases and
    paths that may go."""
    max_age: Duration | None = None
    """Maximum age of the last good run; beyond it the target is `stale`. Unset: the schedule decides; `36h` where the
    orchestrator does."""


class Drill(Model):
    """Rehearsals of the restore."""

    schedule: Cron = "none"
    """When to run a restore drill, which restores into a temporary container; same syntax as `schedule`."""
    auto: bool = True
    """Whether the first good run, and the first after the schema, the image or the sidecar's version has changed, is
    drilled by itself in the following night, where drills are allowed."""
    check: CommandField | None = None
    """Command to run in the restored container; it exits 0 if the data is correct."""


class CommonSettings(Model):
    """The settings that do not depend on the strategy."""

    schedule: Cron | None = None
    """Cron expression, `@daily` and the like, or `none`. `H` picks a fixed minute or hour for each target. Unset:
    once a night between 00:00 and 05:00."""
    timezone: Timezone = "UTC"
    """IANA time zone of the schedule and of the days that retention counts."""
    catch_up: bool = True
    """Whether to run once, as soon as possible, after runs were missed because the sidecar, host or target was down."""
    timeout: Duration = timedelta(hours=1)
    """Maximum duration of a run, retries included."""
    stall_timeout: Duration = timedelta(minutes=10)
    """Maximum time without any output from the dump, so that a hanging dump fails early."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How many times to retry a run that failed for a temporary reason, such as a lost connection to the engine."""
    retention: Retention = Retention()
    """Which runs stay."""
    compression: CompressionField = Compression("zstd", 3)
    """`zstd`, `zstd:19`, `gzip` or `none`."""
    quiesce: Literal["none", "pause", "stop"] = "none"
    """Stop writes during the backup: `pause` or `stop` the container. Only for `filesystem`."""
    user: User | None = None
    """User that runs every command in the target. Unset: the image's user."""
    workdir: Workdir | None = None
    """Working directory of every command in the target. Unset: the image's."""
    env: dict[VariableName, VariableValue] = Field(default_factory=dict)
    """Environment variable for every command in the target; `BACKUP_*` is reserved."""
    counts: bool = True
    """Whether to count rows, keys and files with each dump, so that a restore can be compared with it."""
    expect: Expect = Expect()
    """What a good backup looks like."""
    drill: Drill = Drill()
    """Rehearsals of the restore."""


class TargetLayer(CommonSettings):
    """`targets.<key>` of the file: the labels without prefix; a strategy's options stand beneath its name."""

    strategy: str | None = None
    """How to dump, check and restore the data. Not needed with `commands.backup`."""
    commands: Commands = Commands()
    """Commands that run in the target."""


class TargetSettings(TargetLayer):
    """Everything that holds for one target, merged; `strategy` is the canonical name."""

    options: dict[str, Any] = Field(default_factory=dict)
    """The strategy's own options as they were written, nested; its model validates them."""


def leaves(model: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting that is not a section, by the path of its keys: `("retention", "keep-daily")`."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        # The keys of a mapping, or of a list's entries, are no settings of their own.
        if get_origin(field.annotation) in (dict, tuple) or (inner := model_in(field.annotation)) is None:
            yield (key,), field
        else:
            yield from (((key, *path), leaf) for path, leaf in leaves(inner))
