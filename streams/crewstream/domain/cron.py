"""When a cron expression is due in a time zone; sole importer of cronsim.

Daylight saving is as in Debian's cron. A time of day that a change of the clocks leaves out is due
right after it; one that comes twice is due the first time. Expressions with a star for the minute
or the hour are about time that passes, and know of no such thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from crewstream.domain.names import MOST_NAME
from crewstream.errors import Invalid

FIELDS = 5
# A check looks at the calendar from here: far from where datetime itself ends.
_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def faults(expression: str, timezone: str) -> Iterator[str]:
    """What is wrong with an expression and its time zone."""
    if len(expression) > MOST_NAME or len(expression.split()) != FIELDS:
        told = expression[:MOST_NAME]
        yield f"cron: {told!r} has not five fields: minute, hour, day, month, weekday"
        return
    try:
        if following(expression, timezone, _SOME_DAY) is None:
            yield f"cron: {expression!r} is never due"
    except Invalid as error:
        yield str(error)


def following(expression: str, timezone: str, after: datetime) -> datetime | None:
    """The first time after `after` that an expression is due, in UTC; None: never.

    Raises Invalid for what is no expression, or a time zone that is not known here.
    """
    zone = _zone(timezone)
    try:
        times = CronSim(expression, after.astimezone(zone))
    except CronSimError as error:
        raise Invalid(f"cron: {expression!r}: {str(error).lower()}") from error
    for due in times:
        found = due.astimezone(UTC)
        # In an hour that comes twice, the clock alone does not tell what is over already.
        if found > after:
            return found
    return None


def latest(expression: str, timezone: str, first: datetime, until: datetime) -> datetime:
    """The last time up to `until` that an expression is due; `first` is such a time.

    By halving what is between: there may be years of minutes. Raises as `following`.
    """
    found, end = first, until
    while (due := following(expression, timezone, found)) is not None and due <= until:
        found = due
        middle = found + (end - found) / 2
        beyond = following(expression, timezone, middle)
        if beyond is not None and beyond <= until:
            found = beyond
        else:
            end = middle
    return found


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    # A name may also be that of a folder, or of another file among the zones.
    except (KeyError, ValueError, OSError) as error:
        told = f"timezone: {name[:MOST_NAME]!r} is no time zone known here, as Europe/London is"
        raise Invalid(told) from error
