"""The soak is believed because it finds growth that was put there, and none where there is none."""

import math

import pytest

from stress import flatness, mixed, soak
from stress.soak import Soak
from stress.subject import served

FLAT = {"rss": 150, "objects": 170_000, "files": 10, "connections": 8, "sockets": 40, "gone": 1}
FLAT |= {"green": 60, "threads": 22}
EMPTY = {**FLAT, "sockets": 0, "gone": 0, "green": 5}
NAMES = {key: limit.name for key, limit in flatness.LIMITS.items()}
# A session that nobody polls any more is given up after 45 s: too long for here.
EVERYBODY = [actor for actor in mixed.EVERYBODY if actor is not mixed.Abandoned]


def seen(count=300, **change):
    """Return what would be seen of a process whose figures change so with the share of the time.

    With noise: the larger the figure, the more, and one in ten looks sees two passwords hashed.
    """
    looks = []
    for number in range(count):
        noise = math.sin(number * 7.3) * 0.02
        look = {key: round(figure * (1 + noise)) for key, figure in FLAT.items()}
        look |= {key: FLAT[key] for key in ("threads", "files")}
        look["rss"] += 64 if number % 10 == 0 else 0
        looks.append(
            {**look, **{key: look[key] + of(number / count) for key, of in change.items()}}
        )
    return looks


def grown(rows):
    return [row.name for row in rows if not row.is_flat]


def grown_at_rest(rows):
    return set(grown(row for row in rows if row.when == "at rest"))


class TestUnderLoad:
    def test_noise_is_flat(self):
        assert grown(flatness.under_load(seen())) == []

    def test_those_who_have_yet_to_come_are_no_growth(self):
        def yet(time):
            return -20 if time < 1 / 6 else 0

        rows = flatness.under_load(seen(rss=yet, connections=yet))

        assert grown(rows) == []

    def test_more_clients_are_no_growth(self):
        def more(time):
            return 30 * time

        rows = flatness.under_load(seen(sockets=more, green=more))

        assert grown(rows) == []

    def test_sockets_of_clients_who_have_gone_are_found(self):
        def more(time):
            return 15 * time

        rows = flatness.under_load(seen(sockets=more, gone=more, green=more))

        assert grown(rows) == [NAMES["sockets"]]

    @pytest.mark.parametrize(
        ("key", "leak"),
        [("rss", 60), ("objects", 50_000), ("files", 4), ("connections", 30), ("green", 30)],
    )
    def test_a_slow_leak_is_found(self, key, leak):
        rows = flatness.under_load(seen(**{key: lambda time: leak * time}))

        assert grown(rows) == [NAMES[key]]

    def test_passwords_that_are_hashed_more_often_are_no_growth(self):
        rows = flatness.under_load(seen(threads=lambda time: 2 * (time > 0.7)))

        assert grown(rows) == []

    def test_more_threads_than_passwords_are_hashed_in_are_found(self):
        rows = flatness.under_load(seen(threads=lambda time: 3 * (time > 0.7)))

        assert grown(rows) == [NAMES["threads"]]


class TestAtRest:
    def test_the_same_is_flat(self):
        assert grown(flatness.at_rest(EMPTY, EMPTY)) == []

    def test_what_the_allocator_keeps_is_no_growth(self):
        assert grown(flatness.at_rest(EMPTY, {**EMPTY, "rss": EMPTY["rss"] + 10})) == []

    def test_less_is_no_growth(self):
        assert grown(flatness.at_rest(EMPTY, dict.fromkeys(EMPTY, 0))) == []

    @pytest.mark.parametrize(
        ("key", "more"),
        [
            ("rss", 30),
            ("objects", 5000),
            ("files", 1),
            ("connections", 20),
            ("sockets", 1),
            ("green", 1),
            ("threads", 1),
        ],
    )
    def test_what_is_left_over_is_found(self, key, more):
        rows = flatness.at_rest(EMPTY, {**EMPTY, key: EMPTY[key] + more})

        assert grown(rows) == [NAMES[key]]


@pytest.fixture
def short_rest(monkeypatch):
    """Wait less for what is not going to be as before: caches fill for some minutes."""
    monkeypatch.setattr(soak, "REST_SECONDS", 20)


@pytest.mark.usefixtures("short_rest")
def test_leaks_of_every_kind_are_found(tmp_path):
    with served("sqlite", tmp_path, SOAK_LEAK="memory,objects,files,green") as server:
        short = Soak(server, EVERYBODY, fill=False)

        rows = short.run(seconds=16)

        leaked = {NAMES[key] for key in ("rss", "objects", "files", "green")}
        assert leaked <= grown_at_rest(rows)
