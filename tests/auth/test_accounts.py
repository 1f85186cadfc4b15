"""Guests, changes of accounts, reset links and erased users."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from sqlalchemy import select, update

from scoreboard.anomalies import flags
from scoreboard.auth import accounts, passwords, reset_links
from scoreboard.db import transactions
from scoreboard.errors import Conflict, NotFound
from scoreboard.models import ResetLink, Score, User
from tests.support.api import UNKNOWN_ID, submit, top10
from tests.support.local_subscribers import LocalSubscriber
from tests.support.responses import status_and_code
from tests.support.servers import SECRETS, SignedInUser
from tests.support.tokens import bearer, mint

PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"


def post(client, path, body=None, token=None):
    headers = bearer(token) if token else {}
    return client.post(f"/api/auth/{path}", json=body, headers=headers)


def join(client, name="Ann", **fields):
    return post(client, "join", {"username": name, **fields})


def login(client, name, password):
    return post(client, "login", {"username": name, "password": password})


def me(client, token):
    return client.get("/api/auth/me", headers=bearer(token))


def lifetime(refresh_token):
    """Return the lifetime of a token in days."""
    claims = jwt.decode(refresh_token, SECRETS["JWT_SECRET_KEY"], algorithms=["HS256"])
    return round((claims["exp"] - claims["iat"]) / 86_400)


@pytest.fixture
def guest(client):
    """Return the tokens of a new guest named Ann."""
    return join(client).json


@pytest.fixture
def ann(make_user):
    """Return a user named Ann with a password."""
    return make_user(name="Ann", password_hash=passwords.hash_password(PASSWORD))


class TestJoin:
    def test_a_guest_is_a_player_with_only_a_name(self, client):
        response = join(client, " Ann ")

        assert response.status_code == 201
        account = me(client, response.json["access_token"]).json
        assert (account["username"], account["email"], account["role"]) == ("Ann", None, "player")
        guest = SignedInUser(response.json["user_id"], response.json["access_token"])
        assert submit(client, guest, guest.update(7)).status_code == 200

    def test_two_guests_need_no_address(self, client):
        assert [join(client, name).status_code for name in ("Ann", "Bob")] == [201, 201]

    def test_the_refresh_token_is_good_for_180_days_after_each_rotation(self, client, guest):
        renewed = post(client, "refresh", token=guest["refresh_token"]).json
        again = post(client, "refresh", token=renewed["refresh_token"]).json

        pairs = guest, renewed, again
        assert [lifetime(each["refresh_token"]) for each in pairs] == [180, 180, 180]

    @pytest.mark.parametrize(
        ("name", "status", "code"),
        [("ANN", 409, "username_taken"), ("Admin", 400, "name_reserved")],
    )
    def test_a_taken_or_reserved_name_is_refused(self, client, guest, name, status, code):
        assert status_and_code(join(client, name)) == (status, code)

    @pytest.mark.parametrize("settings", [{"AUTH_RATE_LIMIT": "2/minute"}])
    def test_guests_are_limited_per_address(self, client):
        statuses = [join(client, name).status_code for name in ("Ann", "Bob", "Eve")]

        assert statuses == [201, 201, 429]


@pytest.mark.parametrize("path", ["join", "register"])
class TestJoining:
    BODY = {"username": "Ann", "email": "ann@example.com", "password": PASSWORD}  # noqa: RUF012

    def enter(self, client, path, **fields):
        body = {"username": "Ann"} if path == "join" else self.BODY
        return post(client, path, {**body, **fields})

    @pytest.mark.parametrize("settings", [{"JOINING": "code", "JOIN_CODE": "Class-4b"}])
    @pytest.mark.parametrize("code", [{}, {"join_code": ""}, {"join_code": "class-4"}], ids=str)
    def test_a_missing_or_wrong_code_is_refused(self, client, path, code):
        response = self.enter(client, path, **code)

        assert status_and_code(response) == (401, "join_code_required")
        assert accounts.by_name("Ann") is None

    @pytest.mark.parametrize("settings", [{"JOINING": "code", "JOIN_CODE": "Class-4b"}])
    def test_a_wrong_code_hides_whether_a_name_is_taken(self, client, path, make_user):
        make_user(name="Ann")

        assert status_and_code(self.enter(client, path)) == (401, "join_code_required")

    @pytest.mark.parametrize("settings", [{"JOINING": "code", "JOIN_CODE": "Class-4b"}])
    def test_the_code_is_accepted_in_any_case(self, client, path):
        assert self.enter(client, path, join_code=" CLASS-4B ").status_code == 201

    @pytest.mark.parametrize("settings", [{"JOINING": "closed"}])
    def test_closed_joining_refuses_everyone(self, client, path):
        assert status_and_code(self.enter(client, path)) == (401, "joining_closed")

    def test_a_code_that_is_not_needed_is_ignored(self, client, path):
        assert self.enter(client, path, join_code="any").status_code == 201


class TestChange:
    def test_a_new_name_is_on_the_board_and_sent_at_once(self, app, client, player):
        submit(client, player, player.update(7))
        subscriber = LocalSubscriber(app, ["main"])
        before = client.get("/api/leaderboard")

        accounts.change(player.user_id, username="Joan")

        (message,) = [each for each in subscriber.messages() if each["type"] == "top_10_update"]
        assert message["data"]["top_10_scores"][0]["username"] == "Joan"
        etag = {"If-None-Match": before.headers["ETag"]}
        after = client.get("/api/leaderboard", headers=etag)
        assert after.json["entries"][0]["username"] == "Joan"

    def test_the_former_name_is_free(self, client, guest):
        accounts.change(guest["user_id"], username="Joan")

        assert join(client, "Ann").status_code == 201
        assert status_and_code(join(client, "JOAN")) == (409, "username_taken")

    def test_a_name_may_change_its_case(self, guest):
        assert accounts.change(guest["user_id"], username="ANN").username == "ANN"

    @pytest.mark.parametrize(
        ("values", "code"),
        [
            ({"username": "BOB", "role": "admin"}, "username_taken"),
            ({"email": "bob@example.com", "role": "admin"}, "email_taken"),
        ],
    )
    def test_a_taken_name_or_address_changes_nothing(self, guest, values, code):
        accounts.create("Bob", "bob@example.com", None, "player")
        before = accounts.by_id(guest["user_id"])

        with pytest.raises(Conflict) as refused:
            accounts.change(guest["user_id"], **values)

        assert refused.value.code == code
        assert accounts.by_id(guest["user_id"]) == before

    def test_a_new_role_is_effective_at_once(self, client, guest):
        accounts.change(guest["user_id"], role="scorer")

        assert me(client, guest["access_token"]).json["role"] == "scorer"

    def test_an_unknown_user_cannot_be_changed(self, app):
        with pytest.raises(NotFound):
            accounts.change(UNKNOWN_ID, role="admin")


class TestErase:
    @pytest.fixture
    def erased(self, client, player):
        """Erase a player with a score and a flag; return it."""
        submit(client, player, player.update(7))
        flags.write(player.user_id, "jump", "detail", datetime.now(UTC))
        reset_links.create(player.user_id)
        accounts.erase(player.user_id)
        return player

    def test_nothing_of_the_person_is_left(self, erased):
        row = transactions.read(
            lambda c: c.execute(select(User).where(User.user_id == erased.user_id)).first()
        )

        person = row.username, row.name_key, row.email, row.password_hash
        assert person == (None, None, None, None)
        assert accounts.by_id(erased.user_id) is None
        assert erased.user_id not in {account.user_id for account in accounts.list_all()}
        assert flags.newest() == []

    def test_the_history_stays_without_a_person(self, erased):
        scores = transactions.read(lambda c: c.execute(select(Score.user_id)).scalars().all())

        assert scores == [erased.user_id]

    def test_the_user_leaves_the_board_at_once(self, app, client, player, erased):
        assert top10(client) == []
        assert client.get("/api/leaderboard").json["entries"] == []
        path = f"/api/leaderboard/users/{erased.user_id}"
        assert status_and_code(client.get(path)) == (404, "unknown_user")

    def test_the_board_without_the_user_is_sent(self, client, player, subscriber):
        submit(client, player, player.update(7))

        accounts.erase(player.user_id)

        message = {"type": "top_10_update", "data": {"top_10_scores": []}}
        assert subscriber.messages()[-1] == message

    def test_no_token_is_accepted(self, client, erased):
        for token in (erased.token, mint(erased.user_id)):
            assert status_and_code(me(client, token))[0] == 401

    def test_a_scorer_cannot_update_the_user(self, client, scorer, erased):
        response = submit(client, scorer, erased.update(9))

        assert status_and_code(response) == (400, "unknown_user")

    @pytest.mark.parametrize("action", ["restore", "role", "reinstate"])
    def test_an_admin_cannot_bring_the_user_back(self, client, admin, erased, action):
        url = f"/api/admin/users/{erased.user_id}/{action}"
        body = {"role": "player"} if action == "role" else None

        response = client.post(url, headers=admin.bearer, json=body)

        assert status_and_code(response) == (404, "unknown_user")
        assert top10(client) == []

    def test_the_name_is_free_again(self, client, guest):
        accounts.erase(guest["user_id"])

        assert join(client, "Ann").status_code == 201

    def test_an_erased_user_cannot_be_erased_again(self, erased):
        with pytest.raises(NotFound):
            accounts.erase(erased.user_id)


class TestResetLinks:
    def reset(self, client, token, password=NEW_PASSWORD):
        return post(client, "reset", {"token": token, "new_password": password})

    def test_a_link_sets_the_password_once(self, client, ann):
        token = reset_links.create(ann.user_id).token

        first, second = self.reset(client, token), self.reset(client, token, "third password")

        assert (first.status_code, first.data) == (204, b"")
        assert status_and_code(second) == (400, "reset_link_invalid")
        assert login(client, "Ann", NEW_PASSWORD).status_code == 200
        assert login(client, "Ann", PASSWORD).status_code == 401

    def test_a_link_ends_all_sign_ins(self, client, ann):
        signed_in = login(client, "Ann", PASSWORD).json

        self.reset(client, reset_links.create(ann.user_id).token)

        for token in (ann.token, signed_in["access_token"]):
            assert status_and_code(me(client, token)) == (401, "token_revoked")
        renewed = post(client, "refresh", token=signed_in["refresh_token"])
        assert status_and_code(renewed) == (401, "token_revoked")

    def test_a_link_gives_a_guest_a_password(self, client, guest):
        self.reset(client, reset_links.create(guest["user_id"]).token)

        assert login(client, "Ann", NEW_PASSWORD).status_code == 200

    def test_a_new_link_voids_the_one_before(self, client, ann):
        tokens = [reset_links.create(ann.user_id).token for _ in range(2)]

        responses = [self.reset(client, token) for token in tokens]

        assert [response.status_code for response in responses] == [400, 204]

    @pytest.mark.parametrize(("hours", "status"), [(23, 204), (25, 400)])
    def test_a_link_works_for_24_hours(self, client, ann, hours, status):
        link = reset_links.create(ann.user_id)
        expires_at = link.expires_at - timedelta(hours=hours)
        statement = update(ResetLink).values(expires_at=expires_at)
        transactions.transaction(lambda c: c.execute(statement))

        assert self.reset(client, link.token).status_code == status

    @pytest.mark.parametrize("values", [{"email": "new@example.com"}, {"password_hash": "x"}])
    def test_a_new_address_or_password_voids_the_link(self, client, ann, values):
        link = reset_links.create(ann.user_id)

        accounts.change(ann.user_id, **values)

        assert self.reset(client, link.token).status_code == 400

    def test_only_a_hash_of_the_token_is_stored(self, ann):
        link = reset_links.create(ann.user_id)

        (row,) = transactions.read(lambda c: c.execute(select(ResetLink.__table__)).all())
        assert link.token not in map(str, row)

    def test_the_token_of_a_link_follows_the_hash_sign(self, ann):
        link = reset_links.create(ann.user_id)

        assert link.url("https://board.example/") == f"https://board.example/#reset={link.token}"
