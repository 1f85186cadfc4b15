"""The clients for games, in the engines that run them."""

import pytest
import requests

from tests.clients.godot_engine import godot
from tests.clients.unity_engine import unity
from tests.support.networks import Network
from tests.support.servers import PASSWORD


@pytest.fixture(scope="module", params=[unity, godot], ids=lambda engine: engine.__name__)
def engine(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="module")
def server(start, engine):
    return start(CORS_ORIGINS=engine.origin)


@pytest.fixture(scope="module")
def make_board(server):
    """Return a function that creates a board with these settings."""
    headers = server.user("Administrator", "admin").bearer

    def make(board_id, **settings):
        body = {"board_id": board_id, "title": "A board", **settings}
        url = f"{server.url}/api/admin/boards"
        assert requests.post(url, json=body, headers=headers, timeout=10).status_code == 201
        return board_id

    return make


@pytest.fixture
def network(server):
    network = Network(server.port)
    yield network
    network.close()


def test_a_guest_plays_and_watches(server, engine, make_board):
    board = make_board("runs", tickets={"min_seconds": 0})
    name = 'Zoë "Z\\" 🎮'

    lines = engine.run("play", server.url, board, name).lines_until("end")

    assert lines[0].startswith("refresh token ey")
    assert set(lines[1:-1]) == {
        *("live", "top10 ", f"score {name} 7", f"top10 1 {name} 7", "offline"),
        f"read 1 {name} 7",
    }


def test_an_update_whose_response_is_lost_counts_once(server, engine, make_board, network):
    board = make_board("sums", policy="total")
    server.user("Loser")
    network.lose_response(b'"applied"')

    lines = engine.run("submit", network.url, board, "Loser", PASSWORD).lines_until("end")

    assert network.lost is None
    assert lines[1:-1] == ["receipt 120.5"]


def test_a_lost_connection_is_opened_again(server, engine, make_board, network):
    player = server.user("Watched")
    run = engine.run("watch", network.url, make_board("watched"))
    run.lines_until("top10 ")

    network.cut()
    run.lines_until("offline")
    server.post(player.token, player.update(3, board="watched"))

    assert run.lines_until("top10 1")[-1] == "top10 1 Watched 3"


def test_an_error_of_the_server_reaches_the_game(server, engine):
    lines = engine.run("submit", server.url, "main", "Nobody", "a password").lines_until("end")

    assert lines == ["error wrong_credentials 401", "end"]


def test_an_unknown_board_cannot_be_watched(server, engine):
    lines = engine.run("watch", server.url, "unknown").lines_until("end")

    assert lines == ["error unknown_board 404", "end"]


def test_watching_ends_with_the_sign_in(server, engine):
    server.user("Leaver")
    run = engine.run("watch", server.url, "main", "Leaver", PASSWORD)
    refresh_token = run.lines_until("live")[0].rpartition(" ")[2]

    headers = {"Authorization": f"Bearer {refresh_token}"}
    requests.post(f"{server.url}/api/auth/logout", headers=headers, timeout=10)

    assert run.lines_until("end")[-2:] == ["error token_revoked 401", "end"]


def test_the_code_of_the_guide_compiles(engine):
    engine.compile_guide()
