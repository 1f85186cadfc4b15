"""The first admin is invited once, by the same link in every process, until there is an admin."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import repeat

from sqlalchemy import func, select

from scoreboard.auth import accounts, first_admin, reset_links
from scoreboard.db import transactions
from scoreboard.models import User

PASSWORD = "correct horse"


def users():
    return transactions.read(lambda c: c.execute(select(func.count()).select_from(User)).scalar())


def reset(client, token):
    body = {"token": token, "new_password": PASSWORD}
    return client.post("/api/auth/reset", json=body).status_code


def test_the_link_makes_an_admin_once(client):
    name, token = first_admin.invite()

    assert reset(client, token) == 204
    login = client.post("/api/auth/login", json={"username": name, "password": PASSWORD}).json
    bearer = {"Authorization": f"Bearer {login['access_token']}"}
    assert client.get("/api/admin/marks", headers=bearer).status_code == 200
    assert reset(client, token) == 400
    assert first_admin.invite() is None
    assert reset(client, token) == 400


def test_the_account_has_no_password_before(client):
    name, _ = first_admin.invite()

    for password in ("", name, PASSWORD):
        body = {"username": name, "password": password}
        assert client.post("/api/auth/login", json=body).status_code in (400, 401)


def test_processes_that_start_at_once_print_the_same_link(app):
    def start(_):
        with app.app_context():
            return first_admin.invite()

    with ThreadPoolExecutor(4) as pool:
        invitations = set(pool.map(start, repeat(None, 8)))

    assert len(invitations) == users() == 1
    assert reset_links.user_of(invitations.pop().token) == first_admin.USER_ID


def test_an_installation_with_an_admin_gets_no_account(admin):
    assert first_admin.invite() is None
    assert users() == 1


def test_a_later_admin_ends_the_invitation(app, make_user):
    first_admin.invite()
    make_user("admin")

    assert first_admin.invite() is None


def test_the_invitation_ends_if_the_account_is_suspended(app):
    first_admin.invite()
    accounts.change(first_admin.USER_ID, suspended_at=datetime.now(UTC))

    assert first_admin.invite() is None


def test_players_and_scorers_are_no_admins(app, make_user):
    make_user("player")
    make_user("scorer")

    assert first_admin.invite().name == "Organizer"


def test_a_player_may_have_the_name(app, make_user):
    make_user("player", name="organizer")

    name, _ = first_admin.invite()

    assert name.startswith("Organizer ")
    assert accounts.by_name("organizer").role == "player"
    assert first_admin.invite().name == name


def test_another_secret_key_has_another_link(make_app):
    tokens = set()
    for key in ("x" * 40, "y" * 40):
        with make_app(SECRET_KEY=key).app_context():
            tokens.add(first_admin.invite().token)

    assert len(tokens) == 2


def test_the_audit_log_has_the_account_and_no_token(app, audit_lines):
    invitation = first_admin.invite()

    (line,) = audit_lines()
    assert (line["act"], line["user_id"]) == ("create admin", first_admin.USER_ID)
    assert invitation.token not in str(line)
