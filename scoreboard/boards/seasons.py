"""When seasons end: the boundaries of a reset in its time zone."""

import functools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Reset:
    every: str
    on: str | int | None
    at: str
    time_zone: str


def is_time_zone(name: str) -> bool:
    return name in _names()


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


def next_boundary(reset: Reset, after: datetime) -> datetime | None:
    zone = ZoneInfo(reset.time_zone)
    hour, minute = map(int, reset.at.split(":"))
    day = after.astimezone(zone).date() - timedelta(days=2)
    while True:
        if _matches(reset, day):
            local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
            found = local.astimezone(UTC)
            if found > after:
                return found
        day += timedelta(days=1)


def _matches(reset: Reset, day: date) -> bool:
    if reset.every == "week":
        return WEEKDAYS[day.weekday()] == reset.on
    return reset.every == "day" or day.day == reset.on
