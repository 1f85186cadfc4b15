"""Usernames: which are valid, which are reserved, and which count as equal."""

import uuid

import pytest

from scoreboard.auth import accounts
from tests.support.responses import status_and_code
from tests.support.servers import PASSWORD

ZWNJ, ZWJ, VS16 = "\u200c", "\u200d", "\ufe0f"


@pytest.fixture
def register(client):
    """Return a function that registers a name and returns the response."""

    def register(name):
        body = {"username": name, "email": f"{uuid.uuid4()}@example.com", "password": PASSWORD}
        return client.post("/api/auth/register", json=body)

    return register


@pytest.mark.parametrize(
    "name",
    [
        *["Ann", "Ann Lee", "Zoë", "渡辺", "अनुराग", "علی", "김철수", "ab-c_d.e!", "!"],
        *["😀", "❤" + VS16, "1" + VS16 + "\u20e3", "👍🏽", "🇦🇹", "🫩"],
        *["👩" + ZWJ + "💻", "🏳" + VS16 + ZWJ + "🌈", "👩🏽" + ZWJ + "⚕" + VS16],
        "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f",  # the flag of Wales
        "علی" + ZWNJ + "رضا",
        "ශ\u0dca" + ZWJ + "ර\u0dd3",
        "葛\U000e0100城",
    ],
    ids=ascii,
)
def test_a_name_in_any_script_is_stored_unchanged(register, name):
    response = register(name)

    assert response.status_code == 201
    assert response.json["username"] == name


@pytest.mark.parametrize(
    "name",
    [
        *["", " ", "\t", "\u3164", "\u115f\u1160", "\uffa0", "\u2800", VS16, "\u034f", "\u17b4"],
        *[ZWJ, ZWNJ * 3, "\u0301", "\ufffc", "\U0001d159", "\u200b"],
        *["a\x00b", "a\nb", "a\x9bb", "a\u202eb", "a\u2066b\u2069", "a\u200fb", "a\ufeffb"],
        *["a\u2028b", "a\u00a0b", "a\u3000b", "a\ue000b", "a\U000e0061b", "\ud800"],
        *["a" + ZWJ, ZWJ + "a", "a " + ZWJ + "b", "a" + ZWJ * 2 + "b", " " + VS16 + "a"],
        *["a" + VS16 * 2, "a\u034fb", "a\u3164", "\u2800a", "a\u00adb", "x" * 65],
    ],
    ids=ascii,
)
def test_an_invisible_or_misleading_name_is_refused(register, name):
    response = register(name)

    assert status_and_code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == ["username"]


@pytest.mark.parametrize(
    "other",
    [
        *["ann lee", "ANN LEE", "Ａnn Lee", "Ann  Lee", " Ann Lee ", "Ann Lee\u3000"],
        *["A" + ZWJ + "nn Lee", "A" + ZWNJ + "nn Lee", "Ann Lee" + VS16, "Ann Lee\U000e0100"],
    ],
    ids=ascii,
)
def test_a_name_that_looks_the_same_as_another_is_taken(register, other):
    register("Ann Lee")

    assert status_and_code(register(other)) == (409, "username_taken")


@pytest.mark.parametrize(
    "typed", ["Ann Lee", " ann lee", "Ann  Lee ", "ＡNN LEE", "Ann Lee" + VS16]
)
def test_any_spelling_of_a_name_signs_in(register, client, typed):
    register("Ann Lee")

    response = client.post("/api/auth/login", json={"username": typed, "password": PASSWORD})

    assert response.status_code == 200


def test_surrounding_spaces_are_removed(register):
    assert register("  Ann ").json["username"] == "Ann"


@pytest.mark.parametrize(
    "name", ["admin", "Admin", " SYSTEM ", "Ａdmin", "ro" + ZWNJ + "ot"], ids=ascii
)
def test_a_reserved_name_cannot_be_registered(register, name):
    response = register(name)

    assert status_and_code(response) == (400, "name_reserved")
    assert list(response.json["error"]["fields"]) == ["username"]


@pytest.mark.parametrize("name", ["moderators", "admin2", "my support"])
def test_a_name_that_contains_a_reserved_one_can_be_registered(register, name):
    assert register(name).status_code == 201


def test_commands_create_reserved_names_and_accept_any_spelling(app):
    run = app.test_cli_runner().invoke
    options = ["root@example.com", "--password", PASSWORD]

    created = run(args=["users", "create", " Root ", *options])

    account = accounts.by_name("root")
    assert (created.exit_code, created.stdout.strip()) == (0, account.user_id)
    assert account.username == "Root"
    assert run(args=["users", "role", "ROOT ", "admin"]).exit_code == 0
    assert run(args=["users", "token", " rOOt"]).exit_code == 0
    assert accounts.by_name("root").role == "admin"
