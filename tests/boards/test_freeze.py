"""A frozen board shows the public what it was at the freeze, and scorers and admins the truth."""

import pytest
from sqlalchemy import func, select

from scoreboard.db import transactions
from scoreboard.models import Standing
from scoreboard.services import services
from tests.support.api import submit
from tests.support.local_subscribers import LocalSubscriber

PAST, FUTURE = "2026-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
DAY = 24 * 60 * 60 * 10**6  # microseconds
DAILY = {"every": "day", "at": "06:00", "time_zone": "UTC"}
WATCHED = (None, ["main"], ["cup"])
FREEZES_AT = 1_781_085_600_000_000  # 2026-06-10T10:00:00Z, in microseconds


@pytest.fixture
def send(client):
    """Return a function that submits the next update of a user and returns the receipt."""
    minutes = iter(range(1000))

    def send(user, score, **fields):
        number = next(minutes)
        timestamp = f"2026-01-01T{number // 60:02}:{number % 60:02}:00Z"
        response = submit(client, user, user.update(score, timestamp, **fields))
        assert response.status_code == 200, response.json
        return response.json

    return send


@pytest.fixture
def read(client):
    """Return a function that reads the user ids and scores of a board."""

    def read(board="main", query="", **options):
        response = client.get(f"/api/boards/{board}/leaderboard{query}", **options)
        assert response.status_code == 200, response.json
        return [(each["user_id"], each["score"]) for each in response.json["entries"]]

    return read


@pytest.fixture
def users(make_user):
    return [make_user(name=f"User {number}") for number in range(12)]


def state(client, board="main"):
    return client.get(f"/api/boards/{board}").json["state"]


