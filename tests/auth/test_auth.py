"""Registration, sign-in, token renewal, sign-out and their rate limits."""

import functools
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
from tests.support.responses import status_and_code
from tests.support.servers import SECRETS, SignedInUser
from tests.support.tokens import bearer, mint

ANN = {"username": "Ann", "email": "ann@example.com", "password": "correct horse"}
REVOKED = 401, "token_revoked"


def register(client, **fields):
    return client.post("/api/auth/register", json={**ANN, **fields})


def login(client, address="127.0.0.1", **fields):
    body = {"username": ANN["username"], "password": ANN["password"], **fields}
    return client.post("/api/auth/login", json=body, environ_base={"REMOTE_ADDR": address})


def send(client, path, token):
    """Send the token to an endpoint: `GET me`, or POST to any other."""
    method = "GET" if path == "me" else "POST"
    return client.open(f"/api/auth/{path}", method=method, headers=bearer(token))


def claims_of(token):
    return jwt.decode(token, SECRETS["JWT_SECRET_KEY"], algorithms=["HS256"])


def execute(statement):
    transactions.transaction(lambda connection: connection.execute(statement))


def in_threads(count, call):
    """Return the results of concurrent calls."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: call(), range(count)))


@pytest.fixture
def pair(client):
    """Return the tokens of a new sign-in."""
    register(client)
    return login(client).json


def test_a_new_account_has_the_role_player_and_a_password_hash(client):
    response = register(client)

    assert response.status_code == 201
    assert response.json.keys() == {"user_id", "username", "email", "role", "created_at"}
    assert response.json["role"] == "player"
    assert accounts.by_name("Ann").password_hash.startswith("scrypt:")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"email": "other@example.com"}, "username_taken"),
        ({"email": "other@example.com", "username": "ann"}, "username_taken"),
        ({"username": "Bob"}, "email_taken"),
        ({"username": "Bob", "email": "ANN@example.com"}, "email_taken"),
    ],
)
def test_a_taken_name_or_address_is_refused(client, fields, code):
    register(client)

    assert status_and_code(register(client, **fields)) == (409, code)


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


@pytest.mark.parametrize(
    "fields",
    [{"username": "Nobody"}, {"password": "wrong horse"}, {"username": "Bot", "password": "None"}],
    ids=["unknown name", "wrong password", "account without a password"],
)
def test_all_wrong_credentials_get_the_same_error(client, make_user, fields):
    register(client)
    make_user(name="Bot")

    assert status_and_code(login(client, **fields)) == (401, "wrong_credentials")


class TestRefresh:
    def renew(self, client, pair, seconds_ago=0):
        """Use the refresh token this many seconds ago; return the new pair."""
        response = send(client, "refresh", pair["refresh_token"])
        used = RevokedToken.token_id == claims_of(pair["refresh_token"])["jti"]
        used_at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        execute(update(RevokedToken).where(used).values(revoked_at=used_at))
        return response.json

    def test_it_returns_a_new_pair_with_the_current_role(self, client, pair):
        execute(update(User).values(role="scorer"))

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

        assert status_and_code(reused) == (401, "token_reused")
        assert status_and_code(send(client, "refresh", renewed["refresh_token"])) == REVOKED
        assert status_and_code(send(client, "me", renewed["access_token"])) == REVOKED
        assert status_and_code(send(client, "me", pair["access_token"])) == REVOKED
        assert send(client, "me", other["access_token"]).status_code == 200

    def test_reuse_within_30_seconds_returns_another_pair_of_the_sign_in(self, client, pair):
        renewed = self.renew(client, pair, seconds_ago=25)

        again = send(client, "refresh", pair["refresh_token"]).json

        families = {claims_of(each["access_token"])["family"] for each in (pair, again)}
        assert len(families) == 1
        assert send(client, "me", renewed["access_token"]).status_code == 200
        assert send(client, "refresh", again["refresh_token"]).status_code == 200

    def test_concurrent_uses_all_return_a_pair(self, app, client, pair):
        responses = in_threads(5, lambda: send(app.test_client(), "refresh", pair["refresh_token"]))

        accesses = [send(client, "me", response.json["access_token"]) for response in responses]
        assert [response.status_code for response in accesses] == [200] * 5

    @pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
    def test_a_used_token_is_refused_at_once_after_a_sign_out(self, client, pair, kind):
        renewed = self.renew(client, pair)
        send(client, "logout", renewed[kind])

        assert status_and_code(send(client, "refresh", pair["refresh_token"])) == REVOKED


class TestLogout:
    def test_a_used_refresh_token_ends_the_sign_in(self, client, pair):
        renewed = send(client, "refresh", pair["refresh_token"]).json

        response = send(client, "logout", pair["refresh_token"])

        assert (response.status_code, response.data) == (204, b"")
        assert status_and_code(send(client, "me", renewed["access_token"])) == REVOKED

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
        assert status_and_code(send(client, "me", token)) == REVOKED
        assert send(client, "me", player.token).status_code == 200

    def test_a_revocation_is_kept_for_a_day_after_the_token_expires(self, app):
        for token_id, hours in [("expired for 25 h", -25), ("expired for 23 h", -23), ("valid", 1)]:
            expires_at = datetime.now(UTC) + timedelta(hours=hours)
            revoke = functools.partial(revocations.revoke, token_id=token_id, expires_at=expires_at)
            transactions.transaction(revoke)

        ids = transactions.read(lambda c: c.execute(select(RevokedToken.token_id)).scalars().all())
        assert sorted(ids) == ["expired for 23 h", "valid"]


class TestTokens:
    def test_a_token_from_a_clock_slightly_ahead_is_accepted(self, client, player):
        token = mint(player.user_id, iat=datetime.now(UTC) + timedelta(seconds=5))

        assert send(client, "me", token).status_code == 200

    @pytest.mark.parametrize(
        ("seconds", "code"), [(3600, "token_expired"), (-3600, "token_invalid")]
    )
    def test_an_accepted_token_is_checked_against_the_current_time(
        self, client, player, monkeypatch, seconds, code
    ):
        token = mint(player.user_id)
        before = send(client, "me", token)
        changed = time.time() + seconds
        monkeypatch.setattr(tokens.time, "time", lambda: changed)

        after = send(client, "me", token)

        assert (before.status_code, status_and_code(after)) == (200, (401, code))

    def test_each_token_of_a_batch_gets_its_own_result(self, app, client, make_user, scorer):
        player, suspended, signed_out = (make_user() for _ in range(3))
        send(client, "logout", signed_out.token)
        of_suspended = User.user_id == suspended.user_id
        execute(update(User).where(of_suspended).values(suspended_at=datetime.now(UTC)))
        batch = [player.token, suspended.token, mint(str(uuid.uuid4())), signed_out.token]

        results = services(app).token_checks.run_all(
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
        failures = [login(client, password="wrong horse") for _ in range(3)]
        assert [response.status_code for response in failures] == [401, 401, 429]

    @pytest.mark.parametrize("spelling", ["Ann", " ANN "])
    def test_beyond_the_limit_no_password_is_checked(self, client, limited, monkeypatch, spelling):
        monkeypatch.setattr(passwords, "matches", lambda *_: pytest.fail("checked a password"))

        response = login(client, username=spelling)

        assert status_and_code(response) == (429, "rate_limited")
        assert 1 <= int(response.headers["Retry-After"]) <= 60

    def test_an_unknown_name_is_limited_too(self, client):
        responses = [login(client, username="Nobody") for _ in range(3)]

        assert [response.status_code for response in responses] == [401, 401, 429]

    def test_other_accounts_and_addresses_are_not_limited(self, client, limited):
        register(client, username="Bob", email="bob@example.com")

        assert login(client, username="Bob").status_code == 200
        assert login(client, address="127.0.0.2").status_code == 200

    def test_successful_sign_ins_do_not_count(self, client):
        register(client)

        assert [login(client).status_code for _ in range(4)] == [200] * 4

    def test_concurrent_failures_are_limited(self, app, client):
        register(client)

        responses = in_threads(8, lambda: login(app.test_client(), password="wrong horse"))

        checked = sum(response.status_code == 401 for response in responses)
        assert 2 <= checked < 2 + passwords.SLOTS


def test_a_full_password_queue_is_an_overload(app, client, monkeypatch):
    full = BoundedQueue(slots=0, max_waiting=0, timeout=1, retry_after=5)
    monkeypatch.setattr(services(app), "password_queue", full)

    for response in (login(client), register(client)):
        assert status_and_code(response) == (503, "overloaded")
        assert response.headers["Retry-After"] == "5"


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
def test_a_private_board_issues_no_viewer_tokens(client):
    response = client.post("/api/auth/viewer")

    assert status_and_code(response) == (403, "board_not_public")


@pytest.mark.parametrize("settings", [{"VIEWER_RATE_LIMIT": "2/minute"}])
def test_viewer_tokens_have_their_own_limit(client):
    responses = [client.post("/api/auth/viewer") for _ in range(3)]

    assert [response.status_code for response in responses] == [200, 200, 429]
    assert responses[0].json.keys() == {"access_token", "expires_in"}


@pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": "2/day"}])
class TestAddressLimit:
    def test_endpoints_that_issue_nothing_are_not_limited(self, client, pair):
        responses = [send(client, "me", pair["access_token"]) for _ in range(4)]
        responses.append(send(client, "logout", pair["access_token"]))

        assert [response.status_code for response in responses] == [200, 200, 200, 200, 204]

    @pytest.mark.parametrize(("method", "path"), [("PATCH", "me"), ("POST", "claim")])
    def test_searching_for_taken_addresses_is_limited(self, client, pair, method, path):
        body = {"email": "ann@example.com", "password": "correct horse"}

        responses = [
            client.open(
                f"/api/auth/{path}", method=method, json=body, headers=bearer(pair["access_token"])
            )
            for _ in range(3)
        ]

        assert responses[2].status_code == 429

    def test_each_address_has_its_own_limit(self, client):
        responses = [login(client) for _ in range(3)]

        assert [response.status_code for response in responses] == [401, 401, 429]
        assert status_and_code(responses[2]) == (429, "rate_limited")
        assert 0 < int(responses[2].headers["Retry-After"]) <= 86_400
        assert login(client, address="127.0.0.2").status_code == 401


@pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": Config.AUTH_RATE_LIMIT}])
def test_a_class_of_40_behind_one_address_is_neither_limited_nor_flagged(client, audit_lines):
    statuses = Counter()
    for number in range(40):
        register(client, username=f"pupil-{number}", email=f"{number}@example.com")
        session = login(client, username=f"pupil-{number}").json
        pupil = SignedInUser(session["user_id"], session["access_token"])
        posted = client.post("/api/score/update", json=pupil.update(1), headers=pupil.bearer)
        statuses.update([posted.status_code, client.post("/api/auth/viewer").status_code])

    assert statuses == {200: 80}
    events = Counter(line["event"] for line in audit_lines())
    assert events == {"auth": 80, "score_update": 40}
