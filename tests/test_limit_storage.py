"""Limits counted in this process's memory, or in Redis."""

import socket
import threading

import pytest
from services import OwnRedis

from scoreboard import doctor, limit_storage
from scoreboard.limit_storage import WindowStorage
from scoreboard.limit_windows import Asked, RedisWindows, Window


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
    return WindowStorage()


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


def test_more_at_once_than_the_limit_are_refused_and_count_nothing(storage):
    assert not storage.acquire_entry("key", 3, 10, amount=4)

    assert storage.get_moving_window("key", 3, 10)[1] == 0


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


def test_keys_whose_windows_are_over_are_forgotten(storage, clock, monkeypatch):
    monkeypatch.setattr(limit_storage, "FEW_WINDOWS", 100)
    monkeypatch.setattr(storage, "_most_windows", 100)
    storage.acquire_entry("still counted", 2, 100_000)

    for number in range(10_000):
        storage.acquire_entry(f"key {number}", 1, 10)
        clock.now += 1

    assert len(storage._windows) <= 100
    assert storage.get_moving_window("still counted", 2, 100_000)[1] == 1


def test_what_is_cleared_counts_anew(storage):
    storage.acquire_entry("key", 1, 10)
    storage.clear("key")

    assert storage.acquire_entry("key", 1, 10)
    storage.reset()
    assert storage.acquire_entry("key", 1, 10)


class TestAsManyAsThereIsRoomFor:
    """In memory and in Redis alike."""

    @pytest.fixture(params=["memory", "redis"])
    def storage(self, request, tmp_path):
        if request.param == "memory":
            yield WindowStorage()
            return
        redis = OwnRedis(tmp_path)
        yield RedisWindows(redis.url)
        redis.stop()

    def test_what_there_is_no_room_for_is_not_granted(self, storage):
        windows = [Window("key", 5, 100)]

        granted = storage.acquire([Asked(windows, 3), Asked(windows, 3), Asked(windows, 3)])

        assert [each.amount for each in granted] == [3, 2, 0]
        assert granted[0].retry_after == 0
        assert all(99 < each.retry_after <= 100 for each in granted[1:])

    def test_the_tightest_of_several_limits_decides_and_the_others_count_no_more(self, storage):
        minute, day = Window("minute", 10, 60), Window("day", 4, 86_400)

        (granted,) = storage.acquire([Asked([minute, day], 7)])

        assert granted.amount == 4
        assert 86_000 < granted.retry_after <= 86_400
        assert storage.get_moving_window(*minute)[1] == 4

    def test_less_than_the_least_is_not_granted(self, storage):
        windows = [Window("key", 5, 100)]

        granted = storage.acquire([Asked(windows, 7, least=7), Asked(windows, 5, least=5)])

        assert [each.amount for each in granted] == [0, 5]

    def test_it_gives_what_asking_one_by_one_gives(self, storage):
        together = storage.acquire([Asked([Window("one", 5, 100)], 7)])[0].amount

        one_by_one = [storage.acquire_entry("other", 5, 100) for _ in range(7)]

        assert one_by_one == [True] * together + [False] * (7 - together)


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
        (found,) = [each for each in doctor.examine(app) if each.check == "redis"]

        assert found.advice
