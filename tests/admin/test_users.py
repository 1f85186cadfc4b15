"""Users as admins find them: part of a name or address, role, status, pages, flags."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from scoreboard.anomalies import flags
from scoreboard.auth import accounts
from scoreboard.extensions import db

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def get(client, admin):
    """Return a function that requests a path below /api/admin/users with these parameters."""

    def get(path="", **parameters):
        url = f"/api/admin/users{path}"
        return client.get(url, query_string=parameters, headers=admin.bearer)

    return get


@pytest.fixture
def names(get, admin):
    """Return a function that returns the names of the users found, without the admin's."""

    def names(**parameters):
        users = get(**parameters).json["users"]
        return [user["username"] for user in users if user["user_id"] != admin.user_id]

    return names


def flag(user, hour, rule="jump"):
    flags.write(user.user_id, rule, "why", START + timedelta(hours=hour))


class TestSearch:
    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", ["50%_off", "Ann", "Anna Berg", "Straße"]),
            ("ANN", ["Ann", "Anna Berg"]),
            ("a  b", ["Anna Berg"]),
            ("STRASSE", ["Straße"]),
            ("\uff21\uff2e\uff2e", ["Ann", "Anna Berg"]),
            ("%_o", ["50%_off"]),
            ("%", ["50%_off"]),
            ("nn_", []),
            ("\\", []),
            ("Berg@Example", ["Straße"]),
            ("nobody", []),
            ("\u200b", []),
        ],
        ids=ascii,
    )
    def test_it_finds_part_of_a_name_or_address(self, names, query, found):
        for name in ("Straße", "Ann", "50%_off", "Anna Berg"):
            address = "berg@example.com" if name == "Straße" else f"{len(name)}@other.org"
            accounts.create(name, address, None, "player")

        assert names(query=query) == found

    def test_it_filters_by_role(self, names, make_user):
        make_user(name="Ann")
        make_user("scorer", name="Arcade")

        assert names(role="scorer") == ["Arcade"]

    def test_it_filters_by_status(self, client, admin, names, make_user):
        users = {name: make_user(name=name) for name in ("active", "both", "hid", "rule", "susp")}
        for name, action in [
            *(("both", "hide"), ("both", "suspend"), ("hid", "hide"), ("susp", "suspend")),
        ]:
            url = f"/api/admin/users/{users[name].user_id}/{action}"
            client.post(url, headers=admin.bearer)
        flag(users["rule"], 1)

        found = {status: names(status=status) for status in ("active", "hidden", "suspended")}

        assert found == {
            "active": ["active", "rule"],
            "hidden": ["both", "hid"],
            "suspended": ["both", "susp"],
        }
        assert names(status="flagged") == ["rule"]

    @pytest.mark.parametrize("query", ["", "p"])
    def test_pages_have_every_user_once_by_name(self, get, make_user, query):
        expected = sorted(f"p{number}" for number in range(5))
        for name in expected[::-1]:
            make_user(name=name)

        found, cursor = [], {}
        while cursor is not None:
            body = get(query=query, role="player", limit=2, **cursor).json
            assert len(body["users"]) <= 2
            found += [user["username"] for user in body["users"]]
            cursor = body["next"] and {"cursor": body["next"]}

        assert found == expected

    def test_a_page_needs_the_same_number_of_queries_for_any_number_of_users(self, get, make_user):
        statements = []
        for number in range(3):
            flag(make_user(), number)
        event.listen(db.engine, "before_cursor_execute", lambda *each: statements.append(each[2]))

        get(limit=1)
        for_one = len(statements)
        get(limit=4)

        assert len(statements) == 2 * for_one


class TestUser:
    def test_it_has_address_status_and_newest_flags(self, client, admin, get, make_user):
        user = make_user(name="Ann")
        for hour in range(25):
            flag(user, hour)
        client.post(f"/api/admin/users/{user.user_id}/hide", headers=admin.bearer)

        found = get(f"/{user.user_id.upper()}").json

        account = accounts.by_id(user.user_id)
        newest = {"rule": "jump", "detail": "why", "created_at": "2026-01-02T00:00:00Z"}
        shown = found.pop("flags")
        assert (len(shown), shown[0]) == (20, newest)
        assert datetime.fromisoformat(found.pop("created_at")) == account.created_at
        assert datetime.fromisoformat(found.pop("hidden_at")) == account.hidden_at
        assert found == {
            "user_id": user.user_id,
            "username": "Ann",
            "email": account.email,
            "role": "player",
            "suspended_at": None,
        }
        assert found.keys() < get(query="ann").json["users"][0].keys()


