"""Recent activity that processes share through Redis, each of them an application here."""

import itertools

import pytest

from scoreboard.db.activity import SharedActivity
from scoreboard.observability.recent import MAX_LINES, Recent
from scoreboard.services import services
from tests.support import databases
from tests.support.backing_services import RedisServer

NOON = 1_767_268_800  # 2026-01-01T12:00:00Z
MINUTE = NOON // 60


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis(server):
    """Return an empty Redis server, which is stopped and started by some tests."""
    if server.process.poll() is not None:
        server.start()
    server.client.flushall()
    return server


@pytest.fixture
def database_url(tmp_path):
    return databases.copied_sqlite(tmp_path)


@pytest.fixture
def start(make_app, redis, monkeypatch):
    """Return a function that starts a process, which shares only when a test does so."""
    monkeypatch.setattr(SharedActivity, "start", lambda self: None)

    class Process:
        def __init__(self):
            self.now = NOON
            self.app = make_app(REDIS_URL=redis.url)
            services(self.app).recent = self.recent = Recent(lambda: self.now)
            self.activity = services(self.app).activity

        def keep(self, *lines, codes=()):
            self.recent.keep(lines, codes)

        def share(self, *lines, codes=()):
            self.keep(*lines, codes=codes)
            self.activity.share()

        def counts(self):
            return self.activity.overview(24).counts

        def lines(self, after=0):
            return [bytes(line).decode() for _, line in self.activity.tail(after, None).lines]

    return Process


class TestCounts:
    def test_they_are_the_sums_of_all_processes(self, start):
        first, second = start(), start()
        first.share(codes=["accepted", "replayed"])
        second.share(codes=["accepted"])
        second.now += 60
        second.share(codes=["accepted"])

        assert first.counts() == second.counts()
        assert first.counts() == {
            MINUTE: {"accepted": 2, "replayed": 1},
            MINUTE + 1: {"accepted": 1},
        }

    def test_they_remain_after_a_restart(self, start):
        start().share(codes=["accepted"])

        assert start().counts() == {MINUTE: {"accepted": 1}}

    def test_those_of_24_hours_are_shown(self, start):
        process = start()
        process.share(codes=["accepted"])
        process.now += 24 * 3600

        assert process.counts() == {MINUTE: {"accepted": 1}}


class TestLines:
    def test_they_are_of_all_processes_in_one_order(self, start):
        first, second = start(), start()
        first.share("one")
        second.share("two")
        first.share("three")

        numbered = second.activity.tail(0, None).lines

        assert [line for _, line in numbered] == [b"one", b"two", b"three"]
        assert [b - a for (a, _), (b, _) in itertools.pairwise(numbered)] == [1, 1]

    def test_only_newer_lines_are_returned_by_any_process(self, start):
        first, second = start(), start()
        first.share("one")
        after, _ = first.activity.tail(0, None).lines[-1]
        second.share("two")

        assert [process.lines(after) for process in (first, second)] == [["two"], ["two"]]

    def test_the_newest_thousand_are_kept(self, start, redis):
        process = start()
        process.share(*map(str, range(MAX_LINES)))
        process.share(*map(str, range(MAX_LINES, MAX_LINES * 2 + 5)))

        assert process.lines() == [
            str(number) for number in range(MAX_LINES + 5, MAX_LINES * 2 + 5)
        ]

    def test_their_numbers_increase_when_redis_loses_its_data(self, start, redis):
        process = start()
        process.share("one")
        after, _ = process.activity.tail(0, None).lines[-1]
        redis.client.flushall()
        process.share("two")

        assert process.lines(after) == ["two"]


class TestProcesses:
    def test_the_live_ones_are_listed_with_their_connections(self, start):
        first, second = start(), start()
        services(first.app).metrics.connections.labels("websocket").inc(3)
        first.share()

        processes = {each["name"]: each for each in second.activity.overview(1).processes}

        assert processes.keys() == {first.recent.name, second.recent.name}
        assert processes[first.recent.name]["connections"]["websocket"] == 3
        assert processes[first.recent.name]["since"] == first.recent.since

    def test_one_that_stops_is_not_listed(self, start):
        first, second = start(), start()
        first.share()
        first.activity.stop()
        first.share()

        assert [each["name"] for each in second.activity.overview(1).processes] == [
            second.recent.name
        ]

    def test_one_that_was_killed_is_not_listed(self, start):
        first, second = start(), start()
        first.share()
        second.now += 10

        assert [each["name"] for each in second.activity.overview(1).processes] == [
            second.recent.name
        ]


def test_every_key_expires(start, redis):
    start().share("line", codes=["accepted"])

    lifetimes = [redis.client.ttl(key) for key in redis.client.scan_iter()]
    assert len(lifetimes) == 4
    assert min(lifetimes) > 0


class TestOutage:
    def test_a_process_shows_its_own(self, start, redis):
        first, second = start(), start()
        first.share("one", codes=["accepted"])
        second.share("two", codes=["replayed"])
        redis.stop()

        overview, tail = second.activity.overview(1), second.activity.tail(0, None)

        assert (overview.redis, overview.counts) == ("failing", {MINUTE: {"replayed": 1}})
        assert [each["name"] for each in overview.processes] == [second.recent.name]
        assert tail == ("failing", [(1, "two")])

    def test_the_numbers_of_other_processes_are_not_compared_to_its_own(self, start, redis):
        process = start()
        process.share("one")
        after, _ = process.activity.tail(0, None).lines[-1]
        redis.stop()

        assert process.activity.tail(after, process.recent.name).lines == [(1, "one")]

    def test_all_is_shared_after_it_once(self, start, redis):
        process = start()
        process.share("one", codes=["accepted"])
        redis.stop()
        process.share("two", codes=["accepted"])
        redis.start()
        process.share("three", codes=["accepted"])

        # Redis has lost what it had.
        assert (process.counts(), process.lines()) == ({MINUTE: {"accepted": 2}}, ["two", "three"])

    def test_a_redis_that_hangs_later_runs_nothing_twice(self, start, redis):
        process = start()
        redis.pause(2.5)
        for _ in range(2):
            process.share("line", codes=["accepted"])
        redis.client.ping()  # returns when the pause ends
        process.share("line", codes=["accepted"])

        assert (process.counts(), process.lines()) == ({MINUTE: {"accepted": 3}}, ["line"] * 3)
