"""Changing JWT_SECRET_KEY: nobody is signed out by it, and the old key dies in the end."""

import jwt
import pytest
import requests
import socketio.exceptions
import websocket

from scoreboard.auth import accounts, tokens
from tests.support.servers import Server
from tests.support.subscribers import PlainViewer, SocketIoViewer
from tests.support.tokens import mint

OLD, NEW = "the-old." * 6, "the-new." * 6
# As docs/operating.md has it for several processes.
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
    """Return a pair of tokens of a new user, as a sign-in does."""
    with app.app_context():
        account = accounts.create("Ann", "ann@example.com", None, "player")
        return tokens.issue_pair(account.user_id, account.role)


@pytest.fixture
def at(make_app):
    """Return a function that makes the application of a step; all have one database."""
    return lambda step: make_app(**STEPS[step])


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)])
def test_processes_a_step_apart_accept_each_others_tokens(at, one, other):
    pair = sign_in(at(one))

    client = at(other).test_client()

    assert client.get("/api/auth/me", headers=bearer(pair["access_token"])).status_code == 200
    answer = client.post("/api/auth/refresh", headers=bearer(pair["refresh_token"]))
    assert answer.status_code == 200


def test_without_the_step_between_they_would_not(at):
    pair = sign_in(at(2))

    assert me(at(0), pair["access_token"]).status_code == 401


def test_new_tokens_are_signed_by_the_present_key(at):
    pair = sign_in(at(2))

    for name in ("access_token", "refresh_token"):
        assert jwt.decode(pair[name], NEW, algorithms=["HS256"])["sub"] == pair["user_id"]


def test_what_one_set_of_keys_has_verified_another_verifies_anew(at):
    token = sign_in(at(0))["access_token"]
    assert me(at(2), token).status_code == 200

    assert me(at(3), token).status_code == 401


@pytest.mark.parametrize(("key", "verifications"), [(NEW, 1), (OLD, 2)], ids=["new", "old"])
def test_a_token_is_verified_once_and_then_remembered(at, monkeypatch, key, verifications):
    app = at(2)
    token = mint(sign_in(app)["user_id"], key=key)
    made, decode = [], jwt.decode

    def counted(*given, **options):
        made.append(given)
        return decode(*given, **options)

    monkeypatch.setattr(jwt, "decode", counted)

    assert [me(app, token).status_code for _ in range(3)] == [200] * 3
    assert len(made) == verifications


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
def test_the_old_key_excuses_nothing_else(at, claims, code):
    app = at(2)
    token = mint(sign_in(app)["user_id"], key=OLD, **claims)

    answer = me(app, token)

    assert (answer.status_code, answer.json["error"]["code"]) == (401, code)


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


def test_a_sign_in_outlives_the_change_and_an_old_token_dies_with_its_key(server, watching):
    player = server.user("Ann")
    idle, used = server.sign_in("Ann"), server.sign_in("Ann")

    restart(server, STEPS[2])

    assert server.post(player.token, player.update(1)).status_code == 200
    viewer = watching(SocketIoViewer(server.url, player.token))
    assert viewer.submit(player.update(2))["status"] == 200
    for how in ("query", "header", "subprotocol"):
        assert watching(PlainViewer(server.url, player.token, how)).wait_for_count(1)
    renewed = refresh(server, used["refresh_token"])
    assert renewed.status_code == 200

    restart(server, STEPS[3])

    refused = server.post(player.token, player.update(3))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "token_invalid")
    assert refresh(server, idle["refresh_token"]).status_code == 401
    with pytest.raises(socketio.exceptions.ConnectionError):
        SocketIoViewer(server.url, player.token)
    with pytest.raises(websocket.WebSocketBadStatusException):
        PlainViewer(server.url, player.token)
    assert server.post(renewed.json()["access_token"], player.update(3)).status_code == 200
    assert refresh(server, renewed.json()["refresh_token"]).status_code == 200
