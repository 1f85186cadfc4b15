"""The overview and the newest audit lines of a process, as admins read them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from scoreboard.observability.recent import MAX_LINES, Recent
from scoreboard.realtime.connections import LiveConnection
from scoreboard.services import services

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def recent(app, monkeypatch, clock):
    """Return the recent activity of the process, empty and with this clock."""
    recent = Recent(clock)
    monkeypatch.setattr(services(app), "recent", recent)
    return recent


@pytest.fixture
def get(client, admin, recent):
    """Return a function that requests an admin endpoint and returns the body."""

    def get(path):
        response = client.get(f"/api/admin/{path}", headers=admin.bearer)
        assert response.status_code == 200, response.text
        return response.json

    return get


@pytest.fixture
def counts(get):
    """Return a function that returns the minutes with any attempts, by their time."""

    def counts():
        minutes = get("overview")["minutes"]
        assert len(minutes) == 60
        return {
            minute["minute"][11:16]: (minute["accepted"], minute["refused"])
            for minute in minutes
            if minute["accepted"] or minute["refused"]
        }

    return counts


def post(client, user, update):
    return client.post("/api/score/update", json=update, headers=user.bearer)


class TestOverview:
    def test_attempts_are_counted_by_minute_and_outcome(self, client, counts, player, clock):
        clock.now = NOON + 59.999
        post(client, player, player.update(7))
        clock.now = NOON + 60
        post(client, player, player.update(7))
        post(client, player, player.update("seven"))
        client.post("/api/score/update", json=player.update(7))

        assert counts() == {
            "12:00": (1, {}),
            "12:01": (0, {"replayed": 1, "invalid_input": 1, "token_missing": 1}),
        }

    def test_every_update_of_a_batch_counts(self, client, counts, scorer, player):
        updates = [player.update(7), player.update(7), None]
        client.post("/api/score/batch", json={"updates": updates}, headers=scorer.bearer)

        assert counts() == {"12:00": (1, {"replayed": 1, "invalid_json": 1})}

    @pytest.mark.parametrize(("minutes", "shown"), [(59, {"12:00": (1, {})}), (60, {})])
    def test_it_shows_the_last_hour(self, client, counts, player, clock, minutes, shown):
        post(client, player, player.update(7))
        clock.now += minutes * 60

        assert counts() == shown

    def test_24_hours_are_shown_in_half_hours(self, client, get, player, clock):
        clock.now = NOON - 23.5 * 3600
        post(client, player, player.update(7))
        clock.now = NOON + 1799
        post(client, player, player.update(7))
        post(client, player, player.update(7))

        overview = get("overview?hours=24")

        assert (overview["step"], len(overview["minutes"])) == (30, 48)
        first, last = overview["minutes"][0], overview["minutes"][-1]
        assert first == {"minute": "2025-12-31T12:30:00Z", "accepted": 1, "refused": {}}
        assert last == {"minute": "2026-01-01T12:00:00Z", "accepted": 0, "refused": {"replayed": 2}}

    def test_a_clock_that_jumps_neither_adds_nor_hides_minutes(self, counts, recent, clock):
        for clock.now in [*range(0, int(NOON), 1_000_000), NOON]:
            recent.keep(["line"], ["accepted"])

        assert counts() == {"12:00": (1, {})}

    def test_connections_are_counted_by_transport(self, app, get):
        connections = services(app).connections
        connection = LiveConnection("127.0.0.1", "websocket")

        before = get("overview")["connections"]
        connections.open(connection)
        during = get("overview")["connections"]
        connections.drop(connection)

        assert before.keys() == {"socket.io", "websocket"}
        assert during == {**before, "websocket": before["websocket"] + 1}
        assert get("overview")["connections"] == before

    def test_the_only_process_is_listed_without_redis(self, get):
        overview = get("overview")

        assert overview["redis"] == "not used"
        (process,) = overview["processes"]
        assert process == {**overview["process"], "connections": overview["connections"]}

    @pytest.mark.parametrize("settings", [{"DYNO": "web.7"}])
    @pytest.mark.parametrize("path", ["overview", "audit"])
    def test_it_names_the_process(self, get, recent, path):
        since = "2026-01-01T12:00:00Z"

        assert get(path)["process"] == {"name": recent.name, "dyno": "web.7", "since": since}


class TestAudit:
    def test_it_has_every_line_of_the_audit_log_in_order(
        self, client, get, admin, player, audit_lines
    ):
        for second, score in enumerate([1, 2, 3, 4, 5, 6, 900]):
            post(client, player, player.update(score, f"2026-01-01T00:00:0{second}Z"))
        post(client, player, player.update("seven"))
        client.post(f"/api/admin/users/{player.user_id}/hide", headers=admin.bearer)

        lines = get("audit")["lines"]

        assert lines == [{"seq": seq, **line} for seq, line in enumerate(audit_lines(), 1)]
        assert [line["event"] for line in lines] == [
            *["score_update"] * 7,
            *("unusual_activity", "score_update", "moderation"),
        ]

    def test_only_newer_lines_of_the_same_process_are_returned(self, get, recent):
        recent.keep(['{"number": 1}', '{"number": 2}'])

        first, second = {"seq": 1, "number": 1}, {"seq": 2, "number": 2}
        assert get(f"audit?after=1&process={recent.name}")["lines"] == [second]
        assert get("audit?after=2")["lines"] == []
        assert get("audit?after=1&process=another")["lines"] == [first, second]

    def test_users_in_the_lines_are_named(self, client, get, admin, player):
        client.post(f"/api/admin/users/{player.user_id}/hide", headers=admin.bearer)

        names = get("audit")["names"]

        assert names.keys() == {admin.user_id, player.user_id}
        assert names[player.user_id] == get(f"users/{player.user_id}")["username"]

    def test_the_newest_thousand_are_kept(self, get, recent):
        for number in range(MAX_LINES + 5):
            recent.keep([f'{{"number": {number}}}'])

        lines = get("audit?after=2")["lines"]

        assert len(lines) == MAX_LINES
        assert (lines[0], lines[-1]) == ({"seq": 6, "number": 5}, {"seq": 1005, "number": 1004})

    def test_concurrent_attempts_are_all_kept(self, counts, recent):
        def keep(_):
            recent.keep(["line"], ["accepted"])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(keep, range(2000)))

        assert counts() == {"12:00": (2000, {})}
        assert recent.lines()[-1] == (2000, "line")