class TestFreeze:
    def test_the_public_sees_the_board_of_the_freeze(self, client, administer, send, read, users):
        first, second, late = users[:3]
        send(first, 5)
        send(second, 7)

        response = administer("POST", "/main/freeze")
        receipt = send(first, 9)
        send(late, 8)

        assert (response.status_code, response.json["state"]) == (200, "frozen")
        assert (receipt["score"], receipt["applied"]) == (9, True)
        assert read() == [(second.user_id, 7), (first.user_id, 5)]
        board = client.get("/api/boards/main").json
        assert (board["state"], board["players"]) == ("frozen", 2)
        rank = client.get(f"/api/leaderboard/users/{first.user_id}").json
        assert (rank["entry"]["rank"], rank["entry"]["score"], rank["total"]) == (2, 5, 2)
        assert client.get(f"/api/leaderboard/users/{late.user_id}").status_code == 404

    def test_scorers_and_admins_read_the_truth(
        self, client, administer, send, read, users, scorer, admin
    ):
        send(users[0], 5)
        administer("POST", "/main/freeze")
        send(users[0], 9)
        send(users[1], 1)

        for user in (scorer, admin):
            truth = [(users[0].user_id, 9), (users[1].user_id, 1)]
            assert read(query="?live=1", headers=user.bearer) == truth
            path = f"leaderboard/users/{users[1].user_id}?live=1"
            for prefix in ("boards/main/", ""):
                rank = client.get(f"/api/{prefix}{path}", headers=user.bearer).json
                assert (rank["entry"]["rank"], rank["total"]) == (2, 2)
            board = client.get("/api/boards/main?live=1", headers=user.bearer).json
            assert (board["state"], board["players"]) == ("frozen", 2)

    @pytest.mark.parametrize(
        "path",
        [
            *("boards", "boards/main", "boards/main/seasons", "boards/main/top10"),
            *("boards/main/leaderboard", "leaderboard", "leaderboard/users/{}"),
            "boards/main/leaderboard/users/{}",
        ],
    )
    def test_only_scorers_and_admins_may_read_live(self, client, player, make_user, send, path):
        send(player, 5)
        url = f"/api/{path.format(player.user_id)}?live=1"
        tokens = {role: make_user(role).bearer for role in ("viewer", "scorer", "admin")}

        outcomes = {
            role: client.get(url, headers=bearer)
            for role, bearer in {"": None, "player": player.bearer, **tokens}.items()
        }

        assert {role: each.status_code for role, each in outcomes.items()} == {
            **{"": 401, "player": 401, "viewer": 401, "scorer": 200, "admin": 200}
        }
        assert outcomes[""].json["error"]["code"] == "token_missing"
        assert outcomes["player"].json["error"]["code"] == "not_permitted"

    def test_it_freezes_at_the_microsecond(self, client, make_board, send, read, users, clock):
        clock.set(FREEZES_AT - 10)
        make_board("cup", freezes_at="2026-06-10T10:00:00Z")
        clock.set(FREEZES_AT - 2)
        send(users[0], 5, board="cup")
        clock.set(FREEZES_AT)

        send(users[0], 6, board="cup")

        assert state(client, "cup") == "frozen"
        assert read("cup") == [(users[0].user_id, 5)]

    def test_it_freezes_without_traffic(self, app, client, make_board, clock):
        clock.set(FREEZES_AT - 10)
        make_board("cup", freezes_at="2026-06-10T10:00:00Z")
        assert state(client, "cup") == "open"
        clock.set(FREEZES_AT)

        services(app).ledgers.get("cup").bring_up_to_date()

        assert state(client, "cup") == "frozen"
        frozen_at = client.get("/api/boards/cup").json["frozen_at"]
        assert frozen_at == "2026-06-10T10:00:00Z"

    def test_a_board_that_freezes_with_its_season_shows_the_season_that_ended(
        self, client, make_board, send, read, users, clock
    ):
        clock.set(FREEZES_AT - 10)
        reset = {"every": "day", "at": "10:00", "time_zone": "UTC"}
        before = make_board("cup", freezes_at="2026-06-10T10:00:00Z", reset=reset)
        send(users[0], 5, board="cup")
        clock.set(FREEZES_AT)

        assert send(users[0], 6, board="cup")["season"] == 2

        board = client.get("/api/boards/cup").json
        assert (board["state"], board["season"]) == ("frozen", before["season"])
        assert read("cup") == [(users[0].user_id, 5)]

    def test_a_derived_board_is_frozen_on_its_own(self, make_board, administer, send, read, users):
        make_board("weekly", source="main", policy="total")
        send(users[0], 5)

        administer("POST", "/weekly/freeze")
        send(users[0], 6)

        assert read() == [(users[0].user_id, 6)]
        assert read("weekly") == [(users[0].user_id, 5)]

    def test_a_frozen_board_closes(self, client, make_board, administer, player):
        make_board("cup")
        administer("POST", "/cup/freeze")

        administer("PATCH", "/cup", {"closes_at": PAST})

        response = submit(client, player, player.update(1, board="cup"))
        assert response.json["error"]["code"] == "board_closed"
        assert state(client, "cup") == "frozen"

    def test_a_later_season_is_not_known_yet(self, client, make_board, administer, admin):
        make_board("cup")
        administer("POST", "/cup/freeze")

        administer("POST", "/cup/seasons")

        assert client.get("/api/boards/cup/top10?season=2").status_code == 400
        live = client.get("/api/boards/cup/top10?season=2&live=1", headers=admin.bearer)
        assert (live.status_code, live.json["season"]) == (200, 2)
        (season,) = client.get("/api/boards/cup/seasons").json["seasons"]
        assert (season["number"], season["ends_at"]) == (1, None)
        seasons = client.get("/api/boards/cup/seasons?live=1", headers=admin.bearer).json["seasons"]
        assert [each["number"] for each in seasons] == [2, 1]

    def test_voids_do_not_change_the_image(self, client, administer, send, read, users, admin):
        score_id = send(users[0], 5)["score_id"]
        administer("POST", "/main/freeze")

        path = f"/api/admin/scores/{score_id}/void"
        assert client.post(path, json={"reason": "x"}, headers=admin.bearer).status_code == 200

        assert read() == [(users[0].user_id, 5)]
        assert read(query="?live=1", headers=admin.bearer) == []

    def test_a_void_in_an_earlier_season_has_a_new_etag(
        self, client, make_board, administer, send, users, admin
    ):
        make_board("cup")
        score_id = send(users[0], 5, board="cup")["score_id"]
        administer("POST", "/cup/seasons")
        administer("POST", "/cup/freeze")
        etag = client.get("/api/boards/cup/top10?season=1").headers["ETag"]

        path = f"/api/admin/scores/{score_id}/void"
        client.post(path, json={"reason": "x"}, headers=admin.bearer)

        known = {"If-None-Match": etag}
        response = client.get("/api/boards/cup/top10?season=1", headers=known)
        assert (response.status_code, response.json["top_10_scores"]) == (200, [])

    def test_a_hidden_user_leaves_the_image_and_returns(
        self, app, client, administer, send, read, users, admin
    ):
        send(users[0], 5)
        administer("POST", "/main/freeze")
        subscriber = LocalSubscriber(app, ["main"])
        etag = client.get("/api/boards/main/top10").headers["ETag"]

        def act(action):
            path = f"/api/admin/users/{users[0].user_id}/{action}"
            client.post(path, headers=admin.bearer)
            return read()

        assert act("hide") == []
        known = {"If-None-Match": etag}
        assert client.get("/api/boards/main/top10", headers=known).status_code == 200
        assert act("restore") == [(users[0].user_id, 5)]
        kinds = [message["type"] for message in subscriber.messages()]
        assert kinds == ["board_update", "top_10_update"] * 2

    def test_freezing_again_keeps_the_image(self, administer, send, read, users):
        send(users[0], 5)
        administer("POST", "/main/freeze")
        send(users[0], 6)

        assert administer("POST", "/main/freeze").status_code == 200

        assert read() == [(users[0].user_id, 5)]

    def test_the_commands_are_those_of_the_endpoints(self, administer, audit_lines):
        for path, body in [("freeze", None), ("reveal", {"places": "all"}), ("unfreeze", None)]:
            assert administer("POST", f"/main/{path}", body).status_code == 200

        lines = [line for line in audit_lines() if line["event"] == "moderation"]
        assert [(line["act"], line["board"]) for line in lines] == [
            *(("freeze-board", "main"), ("reveal-board", "main"), ("unfreeze-board", "main"))
        ]


