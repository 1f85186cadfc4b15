"""Unusual activity: the rules over attempts at invented times, and what a hit leads to."""

import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
import requests
from sqlalchemy import select

from scoreboard.anomalies import flags, rules
from scoreboard.anomalies.rules import Jump, Refusals, Regularity, UsersPerAddress
from scoreboard.db import transactions as database
from scoreboard.http.request import Origin
from scoreboard.models import Flag
from scoreboard.observability.audit import Attempt
from scoreboard.permissions import Caller
from scoreboard.services import services
from tests.support.servers import RUN_MODES
from tests.support.waiting import wait_until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def attempt(at=0.0, by="ann", *, role="player", status=200, score=None, whom=None, address="a"):
    """Return an attempt that ended, made at that second by this caller, or by nobody known."""
    caller = by and Caller(by, role, 0, 0, ())
    made = Attempt(Origin("http", address, "request-1"), at, whom or by, score, caller)
    made.status, made.score = status, score
    return made


def hits(rule, attempts):
    """Return what the rule tells of each of these attempts, by their place."""
    return {
        place: hit for place, made in enumerate(attempts) for hit in rule.hits(made)
    }  # no rule tells two of the attempts below


class TestJump:
    def scores(self, values, **more):
        return [attempt(score=value, **more) for value in values]

    def test_a_step_far_beyond_the_largest_so_far_is_a_jump(self):
        found = hits(Jump(20), self.scores([1, 2, 4, 5, 6, 47]))

        assert found.keys() == {5}
        assert (found[5].rule, found[5].user_id) == ("jump", "ann")
        assert found[5].detail == "a step of 41, the largest so far was 2"

    @pytest.mark.parametrize(
        "values",
        [
            [1, 2, 4, 5, 6, 46],  # exactly 20 times
            [1, 2, 4, 5, 1000],  # too early to know
            [7, 7, 7, 7, 7, 1000],  # never moved before
            [-1e9, 1e9, -1e9, 1e9, -1e9, 1e9],
        ],
        ids=str,
    )
    def test_this_is_none(self, values):
        assert hits(Jump(20), self.scores(values)) == {}

    def test_downwards_counts_as_well(self):
        assert hits(Jump(20), self.scores([1, 2, 3, 4, 5, -100])).keys() == {5}

    def test_a_jump_becomes_part_of_the_history(self):
        assert hits(Jump(20), self.scores([1, 2, 3, 4, 5, 100, 200, 300])).keys() == {5}

    def test_the_history_is_each_users_own(self):
        others = self.scores([1, 2, 3, 4, 5], by="bob")

        assert hits(Jump(20), others + self.scores([1000])) == {}

    def test_a_game_servers_updates_count_for_the_player(self):
        found = hits(Jump(20), self.scores([1, 2, 3, 4, 5, 99], by="server", whom="ann"))

        assert found[5].user_id == "ann"

    def test_what_was_refused_is_no_history(self):
        refused = [attempt(status=400, score=None) for _ in range(9)]

        assert hits(Jump(20), [*self.scores([1, 2]), *refused, *self.scores([99])]) == {}


class TestRefusals:
    def refused(self, moments, status=400, **more):
        return [attempt(at, status=status, **more) for at in moments]

    @pytest.mark.parametrize("status", [400, 401, 429])
    def test_one_too_many_in_a_minute_by_a_user(self, status):
        rule = Refusals(3)
        spread = [
            attempt(at, status=status, address=f"address {at}") for at in (0, 20, 40, 60)
        ]  # from everywhere, so that only the user is to blame

        found = hits(rule, spread)

        assert found.keys() == {3}
        assert (found[3].rule, found[3].user_id) == ("refusals", "ann")

    def test_one_too_many_in_a_minute_from_an_address_has_no_user_to_blame(self):
        found = hits(Refusals(3), self.refused([0, 20, 40, 60], by=None, whom="ann"))

        assert found.keys() == {3}
        assert (found[3].rule, found[3].user_id) == ("refusals", None)

    def test_who_is_only_named_in_the_body_is_not_to_blame(self):
        attempts = self.refused([0, 1, 2, 3], by="mallory", whom="ann")

        blamed = [hit.user_id for made in attempts for hit in self.rule.hits(made)]

        assert blamed == ["mallory", None]

    rule = Refusals(3)

    def test_slower_than_that_is_usual(self):
        assert hits(Refusals(3), self.refused([0, 21, 42, 63, 84], by=None)) == {}

    @pytest.mark.parametrize("status", [200, 500])
    def test_what_is_not_refused_does_not_count(self, status):
        assert hits(Refusals(3), self.refused([0, 1, 2, 3], status, by=None)) == {}

    def test_going_on_is_told_again_only_after_as_many_more(self):
        assert hits(Refusals(3), self.refused(range(12), by=None)).keys() == {3, 7, 11}


