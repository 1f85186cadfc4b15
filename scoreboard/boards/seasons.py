"""The calendar of seasons: when the next one begins, by the local clock of a time zone.

A reset names local times, such as every Monday at 06:00. Its boundary is the first instant at which
the local clock reaches or passes such a time. A time that the clock skips has its boundary at the
end of the gap; one that the clock shows twice has it at the first.
"""

import functools
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Reset:
    """When a board starts a new season.

    `every` is "day", "week" or "month"; `on` is None, a weekday of WEEKDAYS or a day from 1 to 28,
    respectively; `at` is HH:MM; `time_zone` is a name for which `is_time_zone` holds.
    """

    every: str
    on: str | int | None
    at: str
    time_zone: str


def next_boundary(reset: Reset, after: datetime) -> datetime | None:
    """Return the first boundary after this instant, in UTC, or None if it is past the year 9999.

    `after` is aware. A call before this boundary returns it too. Reads the data of the time zone
    from a file at its first use.
    """
    zone, at = ZoneInfo(reset.time_zone), time.fromisoformat(reset.at)
    with suppress(OverflowError):  # raised by conversions past the year 9999
        # The boundaries of earlier dates have passed, even if the local clock was set back since.
        today = after.astimezone(zone).toordinal()
        for day in map(date.fromordinal, range(today, date.max.toordinal() + 1)):
            if _is_reset_day(reset, day):
                boundary = _first_instant(datetime.combine(day, at), zone)
                if boundary > after:
                    return boundary
    return None


def is_time_zone(name: str) -> bool:
    """Whether this is the name of a time zone. Safe for any text; reads files at the first call."""
    return name in _time_zones()


@functools.cache
def _time_zones() -> set[str]:
    return available_timezones() - {"localtime"}  # that of the host, not of IANA


def _is_reset_day(reset: Reset, day: date) -> bool:
    on = {"day": None, "week": WEEKDAYS[day.weekday()], "month": day.day}[reset.every]
    return reset.on == on


def _first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant at which the clock of the zone reaches or passes a local time."""
    instant = local.replace(tzinfo=zone).astimezone(UTC)
    if _clock(instant, zone) == local:
        return instant
    # The clock skips this time. By the offset from after the gap it is an instant before the gap,
    # by that from before the gap one after it. Offsets change at whole seconds.
    early = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    seconds = bisect_left(
        range((instant - early) // timedelta(seconds=1)),
        True,
        key=lambda second: _clock(early + timedelta(seconds=second), zone) >= local,
    )
    return early + timedelta(seconds=seconds)


def _clock(instant: datetime, zone: ZoneInfo) -> datetime:
    """Return the local time that a clock in the zone shows at an instant, without the zone."""
    return instant.astimezone(zone).replace(tzinfo=None)
