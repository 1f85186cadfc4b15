"""Who you are: registration, sign-in, tokens."""

import functools
import logging
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from sqlalchemy import delete, select, update
from werkzeug.security import generate_password_hash

from config import Config
from scoreboard.auth import accounts, passwords, tokens
from scoreboard.concurrency.bounded_queue import BoundedQueue
from scoreboard.db import transactions as database
from scoreboard.models import RevokedToken, User
from scoreboard.services import services
from tests.support.servers import SECRETS
from tests.support.tokens import mint

ANN = {"username": "Ann", "email": "ann@example.com", "password": "correct horse"}


def register(client, **other):
    return client.post("/api/auth/register", json={**ANN, **other})


def login(client, **other):
    body = {"username": ANN["username"], "password": ANN["password"], **other}
    return client.post("/api/auth/login", json=body)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def me(client, token):
    return client.get("/api/auth/me", headers=bearer(token))


def claims_of(token):
    return jwt.decode(token, SECRETS["JWT_SECRET_KEY"], algorithms=["HS256"])


def jti(token):
    return claims_of(token)["jti"]


def code(answer):
    return answer.json["error"]["code"]


@pytest.fixture
def pair(client):
    """Return the tokens of a fresh sign-in."""
    register(client)
    return login(client).json


def test_who_registers_is_a_player(client):
    answer = register(client)

    assert answer.status_code == 201
    assert answer.json.keys() == {"user_id", "username", "email", "role", "created_at"}
    assert answer.json["role"] == "player"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"email": "other@example.com"}, "username_taken"),
        ({"email": "other@example.com", "username": "ann"}, "username_taken"),
        ({"username": "Bob"}, "email_taken"),
        ({"username": "Bob", "email": "ANN@example.com"}, "email_taken"),
    ],
)
def test_a_taken_name_or_address_is_refused(client, other, expected):
    register(client)

    answer = register(client, **other)

    assert (answer.status_code, code(answer)) == (409, expected)


def test_signing_in_gives_a_pair_of_tokens(client):
    user_id = register(client).json["user_id"]

    answer = login(client)

    assert answer.status_code == 200
    assert answer.json["user_id"] == user_id
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["expires_in"] == 900
    assert me(client, answer.json["access_token"]).json["username"] == "Ann"


def test_an_access_token_has_the_claims_of_the_contract(pair):
    claims = jwt.decode(pair["access_token"], SECRETS["JWT_SECRET_KEY"], algorithms=["HS256"])

    assert claims["sub"] == pair["user_id"]
    assert (claims["role"], claims["type"]) == ("player", "access")
    assert claims["exp"] - claims["iat"] == pair["expires_in"]
    assert claims["jti"]


@pytest.mark.parametrize("other", [{"username": "Nobody"}, {"password": "wrong horse"}])
def test_a_wrong_name_and_a_wrong_password_look_the_same(client, other):
    register(client)

    answer = login(client, **other)

    assert (answer.status_code, code(answer)) == (401, "wrong_credentials")


def test_a_user_without_a_password_cannot_sign_in(client, make_user):
    make_user(name="Bot")

    assert code(login(client, username="Bot", password="")) == "invalid_input"
    assert code(login(client, username="Bot", password="None")) == "wrong_credentials"


