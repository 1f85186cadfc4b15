"""JWT_SECRET_KEY can be changed without signing users out; the old key expires in the end."""

import jwt
import pytest

from scoreboard.auth import accounts, tokens
from tests.support.responses import status_and_code
from tests.support.servers import Server
from tests.support.subscribers import SocketIoClient, WebSocketClient
from tests.support.tokens import bearer, mint

OLD, NEW = "the-old." * 6, "the-new." * 6
# The steps of docs/operating.md for several processes.
STEPS = [
    {"JWT_SECRET_KEY": OLD},
    {"JWT_SECRET_KEY": OLD, "JWT_SECRET_KEY_PREVIOUS": NEW},
    {"JWT_SECRET_KEY": NEW, "JWT_SECRET_KEY_PREVIOUS": OLD},
    {"JWT_SECRET_KEY": NEW},
]


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


@pytest.mark.parametrize(("step", "other"), [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)])
def test_processes_one_step_apart_accept_each_others_tokens(at, step, other):
    pair = sign_in(at(step))
    app = at(other)

    refreshed = app.test_client().post("/api/auth/refresh", headers=bearer(pair["refresh_token"]))

    assert me(app, pair["access_token"]).status_code == 200
    assert refreshed.status_code == 200


# With the first pair of steps, the old key is removed; with the second, a step is skipped.
@pytest.mark.parametrize(("step", "other"), [(0, 3), (2, 0)])
def test_a_token_is_refused_without_its_key_even_if_it_was_accepted_before(at, step, other):
    token = sign_in(at(step))["access_token"]
    accepted = me(at(2), token)

    refused = me(at(other), token)

    assert accepted.status_code == 200
    assert status_and_code(refused) == (401, "token_invalid")


def test_new_tokens_are_signed_with_the_current_key(at):
    pair = sign_in(at(2))

    for name in ("access_token", "refresh_token"):
        assert jwt.decode(pair[name], NEW, algorithms=["HS256"])["sub"] == pair["user_id"]


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

    assert status_and_code(me(app, token)) == (401, code)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path, **STEPS[2])
    yield server
    server.stop()


def test_every_transport_accepts_a_token_of_the_old_key(server, closing):
    user = server.user("Ann")
    token = mint(user.user_id, key=OLD)

    posted = server.post(token, user.update(1))
    subscribers = [
        closing(WebSocketClient(server.url, token, how))
        for how in ("query", "header", "subprotocol")
    ]
    subscribers.append(closing(SocketIoClient(server.url, token)))

    assert posted.status_code == 200
    for subscriber in subscribers:
        subscriber.wait_for_count(1)
