"""Who you are: registration, sign-in, tokens."""

import time
import uuid
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from conftest import mint
from serving import SECRETS
from sqlalchemy import delete, select, update

from scoreboard import database
from scoreboard.auth import accounts, tokens
from scoreboard.models import RevokedToken, User

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

    def test_a_refresh_token_gives_a_new_pair(self, client, pair):
        answer = self.refresh(client, pair["refresh_token"])

        assert answer.json.keys() == pair.keys()
        assert me(client, answer.json["access_token"]).status_code == 200

    def test_a_used_refresh_token_is_dead(self, client, pair):
        self.refresh(client, pair["refresh_token"])

        answer = self.refresh(client, pair["refresh_token"])

        assert (answer.status_code, code(answer)) == (401, "token_reused")

    def test_reuse_kills_the_family(self, client, pair):
        renewed = self.refresh(client, pair["refresh_token"]).json
        self.refresh(client, pair["refresh_token"])

        assert code(self.refresh(client, renewed["refresh_token"])) == "token_revoked"
        assert code(me(client, renewed["access_token"])) == "token_revoked"
        assert code(me(client, pair["access_token"])) == "token_revoked"

    def test_reuse_leaves_other_sign_ins_alone(self, client, pair):
        other = login(client).json
        self.refresh(client, pair["refresh_token"])
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
        answers = app.extensions["roles"].ask_all([tokens.read(t, "access") for t in asked])

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


@pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": "2/day"}])
class TestLimit:
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