class TestUnfreeze:
    def test_the_truth_is_shown_and_sent(self, app, client, administer, send, read, users):
        send(users[0], 5)
        subscriber = LocalSubscriber(app, ["main"])
        administer("POST", "/main/freeze")
        send(users[1], 6)

        response = administer("POST", "/main/unfreeze")

        assert response.json["state"] == "open"
        assert read() == [(users[1].user_id, 6), (users[0].user_id, 5)]
        frozen, unfrozen, top10 = subscriber.messages()
        assert (frozen["type"], frozen["data"]["state"]) == ("board_update", "frozen")
        assert (unfrozen["type"], unfrozen["data"]["state"]) == ("board_update", "open")
        assert [each["score"] for each in top10["data"]["top_10_scores"]] == [6, 5]

    def test_no_row_of_the_image_is_left(self, app, administer, send, users):
        send(users[0], 5)
        administer("POST", "/main/freeze")
        administer("POST", "/main/unfreeze")

        statement = select(func.count()).where(Standing.season < 0)
        assert transactions.read(lambda c: c.execute(statement).scalar()) == 0

    def test_a_time_that_has_passed_does_not_freeze_it_again(
        self, client, make_board, administer, send, users
    ):
        assert make_board("cup", freezes_at=PAST)["state"] == "frozen"

        administer("POST", "/cup/unfreeze")
        send(users[0], 5, board="cup")

        board = client.get("/api/boards/cup").json
        assert (board["state"], board["freezes_at"]) == ("open", None)

    def test_a_later_time_stays(self, make_board, administer):
        make_board("cup", freezes_at=FUTURE)
        administer("POST", "/cup/freeze")

        assert administer("POST", "/cup/unfreeze").json["freezes_at"] == FUTURE

    def test_the_season_that_began_meanwhile_is_shown(
        self, app, make_board, administer, send, users
    ):
        make_board("cup")
        send(users[0], 5, board="cup")
        subscriber = LocalSubscriber(app, ["cup"])
        administer("POST", "/cup/freeze")
        administer("POST", "/cup/seasons")
        send(users[0], 7, board="cup")

        administer("POST", "/cup/unfreeze")

        _, opened, empty, filled = subscriber.messages()
        assert (opened["type"], opened["season"]) == ("board_update", 2)
        assert empty["data"]["top_10_scores"] == []
        assert [each["score"] for each in filled["data"]["top_10_scores"]] == [7]


