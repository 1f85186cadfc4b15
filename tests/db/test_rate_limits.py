"""Limits counted in this process's memory, or in Redis."""

import socket
import threading

import pytest

from scoreboard.db import rate_limits as limit_storage
from scoreboard.db.rate_limits import Asked, Limit, MemoryLimits, RedisLimits
from scoreboard.observability import metrics
from scoreboard.ops import doctor
from tests.support.backing_services import OwnRedis
from tests.support.waiting import wait_until


@pytest.fixture
def clock(monkeypatch):
    """Return a clock for the storage that goes when it is told to."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

        def time(self):
            return 1_700_000_000 + self.now

    clock = Clock()
    monkeypatch.setattr(limit_storage, "time", clock)
    return clock


@pytest.fixture
def storage(clock):
    return MemoryLimits()


def test_no_more_than_the_limit_are_let_through_in_any_window(storage, clock):
    let_through = []
    for _ in range(200):
        if storage.acquire_entry("key", 3, 10):
            let_through.append(clock.now)
        clock.now += 0.7

    in_windows = [sum(start <= t < start + 10 for t in let_through) for start in let_through]
    assert max(in_windows) == 3
    assert len(let_through) >= 3 * (200 * 0.7 // 10)


def test_keys_are_counted_apart(storage):
    assert storage.acquire_entry("one", 1, 10)

    assert storage.acquire_entry("other", 1, 10)
    assert not storage.acquire_entry("one", 1, 10)


def test_the_window_began_with_its_oldest_entry(storage, clock):
    began = clock.time()
    storage.acquire_entry("key", 3, 10)
    clock.now += 4
    storage.acquire_entry("key", 3, 10)

    assert storage.get_moving_window("key", 3, 10) == (pytest.approx(began), 2)


def test_a_clock_that_is_set_back_or_forward_moves_no_window(storage, clock, monkeypatch):
    storage.acquire_entry("key", 1, 10)

    for hour in (-3600, 3600):
        monkeypatch.setattr(clock, "time", lambda hour=hour: 1_700_001_000 + hour)
        assert not storage.acquire_entry("key", 1, 10)


def windows(storage):
    return sum(map(len, storage._windows.values()))


def test_keys_whose_windows_are_over_are_forgotten(storage, clock):
    storage.acquire_entry("still counted", 2, 100_000)

    for number in range(1000):
        storage.acquire_entry(f"key {number}", 1, 10)
        clock.now += 1

    assert windows(storage) <= 12
    assert storage.get_moving_window("still counted", 2, 100_000)[1] == 1


def test_memory_shrinks_again_after_many_keys(storage, clock):
    for number in range(1000):
        storage.acquire_entry(f"key {number}", 1, 10)
    assert windows(storage) == 1000

    for number in range(1000):
        clock.now += 10
        storage.acquire_entry(f"later key {number}", 1, 10)

    assert windows(storage) <= 2


class TestAsManyAsThereIsRoomFor:
    """In memory and in Redis alike."""

    @pytest.fixture(params=["memory", "redis"])
    def storage(self, request, tmp_path):
        if request.param == "memory":
            yield MemoryLimits()
            return
        redis = OwnRedis(tmp_path)
        yield RedisLimits(f"limits+{redis.url}", metrics.Metrics())
        redis.stop()

    def test_what_there_is_no_room_for_is_not_counted(self, storage):
        asked = Asked("key", 3, [Limit("", 5, 100)])

        rooms = storage.acquire([asked, asked, asked])

        assert [room.amount for room in rooms] == [5, 2, 0]
        assert all(99 < room.retry_after <= 100 for room in rooms)
        assert storage.get_moving_window("key", 5, 100)[1] == 5

    def test_the_tightest_of_several_limits_decides_and_the_others_count_no_more(self, storage):
        minute, day = Limit("minute/", 10, 60), Limit("day/", 4, 86_400)

        (room,) = storage.acquire([Asked("key", 7, [minute, day])])

        assert room.amount == 4
        assert 86_000 < room.retry_after <= 86_400
        assert storage.acquire([Asked("key", 0, [minute])])[0].amount == 6

    def test_of_limits_that_are_full_the_longest_wait_is_returned(self, storage):
        minute, hour = Limit("minute/", 1, 60), Limit("hour/", 1, 3600)
        for limits in ([minute, hour], [hour, minute]):
            asked = Asked(str(limits), 1, limits)
            storage.acquire([asked])

            (room,) = storage.acquire([asked])

            assert room.amount == 0
            assert 3590 < room.retry_after <= 3600

    def test_asking_for_none_counts_none(self, storage):
        nothing = Asked("key", 0, [Limit("", 2, 100)])

        assert [room.amount for room in storage.acquire([nothing, nothing])] == [2, 2]

    def test_it_gives_what_asking_one_by_one_gives(self, storage):
        room = storage.acquire([Asked("one", 7, [Limit("", 5, 100)])])[0].amount

        one_by_one = [storage.acquire_entry("other", 5, 100) for _ in range(7)]

        assert one_by_one == [True] * room + [False] * (7 - room)


class TestAnOutage:
    @pytest.fixture
    def redis(self, tmp_path):
        redis = OwnRedis(tmp_path)
        yield redis
        redis.stop()

    @pytest.fixture
    def storage(self, redis, clock):
        return RedisLimits(f"limits+{redis.url}", metrics.Metrics())

    @pytest.fixture
    def asked(self, storage, monkeypatch):
        """Return a list with an entry for each time that Redis was asked."""
        asked = []
        run = storage._run
        monkeypatch.setattr(storage, "_run", lambda each: asked.append(each) or run(each))
        return asked

    def test_limits_are_counted_in_memory_until_redis_is_back(self, storage, redis, clock):
        assert storage.acquire_entry("key", 1, 100)

        redis.stop()
        in_memory = [storage.acquire_entry("key", 1, 100) for _ in range(2)]
        redis.start()
        clock.now += limit_storage.PROBE_INTERVAL
        storage.acquire_entry("key", 1, 100)
        wait_until(lambda: storage.is_reachable(1))

        assert in_memory == [True, False]
        assert storage.acquire_entry("key", 1, 100)  # Redis has forgotten all in its restart

    def test_only_the_first_request_and_one_probe_each_interval_ask(
        self, storage, redis, clock, asked
    ):
        redis.stop()

        for _ in range(5):
            storage.acquire_entry("key", 5, 100)
        assert len(asked) == 1

        clock.now += limit_storage.PROBE_INTERVAL
        for _ in range(5):
            storage.acquire_entry("key", 5, 100)
        wait_until(lambda: len(asked) > 1)
        assert asked[1:] == [[]]


class TestASilentNameServer:
    """Resolving the name of Redis takes until the test lets it end."""

    @pytest.fixture
    def settings(self):
        return {"REDIS_URL": "redis://redis.example:6379", "SCORE_RATE_LIMIT": "2/day"}

    @pytest.fixture(autouse=True)
    def silent(self, monkeypatch):
        answers = threading.Event()
        resolve = socket.getaddrinfo

        def getaddrinfo(host, *args, **options):
            if host == "redis.example":
                answers.wait(60)
                raise socket.gaierror("no such name")
            return resolve(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
        answers.set()

    def test_updates_are_answered_and_counted_in_memory(self, client, player):
        statuses = [
            client.post(
                "/api/score/update", json=player.update(number), headers=player.bearer
            ).status_code
            for number in range(3)
        ]

        assert statuses == [200, 200, 429]

    def test_the_service_is_ready_and_says_that_redis_fails(self, client):
        answer = client.get("/readyz")

        assert (answer.status_code, answer.json["checks"]["redis"]) == (200, "failing")

    def test_the_doctor_says_that_redis_does_not_answer(self, app):
        assert "REDIS_URL does not respond" in doctor.examine(app)["redis"]
