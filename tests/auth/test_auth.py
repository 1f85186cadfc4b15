"""Registration, sign-in, token renewal, sign-out and their rate limits."""

import functools
import logging
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from sqlalchemy import select, update
from werkzeug.security import generate_password_hash

from config import Config
from scoreboard.auth import accounts, passwords, revocations, tokens
from scoreboard.concurrency.bounded_queue import BoundedQueue
from scoreboard.db import transactions
from scoreboard.models import RevokedToken, User
from scoreboard.services import services
from tests.support.servers import SECRETS
from tests.support.tokens import mint

ANN = {"username": "Ann", "email": "ann@example.com", "password": "correct horse"}
BOB = {**ANN, "username": "Bob", "email": "bob@example.com"}


def register(client, **fields):
    return client.post("/api/auth/register", json={**ANN, **fields})


def login(client, address="127.0.0.1", **fields):
    body = {"username": ANN["username"], "password": ANN["password"], **fields}
    return client.post("/api/auth/login", json=body, environ_base={"REMOTE_ADDR": address})


def send(client, path, token):
    """Send the token to an endpoint: `GET me`, or POST to any other."""
    method = "GET" if path == "me" else "POST"
    headers = {"Authorization": f"Bearer {token}"}
    return client.open(f"/api/auth/{path}", method=method, headers=headers)


def claims_of(token):
    return jwt.decode(token, SECRETS["JWT_SECRET_KEY"], algorithms=["HS256"])


def code(response):
    return response.json["error"]["code"]


def set_columns(user_id, **values):
    statement = update(User).where(User.user_id == user_id).values(**values)
    transactions.transaction(lambda connection: connection.execute(statement))


@pytest.fixture
def pair(client):
    """Return the tokens of a new sign-in."""
    register(client)
    return login(client).json


def test_a_new_account_is_a_players_and_keeps_only_a_hash_of_the_password(client):
    response = register(client)

    assert response.status_code == 201
    assert response.json.keys() == {"user_id", "username", "email", "role", "created_at"}
    assert response.json["role"] == "player"
    assert accounts.by_name("Ann").password_hash.startswith("scrypt:")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"email": "other@example.com"}, "username_taken"),
        ({"email": "other@example.com", "username": "ann"}, "username_taken"),
        ({"username": "Bob"}, "email_taken"),
        ({"username": "Bob", "email": "ANN@example.com"}, "email_taken"),
    ],
)
def test_a_taken_name_or_address_is_refused(client, fields, expected):
    register(client)

    response = register(client, **fields)

    assert (response.status_code, code(response)) == (409, expected)


def test_a_sign_in_returns_tokens_with_the_documented_claims(client):
    user_id = register(client).json["user_id"]

    response = login(client)

    assert response.status_code == 200
    pair = response.json
    claims = claims_of(pair["access_token"])
    assert (pair["user_id"], pair["token_type"], pair["expires_in"]) == (user_id, "Bearer", 900)
    assert (claims["sub"], claims["role"], claims["type"]) == (user_id, "player", "access")
    assert claims["exp"] - claims["iat"] == 900
    assert claims["jti"]
    assert send(client, "me", pair["access_token"]).json["username"] == "Ann"


@pytest.mark.parametrize("fields", [{"username": "Nobody"}, {"password": "wrong horse"}])
def test_an_unknown_name_and_a_wrong_password_get_the_same_error(client, fields):
    register(client)

    response = login(client, **fields)

    assert (response.status_code, code(response)) == (401, "wrong_credentials")


@pytest.mark.parametrize(
    ("password", "expected"), [("", "invalid_input"), ("None", "wrong_credentials")]
)
def test_a_user_without_a_password_cannot_sign_in(client, make_user, password, expected):
    make_user(name="Bot")

    assert code(login(client, username="Bot", password=password)) == expected