class TestReveal:
    def test_each_place_is_shown_from_the_last(self, app, administer, send, read, users):
        a, b, c, new = users[:4]
        for user, score in ((a, 3), (b, 2), (c, 1)):
            send(user, score)
        administer("POST", "/main/freeze")
        for user, score in ((c, 10), (new, 5), (a, 4)):
            send(user, score)
        # The truth: c 10, new 5, a 4, b 2.
        subscriber = LocalSubscriber(app, ["main"])

        shown = []
        for _ in range(4):
            response = administer("POST", "/main/reveal", {"places": 1})
            shown.append(read())

        assert shown == [
            [(a.user_id, 3), (b.user_id, 2), (c.user_id, 1)],
            [(a.user_id, 4), (b.user_id, 2), (c.user_id, 1)],
            [(new.user_id, 5), (a.user_id, 4), (b.user_id, 2), (c.user_id, 1)],
            [(c.user_id, 10), (new.user_id, 5), (a.user_id, 4), (b.user_id, 2)],
        ]
        assert response.json["state"] == "open"
        kinds = [message["type"] for message in subscriber.messages()]
        assert kinds == [
            "board_update",  # b is as before
            *["board_update", "top_10_update"] * 3,
        ]

    def test_several_places_are_sent_one_by_one(self, app, administer, send, users):
        for user in users[:4]:
            send(user, 1)
        administer("POST", "/main/freeze")
        for score, user in enumerate(users[:4], 2):
            send(user, score)
        subscriber = LocalSubscriber(app, ["main"])

        assert administer("POST", "/main/reveal", {"places": 3}).json["state"] == "frozen"

        lists = [m for m in subscriber.messages() if m["type"] == "top_10_update"]
        assert [
            [each["score"] for each in message["data"]["top_10_scores"]] for message in lists
        ] == [[2, 1, 1, 1], [3, 2, 1, 1], [4, 3, 2, 1]]

    @pytest.mark.parametrize("places", ["all", 5, 1000])
    def test_all_places_unfreeze_the_board(self, administer, send, read, users, places):
        for user in users[:3]:
            send(user, 1)
        administer("POST", "/main/freeze")
        send(users[2], 5)

        response = administer("POST", "/main/reveal", {"places": places})

        assert response.json["state"] == "open"
        assert read()[0] == (users[2].user_id, 5)

    def test_hidden_users_have_no_place(self, client, administer, send, read, users, admin):
        for score, user in enumerate(users[:3]):
            send(user, score)
        administer("POST", "/main/freeze")
        send(users[1], 9)
        client.post(f"/api/admin/users/{users[0].user_id}/hide", headers=admin.bearer)

        administer("POST", "/main/reveal", {"places": 1})  # users[2]
        administer("POST", "/main/reveal", {"places": 1})

        assert state(client) == "open"
        assert read() == [(users[1].user_id, 9), (users[2].user_id, 2)]


