"""What an admin is told of the process: minutes, connections and the tail of the audit log."""

import json
import threading
from datetime import UTC, datetime

import pytest

from scoreboard.anomalies import flags
from scoreboard.observability.recent import MAX_LINES, MINUTES, Recent
from scoreboard.realtime.connections import Connection
from scoreboard.services import services

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def seen(clock):
    return Recent(clock)


@pytest.fixture
def fresh(app, monkeypatch, seen):
    """Return what this process saw of late, which is nothing yet."""
    monkeypatch.setattr(services(app), "recent", seen)
    return seen


@pytest.fixture
def admin(make_user):
    return make_user("admin")


@pytest.fixture
def ask(client, admin):
    """Return a function that asks one of the endpoints as an admin."""
    return lambda what: client.get(f"/api/admin/{what}", headers=admin.bearer)


def post(client, person, update):
    return client.post("/api/score/update", json=update, headers=person.bearer)


class TestMinutes:
    def counts(self, seen):
        return {f"{minute:%H:%M}": counts for minute, counts in seen.minutes() if counts}

    def test_there_are_always_sixty_the_oldest_first(self, seen):
        minutes = [f"{minute:%H:%M}" for minute, _ in seen.minutes()]

        assert len(minutes) == MINUTES
        assert (minutes[0], minutes[-1]) == ("11:01", "12:00")

    def test_a_minute_begins_with_its_first_second_and_ends_with_its_last(self, seen, clock):
        for clock.now in (NOON - 0.001, NOON, NOON + 59.999, NOON + 60):
            seen.keep(["line"], ["accepted"])

        assert self.counts(seen) == {
            "11:59": {"accepted": 1},
            "12:00": {"accepted": 2},
            "12:01": {"accepted": 1},
        }

    def test_every_code_is_counted_for_itself(self, seen):
        seen.keep(["line"] * 3, ["accepted", "replayed", "replayed"])

        assert self.counts(seen) == {"12:00": {"accepted": 1, "replayed": 2}}

    def test_what_is_an_hour_old_is_forgotten(self, seen, clock):
        seen.keep(["line"], ["accepted"])

        clock.now = NOON + 59 * 60
        assert self.counts(seen) == {"12:00": {"accepted": 1}}
        clock.now = NOON + 60 * 60
        assert self.counts(seen) == {}

        seen.keep(["line"], ["replayed"])
        assert self.counts(seen) == {"13:00": {"replayed": 1}}

    def test_a_clock_that_is_set_back_and_forth_makes_no_more_of_them(self, seen, clock):
        for clock.now in range(0, int(NOON), 30_000_000):
            seen.keep(["line"], ["accepted"])
        clock.now = NOON
        seen.keep(["line"], ["accepted"])

        assert self.counts(seen)["12:00"] == {"accepted": 1}
        assert len(seen.minutes()) == MINUTES

    def test_threads_lose_no_count_and_no_line(self, seen):
        def count():
            for _ in range(500):
                seen.keep(["line"], ["accepted"])

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert self.counts(seen) == {"12:00": {"accepted": 2000}}
        assert seen.lines()[-1] == (2000, "line")


class TestLines:
    def test_they_are_numbered_from_one_the_newest_last(self, seen):
        seen.keep(["a"])
        seen.keep(["b", "c"])

        assert seen.lines() == [(1, "a"), (2, "b"), (3, "c")]

    @pytest.mark.parametrize(("after", "newer"), [(0, "abc"), (1, "bc"), (3, ""), (4, "")])
    def test_only_newer_ones_can_be_asked_for(self, seen, after, newer):
        seen.keep("abc")

        assert "".join(line for _, line in seen.lines(after)) == newer

    def test_only_the_newest_thousand_are_kept(self, seen):
        for number in range(MAX_LINES + 5):
            seen.keep([str(number)])

        assert len(seen.lines()) == MAX_LINES
        assert seen.lines()[0] == (6, "5")
        assert seen.lines(after=2) == seen.lines()
        assert seen.lines(after=MAX_LINES + 3) == [(1004, "1003"), (1005, "1004")]