class TestRefresh:
    def refresh(self, client, token):
        return client.post("/api/auth/refresh", headers=bearer(token))

    def use_long_ago(self, client, pair, seconds=31):
        """Use the refresh token so many seconds ago; return the pair it got."""
        renewed = self.refresh(client, pair["refresh_token"]).json
        used = update(RevokedToken).where(RevokedToken.token_id == jti(pair["refresh_token"]))
        moment = datetime.now(UTC) - timedelta(seconds=seconds)
        database.transaction(lambda c: c.execute(used.values(revoked_at=moment)))
        return renewed

    def test_a_refresh_token_gives_a_new_pair(self, client, pair):
        answer = self.refresh(client, pair["refresh_token"])

        assert answer.json.keys() == pair.keys()
        assert me(client, answer.json["access_token"]).status_code == 200

    def test_a_refresh_token_used_long_ago_is_dead(self, client, pair):
        self.use_long_ago(client, pair)

        answer = self.refresh(client, pair["refresh_token"])

        assert (answer.status_code, code(answer)) == (401, "token_reused")

    def test_reuse_kills_the_family(self, client, pair):
        renewed = self.use_long_ago(client, pair)
        self.refresh(client, pair["refresh_token"])

        assert code(self.refresh(client, renewed["refresh_token"])) == "token_revoked"
        assert code(me(client, renewed["access_token"])) == "token_revoked"
        assert code(me(client, pair["access_token"])) == "token_revoked"

    def test_a_refresh_token_used_just_now_gives_another_pair_of_the_same_sign_in(
        self, client, pair
    ):
        renewed = self.use_long_ago(client, pair, seconds=25)

        again = self.refresh(client, pair["refresh_token"])

        assert again.status_code == 200
        assert (
            claims_of(again.json["access_token"])["family"]
            == claims_of(pair["access_token"])["family"]
        )
        assert me(client, renewed["access_token"]).status_code == 200
        assert self.refresh(client, again.json["refresh_token"]).status_code == 200

    def test_uses_at_the_same_time_all_get_a_pair(self, app, client, pair):
        with ThreadPoolExecutor(5) as pool:
            answers = list(
                pool.map(lambda _: self.refresh(app.test_client(), pair["refresh_token"]), range(5))
            )

        assert [answer.status_code for answer in answers] == [200] * 5
        for answer in answers:
            assert me(client, answer.json["access_token"]).status_code == 200

    @pytest.mark.parametrize("token", ["access_token", "refresh_token"])
    def test_a_sign_in_that_was_ended_is_refused_at_once(self, client, pair, token):
        renewed = self.refresh(client, pair["refresh_token"]).json
        client.post("/api/auth/logout", headers=bearer(renewed[token]))

        assert code(self.refresh(client, pair["refresh_token"])) == "token_revoked"

    def test_use_by_a_clock_that_was_far_ahead_is_no_recent_use(self, client, pair):
        self.use_long_ago(client, pair, seconds=-3600)

        assert code(self.refresh(client, pair["refresh_token"])) == "token_reused"

    def test_reuse_leaves_other_sign_ins_alone(self, client, pair):
        other = login(client).json
        self.use_long_ago(client, pair)
        self.refresh(client, pair["refresh_token"])

        assert me(client, other["access_token"]).status_code == 200

    def test_an_access_token_does_not_refresh(self, client, pair):
        assert code(self.refresh(client, pair["access_token"])) == "token_type"

    def test_the_new_token_has_the_role_of_now(self, client, pair):
        accounts.set_role(pair["user_id"], "scorer")

        renewed = self.refresh(client, pair["refresh_token"]).json

        assert me(client, renewed["access_token"]).json["role"] == "scorer"


class TestLogout:
    def test_signing_out_ends_both_tokens(self, client, pair):
        answer = client.post("/api/auth/logout", headers=bearer(pair["access_token"]))

        assert (answer.status_code, answer.data) == (204, b"")
        assert code(me(client, pair["access_token"])) == "token_revoked"
        refreshed = client.post("/api/auth/refresh", headers=bearer(pair["refresh_token"]))
        assert code(refreshed) == "token_revoked"

    def test_the_refresh_token_signs_out_as_well(self, client, pair):
        answer = client.post("/api/auth/logout", headers=bearer(pair["refresh_token"]))

        assert answer.status_code == 204
        assert code(me(client, pair["access_token"])) == "token_revoked"

    def test_a_refresh_token_that_was_used_signs_out_as_well(self, client, pair):
        renewed = client.post("/api/auth/refresh", headers=bearer(pair["refresh_token"])).json

        answer = client.post("/api/auth/logout", headers=bearer(pair["refresh_token"]))

        assert answer.status_code == 204
        assert code(me(client, renewed["access_token"])) == "token_revoked"

    def test_an_access_token_that_has_expired_does_not(self, client, pair):
        expired = mint(**{**claims_of(pair["access_token"]), "exp": int(time.time()) - 1})

        answer = client.post("/api/auth/logout", headers=bearer(expired))

        assert (answer.status_code, code(answer)) == (401, "token_expired")
        assert me(client, pair["access_token"]).status_code == 200

    def test_a_token_from_elsewhere_can_be_signed_out_too(self, client, player):
        token = mint(player.user_id, exp=datetime.now(UTC) + timedelta(days=365_000))
        client.post("/api/auth/logout", headers=bearer(token))

        assert code(me(client, token)) == "token_revoked"

    @pytest.mark.parametrize("name", ["", "x" * 500, "line\nbreak", "\x00"], ids=repr)
    def test_a_token_with_a_strange_name_can_be_signed_out_alone(self, client, player, name):
        token = mint(player.user_id, jti=name)

        answer = client.post("/api/auth/logout", headers=bearer(token))

        assert answer.status_code == 204
        assert code(me(client, token)) == "token_revoked"
        assert me(client, player.token).status_code == 200


