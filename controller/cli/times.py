"""Says times as people do; `--json` and `--utc` give them exactly."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from controller.app import program
from controller.cli.terminal import Failed

EXACT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
EVENING, MORNING = 18, 6
"""Hours between which it is night."""
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
UNITS = ((2 * DAY, DAY, "days"), (HOUR, HOUR, "h"), (MINUTE, MINUTE, "min"))
"""From which age on it is told in which unit."""


def spoken(text: str, now: datetime, zone: str) -> str:
    """A text in which every exact time is said as people do; what is to come, in a time zone."""
    return EXACT.sub(lambda found: said(datetime.fromisoformat(found[0]), now, zone), text)


def dated(text: str) -> str:
    """A text in which every exact time is said to the minute, for one that tells of the clock itself."""
    return EXACT.sub(lambda found: f"{datetime.fromisoformat(found[0]):%Y-%m-%d %H:%M} UTC", text)


def said(moment: datetime, now: datetime, zone: str) -> str:
    """`3 min ago`, `tonight 04:59`."""
    return until(moment, now, zone) if moment > now else since(moment, now)


def since(moment: datetime, now: datetime) -> str:
    age = now - moment
    for least, unit, name in UNITS:
        if age >= least:
            return f"{age // unit} {name} ago"
    return f"{int(age.total_seconds())} s ago"


def until(moment: datetime, now: datetime, zone: str) -> str:
    """`today 14:00`, `tonight 04:59`, `tomorrow 14:00`, `Mon 04:59`, `24 Dec 04:59`, `2027-03-01 04:59`."""
    then, here = moment.astimezone(ZoneInfo(zone)), now.astimezone(ZoneInfo(zone))
    is_night = then.hour >= EVENING or then.hour < MORNING
    half, days = timedelta(hours=MORNING), (then.date() - here.date()).days
    if is_night and (then - half).date() == (here - half).date():
        return f"tonight {then:%H:%M}"
    if days < 2:
        return f"{('today', 'tomorrow')[days]} {then:%H:%M}"
    if days < 7:
        return f"{then:%a %H:%M}"
    return f"{then.day} {then:%b %H:%M}" if days < 180 else f"{then:%Y-%m-%d %H:%M}"


def when(at: str | None) -> datetime | None:
    """UTC where the text names no zone."""
    try:
        moment = datetime.fromisoformat(at) if at else None
    except ValueError as error:
        raise Failed(f"{at!r} is no time", "Write 2026-03-01T03:00Z.", program.USAGE) from error
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
