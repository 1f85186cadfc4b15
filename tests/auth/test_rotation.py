"""JWT_SECRET_KEY can be changed without signing users out; the old key expires in the end."""

import jwt
import pytest
import requests
import socketio.exceptions
import websocket

from scoreboard.auth import accounts, tokens
from tests.support.servers import Server
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.tokens import mint

OLD, NEW = "the-old." * 6, "the-new." * 6
# The steps of docs/operating.md for several processes.
STEPS = [
    {"JWT_SECRET_KEY": OLD},
    {"JWT_SECRET_KEY": OLD, "JWT_SECRET_KEY_PREVIOUS": NEW},
    {"JWT_SECRET_KEY": NEW, "JWT_SECRET_KEY_PREVIOUS": OLD},
    {"JWT_SECRET_KEY": NEW},
]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def me(app, token):
    return app.test_client().get("/api/auth/me", headers=bearer(token))


def sign_in(app):
    """Return the token pair of a new user."""
    with app.app_context():
        account = accounts.create("Ann", "ann@example.com", None, "player")
        return tokens.issue_pair(account.user_id, account.role)


@pytest.fixture
def at(make_app):
    """Return a function that makes the application of a step; all share one database."""
    return lambda step: make_app(**STEPS[step])


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)])
def test_processes_one_step_apart_accept_each_others_tokens(at, one, other):
    pair = sign_in(at(one))
    app = at(other)

    refreshed = app.test_client().post("/api/auth/refresh", headers=bearer(pair["refresh_token"]))

    assert me(app, pair["access_token"]).status_code == 200
    assert refreshed.status_code == 200


def test_the_first_step_cannot_be_skipped(at):
    pair = sign_in(at(2))

    assert me(at(0), pair["access_token"]).status_code == 401


def test_new_tokens_are_signed_with_the_current_key(at):
    pair = sign_in(at(2))

    for name in ("access_token", "refresh_token"):
        assert jwt.decode(pair[name], NEW, algorithms=["HS256"])["sub"] == pair["user_id"]


def test_a_cached_token_is_valid_for_its_set_of_keys_only(at):
    token = sign_in(at(0))["access_token"]
    accepted = me(at(2), token)

    refused = me(at(3), token)

    assert (accepted.status_code, refused.status_code) == (200, 401)


@pytest.mark.parametrize(("key", "count"), [(NEW, 1), (OLD, 2)], ids=["new", "old"])
def test_a_token_is_verified_once(at, monkeypatch, key, count):
    app = at(2)
    token = mint(sign_in(app)["user_id"], key=key)
    calls, decode = [], jwt.decode

    def counted(*args, **options):
        calls.append(args)
        return decode(*args, **options)

    monkeypatch.setattr(jwt, "decode", counted)

    assert [me(app, token).status_code for _ in range(3)] == [200] * 3
    assert len(calls) == count


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": 1}, "token_expired"),
        ({"type": "refresh"}, "token_type"),
        ({"algorithm": "HS384"}, "token_invalid"),
        ({"without": ["jti"]}, "token_invalid"),
    ],
    ids=str,
)
def test_a_token_of_the_old_key_is_checked_like_any_other(at, claims, code):
    app = at(2)
    token = mint(sign_in(app)["user_id"], key=OLD, **claims)

    response = me(app, token)

    assert (response.status_code, response.json["error"]["code"]) == (401, code)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path, **STEPS[0])
    yield server
    server.stop()


def restart(server, step):
    server.stop()
    for name in ("JWT_SECRET_KEY", "JWT_SECRET_KEY_PREVIOUS"):
        server.environment.pop(name, None)
    server.environment.update(step)
    server.start()


def refresh(server, token):
    return requests.post(f"{server.url}/api/auth/refresh", headers=bearer(token), timeout=10)


def test_sign_ins_survive_a_key_change_and_old_tokens_end_with_the_old_key(server, closing):
    player = server.user("Ann")
    idle, used = server.sign_in("Ann"), server.sign_in("Ann")

    restart(server, STEPS[2])

    assert server.post(player.token, player.update(1)).status_code == 200
    viewer = closing(SocketIoClient(server.url, player.token))
    assert viewer.submit(player.update(2))["status"] == 200
    for how in ("query", "header", "subprotocol"):
        assert closing(WebSocketClient(server.url, player.token, how)).wait_for_count(1)
    renewed = refresh(server, used["refresh_token"])
    assert renewed.status_code == 200

    restart(server, STEPS[3])

    refused = server.post(player.token, player.update(3))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "token_invalid")
    assert refresh(server, idle["refresh_token"]).status_code == 401
    with pytest.raises(socketio.exceptions.ConnectionError):
        SocketIoClient(server.url, player.token)
    with pytest.raises(websocket.WebSocketBadStatusException):
        WebSocketClient(server.url, player.token)
    assert server.post(renewed.json()["access_token"], player.update(3)).status_code == 200
    assert refresh(server, renewed.json()["refresh_token"]).status_code == 200