class TestForgetting:
    """The names of dead tokens, which are kept no longer than they have to be."""

    def revoke(self, name, until):
        database.transaction(lambda connection: tokens.revoke(connection, name, until))

    def names(self):
        return database.read(lambda c: c.execute(select(RevokedToken.token_id)).scalars().all())

    def test_a_clock_that_was_an_hour_ahead_brings_no_token_back(self, client, player, monkeypatch):
        soon = datetime.now(UTC) + timedelta(minutes=10)
        token = mint(player.user_id, jti="dead", exp=soon)
        self.revoke("dead", soon)

        class Ahead(datetime):
            @classmethod
            def now(cls, zone):
                return datetime.now(zone) + timedelta(hours=1)

        with monkeypatch.context() as clock:
            clock.setattr(tokens, "datetime", Ahead)
            self.revoke("another", soon)

        assert code(me(client, token)) == "token_revoked"

    def test_a_name_is_forgotten_a_day_after_its_tokens_have_expired(self, app):
        self.revoke("old", datetime.now(UTC) - timedelta(hours=25))
        self.revoke("not that old", datetime.now(UTC) - timedelta(hours=23))

        self.revoke("new", datetime.now(UTC) + timedelta(minutes=10))

        assert sorted(self.names()) == ["new", "not that old"]


class TestViewer:
    def test_anyone_gets_a_read_only_token(self, client):
        answer = client.post("/api/auth/viewer")

        assert answer.status_code == 200
        assert answer.json.keys() == {"access_token", "expires_in"}

    def test_it_belongs_to_no_account(self, client):
        token = client.post("/api/auth/viewer").json["access_token"]

        assert me(client, token).status_code == 401

    @pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "0"}])
    def test_a_board_that_is_not_public_hands_out_none(self, client):
        answer = client.post("/api/auth/viewer")

        assert (answer.status_code, code(answer)) == (403, "board_not_public")


