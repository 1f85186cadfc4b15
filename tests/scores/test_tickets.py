"""Run tickets: a board that needs them accepts a player's update only with one of their own."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import event, func, select

from scoreboard.db import transactions
from scoreboard.models import UsedTicket
from scoreboard.scores import ledger, tickets
from tests.support.api import submit
from tests.support.local_subscribers import LocalSubscriber
from tests.support.responses import status_and_code

URL = "/api/score/ticket"
HOUR = 3600


@pytest.fixture
def run(client, admin):
    """Create the ledger `run`, whose tickets must be 20 s old; return a function to change it."""
    body = {"board_id": "run", "title": "Run", "policy": "total", "tickets": {"min_seconds": 20}}
    assert client.post("/api/admin/boards", json=body, headers=admin.bearer).status_code == 201

    def change(board_id="run", **fields):
        url = f"/api/admin/boards/{board_id}"
        assert client.patch(url, json=fields, headers=admin.bearer).status_code == 200

    return change


@pytest.fixture
def clock(monkeypatch):
    """Return the clock of tickets, which `wait` advances."""

    class Clock:
        ahead = 0.0

        def wait(self, seconds):
            self.ahead += seconds

    clock = Clock()
    real = time.time
    moved = SimpleNamespace(time=lambda: real() + clock.ahead)
    monkeypatch.setattr(tickets, "time", moved)
    return clock


def ticket_of(client, user, board="run"):
    response = client.post(URL, json={"board": board}, headers=user.bearer)
    assert response.status_code == 201, response.json
    return response.json["ticket"]


def used_tickets():
    return transactions.read(
        lambda c: c.execute(select(func.count()).select_from(UsedTicket)).scalar_one()
    )


def update(user, value=1, **more):
    return user.update(value, board="run", **more)


class TestIssuing:
    def test_a_ticket_expires_after_six_hours(self, client, player):
        response = client.post(URL, json={}, headers=player.bearer)

        expires_at = datetime.fromisoformat(response.json["expires_at"])
        assert response.status_code == 201
        assert response.json.keys() == {"ticket", "expires_at"}
        assert timedelta(hours=5.9) < expires_at - datetime.now(UTC) <= timedelta(hours=6)

    @pytest.mark.parametrize(
        ("role", "result"),
        [
            (None, (401, "token_missing")),
            ("viewer", (401, "not_permitted")),
            ("player", (201, None)),
            ("scorer", (201, None)),
            ("admin", (201, None)),
        ],
    )
    def test_a_ticket_is_for_those_who_may_have_scores(self, client, make_user, role, result):
        headers = make_user(role).bearer if role else {}

        assert status_and_code(client.post(URL, json={}, headers=headers)) == result

    def test_a_public_viewer_gets_no_ticket(self, client):
        token = client.post("/api/auth/viewer").json["access_token"]

        response = client.post(URL, json={}, headers={"Authorization": f"Bearer {token}"})

        assert status_and_code(response) == (401, "not_permitted")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            *((text, "invalid_json") for text in ("", "{", "null", "7", "[]", "[" * 60_000)),
            *(({"board": value}, "invalid_input") for value in (None, 7, [], "", "UPPER", "a\n")),
            ({"board": "nothing"}, "unknown_board"),
            ({"board": "derived"}, "board_derived"),
            ({"boards": "run"}, "invalid_input"),
        ],
    )
    def test_bad_input_is_refused(self, client, run, admin, player, unexpected_errors, body, code):
        derived = {"board_id": "derived", "title": "Derived", "source": "run"}
        client.post("/api/admin/boards", json=derived, headers=admin.bearer)
        data = body if isinstance(body, str) else json.dumps(body)

        response = client.post(URL, data=data, headers=player.bearer)

        assert status_and_code(response) == (400, code)
        assert unexpected_errors == []

    @pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "2/minute"}])
    def test_tickets_have_the_rate_limit_of_updates_counted_apart(self, client, player, make_user):
        responses = [client.post(URL, json={}, headers=player.bearer) for _ in range(3)]

        assert [response.status_code for response in responses] == [201, 201, 429]
        assert submit(client, player, player.update(1)).status_code == 200
        assert client.post(URL, json={}, headers=make_user().bearer).status_code == 201


class TestUse:
    def test_an_update_without_a_ticket_is_refused(self, client, run, player):
        response = submit(client, player, update(player))

        assert status_and_code(response) == (400, "ticket_required")
        assert list(response.json["error"]["fields"]) == ["ticket"]

    def test_a_ticket_that_is_not_of_this_user_and_board_is_refused(
        self, client, run, player, make_user, clock
    ):
        good = ticket_of(client, player)
        others = [ticket_of(client, make_user()), ticket_of(client, player, "main")]
        clock.wait(20)

        for ticket in [*others, "x", good[:-1], good + "x", "\ud800", "٣", "x" * 512]:
            body = json.dumps(update(player, ticket=ticket))
            response = client.post("/api/score/update", data=body, headers=player.bearer)
            assert status_and_code(response) == (400, "ticket_required")

    def test_a_ticket_is_used_by_one_accepted_update(self, client, run, player, clock):
        ticket = ticket_of(client, player)
        clock.wait(20)

        first = submit(client, player, update(player, 1, ticket=ticket))
        second = submit(client, player, update(player, 2, ticket=ticket))

        assert status_and_code(first) == (200, None)
        assert status_and_code(second) == (400, "ticket_used")

    def test_a_ticket_must_have_the_least_age(self, client, run, player, clock):
        ticket = ticket_of(client, player)
        clock.wait(17.5)

        young = submit(client, player, update(player, ticket=ticket))
        clock.wait(2.5)
        old = submit(client, player, update(player, ticket=ticket))

        assert status_and_code(young) == (400, "ticket_too_young")
        assert "in 3 s" in young.json["error"]["message"]
        assert status_and_code(old) == (200, None)

    def test_a_ticket_from_a_clock_that_is_ahead_is_too_young(self, client, run, player, clock):
        run(tickets={"min_seconds": 0})
        ticket = ticket_of(client, player)
        clock.wait(-5)

        response = submit(client, player, update(player, ticket=ticket))

        assert status_and_code(response) == (400, "ticket_too_young")

    def test_a_ticket_expires(self, client, run, player, clock):
        tickets_of_player = [ticket_of(client, player) for _ in range(2)]
        clock.wait(6 * HOUR - 60)
        assert (
            submit(client, player, update(player, 1, ticket=tickets_of_player[0])).status_code
            == 200
        )
        clock.wait(60)

        response = submit(client, player, update(player, 2, ticket=tickets_of_player[1]))

        assert status_and_code(response) == (400, "ticket_expired")

    def test_a_repeat_is_a_replay_whatever_became_of_the_ticket(self, client, run, player, clock):
        ticket = ticket_of(client, player)
        clock.wait(20)
        sent = update(player, ticket=ticket)
        receipt = submit(client, player, sent).json

        repeats = [submit(client, player, sent)]
        repeats.append(submit(client, player, {**sent, "ticket": "lost"}))
        clock.wait(6 * HOUR)
        repeats.append(submit(client, player, sent))

        for repeat in repeats:
            assert status_and_code(repeat) == (400, "replayed")
            assert repeat.json["error"]["receipt"] == receipt

    def test_a_refused_update_does_not_use_its_ticket(self, client, run, player, clock):
        run(max_score=10)
        ticket = ticket_of(client, player)
        clock.wait(20)

        refused = submit(client, player, update(player, 11, ticket=ticket))
        over = submit(client, player, update(player, 1, ticket=ticket, season=2))
        accepted = submit(client, player, update(player, 1, ticket=ticket))

        assert status_and_code(refused) == (400, "score_out_of_range")
        assert status_and_code(over) == (400, "invalid_input")
        assert status_and_code(accepted) == (200, None)

    def test_of_many_updates_at_once_one_uses_the_ticket(self, app, run, client, player, clock):
        """Also if other processes, here other ledgers, submit at the same time."""
        ticket = ticket_of(client, player)
        clock.wait(20)

        def send(value):
            body = update(player, value, ticket=ticket)
            return status_and_code(submit(app.test_client(), player, body))

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(send, range(1, 17)))

        assert sorted(results, key=str) == [(200, None), *[(400, "ticket_used")] * 15]
        assert used_tickets() == 1

    def test_scorers_and_admins_need_no_ticket(self, client, run, player, scorer, admin):
        for value, user in enumerate((scorer, admin)):
            assert submit(client, user, update(player, value)).status_code == 200
        body = {"updates": [update(player, 3)]}
        batch = client.post("/api/score/batch", json=body, headers=scorer.bearer)
        assert [result["status"] for result in batch.json["results"]] == [200]

    def test_main_may_need_tickets_too(self, client, run, player):
        run("main", tickets={"min_seconds": 0})

        without = submit(client, player, player.update(1))
        ticket = ticket_of(client, player, "main")
        with_ticket = submit(client, player, player.update(1, ticket=ticket))

        assert status_and_code(without) == (400, "ticket_required")
        assert status_and_code(with_ticket) == (200, None)

    def test_a_board_without_tickets_ignores_one(self, client, player):
        responses = [
            submit(client, player, player.update(value, ticket="anything")) for value in (1, 2)
        ]

        assert [response.status_code for response in responses] == [200, 200]
        assert used_tickets() == 0

    def test_a_ticket_that_is_no_text_is_named(self, client, run, player):
        for value in (None, True, 7, [], {}, "", "x" * 513):
            response = submit(client, player, update(player, ticket=value))

            assert status_and_code(response) == (400, "invalid_input")
            assert list(response.json["error"]["fields"]) == ["ticket"]

    def test_refused_tickets_send_nothing(self, app, client, run, player):
        subscriber = LocalSubscriber(app, ["run"], player.user_id)
        received = subscriber.all_messages()

        submit(client, player, update(player))

        assert subscriber.all_messages() == received

    def test_used_tickets_are_deleted_a_day_after_they_expire(self, client, run, player, clock):
        for wait, count in ((20, 1), (29 * HOUR, 2), (2 * HOUR, 2)):
            ticket = ticket_of(client, player)
            clock.wait(wait)
            if wait > HOUR:
                ticket = ticket_of(client, player)
                run(tickets={"min_seconds": 0})
            assert submit(client, player, update(player, clock.ahead, ticket=ticket)).json[
                "applied"
            ]
            assert used_tickets() == count


def test_boards_without_tickets_cost_no_query(app, client, run, player, monkeypatch):
    executed = []
    write = ledger.records.write

    def counting(connection, *arguments):
        def count(*_):
            executed.append(1)

        event.listen(connection, "before_cursor_execute", count)
        try:
            return write(connection, *arguments)
        finally:
            event.remove(connection, "before_cursor_execute", count)

    monkeypatch.setattr(ledger.records, "write", counting)
    submit(client, player, player.update(1))

    assert len(executed) == 3  # users, scores, standings