class TestCreate:
    @pytest.fixture
    def create(self, client, admin):
        """Return a function that creates a user with these fields."""
        return lambda **fields: client.post("/api/admin/users", json=fields, headers=admin.bearer)

    def test_the_user_can_sign_in(self, client, create):
        response = create(
            username="Admin", email="Ann@Example.com", password="long enough", role="scorer"
        )

        created = response.json
        assert response.status_code == 201
        assert (created["username"], created["email"]) == ("Admin", "ann@example.com")
        assert (created["role"], created["flags"]) == ("scorer", [])
        body = {"username": "admin", "password": "long enough"}
        signed_in = client.post("/api/auth/login", json=body)
        assert signed_in.json["user_id"] == created["user_id"]

    def test_a_name_suffices(self, create):
        created = create(username="Ann").json

        assert (created["email"], created["role"]) == (None, "player")

    @pytest.mark.parametrize(
        ("field", "code"), [("username", "username_taken"), ("email", "email_taken")]
    )
    def test_names_and_addresses_are_unique(self, create, audit_lines, field, code):
        create(username="Ann", email="ann@example.com")
        lines = audit_lines()
        fields = {"username": "Bob", "email": "bob@example.com"}

        taken = {"username": "ANN", "email": "ANN@example.com"}
        response = create(**{**fields, field: taken[field]})

        assert (response.status_code, response.json["error"]["code"]) == (409, code)
        assert audit_lines() == lines

    def test_it_is_audited_without_the_name(self, create, admin, audit_lines):
        created = create(username="Ann", password="long enough").json

        (line,) = audit_lines()
        assert (line["act"], line["caller"]) == ("create player", admin.user_id)
        assert line["user_id"] == created["user_id"]
        assert "Ann" not in str(line)


class TestChange:
    @pytest.fixture
    def change(self, client, admin):
        """Return a function that changes these fields of a user."""

        def change(user, **fields):
            url = f"/api/admin/users/{user.user_id}"
            return client.patch(url, json=fields, headers=admin.bearer)

        return change

    def test_only_the_fields_sent_are_changed(self, change, get, make_user):
        ann = make_user(name="Ann")
        before = get(f"/{ann.user_id}").json

        response = change(ann, username="Support", role="scorer")

        assert response.status_code == 200
        assert response.json == {**before, "username": "Support", "role": "scorer"}

    def test_a_new_name_is_on_the_board_at_once(self, client, change, player):
        client.post("/api/score/update", json=player.update(7), headers=player.bearer)

        change(player, username="Renamed")

        (entry,) = client.get("/api/leaderboard").json["entries"]
        assert entry["username"] == "Renamed"

    def test_a_taken_name_changes_nothing(self, change, get, make_user, audit_lines):
        make_user(name="Ann")
        bob = make_user(name="Bob")

        response = change(bob, username="ann", role="admin")

        assert (response.status_code, response.json["error"]["code"]) == (409, "username_taken")
        assert get(f"/{bob.user_id}").json["role"] == "player"
        assert audit_lines() == []

    def test_it_is_audited_by_the_names_of_the_fields(self, change, player, audit_lines):
        change(player, username="Ann", email="ann@example.com")

        (line,) = audit_lines()
        assert (line["act"], line["user_id"]) == ("change email username", player.user_id)


def test_an_erased_user_is_gone_everywhere(client, admin, get, names, make_user, audit_lines):
    ann = make_user(name="Ann")
    client.post("/api/score/update", json=ann.update(7), headers=ann.bearer)

    response = client.delete(f"/api/admin/users/{ann.user_id}", headers=admin.bearer)

    assert response.status_code == 204
    assert names() == []
    assert get(f"/{ann.user_id}").status_code == 404
    assert client.get("/api/score/top10").json == {"top_10_scores": []}
    assert client.get("/api/auth/me", headers=ann.bearer).status_code == 401
    assert audit_lines()[-1]["act"] == "delete"