@pytest.mark.usefixtures("fresh")
class TestOverview:
    def test_it_counts_the_accepted_and_the_refused_by_code(self, client, ask, player, clock):
        post(client, player, player.update(7))
        clock.now += 60
        post(client, player, player.update(7))
        post(client, player, player.update("seven"))
        client.post("/api/score/update", json=player.update(7))

        answer = ask("overview")

        assert answer.status_code == 200
        minutes = answer.json["minutes"]
        assert len(minutes) == MINUTES
        assert minutes[-3:] == [
            {"minute": "2026-01-01T11:59:00Z", "accepted": 0, "refused": {}},
            {"minute": "2026-01-01T12:00:00Z", "accepted": 1, "refused": {}},
            {
                "minute": "2026-01-01T12:01:00Z",
                "accepted": 0,
                "refused": {"replayed": 1, "invalid_input": 1, "token_missing": 1},
            },
        ]

    def test_every_update_of_a_batch_counts(self, client, ask, scorer, player):
        updates = [player.update(7), player.update(7), None]
        client.post("/api/score/batch", json={"updates": updates}, headers=scorer.bearer)

        assert ask("overview").json["minutes"][-1] == {
            "minute": "2026-01-01T12:00:00Z",
            "accepted": 1,
            "refused": {"replayed": 1, "invalid_json": 1},
        }

    @pytest.mark.parametrize("settings", [{"DYNO": "web.7"}])
    def test_it_says_of_which_process(self, ask, fresh):
        for what in ("overview", "audit"):
            assert ask(what).json["process"] == {
                "name": fresh.name,
                "dyno": "web.7",
                "since": "2026-01-01T12:00:00Z",
            }

    def test_it_counts_the_connections_of_each_kind(self, app, ask):
        connections, connection = services(app).connections, Connection("127.0.0.1", "websocket")

        before = ask("overview").json["connections"]
        connections.open(connection)
        during = ask("overview").json["connections"]
        connections.drop(connection)

        assert before.keys() == {"socket.io", "websocket"}
        assert during == {**before, "websocket": before["websocket"] + 1}
        assert ask("overview").json["connections"] == before


@pytest.mark.usefixtures("fresh")
class TestAudit:
    def lines(self, answer):
        assert answer.status_code == 200, answer.text
        return [(line["seq"], line["event"], line.get("code")) for line in answer.json["lines"]]

    def test_it_shows_every_kind_of_line_newest_last(self, client, ask, admin, player):
        for second, score in enumerate([1, 2, 3, 4, 5, 6, 900]):
            timestamp = f"2026-01-01T00:00:0{second}Z"
            post(client, player, player.update(score, timestamp))
        client.post(f"/api/admin/users/{player.user_id}/hide", headers=admin.bearer)

        lines = ask("audit").json["lines"]

        assert [line["seq"] for line in lines] == list(range(1, 10))
        events = [line["event"] for line in lines]
        assert events == ["score_update"] * 7 + ["unusual_activity", "moderation"]
        assert lines[0]["user_id"] == player.user_id
        assert (lines[0]["status"], lines[0]["score_value"]) == (200, 1)
        assert (lines[-2]["rule"], lines[-1]["act"]) == ("jump", "hide")

    def test_it_shows_a_refused_attempt(self, client, ask, player):
        post(client, player, player.update("seven"))

        assert self.lines(ask("audit")) == [(1, "score_update", "invalid_input")]

    def test_only_newer_lines_can_be_asked_for(self, client, ask, player, fresh):
        post(client, player, player.update(7))
        post(client, player, player.update(7))

        newer = ask(f"audit?after=1&process={fresh.name}")

        assert self.lines(newer) == [(2, "score_update", "replayed")]
        assert self.lines(ask("audit?after=2")) == []

    def test_numbers_of_another_process_do_not_count(self, client, ask, player):
        post(client, player, player.update(7))

        answer = ask("audit?after=1&process=another")

        assert self.lines(answer) == [(1, "score_update", "accepted")]

    @pytest.mark.parametrize(
        "query", ["after=x", "after=1_0", "after=-1", f"after={2**63}", "process="]
    )
    def test_another_query_is_refused(self, ask, query):
        answer = ask(f"audit?{query}")

        assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_input")

    def test_it_has_no_token_and_nothing_of_a_body(self, client, ask, player):
        post(client, player, {**player.update(7), "nonce": "secret-nonce"})
        post(client, player, {**player.update("secret-score"), "secret-field": "secret-text"})

        answer = ask("audit")

        assert len(answer.json["lines"]) == 2
        assert "secret" not in json.dumps(answer.json)
        assert player.token not in answer.text


def test_a_mark_says_what_the_admin_page_shows(client, ask, player):
    flags.write(player.user_id, "jump", "a step of 995", datetime.now(UTC))

    (mark,) = ask("marks").json["marks"]

    assert (mark["user_id"], mark["hidden"], mark["suspended"]) == (player.user_id, False, False)
