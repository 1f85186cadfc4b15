"""Guests, changes of accounts, reset links and erased users."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from sqlalchemy import select, update

from scoreboard.anomalies import flags
from scoreboard.auth import accounts, export, passwords, reset_links
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

    @pytest.mark.parametrize("settings", [{"PUBLIC_URL": "https://public.example"}])
    def test_an_admins_link_starts_with_the_public_url_if_it_is_set(self, client, admin, ann):
        url = f"https://inside.example/api/admin/users/{ann.user_id}/reset-link"

        response = client.post(url, headers=admin.bearer)

        assert response.json["url"].startswith("https://public.example/#reset=")

    def test_an_admin_makes_a_link_at_the_host_of_the_request(
        self, client, admin, ann, audit_lines
    ):
        url = f"https://board.example/api/admin/users/{ann.user_id}/reset-link"

        response = client.post(url, headers=admin.bearer)

        page, _, token = response.json["url"].partition("#reset=")
        assert (response.status_code, page) == (200, "https://board.example/")
        assert self.reset(client, token).status_code == 204
        made, used = audit_lines()
        assert (made["act"], made["user_id"], used["act"]) == ("reset-link", ann.user_id, "reset")
        assert token not in str([made, used])


def send(client, method, path, token, **body):
    return client.open(f"/api/auth/{path}", method=method, headers=bearer(token), json=body)


@pytest.fixture
def signed_in(client, ann):
    """Return the tokens of two sign-ins of Ann, who has a password."""
    return [login(client, "Ann", PASSWORD).json for _ in range(2)]


class TestClaim:
    CLAIM = {"email": "Ann@example.com", "password": PASSWORD}  # noqa: RUF012

    def test_a_guest_becomes_a_full_account(self, client, guest):
        response = send(client, "POST", "claim", guest["access_token"], **self.CLAIM)

        assert response.status_code == 200
        assert (response.json["user_id"], response.json["email"]) == (
            guest["user_id"],
            "ann@example.com",
        )
        assert login(client, "Ann", PASSWORD).status_code == 200
        assert me(client, guest["access_token"]).status_code == 200

    def test_a_full_account_cannot_be_claimed(self, client, ann):
        response = send(client, "POST", "claim", ann.token, **self.CLAIM)

        assert status_and_code(response) == (409, "already_claimed")

    def test_a_taken_address_changes_nothing(self, client, guest):
        accounts.create("Bob", "ann@example.com", None, "player")

        response = send(client, "POST", "claim", guest["access_token"], **self.CLAIM)

        assert status_and_code(response) == (409, "email_taken")
        assert login(client, "Ann", PASSWORD).status_code == 401


class TestPassword:
    def test_a_new_password_ends_only_the_other_sign_ins(self, client, signed_in):
        own, other = signed_in
        body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}

        response = send(client, "POST", "password", own["access_token"], **body)

        assert response.status_code == 204
        assert login(client, "Ann", PASSWORD).status_code == 401
        assert login(client, "Ann", NEW_PASSWORD).status_code == 200
        assert me(client, own["access_token"]).status_code == 200
        assert status_and_code(me(client, other["access_token"])) == (401, "token_revoked")
        renewed = [post(client, "refresh", token=each["refresh_token"]) for each in signed_in]
        assert [response.status_code for response in renewed] == [200, 401]

    def test_the_sign_in_that_was_kept_ends_with_all_others(self, client, admin, signed_in):
        own = signed_in[0]
        body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        send(client, "POST", "password", own["access_token"], **body)
        url = f"/api/admin/users/{own['user_id']}/end-sessions"

        client.post(url, headers=admin.bearer)

        assert status_and_code(me(client, own["access_token"])) == (401, "token_revoked")

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "password", {"new_password": NEW_PASSWORD}),
            ("PATCH", "me", {"username": "Joan"}),
            ("DELETE", "me", {}),
        ],
    )
    @pytest.mark.parametrize(
        ("password", "code"),
        [({}, "invalid_input"), ({"current_password": "wrong horse"}, "wrong_password")],
        ids=["missing", "wrong"],
    )
    def test_without_the_current_password_nothing_changes(
        self, client, ann, method, path, body, password, code
    ):
        before = accounts.by_id(ann.user_id)

        response = send(client, method, path, ann.token, **body, **password)

        assert status_and_code(response) == (400, code)
        assert list(response.json["error"]["fields"]) == ["current_password"]
        assert accounts.by_id(ann.user_id) == before

    @pytest.mark.parametrize("settings", [{"LOGIN_RATE_LIMIT": "2/minute"}])
    def test_guesses_of_the_current_password_count_as_failed_sign_ins(self, client, ann):
        wrong = {"current_password": "wrong horse"}

        guesses = [send(client, "DELETE", "me", ann.token, **wrong) for _ in range(3)]

        assert [response.status_code for response in guesses] == [400, 400, 429]
        assert login(client, "Ann", PASSWORD).status_code == 429


class TestChangesWhileAPasswordIsHashed:
    """Hashing waits in a queue: what the user or an admin does meanwhile counts."""

    @pytest.fixture
    def meanwhile(self, monkeypatch):
        """Return a function that sets a change of a user, made while a password is hashed."""
        hash_password = passwords.hash_password

        def set_change(user_id, **values):
            def change_and_hash(password):
                accounts.change(user_id, **values)
                return hash_password(password)

            monkeypatch.setattr(passwords, "hash_password", change_and_hash)

        return set_change

    def change_password(self, client, token):
        body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        return send(client, "POST", "password", token, **body)

    def test_another_new_password_stays(self, client, signed_in, meanwhile):
        user_id, token = signed_in[0]["user_id"], signed_in[0]["access_token"]
        meanwhile(user_id, password_hash="of another request")

        response = self.change_password(client, token)

        assert status_and_code(response) == (400, "wrong_password")
        assert accounts.by_id(user_id).password_hash == "of another request"

    def test_a_thief_cannot_change_the_address_afterwards(self, client, ann, monkeypatch):
        matches = passwords.matches

        def match_and_reset(password, password_hash):
            result = matches(password, password_hash)
            reset_links.redeem(reset_links.create(ann.user_id).token, "of the owner")
            return result

        monkeypatch.setattr(passwords, "matches", match_and_reset)
        body = {"email": "thief@example.com", "current_password": PASSWORD}

        response = send(client, "PATCH", "me", ann.token, **body)

        assert status_and_code(response) == (401, "token_revoked")
        assert accounts.by_id(ann.user_id).email != "thief@example.com"

    def test_another_claim_stays(self, client, guest, meanwhile):
        meanwhile(guest["user_id"], password_hash="of another request")

        response = send(client, "POST", "claim", guest["access_token"], **TestClaim.CLAIM)

        assert status_and_code(response) == (409, "already_claimed")
        assert accounts.by_id(guest["user_id"]).password_hash == "of another request"

    def test_a_sign_in_that_was_ended_stays_ended(self, client, signed_in, meanwhile):
        user_id, token = signed_in[0]["user_id"], signed_in[0]["access_token"]
        meanwhile(user_id, ends_sessions=True)

        response = self.change_password(client, token)

        assert status_and_code(response) == (401, "token_revoked")
        assert status_and_code(me(client, token)) == (401, "token_revoked")


class TestMe:
    def test_a_user_changes_name_and_address(self, client, ann):
        body = {"username": " Joan ", "email": "JOAN@example.com", "current_password": PASSWORD}

        response = send(client, "PATCH", "me", ann.token, **body)

        changed = response.json["username"], response.json["email"]
        assert (response.status_code, changed) == (200, ("Joan", "joan@example.com"))

    def test_a_guest_needs_no_password(self, client, guest):
        response = send(client, "PATCH", "me", guest["access_token"], username="Joan")

        assert (response.status_code, response.json["username"]) == (200, "Joan")

    @pytest.mark.parametrize(
        ("name", "status", "code"),
        [("bob", 409, "username_taken"), ("Admin", 400, "name_reserved")],
    )
    def test_a_taken_or_reserved_name_is_refused(
        self, client, make_user, guest, name, status, code
    ):
        make_user(name="Bob")

        response = send(client, "PATCH", "me", guest["access_token"], username=name)

        assert status_and_code(response) == (status, code)

    def test_a_user_erases_the_own_account(self, client, ann):
        response = send(client, "DELETE", "me", ann.token, current_password=PASSWORD)

        assert response.status_code == 204
        assert accounts.by_id(ann.user_id) is None
        assert login(client, "Ann", PASSWORD).status_code == 401

    def test_a_guest_erases_the_own_account(self, client, guest):
        assert send(client, "DELETE", "me", guest["access_token"]).status_code == 204
        assert accounts.by_name("Ann") is None

    def test_an_export_has_the_account_and_all_scores(self, client, ann, monkeypatch, scorer):
        monkeypatch.setattr(export, "CHUNK_SIZE", 2)
        for value in (1, 2.5, 3, 4):
            submit(client, ann, ann.update(value))
        submit(client, scorer, scorer.update(9))

        response = client.get("/api/auth/me/export", headers=bearer(ann.token))

        assert response.json["account"] == me(client, ann.token).json
        scores = response.json["scores"]
        assert [each["score_value"] for each in scores] == [1, 2.5, 3, 4]
        assert scores[0].keys() == {
            *("score_id", "board", "season", "score_value", "timestamp"),
            *("created_at", "score", "applied", "voided_at"),
        }

    def test_an_export_without_scores(self, client, guest):
        response = client.get("/api/auth/me/export", headers=bearer(guest["access_token"]))

        assert response.json["scores"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        *(("POST", "claim", {"email": bad, "password": PASSWORD}, "email") for bad in ("x", 7)),
        ("POST", "claim", {"email": "a@example.com", "password": "short"}, "password"),
        ("POST", "claim", {"password": PASSWORD}, "email"),
        *(("POST", "password", {"new_password": bad}, "new_password") for bad in ("short", None)),
        ("PATCH", "me", {"username": " "}, "username"),
        ("PATCH", "me", {"email": "ann"}, "email"),
        ("PATCH", "me", {"role": "admin"}, "role"),
        ("DELETE", "me", {"current_password": 7}, "current_password"),
    ],
)
def test_an_invalid_field_is_named_and_nothing_changes(client, guest, method, path, body, field):
    before = accounts.by_name("Ann")

    response = send(client, method, path, guest["access_token"], **body)

    assert status_and_code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == [field]
    assert accounts.by_name("Ann") == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", path) for path in ("claim", "password")),
        *(("PATCH", "me"), ("DELETE", "me"), ("GET", "me/export")),
    ],
)
def test_a_viewers_token_has_no_account(client, method, path):
    viewer = post(client, "viewer").json["access_token"]

    response = client.open(f"/api/auth/{path}", method=method, headers=bearer(viewer), json={})

    assert status_and_code(response) == (401, "not_permitted")