class TestRefresh:
    def renew(self, client, pair, seconds_ago=0):
        """Use the refresh token this many seconds ago; return the new pair."""
        response = send(client, "refresh", pair["refresh_token"])
        used = update(RevokedToken).where(
            RevokedToken.token_id == claims_of(pair["refresh_token"])["jti"]
        )
        moment = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        transactions.transaction(lambda c: c.execute(used.values(revoked_at=moment)))
        return response.json

    def test_it_returns_a_new_pair_with_the_current_role(self, client, pair):
        set_columns(pair["user_id"], role="scorer")

        renewed = self.renew(client, pair)

        assert renewed.keys() == pair.keys()
        assert claims_of(renewed["access_token"])["role"] == "scorer"
        assert send(client, "me", renewed["access_token"]).json["role"] == "scorer"

    # A negative number: the first use was recorded by a clock that was ahead.
    @pytest.mark.parametrize("seconds_ago", [31, -3600])
    def test_later_reuse_ends_this_sign_in_only(self, client, pair, seconds_ago):
        other = login(client).json
        renewed = self.renew(client, pair, seconds_ago)

        reused = send(client, "refresh", pair["refresh_token"])

        assert (reused.status_code, code(reused)) == (401, "token_reused")
        assert code(send(client, "refresh", renewed["refresh_token"])) == "token_revoked"
        assert code(send(client, "me", renewed["access_token"])) == "token_revoked"
        assert code(send(client, "me", pair["access_token"])) == "token_revoked"
        assert send(client, "me", other["access_token"]).status_code == 200

    def test_reuse_within_30_seconds_returns_another_pair_of_the_sign_in(self, client, pair):
        renewed = self.renew(client, pair, seconds_ago=25)

        again = send(client, "refresh", pair["refresh_token"]).json

        families = [claims_of(each["access_token"])["family"] for each in (pair, again)]
        assert families[0] == families[1]
        assert send(client, "me", renewed["access_token"]).status_code == 200
        assert send(client, "refresh", again["refresh_token"]).status_code == 200

    def test_concurrent_uses_all_return_a_pair(self, app, client, pair):
        with ThreadPoolExecutor(5) as pool:
            responses = list(
                pool.map(
                    lambda _: send(app.test_client(), "refresh", pair["refresh_token"]), range(5)
                )
            )

        accesses = [send(client, "me", response.json["access_token"]) for response in responses]
        assert [response.status_code for response in accesses] == [200] * 5

    @pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
    def test_a_used_token_is_refused_at_once_after_a_sign_out(self, client, pair, kind):
        renewed = self.renew(client, pair)
        send(client, "logout", renewed[kind])

        assert code(send(client, "refresh", pair["refresh_token"])) == "token_revoked"


class TestLogout:
    def test_a_used_refresh_token_ends_the_sign_in(self, client, pair):
        renewed = send(client, "refresh", pair["refresh_token"]).json

        response = send(client, "logout", pair["refresh_token"])

        assert (response.status_code, response.data) == (204, b"")
        assert code(send(client, "me", renewed["access_token"])) == "token_revoked"

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": 300_000_000_000},  # after the year 9999
            *({"jti": jti} for jti in ("", "x" * 500, "line\nbreak", "\x00")),
        ],
        ids=str,
    )
    def test_a_foreign_token_with_unusual_claims_is_revoked_alone(self, client, player, claims):
        token = mint(player.user_id, **claims)

        response = send(client, "logout", token)

        assert response.status_code == 204
        assert code(send(client, "me", token)) == "token_revoked"
        assert send(client, "me", player.token).status_code == 200

    def test_a_revocation_is_kept_for_a_day_after_the_token_expires(self, app):
        def revoke(token_id, hours):
            until = datetime.now(UTC) + timedelta(hours=hours)
            transactions.transaction(lambda c: revocations.revoke(c, token_id, until))

        revoke("expired 25 hours ago", -25)
        revoke("expired 23 hours ago", -23)
        revoke("valid", 1)

        ids = transactions.read(lambda c: c.execute(select(RevokedToken.token_id)).scalars().all())
        assert sorted(ids) == ["expired 23 hours ago", "valid"]


class TestTokens:
    def test_a_token_from_a_clock_slightly_ahead_is_accepted(self, client, player):
        token = mint(player.user_id, iat=datetime.now(UTC) + timedelta(seconds=5))

        assert send(client, "me", token).status_code == 200

    @pytest.mark.parametrize(
        ("seconds", "expected"), [(3600, "token_expired"), (-3600, "token_invalid")]
    )
    def test_an_accepted_token_is_checked_against_the_current_time(
        self, client, player, monkeypatch, seconds, expected
    ):
        token = mint(player.user_id)
        before = send(client, "me", token)
        changed = time.time() + seconds
        monkeypatch.setattr(tokens.time, "time", lambda: changed)

        after = send(client, "me", token)

        assert (before.status_code, code(after)) == (200, expected)

    def test_each_token_of_a_batch_gets_its_own_result(self, app, client, make_user):
        player, suspended, signed_out, scorer = (
            make_user(role) for role in ("player", "player", "player", "scorer")
        )
        send(client, "logout", signed_out.token)
        set_columns(suspended.user_id, suspended_at=datetime.now(UTC))
        batch = [player.token, suspended.token, mint(str(uuid.uuid4())), signed_out.token]

        results = services(app).roles.run_all(
            [tokens.read(token, "access") for token in [*batch, scorer.token]]
        )

        assert [getattr(result, "code", result) for result in results] == [
            *("player", "account_suspended", "token_invalid", "token_revoked", "scorer")
        ]


@pytest.mark.parametrize(
    ("registered", "typed", "status"),
    [
        ("café crème", "cafe\u0301 cre\u0300me", 200),
        ("café crème", "cafe creme", 401),
        ("é" * 256, "e\u0301" * 256, 200),
    ],
    ids=["decomposed", "without accents", "longest"],
)
def test_a_password_is_compared_in_its_normal_form(client, registered, typed, status):
    register(client, password=registered)

    assert login(client, password=typed).status_code == status