class TestUsersPerAddress:
    def seen(self, count, start=0.0, **more):
        return [attempt(start + n, f"user {start + n}", **more) for n in range(count)]

    def test_one_player_too_many_is_told(self):
        found = hits(UsersPerAddress(20), self.seen(21))

        assert found.keys() == {20}
        assert (found[20].rule, found[20].user_id) == ("users_per_address", "user 20.0")

    def test_a_refused_player_acts_too(self):
        assert hits(UsersPerAddress(20), self.seen(21, status=429)).keys() == {20}

    @pytest.mark.parametrize("role", ["scorer", "admin", "viewer"])
    def test_for_others_it_is_their_job(self, role):
        assert hits(UsersPerAddress(20), self.seen(40, role=role)) == {}

    def test_the_same_few_over_and_over_are_usual(self):
        assert hits(UsersPerAddress(20), [*self.seen(20)] * 5) == {}

    def test_who_was_last_seen_an_hour_ago_does_not_count(self):
        assert hits(UsersPerAddress(20), self.seen(20) + self.seen(20, start=3601.0 + 19)) == {}

    def test_it_is_told_once_an_hour(self):
        crowds = self.seen(100) + self.seen(21, start=5000.0)

        assert hits(UsersPerAddress(20), crowds).keys() == {20, 120}

    def test_callers_without_a_name_do_not_count(self):
        assert hits(UsersPerAddress(0), [attempt(by=None, status=401)]) == {}


class TestRegularity:
    def every(self, seconds, count=20, jitter=0.0, **more):
        moments = [n * seconds + (jitter if n % 2 else -jitter) for n in range(count)]
        return [attempt(at, **more) for at in moments]

    @pytest.mark.parametrize("seconds", [0.2001, 1, 60, 3600])
    def test_twenty_updates_as_if_by_clockwork_are_told(self, seconds):
        found = hits(Regularity(0.02), self.every(seconds))

        assert found.keys() == {19}
        assert (found[19].rule, found[19].user_id) == ("regularity", "ann")

    @pytest.mark.parametrize(("jitter", "told"), [(0.009, True), (0.011, False)])
    def test_the_spread_decides(self, jitter, told):
        # Intervals of 1 s plus and minus twice the jitter: that is their standard deviation.
        assert bool(hits(Regularity(0.02), self.every(1, jitter=jitter))) == told

    @pytest.mark.parametrize("seconds", [0.0, 0.19, 3601])
    def test_too_fast_or_too_slow_is_not_judged(self, seconds):
        assert hits(Regularity(0.02), self.every(seconds)) == {}

    @pytest.mark.parametrize("other", [{"role": "scorer"}, {"role": "admin"}, {"status": 400}])
    def test_only_a_players_own_accepted_updates_count(self, other):
        assert hits(Regularity(0.02), self.every(1, **other)) == {}

    def test_one_pause_takes_twenty_more_to_forget(self):
        late = [attempt(100 + n) for n in range(20)]

        assert hits(Regularity(0.02), self.every(1, 19) + late).keys() == {38}


