"""The boundaries of seasons are where a local clock first reaches or passes the reset's time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.boards.seasons import WEEKDAYS, Reset, is_time_zone, next_boundary

VIENNA, SANTIAGO, KATHMANDU = "Europe/Vienna", "America/Santiago", "Asia/Kathmandu"
APIA, LORD_HOWE = "Pacific/Apia", "Australia/Lord_Howe"
QUARTER = timedelta(minutes=15)
MOMENT = timedelta(microseconds=1)
END = datetime.max.replace(tzinfo=UTC)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def clock(instant, time_zone):
    """Return what a clock in the time zone shows at this instant."""
    return instant.astimezone(ZoneInfo(time_zone)).replace(tzinfo=None)


def daily(at, time_zone):
    return Reset("day", None, at, time_zone)


def weekly(weekday, at, time_zone):
    return Reset("week", weekday, at, time_zone)


def monthly(day, at, time_zone):
    return Reset("month", day, at, time_zone)


def boundaries(reset, start, end):
    """Return the boundaries after the start, up to the end."""
    found, boundary = [], next_boundary(reset, start)
    while boundary and boundary <= end:
        assert boundary not in found[-1:]  # or this loop would not end
        found.append(boundary)
        boundary = next_boundary(reset, boundary)
    return found


# Each: a reset, an instant, and the first boundary after it.
EXAMPLES = {
    "a time of a day": (daily("06:00", VIENNA), "2026-01-10", "2026-01-10T05:00"),
    "a day of a week": (weekly("monday", "06:00", VIENNA), "2026-01-10", "2026-01-12T05:00"),
    "a day of a month": (monthly(5, "06:00", VIENNA), "2026-01-10", "2026-02-05T05:00"),
    "later that day": (weekly("monday", "06:00", "UTC"), "2026-01-12T05:59", "2026-01-12T06:00"),
    "strictly after": (weekly("monday", "06:00", "UTC"), "2026-01-12T06:00", "2026-01-19T06:00"),
    "a week over the new year": (weekly("friday", "00:00", "UTC"), "2026-12-26", "2027-01-01"),
    "a leap day": (daily("00:00", KATHMANDU), "2028-02-28T18:15", "2028-02-29T18:15"),
    "no leap day": (daily("00:00", KATHMANDU), "2027-02-28T18:14", "2027-02-28T18:15"),
    "the end of a short month": (monthly(28, "23:59", "UTC"), "2027-02-01", "2027-02-28T23:59"),
    "a gap": (daily("02:30", VIENNA), "2026-03-28T12:00", "2026-03-29T01:00"),
    "after a gap": (daily("02:30", VIENNA), "2026-03-29T01:00", "2026-03-30T00:30"),
    "the end of a gap": (daily("03:00", VIENNA), "2026-03-28T12:00", "2026-03-29T01:00"),
    "an overlap": (daily("02:30", VIENNA), "2026-10-24T12:00", "2026-10-25T00:30"),
    "in an overlap": (daily("02:30", VIENNA), "2026-10-25T00:30", "2026-10-26T01:30"),
    "a skipped midnight": (weekly("sunday", "00:00", SANTIAGO), "2026-09-01", "2026-09-06T04:00"),
    "23:30 twice": (daily("23:30", SANTIAGO), "2026-04-04T12:00", "2026-04-05T02:30"),
    "a midnight put off": (daily("00:00", SANTIAGO), "2026-04-04T12:00", "2026-04-05T04:00"),
    "a gap of 15 minutes": (daily("00:10", KATHMANDU), "1985-12-31T12:00", "1985-12-31T18:30"),
    "a gap of 30 minutes": (daily("02:10", LORD_HOWE), "2026-10-03T00:00", "2026-10-03T15:30"),
    "a skipped day": (weekly("friday", "06:00", APIA), "2011-12-26", "2011-12-30T10:00"),
    "after a skipped day": (daily("06:00", APIA), "2011-12-30T10:00", "2011-12-30T16:00"),
    "two midnights at once": (daily("00:00", APIA), "2011-12-30T10:00", "2011-12-31T10:00"),
    "a day twice": (weekly("monday", "06:00", APIA), "1892-07-01", "1892-07-03T17:26:56"),
    "in a day twice": (weekly("monday", "06:00", APIA), "1892-07-04T12:00", "1892-07-11T17:26:56"),
    "an offset in seconds": (daily("12:00", VIENNA), "1872-01-01", "1872-01-01T10:54:39"),
    "a far year": (monthly(1, "00:00", VIENNA), "9998-12-15", "9998-12-31T23:00"),
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_first_boundary_after_an_instant(example):
    reset, after, expected = example

    assert next_boundary(reset, utc(after)) == utc(expected)


@pytest.mark.parametrize("time_zone", ["America/New_York", APIA])
def test_there_is_no_boundary_past_the_year_9999(time_zone):
    reset = daily("20:00", time_zone)

    last = boundaries(reset, utc("9999-12-25"), END)

    assert utc("9999-12-30T19:00") < last[-1] < utc("9999-12-31T20:00")
    assert next_boundary(reset, END) is None


RESETS = [
    *(("day", None, at) for at in ("00:00", "02:30", "03:00", "23:30")),
    *(("week", day, at) for day in WEEKDAYS for at in ("00:00", "02:30")),
    *(("month", day, at) for day in (1, 15, 28) for at in ("00:00", "23:45")),
]
# Both clock changes of each zone, month ends and a leap day; Apia skips 2011-12-30.
YEARS = {
    VIENNA: (2024, 2026),
    SANTIAGO: (2024, 2026),
    KATHMANDU: (1984, 1986),
    APIA: (2010, 2012),
}


def resets_at(local):
    """Return the resets that name this local time."""
    weekday, at = local.strftime("%A %H:%M").lower().split()
    return ("day", None, at), ("week", weekday, at), ("month", local.day, at)


def walk(time_zone, start, end):
    """Return the boundaries of each reset: watch the local clock at every quarter of an hour.

    A quarter is a boundary if the clock reaches or passes a time of the reset for the first time.
    """
    found = {reset: [] for reset in RESETS}
    instant, reached = start, clock(start, time_zone)
    while instant < end:
        instant += QUARTER
        now = clock(instant, time_zone)
        while reached < now:
            reached += QUARTER
            for reset in found.keys() & resets_at(reached):
                if instant not in found[reset]:  # if it passes several such times at once
                    found[reset].append(instant)
    return found


@pytest.mark.parametrize("time_zone", YEARS)
def test_boundaries_are_those_of_a_walk_through_every_quarter_of_an_hour(time_zone):
    first, last = YEARS[time_zone]
    start, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)

    walked = walk(time_zone, start, end)

    for reset, expected in walked.items():
        assert boundaries(Reset(*reset, time_zone), start, end) == expected


def first_reset(reset, local):
    """Return the first local time that a reset names after this one."""
    named = local.replace(hour=int(reset.at[:2]), minute=int(reset.at[3:]), second=0, microsecond=0)
    while named <= local or (reset.every, reset.on, reset.at) not in resets_at(named):
        named += timedelta(days=1)
    return named


TIMES = st.times().map("{:%H:%M}".format)
ZONES = sorted(filter(is_time_zone, available_timezones()))
EVERY = st.one_of(
    st.just(("day", None)),
    st.tuples(st.just("week"), st.sampled_from(WEEKDAYS)),
    st.tuples(st.just("month"), st.integers(1, 28)),
)
INSTANTS = st.one_of(
    st.datetimes(datetime(1872, 1, 1), datetime(2040, 1, 1)),
    st.datetimes(datetime(1872, 1, 1), datetime(9998, 1, 1)),
).map(lambda naive: naive.replace(tzinfo=UTC))


@given(EVERY, TIMES, st.sampled_from(ZONES), INSTANTS, st.floats(0, 0.99))
def test_a_season_ends_when_the_clock_first_reaches_its_next_reset(every, at, zone, after, part):
    reset = Reset(*every, at, zone)

    start = next_boundary(reset, after)
    end = next_boundary(reset, start)
    between = start + part * (end - start)

    assert after < start < end
    assert next_boundary(reset, between) == end
    due = first_reset(reset, clock(start, zone))
    assert clock(between, zone) < due <= clock(end, zone)
    assert clock(end - MOMENT, zone) < due


def test_time_zones_are_the_names_of_iana():
    assert all(map(is_time_zone, ["Europe/Vienna", "Asia/Kathmandu", "UTC", "Etc/GMT+12"]))


@pytest.mark.parametrize(
    "text",
    [
        *("", "Vienna", "Europe", "Europe/", "europe/vienna", "Europe/Vienna ", "Europe/Vienna\0"),
        *("../Europe/Vienna", "Europe/../UTC", "/usr/share/zoneinfo/UTC", "zone.tab", "tzdata.zi"),
        *("posix/UTC", "localtime", "\ud800", "+02:00", "UTC" * 100),
    ],
)
def test_other_texts_are_not_time_zones(text):
    assert not is_time_zone(text)
