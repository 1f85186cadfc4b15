"""Boards and seasons, as clients, scorers and admins use them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from scoreboard.boards import schemas
from scoreboard.extensions import db
from scoreboard.models import Board, BoardVersion
from scoreboard.services import services
from tests.support.api import submit, top10

PAST, FUTURE = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
DAILY = {"every": "day", "at": "06:00", "time_zone": "UTC"}
DAY = 24 * 3600 * 10**6
READS = ("", "/seasons", "/top10", "/leaderboard")
# 2026-06-10 05:59:59.999999 UTC in microseconds: the last one before a daily season ends.
BEFORE_RESET = int(datetime(2026, 6, 10, 6, tzinfo=UTC).timestamp()) * 10**6 - 1


def code(response):
    """Return the status and the code of an error."""
    return response.status_code, response.json["error"]["code"]


def scores(client, board, season=None, user=None):
    """Return the scores of a board in order."""
    query = f"?season={season}" if season else ""
    response = client.get(
        f"/api/boards/{board}/leaderboard{query}", headers=user.bearer if user else None
    )
    assert response.status_code == 200, response.json
    return [entry["score"] for entry in response.json["entries"]]


def send(client, user, value, minute=0, **more):
    """Submit an update of this minute; return the receipt."""
    response = submit(client, user, user.update(value, f"2026-01-01T00:{minute:02}:00Z", **more))
    assert response.status_code == 200, response.json
    return response.json


# Board objects


def test_a_new_board_has_the_defaults_of_the_contract(client, make_board):
    made = make_board("daily", title=" Daily ")

    season = made["season"]
    assert made == {
        **{"board_id": "daily", "title": "Daily", "source": None, "policy": "latest"},
        **{"order": "desc", "format": "number", "min_score": None, "max_score": None},
        **{"submit": "player", "public": True, "tickets": None},
        **{"opens_at": None, "closes_at": None, "freezes_at": None, "frozen_at": None},
        **{"reset": None, "state": "open", "players": 0, "season": season},
    }
    assert season == {"number": 1, "starts_at": season["starts_at"], "ends_at": None}
    assert client.get("/api/boards/daily").json == made
    assert made.keys() == schemas.board_object_schema.fields.keys()


def test_a_board_keeps_every_field(make_board):
    fields = {
        **{"policy": "best", "order": "asc", "format": "time", "min_score": 0, "max_score": 7.5},
        **{"submit": "scorer", "public": False, "opens_at": PAST, "closes_at": FUTURE},
        **{"freezes_at": FUTURE, "tickets": {"min_seconds": 3600}},
        "reset": {"every": "week", "on": "monday", "at": "06:00", "time_zone": "Europe/Vienna"},
    }

    made = make_board(**fields)

    assert {name: made[name] for name in fields} == fields


@pytest.mark.parametrize("title", ["שלום", "می‌خواهم", "👨‍👩‍👧 🏳️‍🌈", "x" * 64])
def test_a_title_may_be_in_any_script_and_have_emoji(client, make_board, title):
    make_board("run", title=title)

    assert client.get("/api/boards/run").json["title"] == title


def test_boards_are_listed_main_first(client, make_board):
    make_board("b")
    make_board("a")

    listed = client.get("/api/boards").json["boards"]

    assert [board["board_id"] for board in listed] == ["main", "a", "b"]


def test_players_are_those_of_the_current_season(client, make_board, administer, player):
    make_board("run")
    send(client, player, 1, board="run")

    assert client.get("/api/boards/run").json["players"] == 1
    administer("POST", "/run/seasons")
    assert client.get("/api/boards/run").json["players"] == 0


@pytest.mark.parametrize("board", ["nothing", "UPPER", "a%00b", "%ff", "x" * 5000])
def test_reads_of_an_unknown_board_are_404(client, board):
    for path in READS:
        assert code(client.get(f"/api/boards/{board}{path}")) == (404, "unknown_board")


def test_an_update_of_an_unknown_board_is_400(client, player):
    response = submit(client, player, player.update(1, board="nothing"))

    assert code(response) == (400, "unknown_board")
    assert list(response.json["error"]["fields"]) == ["board"]


def test_an_id_is_given_once_even_if_that_board_is_archived(make_board, administer):
    make_board("run")
    body = {"board_id": "run", "title": "Again"}

    assert code(administer("POST", body=body)) == (409, "board_exists")
    administer("DELETE", "/run")
    assert code(administer("POST", body=body)) == (409, "board_exists")
    assert code(administer("POST", body={**body, "board_id": "main"})) == (409, "board_exists")
    assert code(administer("POST", body={**body, "source": "main"})) == (409, "board_exists")


@pytest.mark.parametrize("role", ["viewer", "player", "scorer", None])
def test_only_admins_manage_boards(client, make_board, make_user, role):
    make_board("run")
    headers = make_user(role).bearer if role else {}

    responses = [
        client.post("/api/admin/boards", json={"board_id": "x", "title": "X"}, headers=headers),
        client.patch("/api/admin/boards/run", json={"title": "X"}, headers=headers),
        client.post("/api/admin/boards/run/seasons", headers=headers),
        client.delete("/api/admin/boards/run", headers=headers),
    ]

    assert {response.status_code for response in responses} == {401}
    assert client.get("/api/boards/run").json["title"] == "Board"


# Ledgers and derived boards


def test_a_receipt_names_the_board_and_season_only_if_the_update_names_it(client, player):
    unnamed = send(client, player, 1, minute=1)
    named = send(client, player, 2, minute=2, board="main")

    assert unnamed.keys() == {"user_id", "score", "score_id", "created_at", "applied"}
    assert named == {**named, "board": "main", "season": 1}


def test_ledgers_are_independent(client, make_board, player):
    make_board("run", policy="total")
    update = {"board": "run", "nonce": "the-same-nonce"}

    send(client, player, 5, **update)
    send(client, player, 7, nonce="the-same-nonce")

    assert scores(client, "run") == [5]
    assert top10(client) == [{"user_id": player.user_id, "score": 7}]


@pytest.mark.parametrize(
    ("policy", "order", "expected"),
    [
        *[("latest", "desc", 3), ("best", "desc", 4), ("total", "desc", 8.5)],
        *[("latest", "asc", 3), ("best", "asc", 1.5), ("total", "asc", 8.5)],
    ],
)
def test_a_derived_board_has_a_rule_of_its_own(client, make_board, player, policy, order, expected):
    make_board("derived", source="main", policy=policy, order=order)

    for minute, value in enumerate([4, 1.5, 3]):
        send(client, player, value, minute)

    assert scores(client, "derived") == [expected]
    assert scores(client, "main") == [3]


@pytest.mark.parametrize("policy", ["latest", "best", "total"])
def test_in_ascending_order_the_lowest_is_first_and_ties_rank_by_time(
    client, make_board, make_user, policy
):
    make_board("run", policy=policy, order="asc")
    users = [make_user() for _ in range(4)]
    for user, value in zip(users, [2, -1, 2, 0], strict=True):
        send(client, user, value, board="run")

    entries = client.get("/api/boards/run/leaderboard").json["entries"]

    found = [(entry["rank"], entry["user_id"], entry["score"]) for entry in entries]
    ranks = [(1, 1, -1), (2, 3, 0), (3, 0, 2), (3, 2, 2)]
    assert found == [(rank, users[number].user_id, score) for rank, number, score in ranks]


def test_totals_of_a_derived_board_are_exact(client, make_board, player):
    make_board("sum", source="main", policy="total")

    for minute in range(10):
        send(client, player, 0.1, minute)

    assert scores(client, "sum") == [1]


def test_what_a_derived_board_cannot_hold_counts_on_its_source_alone(client, make_board, player):
    make_board("sum", source="main", policy="total")
    make_board("small", source="main", max_score=10)
    make_board("closed", source="main", closes_at=PAST)

    for minute, value in enumerate([10, 1e-10, 2**53 - 11, 11]):
        send(client, player, value, minute)

    assert scores(client, "main") == [11]
    assert scores(client, "sum") == [2**53 - 1]  # 11 more would leave the range
    assert scores(client, "small") == [1e-10]
    assert scores(client, "closed") == []


def test_a_derived_board_takes_no_updates_of_its_own(client, make_board, player):
    make_board("daily", source="main")

    response = submit(client, player, player.update(1, board="daily"))

    assert code(response) == (400, "board_derived")


def test_a_derived_board_counts_from_its_creation(client, make_board, player):
    send(client, player, 1, minute=1)
    make_board("daily", source="main")
    assert scores(client, "daily") == []

    send(client, player, 2, minute=2)

    assert scores(client, "daily") == [2]


def test_a_derived_board_has_no_tickets_of_its_own(make_board, administer):
    make_board("daily", source="main")
    fields = {"tickets": {"min_seconds": 0}}
    new = {"board_id": "weekly", "title": "Weekly", "source": "main", **fields}

    for response in (administer("PATCH", "/daily", fields), administer("POST", body=new)):
        assert code(response) == (400, "invalid_input")
        assert list(response.json["error"]["fields"]) == ["tickets"]


def test_a_source_has_at_most_8_derived_boards(make_board, administer):
    for number in range(8):
        make_board(f"derived-{number}", source="main")
    body = {"board_id": "one-more", "title": "X", "source": "main"}

    assert list(administer("POST", body=body).json["error"]["fields"]) == ["source"]
    administer("DELETE", "/derived-0")
    assert administer("POST", body=body).status_code == 201


def test_a_batch_may_be_for_several_boards(client, make_board, scorer, player):
    make_board("run", policy="total")
    boards = ["run", None, "nothing", "run"]
    updates = [
        player.update(value, **({"board": board} if board else {}))
        for value, board in enumerate(boards, 1)
    ]

    response = client.post("/api/score/batch", json={"updates": updates}, headers=scorer.bearer)

    results = response.json["results"]
    assert [result["status"] for result in results] == [200, 200, 400, 200]
    assert [result["body"].get("board") for result in results] == ["run", None, None, "run"]
    assert scores(client, "run") == [5]
    assert scores(client, "main") == [2]


# Who may update and read


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "1/minute"}])
def test_players_may_not_update_a_board_of_scorers_and_it_costs_them_nothing(
    client, make_board, player, scorer, audit_lines
):
    make_board("run", submit="scorer")
    update = player.update(1, board="run")

    for _ in range(3):
        assert code(submit(client, player, update)) == (401, "not_permitted")
    assert submit(client, scorer, update).status_code == 200
    assert code(submit(client, scorer, update)) == (429, "rate_limited")


@pytest.mark.parametrize("settings", [{"SCORE_SUBMIT": "scorer"}])
def test_a_setting_reserves_main_for_scorers(client, player, scorer):
    assert code(submit(client, player, player.update(1))) == (401, "not_permitted")
    assert submit(client, scorer, player.update(1)).status_code == 200
    assert client.get("/api/boards/main").json["submit"] == "scorer"


@pytest.mark.parametrize("settings", [{"SCORE_MIN": "-1.5", "SCORE_MAX": "10"}])
def test_settings_bound_main(client, player):
    responses = [submit(client, player, player.update(value)) for value in (-1.6, 10.1)]

    assert [code(response) for response in responses] == [(400, "score_out_of_range")] * 2
    for value in (-1.5, 10):
        assert submit(client, player, player.update(value)).status_code == 200
    main = client.get("/api/boards/main").json
    assert (main["min_score"], main["max_score"]) == (-1.5, 10)


def test_a_value_outside_the_bounds_names_them(client, make_board, player):
    make_board("run", min_score=0, max_score=10)

    response = submit(client, player, player.update(11, board="run"))

    assert code(response) == (400, "score_out_of_range")
    assert response.json["error"]["fields"] == {
        "score_value": ["Must be at least 0 and at most 10."]
    }


def test_a_board_that_is_not_public_is_read_with_the_token_of_a_user(client, make_board, player):
    make_board("staff", public=False)
    token = client.post("/api/auth/viewer").json["access_token"]
    viewer = {"Authorization": f"Bearer {token}"}

    for path in READS:
        url = f"/api/boards/staff{path}"
        assert client.get(url).status_code == 401
        assert code(client.get(url, headers=viewer)) == (401, "not_permitted")
        assert client.get(url, headers=player.bearer).status_code == 200
    listed = [client.get("/api/boards", headers=each).json for each in (None, player.bearer)]
    assert [len(each["boards"]) for each in listed] == [1, 2]


# Opening and closing


@pytest.mark.parametrize("fields", [{"opens_at": FUTURE}, {"closes_at": PAST}])
def test_a_closed_board_is_read_but_not_updated(client, make_board, player, fields):
    assert make_board("run", **fields)["state"] == "closed"

    response = submit(client, player, player.update(1, board="run"))

    assert code(response) == (400, "board_closed")
    assert scores(client, "run") == []


def test_a_board_opens_and_closes_at_the_microsecond(client, make_board, player, clock):
    clock.set(BEFORE_RESET - DAY)
    times = {"opens_at": "2026-06-10T06:00:00Z", "closes_at": "2026-06-10T06:00:00.000003Z"}
    make_board("run", policy="total", **times)

    clock.set(BEFORE_RESET - 1)
    assert code(submit(client, player, player.update(1, board="run"))) == (400, "board_closed")
    clock.set(BEFORE_RESET)
    receipt = send(client, player, 2, board="run")
    assert receipt["created_at"] == "2026-06-10T06:00:00Z"
    clock.set(BEFORE_RESET + 2)
    assert send(client, player, 3, board="run")["created_at"] == "2026-06-10T06:00:00.000002Z"
    assert code(submit(client, player, player.update(4, board="run"))) == (400, "board_closed")


def test_a_repeat_after_the_board_closed_gets_its_receipt(client, make_board, administer, player):
    make_board("run")
    update = player.update(1, board="run", season=1)
    receipt = submit(client, player, update).json
    administer("POST", "/run/seasons")
    repeats = [submit(client, player, update)]
    administer("PATCH", "/run", {"closes_at": PAST})
    repeats.append(submit(client, player, update))

    for repeat in repeats:
        assert code(repeat) == (400, "replayed")
        assert repeat.json["error"]["receipt"] == receipt


# Seasons


def test_a_season_ends_by_hand(client, make_board, administer, player):
    make_board("run", policy="total")
    send(client, player, 1, minute=1, board="run")

    response = administer("POST", "/run/seasons")

    assert (response.status_code, response.json["season"]["number"]) == (201, 2)
    second = send(client, player, 2, minute=2, board="run")
    assert (second["score"], second["season"]) == (2, 2)
    assert (scores(client, "run"), scores(client, "run", season=1)) == ([2], [1])
    newest, first = client.get("/api/boards/run/seasons").json["seasons"]
    assert newest == response.json["season"]
    assert (first["number"], first["ends_at"]) == (1, newest["starts_at"])


def test_a_derived_board_has_seasons_of_its_own(client, make_board, administer, player):
    make_board("daily", source="main", policy="total")
    send(client, player, 1, minute=1)
    administer("POST", "/daily/seasons")
    send(client, player, 2, minute=2)

    assert (scores(client, "daily"), scores(client, "daily", season=1)) == ([2], [1])
    assert scores(client, "main") == [2]


def test_a_repeat_in_a_later_season_is_a_replay(client, make_board, administer, player):
    make_board("run")
    receipt = send(client, player, 1, board="run")
    administer("POST", "/run/seasons")

    response = submit(client, player, player.update(1, board="run"))

    assert code(response) == (400, "replayed")
    assert response.json["error"]["receipt"] == receipt
    assert receipt["season"] == 1
    assert scores(client, "run") == []


def test_an_update_may_name_its_season(client, administer, player):
    administer("POST", "/main/seasons")

    over = submit(client, player, player.update(1, season=1))
    future = submit(client, player, player.update(1, season=3))

    assert code(over) == (400, "season_over")
    assert code(future) == (400, "invalid_input")
    assert list(future.json["error"]["fields"]) == ["season"]
    assert "season" not in send(client, player, 1, season=2)


def test_a_batch_at_a_boundary_is_in_the_new_season_as_a_whole(
    client, make_board, scorer, player, clock
):
    clock.set(BEFORE_RESET - DAY)
    make_board("run", policy="total", reset=DAILY)
    clock.set(BEFORE_RESET - 2)  # the first update alone would be before the boundary
    updates = [player.update(value, board="run") for value in (1, 2, 3, 4)]

    results = client.post(
        "/api/score/batch", json={"updates": updates}, headers=scorer.bearer
    ).json["results"]

    found = [(each["body"]["season"], each["body"]["created_at"]) for each in results]
    assert found[0] == (3, "2026-06-10T06:00:00Z")
    assert found[3] == (3, "2026-06-10T06:00:00.000003Z")
    assert (scores(client, "run"), scores(client, "run", season=2)) == ([10], [])


def test_missed_seasons_are_opened_and_stay_empty(client, make_board, player, clock):
    clock.set(BEFORE_RESET)
    make_board("run", reset=DAILY)
    clock.set(BEFORE_RESET + 4 * DAY + 1)

    assert send(client, player, 1, board="run")["season"] == 6
    seasons = client.get("/api/boards/run/seasons").json["seasons"]
    assert [each["number"] for each in seasons] == [6, 5, 4, 3, 2, 1]
    assert [each["ends_at"] for each in seasons[1:]] == [each["starts_at"] for each in seasons[:-1]]
    assert scores(client, "run", season=4) == []


def test_a_clock_that_goes_back_opens_no_season_again(client, make_board, player, clock):
    clock.set(BEFORE_RESET)
    make_board("run", policy="total", reset=DAILY)
    clock.set(BEFORE_RESET + DAY)
    assert send(client, player, 1, minute=1, board="run")["season"] == 3

    clock.set(BEFORE_RESET)
    receipt = send(client, player, 2, minute=2, board="run")

    assert (receipt["season"], receipt["score"]) == (3, 3)
    assert receipt["created_at"] == "2026-06-11T06:00:00.000001Z"


@pytest.mark.parametrize("season", ["0", "3", "-1", "1.0", "x", "1" * 30])
def test_a_season_that_does_not_exist_yet_is_an_invalid_query(client, make_board, season):
    make_board("run")

    for path in ("top10", "leaderboard"):
        response = client.get(f"/api/boards/run/{path}?season={season}")
        assert code(response) == (400, "invalid_input")
        assert list(response.json["error"]["fields"]) == ["season"]


# Changes


@pytest.mark.parametrize("changes", [{"policy": "best"}, {"order": "asc"}])
def test_policy_and_order_are_fixed_after_the_first_score(
    client, make_board, administer, player, changes
):
    make_board("run")
    make_board("derived", source="run")
    assert administer("PATCH", "/run", changes).json.items() >= changes.items()
    assert administer("PATCH", "/derived", changes).json.items() >= changes.items()
    send(client, player, 1, board="run")
    administer("POST", "/run/seasons")

    for path in ("/run", "/derived"):
        response = administer("PATCH", path, {"policy": "total", "order": "desc", "title": "New"})
        assert code(response) == (409, "board_in_use")
    assert client.get("/api/boards/run").json["title"] == "Board"
    assert administer("PATCH", "/run", changes).status_code == 200  # unchanged


def test_changes_are_effective_at_once(client, make_board, administer, player):
    make_board("run")
    changes = {"title": "New", "max_score": 5, "submit": "scorer", "reset": DAILY}

    changed = administer("PATCH", "/run", changes).json

    assert changed.items() >= changes.items()
    assert changed["season"]["number"] == 1
    assert changed["season"]["ends_at"].endswith("T06:00:00Z")
    assert code(submit(client, player, player.update(6, board="run")))[1] == "score_out_of_range"
    assert code(submit(client, player, player.update(1, board="run"))) == (401, "not_permitted")
    assert administer("PATCH", "/run", {"reset": None}).json["season"]["ends_at"] is None


@pytest.mark.parametrize("field", ["policy", "min_score", "max_score", "submit", "public"])
def test_the_settings_of_main_are_not_changed_by_admins(administer, field):
    values = {"policy": "best", "submit": "scorer", "public": False}

    response = administer("PATCH", "/main", {field: values.get(field, 7)})

    assert code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == [field]


@pytest.mark.parametrize("settings", [{"BOARD_TITLE": "Hack Night"}])
def test_main_has_the_title_of_the_settings_until_it_gets_its_own(client, administer, make_app):
    def titles(client):
        return [board["title"] for board in client.get("/api/boards").json["boards"]]

    administer("PATCH", "/main", {"closes_at": FUTURE})  # changes another field
    assert titles(client) == ["Hack Night"]
    renamed = make_app(BOARD_TITLE="Finals").test_client()
    assert titles(renamed) == ["Finals"]

    administer("PATCH", "/main", {"title": "Our game"})

    assert titles(client) == titles(renamed) == ["Our game"]


def test_main_has_a_title_times_and_seasons(client, administer, player):
    changed = administer("PATCH", "/main", {"title": "Our game", "reset": DAILY}).json
    assert (changed["title"], changed["season"]["number"]) == ("Our game", 1)

    send(client, player, 1, minute=1)
    assert administer("POST", "/main/seasons").json["season"]["number"] == 2

    assert top10(client) == []
    assert send(client, player, 2, minute=2)["score"] == 2
    assert scores(client, "main", season=1) == [1]


@pytest.mark.parametrize(
    ("before", "changes", "field"),
    [
        ({"closes_at": "2026-01-01T00:00:00Z"}, {"opens_at": "2026-01-01T00:00:00Z"}, "closes_at"),
        ({"opens_at": FUTURE}, {"closes_at": PAST}, "closes_at"),
        ({"min_score": 5}, {"max_score": 4}, "max_score"),
        ({"max_score": 5}, {"min_score": 6}, "max_score"),
    ],
)
def test_a_change_may_not_contradict_other_fields(
    client, make_board, administer, before, changes, field
):
    made = make_board("run", **before)

    response = administer("PATCH", "/run", changes)

    assert list(response.json["error"]["fields"]) == [field]
    assert client.get("/api/boards/run").json == made


def test_a_change_of_one_board_keeps_the_etags_of_the_others(client, make_board, player):
    make_board("run")
    make_board("daily", source="run", max_score=5)
    urls = [f"/api/boards/{board}/leaderboard" for board in ("main", "run", "daily")]
    etags = [client.get(url).headers["ETag"] for url in urls]

    send(client, player, 6, board="run")

    found = [
        client.get(url, headers={"If-None-Match": etag}).status_code
        for url, etag in zip(urls, etags, strict=True)
    ]
    assert found == [304, 200, 304]

    send(client, player, 5, minute=1, board="run")
    assert client.get(urls[2], headers={"If-None-Match": etags[2]}).status_code == 200


def test_a_change_of_a_derived_board_keeps_the_etag_of_its_source(client, make_board, administer):
    make_board("daily", source="main")
    urls = [f"/api/boards/{board}/leaderboard" for board in ("main", "daily")]
    etags = [client.get(url).headers["ETag"] for url in urls]

    administer("PATCH", "/daily", {"title": "New"})
    administer("POST", "/daily/seasons")

    found = [
        client.get(url, headers={"If-None-Match": etag}).status_code
        for url, etag in zip(urls, etags, strict=True)
    ]
    assert found == [304, 200]


# Archived boards


def test_an_archived_board_is_read_by_admins_alone(client, make_board, administer, player, admin):
    make_board("run")
    send(client, player, 1, board="run")

    assert administer("DELETE", "/run").status_code == 204

    assert len(client.get("/api/boards").json["boards"]) == 1
    assert code(submit(client, player, player.update(2, board="run"))) == (400, "unknown_board")
    for path in READS:
        url = f"/api/boards/run{path}"
        assert code(client.get(url)) == (404, "unknown_board")
        assert code(client.get(url, headers=player.bearer)) == (404, "unknown_board")
        assert client.get(url, headers=admin.bearer).status_code == 200
    assert client.get("/api/boards/run", headers=admin.bearer).json["state"] == "archived"
    assert scores(client, "run", user=admin) == [1]
    for method, path in [("DELETE", ""), ("PATCH", ""), ("POST", "/seasons")]:
        assert code(administer(method, f"/run{path}", {})) == (404, "unknown_board")


def test_an_archived_derived_board_counts_no_more(client, make_board, administer, player, admin):
    make_board("daily", source="main", policy="total")
    send(client, player, 1, minute=1)
    administer("DELETE", "/daily")
    send(client, player, 2, minute=2)

    assert scores(client, "daily", user=admin) == [1]


def test_a_board_in_use_is_not_archived(make_board, administer):
    make_board("run")
    make_board("daily", source="run")

    assert code(administer("DELETE", "/main")) == (409, "board_in_use")
    assert code(administer("DELETE", "/run")) == (409, "board_in_use")
    administer("DELETE", "/daily")
    assert administer("DELETE", "/run").status_code == 204


def test_a_process_that_still_knows_an_archived_board_refuses_it(
    make_app, make_board, administer, player, admin
):
    make_board("run")
    other = make_app().test_client()
    assert other.get("/api/boards/run").status_code == 200
    administer("DELETE", "/run")

    update = submit(other, player, player.update(1, board="run"))
    derived = {"board_id": "derived", "title": "X", "source": "run"}
    created = other.post("/api/admin/boards", json=derived, headers=admin.bearer)

    assert code(update) == (400, "unknown_board")
    assert code(created) == (400, "invalid_input")
    assert list(created.json["error"]["fields"]) == ["source"]


# Processes and restores


def test_a_process_sees_the_settings_of_a_restored_database(
    client, make_app, make_board, administer, player, admin
):
    make_board("run")
    with db.engine.begin() as connection:
        backup = [
            (table, connection.execute(select(table)).mappings().all())
            for table in (Board.__table__, BoardVersion.__table__)
        ]
    administer("PATCH", "/run", {"closes_at": PAST})
    assert code(submit(client, player, player.update(1, board="run"))) == (400, "board_closed")

    with db.engine.begin() as connection:
        for table, rows in backup:
            for row in rows:
                of_row = table.c.board_id == row["board_id"]
                connection.execute(table.update().where(of_row).values(**row))
    other = make_app().test_client()
    other.patch("/api/admin/boards/run", json={"title": "New"}, headers=admin.bearer)

    assert send(client, player, 1, board="run")["score"] == 1


def test_a_process_reads_scores_in_an_order_that_another_has_just_set(
    client, make_app, make_board, administer, player
):
    make_board("run")
    other = make_app().test_client()
    assert scores(other, "run") == []
    administer("PATCH", "/run", {"order": "asc"})

    send(client, player, 5, board="run")

    assert scores(other, "run") == [5]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_hiding_waits_for_no_lock_of_a_derived_board(client, make_board, player, admin):
    """An update has it while it waits for nothing: to wait for both would be a deadlock."""
    make_board("daily", source="main")
    locked = select(BoardVersion.board_id).where(BoardVersion.board_id == "daily")
    with db.engine.begin() as connection:
        connection.execute(locked.with_for_update()).one()

        response = client.post(f"/api/admin/users/{player.user_id}/hide", headers=admin.bearer)

    assert response.status_code == 200


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_board_is_created_before_or_after_a_user_is_hidden(app, client, make_board, player):
    """Else the user's first score there could be recorded as visible."""
    with ThreadPoolExecutor() as executor:

        def create_meanwhile(connection):
            created = executor.submit(make_board, "run")
            with pytest.raises(TimeoutError):
                created.result(0.5)
            return []

        services(app).ledgers.change_all(create_meanwhile)

    send(client, player, 1, board="run")


