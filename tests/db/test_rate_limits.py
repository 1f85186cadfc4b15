"""Rate limits in memory or in Redis: moving windows, partial counts, outages of Redis."""

import socket
import threading

import pytest

from scoreboard.db import rate_limits
from scoreboard.db.rate_limits import Hits, Limit, MemoryLimits, RedisLimits
from scoreboard.observability.metrics import Metrics
from scoreboard.ops import doctor
from tests.support.backing_services import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def clock(monkeypatch):
    """Return the clock of the storage, which the test sets."""

    class Clock:
        now = 1000.0
        offset = 1_700_000_000

        def monotonic(self):
            return self.now

        def time(self):
            return self.offset + self.now

    clock = Clock()
    monkeypatch.setattr(rate_limits, "time", clock)
    return clock


@pytest.fixture
def redis(tmp_path):
    redis = RedisServer(tmp_path)
    yield redis
    redis.stop()


class TestMemory:
    @pytest.fixture
    def storage(self, clock):
        return MemoryLimits()

    def test_no_window_has_more_hits_than_the_limit(self, storage, clock):
        accepted = []
        for _ in range(200):
            if storage.acquire_entry("key", 3, 10):
                accepted.append(clock.now)
            clock.now += 0.7

        assert max(sum(start <= t < start + 10 for t in accepted) for start in accepted) == 3
        assert len(accepted) >= 3 * (200 * 0.7 // 10)

    def test_keys_are_counted_separately(self, storage):
        accepted = [storage.acquire_entry(key, 1, 10) for key in ("one", "other", "one")]

        assert accepted == [True, True, False]

    def test_the_window_starts_with_its_oldest_hit(self, storage, clock):
        start = clock.time()
        storage.acquire_entry("key", 3, 10)
        clock.now += 4
        storage.acquire_entry("key", 3, 10)

        assert storage.get_moving_window("key", 3, 10) == (pytest.approx(start), 2)

    @pytest.mark.parametrize("seconds", [-3600, 3600])
    def test_a_change_of_the_system_clock_moves_no_window(self, storage, clock, seconds):
        storage.acquire_entry("key", 1, 10)

        clock.offset += seconds

        assert not storage.acquire_entry("key", 1, 10)

    def test_expired_keys_are_removed_and_others_kept(self, storage, clock):
        storage.acquire_entry("still counted", 2, 100_000)
        for number in range(1000):
            storage.acquire_entry(f"key {number}", 1, 10)

        for number in range(1000):
            clock.now += 10
            storage.acquire_entry(f"later key {number}", 1, 10)

        assert sum(map(len, storage._windows.values())) <= 3
        assert storage.get_moving_window("still counted", 2, 100_000)[1] == 1


class TestQuotas:
    """In memory and in Redis."""

    @pytest.fixture(params=["memory", "redis"])
    def storage(self, request):
        if request.param == "memory":
            return MemoryLimits()
        redis = request.getfixturevalue("redis")
        return RedisLimits(f"limits+{redis.url}", Metrics())

    def test_hits_beyond_the_limit_are_not_counted(self, storage):
        hits = Hits("key", 3, [Limit("", 5, 100)])

        quotas = storage.acquire([hits, hits, hits])

        assert [quota.amount for quota in quotas] == [5, 2, 0]
        assert all(99 < quota.retry_after <= 100 for quota in quotas)
        assert storage.get_moving_window("key", 5, 100)[1] == 5

    def test_all_limits_count_only_the_hits_within_the_lowest(self, storage):
        minute, day = Limit("minute/", 10, 60), Limit("day/", 4, 86_400)

        (quota,) = storage.acquire([Hits("key", 7, [minute, day])])

        assert quota.amount == 4
        assert 86_000 < quota.retry_after <= 86_400
        assert storage.acquire([Hits("key", 0, [minute])])[0].amount == 6

    def test_the_longest_wait_of_several_full_limits_is_returned(self, storage):
        minute, hour = Limit("minute/", 1, 60), Limit("hour/", 1, 3600)
        for limits in ([minute, hour], [hour, minute]):
            hits = Hits(str(limits), 1, limits)
            storage.acquire([hits])

            (quota,) = storage.acquire([hits])

            assert quota.amount == 0
            assert 3590 < quota.retry_after <= 3600

    def test_zero_hits_count_nothing(self, storage):
        nothing = Hits("key", 0, [Limit("", 2, 100)])

        assert [quota.amount for quota in storage.acquire([nothing, nothing])] == [2, 2]

    def test_single_and_multiple_hits_use_the_same_limit(self, storage):
        quota = storage.acquire([Hits("one", 7, [Limit("", 5, 100)])])[0].amount

        accepted = [storage.acquire_entry("other", 5, 100) for _ in range(7)]

        assert accepted == [True] * quota + [False] * (7 - quota)


class TestRedisOutage:
    @pytest.fixture
    def metrics(self):
        return Metrics()

    @pytest.fixture
    def storage(self, redis, clock, metrics):
        return RedisLimits(f"limits+{redis.url}", metrics)

    def test_limits_are_counted_in_memory_until_redis_responds(self, storage, redis, clock):
        assert storage.acquire_entry("key", 1, 100)

        redis.stop()
        in_memory = [storage.acquire_entry("key", 1, 100) for _ in range(2)]
        redis.start()
        clock.now += rate_limits.PROBE_INTERVAL
        storage.acquire_entry("key", 1, 100)
        wait_until(lambda: storage.is_reachable(1))

        assert in_memory == [True, False]
        assert storage.acquire_entry("key", 1, 100)  # Redis lost its keys in the restart

    def test_only_the_first_request_and_one_probe_per_interval_reach_redis(
        self, storage, redis, clock, metrics
    ):
        def failures():
            return metrics.registry.get_sample_value("scoreboard_redis_errors_total")

        redis.stop()
        for _ in range(5):
            storage.acquire_entry("key", 5, 100)
        assert failures() == 1

        clock.now += rate_limits.PROBE_INTERVAL
        for _ in range(5):
            storage.acquire_entry("key", 5, 100)
        wait_until(lambda: failures() > 1)
        assert failures() == 2


class TestUnresponsiveNameServer:
    @pytest.fixture
    def settings(self):
        return {"REDIS_URL": "redis://redis.example:6379", "SCORE_RATE_LIMIT": "2/day"}

    @pytest.fixture(autouse=True)
    def unresponsive(self, monkeypatch):
        """Block lookups of redis.example until the test ends."""
        released = threading.Event()
        resolve = socket.getaddrinfo

        def getaddrinfo(host, *args, **options):
            if host == "redis.example":
                released.wait(60)
                raise socket.gaierror("no such name")
            return resolve(host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
        released.set()

    def test_updates_are_accepted_and_counted_in_memory(self, client, player):
        responses = [
            client.post("/api/score/update", json=player.update(number), headers=player.bearer)
            for number in range(3)
        ]

        assert [response.status_code for response in responses] == [200, 200, 429]

    def test_the_service_is_ready_and_reports_that_redis_fails(self, client):
        response = client.get("/readyz")

        assert (response.status_code, response.json["checks"]["redis"]) == (200, "failing")

    def test_the_doctor_reports_that_redis_does_not_respond(self, app):
        assert "REDIS_URL does not respond" in doctor.examine(app)["redis"]
