"""Reads schedules and time zones, which are kept as text."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise, takewhile
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator

from config.fields import invalid

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""As crontab(5) has them."""
_SEARCH_LENGTH = timedelta(days=8)
_CRON_FIELDS = ("minute (0-59)", "hour (0-23)", "day of the month (1-31)", "month (1-12)", "day of the week (0-7)")
_CRON_HINT = "Write five fields such as `30 3 * * *`, `H 3 * * *`, `@daily` or `none`."


def _cron(value: Any) -> str:
    if not isinstance(value, str):
        raise invalid("is not a schedule", _CRON_HINT)
    fields = value.split()
    if fields == ["none"] or (len(fields) == 1 and fields[0] in MACROS):
        return fields[0]
    if len(fields) == 1 and re.fullmatch(r"\d?\d:\d\d", fields[0]):
        raise invalid("a clock time is not a schedule", "Write minute and hour as cron does: `0 8 * * *` is 08:00.")
    if len(fields) != 5:
        raise invalid(f"a schedule has five fields, and this has {len(fields)}", _CRON_HINT)
    plain = ["0" if field == "H" and position < 2 else field for position, field in enumerate(fields)]
    for position, field in enumerate(plain):
        only_this = " ".join(field if index == position else "*" for index in range(5))
        if not _is_schedule(only_this):
            raise invalid(f"the {_CRON_FIELDS[position]} of the schedule cannot be read", _CRON_HINT)
    if not _is_schedule(" ".join(plain)):
        raise invalid("this schedule never comes due", _CRON_HINT)
    return " ".join(fields)


def _is_schedule(expression: str) -> bool:
    try:
        next(CronSim(expression, datetime(2024, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration, ValueError):
        return False
    return True


@lru_cache(1024)
def shortest_interval(schedule: str) -> timedelta:
    """The least time between two runs of a valid schedule; `timedelta.max` for `none`, and for more than a week."""
    if schedule == "none":
        return timedelta.max
    # Every day on which it comes due has the same times, so a week shows every gap.
    due = CronSim(MACROS.get(schedule, schedule).replace("H", "0"), datetime(2024, 1, 1, tzinfo=UTC))
    first = next(due)
    gaps = pairwise((first, *takewhile(lambda time: time < first + _SEARCH_LENGTH, due)))
    return min((later - earlier for earlier, later in gaps), default=timedelta.max)


Cron = Annotated[str, BeforeValidator(_cron)]
"""Five fields (`H` for a minute or hour that is spread by key), `@daily` and its like, or `none`; kept as text."""


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, LookupError):
        raise invalid("is not a time zone", "Write an IANA name such as `UTC` or `Europe/Madrid`.") from None
    return value


Timezone = Annotated[str, AfterValidator(_timezone)]
"""IANA name that `zoneinfo.ZoneInfo` knows; kept as text."""