def public_bytes(client, board, users):
    """Return bodies and ETags of every public endpoint, also when asked again with the ETag."""
    paths = [
        *("/api/boards", f"/api/boards/{board}", f"/api/boards/{board}/seasons"),
        *("/api/score/top10", "/api/leaderboard", "/api/leaderboard?limit=1"),
        *(f"/api/boards/{board}/top10", f"/api/boards/{board}/leaderboard?limit=2"),
        *(f"/api/boards/{board}/top10?season={season}" for season in (1, 2, 3)),
        f"/api/boards/{board}/leaderboard?users={','.join(user.user_id for user in users)}",
        f"/api/boards/{board}/leaderboard?query=user",
        *(f"/api/leaderboard/users/{user.user_id}" for user in users),
        *(f"/api/boards/{board}/leaderboard/users/{user.user_id}" for user in users),
    ]
    found = []
    for path in paths:
        response = client.get(path)
        etag = response.headers.get("ETag")
        again = client.get(path, headers={"If-None-Match": etag} if etag else {})
        found.append((path, response.status_code, response.data, etag, again.status_code))
        cursor = (response.json or {}).get("next")
        if cursor:
            page = client.get(f"{path}&cursor={cursor}")
            found.append((path, cursor, page.data, page.headers["ETag"]))
    return found


class TestTwoRuns:
    """What happens after the freeze makes no difference to what the public gets."""

    @pytest.fixture
    def frozen(self, app, make_app, make_board, administer, send, users):
        """Freeze `main` and a derived board in their second season; return their subscribers."""
        make_board("cup", source="main", policy="total", reset=DAILY)
        other = make_app()
        for board in ("main", "cup"):
            send(users[0], 1)
            administer("POST", f"/{board}/seasons")
        for score, user in enumerate(users[:11]):
            send(user, score)
        for board in ("main", "cup"):
            administer("POST", f"/{board}/freeze")
        made = [LocalSubscriber(each, boards) for each in (app, other) for boards in WATCHED]
        return other, made

    def test_the_public_gets_the_same_bytes(
        self, app, client, frozen, administer, send, users, admin, scorer, clock
    ):
        other, subscribers = frozen
        clients = [client, other.test_client()]
        other_feed = services(other).subscribers.ledgers["main"].feed
        before = [public_bytes(each, board, users) for each in clients for board in ("main", "cup")]
        frames = [list(each.frames) for each in subscribers]

        score_id = send(users[0], 50)["score_id"]
        send(users[11], 60)
        batch = {"updates": [user.update(70, "2026-01-01T00:14:30Z") for user in users]}
        assert client.post("/api/score/batch", json=batch, headers=scorer.bearer).status_code == 200
        path = f"/api/admin/scores/{score_id}/void"
        assert client.post(path, json={"reason": "x"}, headers=admin.bearer).status_code == 200
        path = f"/api/admin/users/{users[11].user_id}/hide"  # not in the image
        assert client.post(path, headers=admin.bearer).status_code == 200
        assert administer("POST", "/cup/seasons").status_code == 201
        clock.set(clock.now + 3 * DAY)
        services(app).ledgers.get("main").bring_up_to_date()
        send(users[3], 80)
        other_feed.catch_up()

        after = [public_bytes(each, board, users) for each in clients for board in ("main", "cup")]
        assert after == before
        assert [list(each.frames) for each in subscribers] == frames
        late = [LocalSubscriber(each, boards) for each in (app, other) for boards in WATCHED]
        first = [[each.all_messages()[0] for each in made] for made in (late, subscribers)]
        assert first[0] == first[1]

        for board in ("main", "cup"):
            assert administer("POST", f"/{board}/unfreeze").json["state"] == "open"
        top10 = client.get("/api/score/top10").json["top_10_scores"]
        assert top10[0] == {"user_id": users[3].user_id, "score": 80}
        assert client.get("/api/boards/cup").json["season"]["number"] > 3
        other_feed.catch_up()
        for subscriber in subscribers:
            assert subscriber.all_messages()[1:] != []

    def test_updates_from_before_the_freeze_are_still_sent(self, make_app, administer, send, users):
        other = make_app()
        subscriber = LocalSubscriber(other, ["main"])
        send(users[0], 5)
        administer("POST", "/main/freeze")
        send(users[0], 6)

        services(other).subscribers.ledgers["main"].feed.catch_up()

        messages = subscriber.messages()
        scores = [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]
        assert scores == [5]
        assert messages[-1]["data"]["top_10_scores"][0]["score"] == 5