class TestTokens:
    def test_a_token_minted_elsewhere_is_accepted(self, client, player):
        assert me(client, mint(player.user_id)).json["user_id"] == player.user_id

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"key": "k" * 48}, "token_invalid"),
            ({"algorithm": "none", "key": None}, "token_invalid"),
            ({"algorithm": "HS384"}, "token_invalid"),
            ({"type": "refresh"}, "token_type"),
            ({"exp": datetime(2026, 1, 1, tzinfo=UTC)}, "token_expired"),
            ({"iat": datetime(2100, 1, 1, tzinfo=UTC)}, "token_invalid"),
            ({"nbf": datetime(2100, 1, 1, tzinfo=UTC)}, "token_invalid"),
            ({"iat": "1"}, "token_invalid"),
            ({"iat": True}, "token_invalid"),
            ({"exp": "99999999999"}, "token_invalid"),
            ({"exp": float("inf")}, "token_invalid"),
            *[({"without": [name]}, "token_invalid") for name in ("role", "type", "jti", "exp")],
            ({"without": ["iat"]}, "token_invalid"),
        ],
        ids=str,
    )
    def test_a_token_that_is_almost_right_is_refused(self, client, player, wrong, expected):
        answer = me(client, mint(player.user_id, **wrong))

        assert (answer.status_code, code(answer)) == (401, expected)

    @pytest.mark.parametrize(
        "subject", ["00000000-0000-4000-8000-000000000000", "somebody", "\x00", "viewer"]
    )
    def test_a_token_of_nobody_is_refused(self, client, subject):
        assert code(me(client, mint(subject))) == "token_invalid"

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "x" * 100_000], ids=len)
    def test_what_is_no_token_is_refused(self, client, token):
        headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}

        assert client.get("/api/auth/me", headers=headers).status_code == 401

    def test_a_deleted_users_token_is_refused(self, client, player):
        statement = delete(User).where(User.user_id == player.user_id)
        database.transaction(lambda connection: connection.execute(statement))

        assert code(me(client, player.token)) == "token_invalid"

    def test_a_suspended_users_token_is_refused_at_once(self, client, player):
        statement = (
            update(User)
            .where(User.user_id == player.user_id)
            .values(suspended_at=datetime.now(UTC))
        )
        database.transaction(lambda connection: connection.execute(statement))

        assert code(me(client, player.token)) == "account_suspended"

    def test_a_token_of_a_clock_that_is_a_little_ahead_is_accepted(self, client, player):
        token = mint(player.user_id, iat=datetime.now(UTC) + timedelta(seconds=5))

        assert me(client, token).status_code == 200

    def test_a_token_that_was_accepted_is_refused_by_a_clock_that_was_set_back(
        self, client, player, monkeypatch
    ):
        token = mint(player.user_id)
        assert me(client, token).status_code == 200
        an_hour_ago = time.time() - 3600
        monkeypatch.setattr(tokens.time, "time", lambda: an_hour_ago)

        assert code(me(client, token)) == "token_invalid"

    def test_a_token_that_was_accepted_is_refused_once_it_has_expired(
        self, client, player, monkeypatch
    ):
        token = mint(player.user_id)
        assert me(client, token).status_code == 200

        in_an_hour = time.time() + 3600
        monkeypatch.setattr(tokens.time, "time", lambda: in_an_hour)

        assert code(me(client, token)) == "token_expired"

    def test_users_looked_up_together_each_get_their_own_answer(self, app, client, make_user):
        good, gone, dead, scorer = make_user(), make_user(), make_user(), make_user("scorer")
        nobody = mint(str(uuid.uuid4()))
        client.post("/api/auth/logout", headers=dead.bearer)
        database.transaction(
            lambda c: c.execute(
                update(User)
                .where(User.user_id == gone.user_id)
                .values(suspended_at=datetime.now(UTC))
            )
        )

        asked = [good.token, gone.token, nobody, dead.token, scorer.token]
        answers = services(app).roles.run_all([tokens.read(t, "access") for t in asked])

        assert [getattr(answer, "code", answer) for answer in answers] == [
            "player",
            "account_suspended",
            "token_invalid",
            "token_revoked",
            "scorer",
        ]

    def test_the_role_of_the_database_wins_over_the_claim(self, client, player, make_user):
        token = mint(player.user_id, role="admin")

        answer = client.post("/api/score/update", json=make_user().update(1), headers=bearer(token))

        assert code(answer) == "not_permitted"


def test_a_password_is_the_same_however_its_accents_are_typed(client):
    register(client, password="café crème")

    assert login(client, password="cafe\u0301 cre\u0300me").status_code == 200
    assert code(login(client, password="cafe creme")) == "wrong_credentials"


def test_a_password_may_be_as_long_in_either_form(client):
    register(client, password="é" * 256)

    assert login(client, password="e\u0301" * 256).status_code == 200


def test_an_older_hash_of_a_password_that_was_not_composed_still_signs_in(client, make_user):
    typed = "cafe\u0301 cre\u0300me"
    make_user(name="Ann", password_hash=generate_password_hash(typed))

    assert login(client, password=typed).status_code == 200


