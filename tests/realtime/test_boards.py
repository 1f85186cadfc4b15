"""What a connection gets that watches boards: the list first, then every message once, in order."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from scoreboard.boards import directory, service
from scoreboard.db import transactions
from scoreboard.errors import InvalidInput, NotPermitted, UnknownBoard
from scoreboard.leaderboard import top10
from scoreboard.models import MAIN, BoardVersion
from scoreboard.realtime import feed as live_feed
from scoreboard.realtime import hub, maintenance
from scoreboard.services import services
from tests.support.api import submit
from tests.support.local_subscribers import LocalSubscriber

DAILY = {"every": "day", "at": "06:00", "time_zone": "Europe/Vienna"}


@pytest.fixture
def create(app):
    """Return a function that creates a board, by default derived from `main`."""

    def create(board_id, **fields):
        new = {"board_id": board_id, "title": board_id.title(), "source": MAIN, **fields}
        return service.create(new)

    return create


@pytest.fixture
def watch(app):
    """Return a function that subscribes to these boards, with a viewer's token or a user's."""
    return lambda *boards, **options: LocalSubscriber(app, list(boards), **options)


@pytest.fixture
def other(make_app):
    """Return a process without Redis on the same database."""
    return make_app()


@pytest.fixture
def send(client, scorer):
    """Return a function that submits a score of a user; `on` another board than `main`."""
    numbers = iter(range(1000))

    def send(user, score, on=None, by=client):
        body = user.update(
            score, nonce=f"update-{next(numbers):03}", **({"board": on} if on else {})
        )
        response = submit(by, scorer, body)
        assert response.status_code == 200, response.json
        return response.json

    return send


@pytest.fixture
def act(client, admin):
    """Return a function that moderates a user."""

    def act(user, action, by=client):
        path = f"/api/admin/users/{user.user_id}/{action}"
        assert by.post(path, headers=admin.bearer).status_code == 200

    return act


@pytest.fixture
def ann(make_user):
    return make_user(name="Ann")


@pytest.fixture
def ben(make_user):
    return make_user(name="Ben")


def score_update(board, season, user, username, score):
    data = {"user_id": user.user_id, "username": username, "new_score": score}
    return {"type": "score_update", "board": board, "season": season, "data": data}


def top_10_update(board, season, *entries):
    lines = [
        {"user_id": user.user_id, "username": username, "score": score, "rank": rank}
        for user, username, score, rank in entries
    ]
    return {
        "type": "top_10_update",
        "board": board,
        "season": season,
        "data": {"top_10_scores": lines},
    }


def board_update(client, board, **changes):
    """Return the message with the board object as the API returns it now."""
    data = client.get(f"/api/boards/{board}").json | changes
    season = data["season"]["number"]
    return {"type": "board_update", "board": board, "season": season, "data": data}


def feed(app, ledger=MAIN):
    return services(app).subscribers.ledgers[ledger].feed


def kinds(subscriber):
    return [(message["type"], message["season"]) for message in subscriber.messages()]


class TestMessages:
    def test_the_current_list_of_each_board_comes_first(self, create, watch, send, ann, ben):
        create("weekly")
        create("speedrun", source=None, order="asc")
        send(ann, 7)
        send(ben, 7)
        send(ben, 90, on="speedrun")

        subscriber = watch("speedrun", "weekly")

        assert subscriber.all_messages() == [
            top_10_update("speedrun", 1, (ben, "Ben", 90, 1)),
            top_10_update("weekly", 1, (ann, "Ann", 7, 1), (ben, "Ben", 7, 1)),
        ]

    def test_an_update_counts_on_each_derived_board_by_its_own_rule(self, create, watch, send, ann):
        create("weekly", policy="total")
        create("lowest", policy="best", order="asc")
        send(ann, 7)
        subscribers = [watch(board) for board in (MAIN, "weekly", "lowest")]

        send(ann, 9)

        assert [subscriber.messages() for subscriber in subscribers] == [
            [score_update(MAIN, 1, ann, "Ann", 9), top_10_update(MAIN, 1, (ann, "Ann", 9, 1))],
            [
                score_update("weekly", 1, ann, "Ann", 16),
                top_10_update("weekly", 1, (ann, "Ann", 16, 1)),
            ],
            [score_update("lowest", 1, ann, "Ann", 7)],  # the list is as before
        ]

    def test_a_lower_score_is_first_on_an_ascending_board(self, create, watch, send, ann, ben):
        create("speedrun", source=None, order="asc")
        send(ann, 90, on="speedrun")
        subscriber = watch("speedrun")

        send(ben, 80, on="speedrun")

        assert subscriber.messages() == [
            score_update("speedrun", 1, ben, "Ben", 80),
            top_10_update("speedrun", 1, (ben, "Ben", 80, 1), (ann, "Ann", 90, 2)),
        ]

    def test_a_connection_gets_no_message_of_other_boards(self, create, watch, send, ann):
        for board_id in ("weekly", "daily"):
            create(board_id)
        create("speedrun", source=None)
        subscriber = watch("daily")

        send(ann, 5, on="speedrun")
        send(ann, 7)
        service.end_season("weekly")
        service.change(MAIN, {"title": "All time"})

        assert {message["board"] for message in subscriber.all_messages()} == {"daily"}
        assert kinds(subscriber) == [("score_update", 1), ("top_10_update", 1)]

    def test_a_connection_that_names_no_board_gets_main_without_names(
        self, app, create, watch, send, subscriber, ann
    ):
        create("weekly")
        create("speedrun", source=None)
        watch("weekly", "speedrun", MAIN)

        send(ann, 5, on="speedrun")
        send(ann, 7)
        service.end_season("weekly")
        service.change(MAIN, {"title": "All time"})
        service.archive("weekly")

        lines = [{"user_id": ann.user_id, "score": 7}]
        assert subscriber.all_messages() == [
            {"type": "top_10_update", "data": {"top_10_scores": []}},
            {"type": "score_update", "data": {"user_id": ann.user_id, "new_score": 7}},
            {"type": "top_10_update", "data": {"top_10_scores": lines}},
        ]

    def test_a_connection_may_name_boards_and_watch_none_yet(self, watch, send, ann):
        subscriber = watch()

        send(ann, 7)

        assert subscriber.all_messages() == []

    def test_a_value_that_cannot_count_on_a_board_is_not_sent_there(self, create, watch, send, ann):
        create("small", max_score=10)
        subscriber = watch("small", MAIN)

        send(ann, 11)

        assert {message["board"] for message in subscriber.messages()[1:]} == {MAIN}

    def test_a_failed_push_on_one_board_does_not_affect_another(
        self, app, create, watch, send, subscriber, ann
    ):
        create("weekly")
        broken, other = watch(MAIN), watch("weekly")
        broken.connection.push = None

        send(ann, 7)

        assert len(other.messages()) == len(subscriber.messages()) == 2


class TestBoardUpdates:
    def test_changed_settings_send_the_board_object(self, client, create, watch, send, ann):
        create("weekly")
        create("daily")
        send(ann, 7)
        weekly, daily = watch("weekly"), watch("daily")

        service.change("weekly", {"title": "This week", "max_score": 50})

        assert weekly.messages() == [board_update(client, "weekly")]
        assert weekly.messages()[0]["data"]["title"] == "This week"
        assert weekly.messages()[0]["data"]["players"] == 1
        assert daily.messages() == []

    def test_a_change_of_nothing_sends_nothing(self, create, watch):
        create("weekly")
        subscriber = watch("weekly")

        service.change("weekly", {"title": "Weekly"})

        assert subscriber.messages() == []

    def test_a_board_that_closes_sends_its_state(self, app, client, create, watch):
        closes_at = datetime.now(UTC) + timedelta(seconds=1)
        create("final", source=None, closes_at=closes_at.isoformat())
        subscriber = watch("final")

        pass_time(app, "final", closes_at)

        assert subscriber.messages() == [board_update(client, "final")]
        assert subscriber.messages()[0]["data"]["state"] == "closed"

    def test_a_new_season_is_followed_by_its_empty_list(self, client, create, watch, send, ann):
        create("weekly")
        send(ann, 7)
        subscriber = watch("weekly")

        service.end_season("weekly")

        assert subscriber.messages() == [
            board_update(client, "weekly"),
            top_10_update("weekly", 2),
        ]
        assert subscriber.messages()[0]["season"] == 2
        assert subscriber.messages()[0]["data"]["players"] == 0

    def test_the_update_that_finds_the_boundary_passed_comes_after_the_new_season(
        self, client, create, watch, send, ann, ben
    ):
        board = create("daily", reset=DAILY)
        send(ann, 7)
        subscriber = watch("daily")
        move_clock(MAIN, datetime.fromisoformat(board["season"]["ends_at"]))

        send(ben, 5)

        assert subscriber.messages() == [
            board_update(client, "daily"),
            top_10_update("daily", 2),
            score_update("daily", 2, ben, "Ben", 5),
            top_10_update("daily", 2, (ben, "Ben", 5, 1)),
        ]

    def test_a_new_season_of_main_empties_the_list_of_connections_without_names(
        self, send, subscriber, ann
    ):
        send(ann, 7)
        service.end_season(MAIN)
        send(ann, 5)

        lists = [m["data"] for m in subscriber.messages() if m["type"] == "top_10_update"]
        assert lists == [
            {"top_10_scores": entries}
            for entries in (
                [{"user_id": ann.user_id, "score": 7}],
                [],
                [{"user_id": ann.user_id, "score": 5}],
            )
        ]

    def test_an_archived_board_sends_its_state_and_no_more(
        self, app, client, create, watch, send, admin, ann
    ):
        create("weekly")
        send(ann, 7)
        subscriber = watch("weekly")

        service.archive("weekly")
        send(ann, 9)

        data = client.get("/api/boards/weekly", headers=admin.bearer).json
        assert (data["state"], data["players"]) == ("archived", 1)
        assert subscriber.messages() == [
            {"type": "board_update", "board": "weekly", "season": 1, "data": data}
        ]
        assert_watches_nothing(app, subscriber)

    def test_an_archived_ledger_sends_its_state(self, app, create, watch):
        create("speedrun", source=None)
        subscriber = watch("speedrun")

        service.archive("speedrun")

        assert [message["data"]["state"] for message in subscriber.messages()] == ["archived"]
        assert_watches_nothing(app, subscriber)

    def test_a_board_that_is_not_public_any_more_loses_its_viewers(
        self, app, client, create, watch, send, ann
    ):
        create("weekly")
        viewer, user = watch("weekly"), watch("weekly", user_id=ann.user_id)

        service.change("weekly", {"public": False})
        send(ann, 7)

        assert [message["type"] for message in viewer.messages()] == ["board_update"]
        assert viewer.messages()[0]["data"]["public"] is False
        assert_watches_nothing(app, viewer)
        assert [message["type"] for message in user.messages()] == [
            *("board_update", "score_update", "top_10_update")
        ]


class TestCatchingUp:
    """Without Redis, the changes of another process come from the database."""

    def test_every_update_comes_once_and_in_order_on_each_board(
        self, app, create, watch, send, other, ann, ben
    ):
        create("weekly", policy="total")
        subscriber = watch("weekly")
        for user, score in ((ann, 7), (ben, 5), (ann, 2)):
            send(user, score, by=other.test_client())

        feed(app).catch_up()
        feed(app).catch_up()

        assert subscriber.messages() == [
            score_update("weekly", 1, ann, "Ann", 7),
            score_update("weekly", 1, ben, "Ben", 5),
            score_update("weekly", 1, ann, "Ann", 9),
            top_10_update("weekly", 1, (ann, "Ann", 9, 1), (ben, "Ben", 5, 2)),
        ]

    def test_updates_of_hidden_users_are_not_sent(
        self, app, create, watch, send, other, subscriber, ann, ben, act
    ):
        create("weekly", policy="total")
        named = watch("weekly")
        act(ann, "hide")
        send(ann, 7)
        for user, score in ((ann, 8), (ben, 5)):
            send(user, score, by=other.test_client())
        act(ben, "hide", by=other.test_client())

        feed(app).catch_up()

        assert [message["type"] for message in named.messages()] == ["board_update"]
        assert subscriber.messages() == []

    def test_a_new_season_comes_between_the_updates_of_the_two(
        self, app, client, create, watch, send, other, subscriber, ann
    ):
        create("weekly", policy="total")
        named = watch("weekly")
        send(ann, 7, by=other.test_client())
        with other.app_context():
            service.end_season("weekly")
        send(ann, 2, by=other.test_client())

        feed(app).catch_up()

        assert named.messages() == [
            score_update("weekly", 1, ann, "Ann", 7),
            board_update(client, "weekly"),
            top_10_update("weekly", 2),
            score_update("weekly", 2, ann, "Ann", 2),
            top_10_update("weekly", 2, (ann, "Ann", 2, 1)),
        ]
        assert [m["data"].get("new_score") for m in subscriber.messages()] == [7, 2, None]

    def test_a_change_of_one_board_is_not_sent_for_the_others(
        self, app, client, create, watch, other
    ):
        create("weekly")
        create("daily")
        weekly, daily = watch("weekly"), watch("daily")
        with other.app_context():
            service.change("weekly", {"title": "This week"})

        feed(app).catch_up()

        assert weekly.messages() == [board_update(client, "weekly")]
        assert daily.messages() == []

    def test_a_board_that_another_process_archived_sends_its_state(
        self, app, create, watch, send, other, ann
    ):
        create("weekly")
        send(ann, 7)
        subscriber = watch("weekly", MAIN)
        with other.app_context():
            service.archive("weekly")

        feed(app).catch_up()

        (last,) = subscriber.messages()[1:]
        assert (last["data"]["state"], last["data"]["players"]) == ("archived", 1)
        assert subscriber.connection.boards.keys() == {MAIN}

    def test_a_board_that_another_process_created_can_be_watched_at_once(
        self, app, watch, send, other, ann, monkeypatch
    ):
        monkeypatch.setattr(live_feed, "MAX_BOARD_AGE", 60)
        watch(MAIN)
        with other.app_context():
            service.create({"board_id": "weekly", "title": "Weekly", "source": MAIN})
        send(ann, 7, by=other.test_client())

        subscriber = watch("weekly")

        assert subscriber.all_messages() == [top_10_update("weekly", 1, (ann, "Ann", 7, 1))]

    def test_the_maintenance_reads_only_the_ledgers_that_are_watched(
        self, app, create, watch, other, monkeypatch
    ):
        for board_id in ("one", "two", "three"):
            create(board_id, source=None)
        reads = []
        since = top10.since
        monkeypatch.setattr(
            top10, "since", lambda store, *rest: reads.append(rest[0]) or since(store, *rest)
        )
        subscriber = watch("two")

        with other.app_context():
            for board_id in ("one", "two", "three"):
                service.change(board_id, {"title": "New"})
        for _ in range(2):
            maintenance._catch_up(app)

        assert reads == ["two", "two"]
        assert kinds(subscriber) == [("board_update", 1)]


class TestSubscriptions:
    def test_a_ledger_is_watched_only_while_a_connection_watches_it(self, app, create, watch):
        create("speedrun", source=None)
        create("weekly")
        create("daily")
        subscribers = services(app).subscribers
        first, second = watch("speedrun", "weekly", "daily"), watch("speedrun")
        assert subscribers.ledgers.keys() == {"speedrun", MAIN}

        subscribers.unsubscribe(first.connection, "weekly")
        assert subscribers.ledgers.keys() == {"speedrun", MAIN}

        subscribers.unsubscribe(first.connection, "daily")
        assert subscribers.ledgers.keys() == {"speedrun"}

        subscribers.remove(first.connection)
        subscribers.remove(second.connection)
        assert subscribers.ledgers == {}

    def test_a_second_subscription_to_a_board_sends_nothing(self, app, create, watch, send, ann):
        create("weekly")
        subscriber = watch("weekly", "weekly")

        hub.subscribe(app, subscriber.connection, ["weekly"])
        send(ann, 7)

        assert [m["type"] for m in subscriber.all_messages()] == [
            *("top_10_update", "score_update", "top_10_update")
        ]

    def test_an_unsubscribed_connection_gets_nothing_more(self, app, create, watch, send, ann):
        create("weekly")
        subscriber = watch("weekly", MAIN)

        services(app).subscribers.unsubscribe(subscriber.connection, "weekly")
        send(ann, 7)

        assert {message["board"] for message in subscriber.messages()[1:]} == {MAIN}

    @pytest.mark.parametrize("boards", [["speedrun", "weekly"], ["weekly", "speedrun"], None])
    def test_a_connection_that_ends_during_the_read_is_not_subscribed(
        self, app, create, watch, send, boards, monkeypatch
    ):
        create("speedrun", source=None)
        create("weekly")
        subscriber = watch()
        read = top10.since

        def end_during_read(*arguments):
            monkeypatch.setattr(top10, "since", read)
            subscriber.connection.caller = None
            services(app).subscribers.remove(subscriber.connection)
            return read(*arguments)

        monkeypatch.setattr(top10, "since", end_during_read)
        hub.subscribe(app, subscriber.connection, boards)

        assert subscriber.all_messages() == []
        assert_watches_nothing(app, subscriber)

    def test_a_connection_that_unsubscribes_during_the_read_gets_nothing(
        self, app, create, watch, send, ann, monkeypatch
    ):
        create("weekly")
        subscriber = watch()
        read = top10.since

        def unsubscribe_during_read(*arguments):
            services(app).subscribers.unsubscribe(subscriber.connection, "weekly")
            return read(*arguments)

        monkeypatch.setattr(top10, "since", unsubscribe_during_read)
        hub.subscribe(app, subscriber.connection, ["weekly"])
        send(ann, 7)

        assert subscriber.all_messages() == []
        assert_watches_nothing(app, subscriber)

    def test_a_failed_read_leaves_no_subscription(self, app, create, watch, monkeypatch):
        create("weekly")
        subscriber = watch()

        def fail(*arguments):
            raise OperationalError("", {}, Exception())

        with monkeypatch.context() as patch:
            patch.setattr(top10, "since", fail)
            with pytest.raises(OperationalError):
                hub.subscribe(app, subscriber.connection, ["weekly"])

        assert_watches_nothing(app, subscriber)
        hub.subscribe(app, subscriber.connection, ["weekly"])
        assert subscriber.all_messages() == [top_10_update("weekly", 1)]

    def test_a_connection_watches_at_most_20_boards(self, app, create, watch):
        for number in range(21):
            create(f"board-{number}", source=None)
        subscriber = watch(*(f"board-{number}" for number in range(20)))

        with pytest.raises(InvalidInput, match="Unsubscribe"):
            hub.subscribe(app, subscriber.connection, ["board-20"])
        hub.subscribe(app, subscriber.connection, ["board-19"])

        assert len(subscriber.all_messages()) == len(subscriber.connection.boards) == 20

    def test_a_viewer_cannot_watch_a_board_that_is_not_public(self, app, create, watch, ann):
        create("staff", public=False)
        viewer = watch()

        with pytest.raises(NotPermitted):
            hub.subscribe(app, viewer.connection, ["staff"])

        assert_watches_nothing(app, viewer)
        assert len(watch("staff", user_id=ann.user_id).all_messages()) == 1

    def test_what_another_process_has_changed_decides_at_once(
        self, app, create, watch, other, monkeypatch
    ):
        monkeypatch.setattr(directory, "MAX_AGE", 60)
        create("weekly")
        create("daily")
        watch(MAIN, "weekly", "daily")
        with other.app_context():
            service.change("weekly", {"public": False})
            service.archive("daily")
        feed(app).catch_up()

        with pytest.raises(NotPermitted):
            watch("weekly")
        with pytest.raises(UnknownBoard):
            watch("daily")


def assert_watches_nothing(app, subscriber):
    assert subscriber.connection.boards == {}
    boards = [
        board
        for ledger in services(app).subscribers.ledgers.values()
        for board in ledger.boards.values()
    ]
    assert not any(
        subscriber.connection in connections
        for board in boards
        for connections in board.subscribers.values()
    )


def move_clock(ledger_id, time):
    """Set the clock of a ledger, which never goes back."""
    microseconds = round(time.timestamp() * 1_000_000)
    statement = update(BoardVersion).where(BoardVersion.board_id == ledger_id)
    transactions.transaction(lambda c: c.execute(statement.values(clock=microseconds)))


def pass_time(app, ledger_id, time):
    """Bring a ledger up to date at this time."""
    move_clock(ledger_id, time)
    services(app).ledgers.get(ledger_id).bring_up_to_date()