class TestMemory:
    @pytest.mark.parametrize(
        "rule", [Jump(20), Refusals(30), UsersPerAddress(20), Regularity(0.02)], ids=lambda r: ""
    )
    def test_new_users_and_addresses_push_out_the_old(self, rule, monkeypatch):
        monkeypatch.setattr(rules, "MAX_REMEMBERED", 50)
        for n in range(200):
            for status in (200, 400):
                made = attempt(n, f"{n}", status=status, score=1.0, address=f"{n}" * 100)
                list(rule.hits(made))

        memories = [kept for kept in vars(rule).values() if isinstance(kept, rules.Memory)]

        assert memories
        assert all(len(memory) <= 50 for memory in memories)

    def test_who_was_seen_last_is_remembered_longest(self, monkeypatch):
        monkeypatch.setattr(rules, "MAX_REMEMBERED", 2)
        memory = rules.Memory(list)
        for name in ("ann", "bob", "ann", "cat"):
            memory.of(name)

        assert ("ann" in memory, "bob" in memory, "cat" in memory) == (True, False, True)


@pytest.fixture
def counted(app):
    """Return a function that tells how often a rule was broken since the test began."""

    def read(rule):
        return services(app).metrics.registry.get_sample_value(
            "scoreboard_unusual_activity_total", {"rule": rule}
        )

    before = {rule: read(rule) or 0 for rule in ("jump", "refusals")}
    return lambda rule: (read(rule) or 0) - before[rule]


@pytest.fixture
def lines(app, caplog):
    """Return a function that tells the lines about unusual activity so far."""
    logger = logging.getLogger("scoreboard.audit")
    logger.addHandler(caplog.handler)
    yield lambda: [
        (record.levelname, json.loads(record.message))
        for record in caplog.records
        if record.name == logger.name and "unusual_activity" in record.message
    ]
    logger.removeHandler(caplog.handler)


@pytest.fixture
def at_once(monkeypatch):
    """Do here and now what is otherwise done in the background."""
    monkeypatch.setattr("scoreboard.concurrency.runtime.spawn", lambda work, *args: work(*args))


def post(client, person, update):
    return client.post("/api/score/update", json=update, headers=person.bearer)


def all_marks():
    return database.read(lambda c: c.execute(select(Flag.__table__)).all())


@pytest.mark.usefixtures("at_once")
class TestHit:
    def jump(self, client, person):
        for score in (1, 2, 3, 4, 5, 1000):
            answer = post(client, person, person.update(score))
        return answer

    def test_it_leaves_a_warning_in_the_audit_log(self, client, player, lines):
        self.jump(client, player)

        ((level, line),) = lines()
        assert level == "WARNING"
        assert line.pop("time")
        assert len(line.pop("request_id")) == 32
        assert line == {
            "event": "unusual_activity",
            "door": "http",
            "address": "127.0.0.1",
            "level": "warning",
            "rule": "jump",
            "user_id": player.user_id,
            "detail": "a step of 995, the largest so far was 1",
        }

    def test_it_is_counted_by_rule(self, client, player, counted):
        self.jump(client, player)

        assert counted("jump") == 1

    def test_it_marks_the_user(self, app, client, player):
        services(app).anomalies.now = lambda: NOON + timedelta(minutes=7)

        self.jump(client, player)

        (mark,) = all_marks()
        assert (mark.user_id, mark.rule, mark.hour) == (player.user_id, "jump", NOON)
        assert mark.created_at == NOON + timedelta(minutes=7)
        assert mark.detail == "a step of 995, the largest so far was 1"

    def test_it_does_not_change_the_answer(self, client, player):
        assert self.jump(client, player).status_code == 200

    def test_refusals_of_an_address_mark_nobody(self, client, player, lines, counted):
        for _ in range(31):
            client.post("/api/score/update", json=player.update(1))

        ((_, line),) = lines()
        assert (line["rule"], line["user_id"]) == ("refusals", None)
        assert counted("refusals") == 1
        assert all_marks() == []

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_under_total_a_step_is_what_was_added(self, client, player, lines):
        for day in range(1, 6):
            post(client, player, player.update(5, f"2026-01-0{day}T00:00:00Z"))

        post(client, player, player.update(101, "2026-01-06T00:00:00Z"))

        assert [line["rule"] for _, line in lines()] == ["jump"]


