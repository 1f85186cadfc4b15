"""Each anomaly rule finds exactly the attempts that it describes."""

import pytest

from scoreboard.anomalies import rules
from scoreboard.anomalies.rules import Jump, Refusals, Regularity, UsersPerAddress
from scoreboard.http.request import ClientInfo
from scoreboard.observability.audit import Attempt
from scoreboard.permissions import Caller


def attempt(at=0.0, by="ann", *, role="player", status=200, score=None, target=None, address="a"):
    """Return a finished attempt at this second by this caller; by=None is an unknown caller."""
    caller = by and Caller(by, role, 0, 0, ())
    finished = Attempt(ClientInfo("http", address, "request-1"), at, target or by, score, caller)
    finished.status, finished.score = status, score
    return finished


def anomalies(rule, attempts):
    """Return each anomaly by the position of the attempt that caused it."""
    return {position: found for position, each in enumerate(attempts) for found in rule.find(each)}


def scores(*values, **options):
    return [attempt(score=value, **options) for value in values]


def refusals(moments, status=400, **options):
    return [attempt(at, status=status, **options) for at in moments]


def players(count, start=0.0, **options):
    """Return an attempt per second, each by another user."""
    return [attempt(start + n, f"user {start + n}", **options) for n in range(count)]


def every(seconds, count=20, jitter=0.0, **options):
    """Return attempts at this interval; each is early or late by the jitter."""
    times = [n * seconds + (jitter if n % 2 else -jitter) for n in range(count)]
    return [attempt(at, **options) for at in times]


JUMPS = {
    "more than 20 times the largest step": (scores(1, 2, 4, 5, 6, 47), {5}),
    "exactly 20 times": (scores(1, 2, 4, 5, 6, 46), set()),
    "too early": (scores(1, 2, 4, 5, 1000), set()),
    "never moved before": (scores(7, 7, 7, 7, 7, 1000), set()),
    "always far": (scores(-1e9, 1e9, -1e9, 1e9, -1e9, 1e9), set()),
    "downwards": (scores(1, 2, 3, 4, 5, -100), {5}),
    "a jump becomes part of the history": (scores(1, 2, 3, 4, 5, 100, 200, 300), {5}),
    "another user's history": (scores(1, 2, 3, 4, 5, by="bob") + scores(1000), set()),
    "by a game server": (scores(1, 2, 3, 4, 5, 99, by="server", target="ann"), {5}),
    "refused attempts are not history": (
        [*scores(1, 2), *refusals([0] * 9), *scores(99)],
        set(),
    ),
}
REFUSALS = {
    "slow": (refusals([0, 21, 42, 63, 84], by=None), set()),
    "accepted": (refusals([0, 1, 2, 3], 200, by=None), set()),
    "failed": (refusals([0, 1, 2, 3], 500, by=None), set()),
    "reported again after as many more": (refusals(range(12), by=None), {3, 7, 11}),
}
USERS = {
    "one player too many": (players(21), {20}),
    "refused players": (players(21, status=429), {20}),
    "scorers": (players(40, role="scorer"), set()),
    "admins": (players(40, role="admin"), set()),
    "viewers": (players(40, role="viewer"), set()),
    "the same players": ([*players(20)] * 5, set()),
    "more than an hour apart": (players(20) + players(20, start=3601.0 + 19), set()),
    "once an hour": (players(100) + players(21, start=5000.0), {20, 120}),
    "unknown callers": ([attempt(by=None, status=401)] * 30, set()),
}
INTERVALS = {
    "0.2 s": (every(0.2001), {19}),
    "1 s": (every(1), {19}),
    "1 h": (every(3600), {19}),
    "small spread": (every(1, jitter=0.009), {19}),
    "large spread": (every(1, jitter=0.011), set()),
    "at once": (every(0), set()),
    "too fast": (every(0.19), set()),
    "too slow": (every(3601), set()),
    "a scorer": (every(1, role="scorer"), set()),
    "an admin": (every(1, role="admin"), set()),
    "refused": (every(1, status=400), set()),
    "after a pause, twenty more": (every(1, 19) + [attempt(100 + n) for n in range(20)], {38}),
}


@pytest.mark.parametrize(
    ("rule", "attempts", "positions"),
    [
        pytest.param(rule, *case, id=f"{rule.__name__}: {name}")
        for rule, cases in [
            (Jump, JUMPS),
            (Refusals, REFUSALS),
            (UsersPerAddress, USERS),
            (Regularity, INTERVALS),
        ]
        for name, case in cases.items()
    ],
)
def test_a_rule_finds_exactly_these_attempts(rule, attempts, positions):
    bound = {Jump: 20, Refusals: 3, UsersPerAddress: 20, Regularity: 0.02}[rule]

    assert anomalies(rule(bound), attempts).keys() == positions


@pytest.mark.parametrize(
    ("rule", "attempts", "expected"),
    [
        (
            Jump(20),
            scores(1, 2, 4, 5, 6, 47, by="server", target="ann"),
            ("jump", "ann", "a step of 41, the largest so far was 2"),
        ),
        (
            Refusals(3),
            refusals([0, 20, 40, 60], by=None, target="ann"),
            ("refusals", None, "more than 3 refusals within a minute from this address"),
        ),
        (
            UsersPerAddress(20),
            [attempt(by=f"user {n}") for n in range(21)],
            (
                "users_per_address",
                "user 20",
                "more than 20 players within an hour from this address",
            ),
        ),
        (
            Regularity(0.02),
            every(1),
            ("regularity", "ann", "20 updates every 1 s, give or take 0 s"),
        ),
    ],
    ids=["jump", "refusals", "users_per_address", "regularity"],
)
def test_an_anomaly_names_the_rule_the_user_and_the_details(rule, attempts, expected):
    (anomaly,) = anomalies(rule, attempts).values()

    assert anomaly == expected


@pytest.mark.parametrize("status", [400, 401, 429])
def test_refusals_of_a_user_count_from_all_addresses(status):
    attempts = [attempt(at, status=status, address=f"address {at}") for at in (0, 20, 40, 60)]

    (anomaly,) = anomalies(Refusals(3), attempts).values()

    assert anomaly == ("refusals", "ann", "more than 3 refusals within a minute by this user")


def test_a_user_named_only_in_the_body_is_not_responsible_for_refusals():
    rule = Refusals(3)
    attempts = refusals([0, 1, 2, 3], by="mallory", target="ann")

    responsible = [found.user_id for each in attempts for found in rule.find(each)]

    assert responsible == ["mallory", None]


def test_rules_keep_only_the_most_recently_used_keys(monkeypatch):
    monkeypatch.setattr(rules, "MAX_REMEMBERED", 2)
    rule = Refusals(1)
    users = ["ann", "bob", "ann", "cat", "bob"]  # cat replaces bob, the least recently used

    found = [
        rule.find(attempt(at, user, status=400, address=f"{at}" * 100))
        for at, user in enumerate(users)
    ]

    assert [len(anomalies) for anomalies in found] == [0, 0, 1, 0, 0]
