"""The number of players in board objects."""

import contextlib

import pytest
from sqlalchemy import event

from scoreboard.boards import service
from scoreboard.extensions import db


@pytest.fixture
def board(app):
    service.create({"board_id": "cup", "title": "Cup", "source": "main"})
    return "cup"


def players(client, board):
    """Return the number of players of the board, which is the same in the list of boards."""
    single = client.get(f"/api/boards/{board}").json
    assert single in client.get("/api/boards").json["boards"]
    return single["players"]


def post(client, user):
    response = client.post("/api/score/update", json=user.update(5), headers=user.bearer)
    assert response.status_code == 200


@contextlib.contextmanager
def counts():
    """Collect the statements that count rows."""
    found = []

    def record(connection, cursor, statement, *rest):
        if "count(" in statement:
            found.append(statement)

    event.listen(db.engine, "before_cursor_execute", record)
    yield found
    event.remove(db.engine, "before_cursor_execute", record)


def test_every_user_on_the_board_is_a_player(client, make_user, admin, board):
    first, second = make_user(), make_user()
    assert players(client, board) == 0
    post(client, first)
    assert players(client, board) == 1
    post(client, second)
    assert players(client, board) == 2

    path = f"/api/admin/users/{first.user_id}"
    assert client.post(f"{path}/hide", headers=admin.bearer).status_code == 200
    assert players(client, board) == 1
    assert client.post(f"{path}/restore", headers=admin.bearer).status_code == 200
    assert players(client, board) == 2


def test_a_new_season_has_no_players(client, player, board):
    post(client, player)
    assert players(client, board) == 1

    service.end_season(board)

    assert players(client, board) == 0
    assert players(client, "main") == 1


def test_an_unchanged_board_is_not_counted_again(client, player, board):
    post(client, player)
    players(client, board)

    with counts() as found:
        assert players(client, board) == 1
        assert found == []
        service.end_season(board)
        assert players(client, board) == 0
        assert len(found) > 0
