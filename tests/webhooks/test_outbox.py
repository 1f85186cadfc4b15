"""Each event is in the outbox with the commit that causes it, and only if a webhook asks for it."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from scoreboard.anomalies import flags
from scoreboard.extensions import db
from scoreboard.services import services
from tests.support.api import submit

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def send(client):
    """Return a function that submits the next update of a user."""
    minutes = iter(range(60))

    def send(user, score, **fields):
        update = user.update(score, f"2026-01-01T00:{next(minutes):02}:00Z", **fields)
        assert submit(client, user, update).status_code == 200

    return send


@pytest.fixture
def ann(make_user):
    return make_user(name="Ann")


@pytest.fixture
def ben(make_user):
    return make_user(name="Ben")


def named(user, name, score):
    return {"user_id": user.user_id, "username": name, "score": score}


def leads(user, name, score, previous=None, season=1, board="main", title="Scoreboard"):
    of_board = {"board": board, "title": title, "format": "number", "season": season}
    return ("new_leader", {**of_board, **named(user, name, score), "previous": previous})


class TestNewLeader:
    def test_the_first_leader_and_each_next_one_are_events(
        self, make_webhook, send, outbox, ann, ben
    ):
        make_webhook(["new_leader"])

        send(ann, 5)
        send(ben, 3)
        send(ann, 6)
        send(ben, 7)

        assert outbox() == [leads(ann, "Ann", 5), leads(ben, "Ben", 7, named(ann, "Ann", 6))]

    def test_a_leader_from_before_the_webhook_is_no_event(
        self, make_webhook, send, outbox, ann, ben
    ):
        send(ann, 5)
        make_webhook(["new_leader"])

        send(ann, 6)
        send(ben, 1)

        assert outbox() == []

    def test_a_void_that_changes_the_leader_is_an_event(
        self, make_webhook, administer, client, outbox, ann, ben
    ):
        submit(client, ann, ann.update(5))
        score_id = submit(client, ben, ben.update(7)).json["score_id"]
        make_webhook(["new_leader"])

        administer("POST", f"/scores/{score_id}/void", {"reason": "cheated"})

        assert outbox() == [leads(ann, "Ann", 5, named(ben, "Ben", 7))]

    def test_a_hidden_user_is_never_named(self, make_webhook, administer, send, outbox, ann, ben):
        send(ann, 5)
        administer("POST", f"/users/{ann.user_id}/hide")
        make_webhook(["new_leader"])

        send(ann, 9)
        send(ben, 1)

        assert outbox() == [leads(ben, "Ben", 1)]

    def test_a_frozen_board_tells_its_leader_when_it_is_unfrozen(
        self, make_webhook, administer, send, outbox, ann, ben
    ):
        make_webhook()
        send(ann, 5)
        administer("POST", "/boards/main/freeze")
        send(ben, 9)
        while_frozen = outbox()

        administer("POST", "/boards/main/unfreeze")

        first = leads(ann, "Ann", 5)
        assert while_frozen == [first]
        assert outbox() == [first, leads(ben, "Ben", 9, named(ann, "Ann", 5))]

    def test_derived_boards_have_leaders_of_their_own(
        self, make_webhook, administer, send, outbox, ann, ben
    ):
        derived = {"board_id": "best", "title": "Best", "source": "main", "policy": "best"}
        administer("POST", "/boards", derived)
        make_webhook(["new_leader"], boards=["best"])

        send(ann, 9)
        send(ann, 1)
        send(ben, 5)

        assert outbox() == [leads(ann, "Ann", 9, board="best", title="Best")]


class TestSeasonsAndStates:
    def test_the_end_of_a_season_has_its_top_10(self, make_webhook, administer, send, outbox, ann):
        make_webhook()
        send(ann, 5)

        administer("POST", "/boards/main/seasons")
        send(ann, 2)

        _, (kind, data), next_leader = outbox()
        assert kind == "season_ended"
        assert (data["board"], data["season"]) == ("main", 1)
        assert data["starts_at"] < data["ends_at"]
        assert data["top_10"] == [{**named(ann, "Ann", 5), "rank": 1}]
        assert next_leader == leads(ann, "Ann", 2, season=2)

    def test_a_season_that_ends_on_a_frozen_board_is_an_event_of_the_unfreezing(
        self, make_webhook, administer, send, outbox, ann
    ):
        make_webhook(["season_ended"])
        administer("POST", "/boards/main/freeze")
        send(ann, 5)
        administer("POST", "/boards/main/seasons")
        while_frozen = outbox()

        administer("POST", "/boards/main/unfreeze")

        assert while_frozen == []
        assert [(kind, data["season"], len(data["top_10"])) for kind, data in outbox()] == [
            ("season_ended", 1, 1)
        ]

    def test_seasons_and_closings_that_are_due_are_events_without_an_update(
        self, app, make_webhook, administer, outbox, monkeypatch
    ):
        closes_at = datetime.now(UTC) + timedelta(hours=36)
        daily = {"every": "day", "at": "00:00", "time_zone": "UTC"}
        cup = {"board_id": "cup", "title": "Cup", "reset": daily}
        administer("POST", "/boards", {**cup, "closes_at": closes_at.isoformat()})
        make_webhook()
        later = time.time_ns() + 48 * 3600 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda: later)

        services(app).ledgers.get("cup").bring_up_to_date()

        events = [(kind, data.get("season")) for kind, data in outbox()]
        assert events == [("season_ended", 1), ("season_ended", 2), ("board_closed", None)]

    def test_closing_a_board_is_an_event(self, make_webhook, administer, outbox):
        make_webhook()

        administer("PATCH", "/boards/main", {"closes_at": "2026-01-01T00:00:00Z"})
        administer("PATCH", "/boards/main", {"title": "The end"})

        closed = {"board": "main", "title": "Scoreboard", "format": "number"}
        assert outbox() == [("board_closed", {**closed, "closes_at": "2026-01-01T00:00:00Z"})]


class TestFlags:
    def test_a_flag_is_an_event_once_per_hour(self, make_webhook, outbox, ann):
        make_webhook(boards=["other"])

        for _ in range(2):
            flags.write(ann.user_id, "jump", "a step of 995", NOON)

        data = {"user_id": ann.user_id, "username": "Ann", "rule": "jump"}
        assert outbox() == [("user_flagged", {**data, "detail": "a step of 995"})]

    def test_the_flag_of_a_hidden_user_has_no_name(self, make_webhook, administer, outbox, ann):
        make_webhook()
        administer("POST", f"/users/{ann.user_id}/hide")

        flags.write(ann.user_id, "jump", "a step of 995", NOON)

        assert [data["username"] for _, data in outbox()] == [None]

    @pytest.mark.parametrize("action", ["hide", "erase"])
    def test_the_name_of_a_user_who_is_hidden_or_erased_later_is_removed(
        self, make_webhook, administer, send, outbox, ann, ben, action
    ):
        make_webhook()
        send(ann, 5)
        send(ben, 7)
        administer("POST", "/boards/main/seasons")
        flags.write(ann.user_id, "jump", "a step of 995", NOON)

        path = f"/users/{ann.user_id}"
        administer("DELETE", path) if action == "erase" else administer("POST", f"{path}/hide")

        (_, first), (_, second), (_, ended), (_, flag) = outbox()
        assert first["username"] is second["previous"]["username"] is flag["username"] is None
        assert [each["username"] for each in ended["top_10"]] == ["Ben", None]
        assert second["username"] == "Ben"


class TestSubscriptions:
    @pytest.mark.parametrize(
        "changes",
        [{"enabled": False}, {"events": ["board_closed"]}, {"boards": ["other"]}],
        ids=str,
    )
    def test_what_a_webhook_does_not_ask_for_is_not_stored(
        self, make_webhook, administer, send, outbox, ann, changes
    ):
        webhook = make_webhook()
        send(ann, 1)
        before = outbox()

        administer("PATCH", f"/webhooks/{webhook['webhook_id']}", changes)
        administer("POST", "/boards/main/seasons")
        send(ann, 2)

        assert outbox() == before

    def test_a_deleted_webhook_leaves_nothing(self, make_webhook, administer, send, outbox, ann):
        webhook = make_webhook()
        send(ann, 1)

        response = administer("DELETE", f"/webhooks/{webhook['webhook_id']}")
        administer("POST", "/boards/main/seasons")
        send(ann, 2)

        assert (response.status_code, outbox()) == (204, [])

    def test_each_webhook_gets_an_event_of_its_own(self, make_webhook, send, outbox, ann):
        for _ in range(2):
            make_webhook()

        send(ann, 1)

        assert outbox() == [leads(ann, "Ann", 1)] * 2

    def test_a_refused_update_stores_nothing(self, make_webhook, client, outbox, ann, ben):
        make_webhook()
        submit(client, ann, ann.update(1))

        submit(client, ann, ann.update(1))

        assert len(outbox()) == 1


def test_events_that_no_webhook_asks_for_cost_no_statement(app, client, make_webhook, ann):
    statements = []

    def count(update):
        submit(client, ann, update)  # reads the boards again, after the settings have changed
        statements.clear()
        event.listen(db.engine, "before_cursor_execute", note)
        submit(client, ann, {**update, "score_value": 2})
        event.remove(db.engine, "before_cursor_execute", note)
        return list(statements)

    def note(connection, cursor, statement, *_):
        statements.append(statement)

    without = count(ann.update(1, "2026-01-01T00:00:00Z"))
    make_webhook(["season_ended", "board_closed", "user_flagged"])
    with_other_events = count(ann.update(1, "2026-01-01T00:01:00Z"))
    make_webhook(["new_leader"])
    with_leaders = count(ann.update(1, "2026-01-01T00:02:00Z"))

    assert with_other_events == without
    assert len(with_leaders) == len(without) + 1
    assert not [each for each in without if "webhook" in each]