def test_a_hash_made_without_normalization_is_accepted(client, make_user):
    typed = "cafe\u0301 cre\u0300me"
    make_user(name="Ann", password_hash=generate_password_hash(typed))

    assert login(client, password=typed).status_code == 200


@pytest.mark.parametrize("settings", [{"LOGIN_RATE_LIMIT": "2/minute"}])
class TestFailedSignIns:
    @pytest.fixture
    def limited(self, client):
        """Reach the limit for Ann from 127.0.0.1."""
        register(client)
        assert [login(client, password="wrong horse").status_code for _ in range(3)] == [
            *(401, 401, 429)
        ]

    def test_beyond_the_limit_no_password_is_checked(self, client, limited, monkeypatch):
        monkeypatch.setattr(passwords, "matches", lambda *_: pytest.fail("checked a password"))

        response = login(client)

        assert (response.status_code, code(response)) == (429, "rate_limited")
        assert 1 <= int(response.headers["Retry-After"]) <= 60

    def test_all_spellings_of_a_name_count_as_one(self, client, limited):
        assert login(client, username=" ANN ").status_code == 429

    def test_an_unknown_name_is_limited_too(self, client):
        responses = [login(client, username="Nobody") for _ in range(3)]

        assert [response.status_code for response in responses] == [401, 401, 429]

    def test_other_accounts_and_addresses_are_not_limited(self, client, limited):
        register(client, **BOB)

        assert login(client, username="Bob").status_code == 200
        assert login(client, address="127.0.0.2").status_code == 200

    def test_successful_sign_ins_do_not_count(self, client):
        register(client)

        assert [login(client).status_code for _ in range(4)] == [200] * 4

    def test_concurrent_failures_are_limited(self, app, client):
        register(client)

        with ThreadPoolExecutor(8) as pool:
            responses = list(
                pool.map(lambda _: login(app.test_client(), password="wrong horse"), range(8))
            )

        checked = sum(response.status_code == 401 for response in responses)
        assert 2 <= checked < 2 + passwords.SLOTS


def test_a_full_password_queue_is_an_overload(app, client, monkeypatch):
    full = BoundedQueue(slots=0, max_waiting=0, timeout=1, retry_after=5)
    monkeypatch.setattr(services(app), "password_queue", full)

    for response in (login(client), register(client)):
        assert (response.status_code, code(response)) == (503, "overloaded")
        assert response.headers["Retry-After"] == "5"


def test_anyone_gets_a_read_only_token(client):
    response = client.post("/api/auth/viewer")

    assert response.status_code == 200
    assert response.json.keys() == {"access_token", "expires_in"}


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
def test_a_private_board_issues_no_viewer_tokens(client):
    response = client.post("/api/auth/viewer")

    assert (response.status_code, code(response)) == (403, "board_not_public")


@pytest.mark.parametrize("settings", [{"VIEWER_RATE_LIMIT": "2/minute"}])
def test_viewer_tokens_have_their_own_limit(client):
    responses = [client.post("/api/auth/viewer") for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]


@pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": "2/day"}])
class TestAddressLimit:
    def test_endpoints_that_issue_nothing_are_not_limited(self, client, pair):
        responses = [send(client, "me", pair["access_token"]) for _ in range(4)]
        responses.append(send(client, "logout", pair["access_token"]))

        assert [response.status_code for response in responses] == [200, 200, 200, 200, 204]

    def test_an_address_is_limited_alone(self, client):
        responses = [login(client) for _ in range(3)]

        assert [response.status_code for response in responses] == [401, 401, 429]
        assert code(responses[2]) == "rate_limited"
        assert 0 < int(responses[2].headers["Retry-After"]) <= 86_400
        assert login(client, address="127.0.0.2").status_code == 401


@pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": Config.AUTH_RATE_LIMIT}])
def test_a_class_of_40_behind_one_address_is_neither_limited_nor_flagged(
    client, monkeypatch, caplog
):
    fast = functools.partial(generate_password_hash, method="pbkdf2:sha256:1")
    monkeypatch.setattr(passwords, "generate_password_hash", fast)
    logging.getLogger("scoreboard.audit").addHandler(caplog.handler)

    statuses = Counter()
    for number in range(40):
        register(client, username=f"pupil-{number}", email=f"{number}@example.com")
        session = login(client, username=f"pupil-{number}").json
        update = {"user_id": session["user_id"], "score_value": 1, "timestamp": "2026-01-01"}
        headers = {"Authorization": f"Bearer {session['access_token']}"}
        statuses[client.post("/api/auth/viewer").status_code] += 1
        statuses[client.post("/api/score/update", json=update, headers=headers).status_code] += 1

    logging.getLogger("scoreboard.audit").removeHandler(caplog.handler)
    assert statuses == {200: 80}
    assert "score_update" in caplog.text
    assert "unusual_activity" not in caplog.text