class TestMarks:
    @pytest.fixture
    def spawned(self, app, monkeypatch):
        """Return what would have been started in the background; nothing is."""
        started = []
        monkeypatch.setattr(
            "scoreboard.concurrency.runtime.spawn", lambda *work: started.append(work)
        )
        services(app).anomalies.now = lambda: NOON
        return started

    def report(self, app, hour, user="ann", rule="jump"):
        activity = services(app).anomalies
        activity.now = lambda: NOON + timedelta(hours=hour)
        activity._report(rules.Hit(rule, user, "why"), Origin("http", "a", "r"))

    def test_one_user_rule_and_hour_is_tried_only_once(self, app, spawned):
        for hour in (0, 0.5, 0.99):
            self.report(app, hour)

        assert len(spawned) == 1

    def test_another_user_rule_or_hour_is_another_mark(self, app, spawned):
        self.report(app, 0)
        self.report(app, 1)
        self.report(app, 1, user="bob")
        self.report(app, 1, rule="regularity")

        assert len(spawned) == 4

    def test_of_several_processes_the_database_takes_the_first(self, app, player):
        flags.write(player.user_id, "jump", "first", NOON)
        flags.write(player.user_id, "jump", "second", NOON + timedelta(minutes=59))
        flags.write(player.user_id, "jump", "third", NOON + timedelta(minutes=60))

        assert [mark.detail for mark in flags.newest()] == ["third", "first"]

    def test_at_most_a_hundred_are_shown(self, app, player):
        for hour in range(103):
            flags.write(player.user_id, "jump", str(hour), NOON + timedelta(hours=hour))

        assert [mark.detail for mark in flags.newest()] == [str(n) for n in range(102, 2, -1)]


@pytest.mark.usefixtures("at_once")
class TestFailure:
    class Broken:
        def hits(self, attempt):
            raise RuntimeError("a rule that fails")

    def test_a_rule_that_fails_is_logged_and_fails_nothing_else(
        self, app, client, player, caplog, counted
    ):
        logging.getLogger("scoreboard").addHandler(caplog.handler)
        services(app).anomalies.rules.insert(0, self.Broken())

        answers = [post(client, player, player.update(value)) for value in (1, 2, 3, 4, 5, 999)]

        logging.getLogger("scoreboard").removeHandler(caplog.handler)
        assert {answer.status_code for answer in answers} == {200}
        assert "a rule of unusual activity failed" in caplog.text
        assert counted("jump") == 1

    def test_a_mark_that_cannot_be_started_fails_nothing(self, app, client, player, monkeypatch):
        monkeypatch.setattr("scoreboard.concurrency.runtime.spawn", lambda *work: 1 / 0)

        answers = [post(client, player, player.update(value)) for value in (1, 2, 3, 4, 5, 999)]

        assert {answer.status_code for answer in answers} == {200}


# In one process: what it counts is its own.
@pytest.mark.parametrize("server", RUN_MODES, indirect=True)
def test_on_a_real_server_a_hit_is_marked_beside_the_requests(server):
    player, admin = server.user("Jumper"), server.user("Marshal", "admin")

    for score in (1, 2, 3, 4, 5, 1000):
        server.post(player.token, player.update(score))

    def told():
        url = f"{server.url}/api/admin/marks?user_id={player.user_id}"
        return requests.get(url, headers=admin.bearer, timeout=10).json()["marks"]

    wait_until(told)
    assert [(mark["username"], mark["rule"]) for mark in told()] == [("Jumper", "jump")]
    assert '"event": "unusual_activity"' in server.log()


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"ACTIVITY_JUMP": "0"}, Jump),
        ({"ACTIVITY_REFUSALS": "0"}, Refusals),
        ({"ACTIVITY_USERS_PER_ADDRESS": "0"}, UsersPerAddress),
        ({"ACTIVITY_REGULARITY": "0"}, Regularity),
    ],
    ids=str,
)
def test_0_turns_a_rule_off(app, missing):
    on = {type(rule) for rule in services(app).anomalies.rules}

    assert on == {Jump, Refusals, UsersPerAddress, Regularity} - {missing}


@pytest.mark.parametrize("settings", [{"ACTIVITY_REFUSALS": "1"}])
def test_a_setting_moves_the_bound(client, player, lines):
    for _ in range(2):
        client.post("/api/score/update", json=player.update(1))

    assert [line["rule"] for _, line in lines()] == ["refusals"]