def test_settings_whose_bounds_contradict_each_other_stop_the_start(make_app):
    with pytest.raises(SystemExit, match="SCORE_MAX must not be below SCORE_MIN"):
        make_app(SCORE_MIN="5", SCORE_MAX="4.5")


# Moderation


def void(client, admin, receipt):
    url = f"/api/admin/scores/{receipt['score_id']}/void"
    response = client.post(url, json={"reason": "cheating"}, headers=admin.bearer)
    assert response.status_code == 200, response.json


def test_a_void_acts_on_every_board_and_season_of_the_score(
    client, make_board, administer, player, admin
):
    make_board("daily", source="main", policy="total")
    make_board("fast", source="main", policy="best", order="asc")
    receipts = []
    for minute, value in enumerate([4, 8, 1]):
        receipts.append(send(client, player, value, minute))
        if minute == 0:
            administer("POST", "/fast/seasons")
        if minute == 1:
            administer("POST", "/daily/seasons")
    boards = [("main", 1), ("daily", 1), ("daily", 2), ("fast", 1), ("fast", 2)]

    def found():
        return [scores(client, board, season) for board, season in boards]

    assert found() == [[1], [12], [1], [4], [1]]
    void(client, admin, receipts[2])
    assert found() == [[8], [12], [], [4], [8]]
    void(client, admin, receipts[0])
    assert found() == [[8], [8], [], [], [8]]
    void(client, admin, receipts[1])
    assert found() == [[], [], [], [], []]