class TestGuessing:
    """Failed sign-ins of one account from one address are limited."""

    @pytest.fixture
    def settings(self):
        return {"LOGIN_RATE_LIMIT": "2/minute"}

    @pytest.fixture
    def guesses(self, client):
        """Have the limit reached for Ann, from 127.0.0.1; return the answers."""
        register(client)
        return [login(client, password="wrong horse") for _ in range(3)]

    def test_one_too_many_is_refused_whatever_the_password(self, client, guesses):
        right = login(client)

        assert [answer.status_code for answer in guesses] == [401, 401, 429]
        assert (right.status_code, code(right)) == (429, "rate_limited")
        assert 1 <= int(right.headers["Retry-After"]) <= 60

    def test_no_password_is_hashed_then(self, client, guesses, monkeypatch):
        monkeypatch.setattr(passwords, "matches", lambda *_: pytest.fail("hashed"))

        assert login(client).status_code == 429

    def test_the_name_counts_in_whatever_way_it_is_written(self, client, guesses):
        assert login(client, username=" ANN ").status_code == 429

    def test_an_unknown_name_is_limited_as_well(self, client):
        answers = [login(client, username="Nobody") for _ in range(3)]

        assert [answer.status_code for answer in answers] == [401, 401, 429]

    def test_another_account_is_not_hindered(self, client, guesses):
        bob = {"username": "Bob", "email": "bob@example.com"}
        register(client, **bob)

        assert login(client, username="Bob").status_code == 200

    def test_another_address_is_not_hindered(self, client, guesses):
        body = {"username": ANN["username"], "password": ANN["password"]}
        elsewhere = {"REMOTE_ADDR": "127.0.0.2"}

        answer = client.post("/api/auth/login", json=body, environ_base=elsewhere)

        assert answer.status_code == 200

    def test_signing_in_does_not_count(self, client):
        register(client)

        assert [login(client).status_code for _ in range(4)] == [200] * 4

    def test_guesses_at_the_same_time_are_not_more(self, app, client):
        register(client)

        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(lambda _: login(app.test_client(), password="wrong horse"), range(8))
            )

        tried = sum(answer.status_code == 401 for answer in answers)
        assert 2 <= tried < 2 + passwords.SLOTS


def test_a_full_queue_of_passwords_is_told_to_come_back(app, client, monkeypatch):
    full = BoundedQueue(slots=0, max_waiting=0, timeout=10, retry_after=5)
    monkeypatch.setattr(services(app), "password_queue", full)

    for answer in (login(client), register(client)):
        assert (answer.status_code, code(answer)) == (503, "overloaded")
        assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize("settings", [{"VIEWER_RATE_LIMIT": "2/minute"}])
def test_viewer_tokens_have_a_limit_of_their_own(client):
    answers = [client.post("/api/auth/viewer") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


@pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": Config.AUTH_RATE_LIMIT}])
def test_a_class_of_40_behind_one_address_comes_in_and_nobody_is_flagged(
    client, monkeypatch, caplog
):
    quick = functools.partial(generate_password_hash, method="pbkdf2:sha256:1")
    monkeypatch.setattr(passwords, "generate_password_hash", quick)
    logging.getLogger("scoreboard.audit").addHandler(caplog.handler)

    statuses = Counter()
    for number in range(40):
        name = {"username": f"pupil-{number}"}
        register(client, **name, email=f"{number}@example.com")
        session = login(client, **name).json
        viewer = client.post("/api/auth/viewer")
        update = {"user_id": session["user_id"], "score_value": 1, "timestamp": "2026-01-01"}
        posted = client.post(
            "/api/score/update", json=update, headers=bearer(session["access_token"])
        )
        statuses.update((viewer.status_code, posted.status_code))

    logging.getLogger("scoreboard.audit").removeHandler(caplog.handler)
    assert statuses == {200: 80}
    assert "score_update" in caplog.text
    assert "unusual_activity" not in caplog.text


@pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": "2/day"}])
class TestLimit:
    def test_what_gives_out_nothing_is_not_limited(self, client, pair):
        answers = [me(client, pair["access_token"]) for _ in range(4)]
        answers.append(client.post("/api/auth/logout", headers=bearer(pair["access_token"])))

        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 204]

    def test_an_address_may_only_try_so_often(self, client):
        answers = [login(client) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert code(answers[2]) == "rate_limited"
        assert 0 < int(answers[2].headers["Retry-After"]) <= 86_400

    def test_another_address_is_not_hindered(self, client):
        for _ in range(3):
            login(client)

        answer = client.post("/api/auth/login", environ_base={"REMOTE_ADDR": "127.0.0.2"}, json={})

        assert answer.status_code == 400


def test_no_password_is_kept_in_the_clear(client):
    register(client)

    assert ANN["password"] not in (accounts.by_name("Ann").password_hash or "")
