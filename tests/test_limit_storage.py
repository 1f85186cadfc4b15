"""Limits counted in this process's memory."""

import pytest

from scoreboard import limit_storage
from scoreboard.limit_storage import WindowStorage


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