def test_the_scores_to_void_are_listed_for_each_ledger(client, make_board, player, admin):
    make_board("run")
    make_board("daily", source="main")
    receipts = {name: send(client, player, 7, board=name) for name in ("run", "main")}

    def listed(query):
        url = f"/api/users/{player.user_id}/scores{query}"
        return client.get(url, headers=admin.bearer)

    for query, name in (("?board=run", "run"), ("?board=main", "main"), ("", "main")):
        (score,) = listed(query).json["scores"]
        assert score["score_id"] == receipts[name]["score_id"]
    void(client, admin, receipts["run"])
    assert listed("?board=run").json["scores"][0]["voided_at"]
    assert code(listed("?board=daily")) == (400, "board_derived")
    assert code(listed("?board=nothing")) == (404, "unknown_board")


def test_a_void_keeps_earlier_seasons_of_one_board_for_another(
    client, make_board, administer, player, admin
):
    make_board("daily", source="main", policy="total")
    make_board("ever", source="main", policy="total")
    receipts = []
    for minute, value in enumerate([1, 2, 4, 8]):
        receipts.append(send(client, player, value, minute))
        if minute < 3:
            administer("POST", "/daily/seasons")

    void(client, admin, receipts[2])

    assert [scores(client, "daily", season) for season in (1, 2, 3, 4)] == [[1], [2], [], [8]]
    assert scores(client, "ever") == [11]


def test_hiding_acts_on_every_board_and_season(client, make_board, administer, player, admin):
    make_board("run")
    make_board("daily", source="main")
    send(client, player, 1, minute=1)
    send(client, player, 1, board="run")
    administer("POST", "/daily/seasons")
    send(client, player, 2, minute=2)
    boards = [("main", 1), ("daily", 1), ("daily", 2), ("run", 1)]

    client.post(f"/api/admin/users/{player.user_id}/hide", headers=admin.bearer)
    assert [scores(client, *each) for each in boards] == [[], [], [], []]
    make_board("later", source="main")
    send(client, player, 3, minute=3)
    assert scores(client, "later") == []

    client.post(f"/api/admin/users/{player.user_id}/restore", headers=admin.bearer)
    assert [scores(client, *each) for each in boards] == [[3], [1], [3], [1]]
    assert scores(client, "later") == [3]
