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
