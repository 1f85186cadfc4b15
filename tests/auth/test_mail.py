"""Forgotten passwords: the link is mailed by a real SMTP server."""

import email
import email.policy
import re

import pytest
from aiosmtpd.controller import Controller

from scoreboard.auth import accounts, passwords
from scoreboard.concurrency import runtime
from scoreboard.ops import doctor
from tests.support.responses import status_and_code
from tests.support.servers import free_port
from tests.support.waiting import wait_until

NEW_PASSWORD = "battery staple"


class Mailbox:
    """Keeps the mails of an SMTP server."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        self.mails.append(envelope)
        return "250 OK"


@pytest.fixture(scope="module")
def smtp():
    """Return an SMTP server on a free port."""
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def mails(smtp):
    """Return the list of the mails of this test."""
    smtp.handler.mails.clear()
    return smtp.handler.mails


@pytest.fixture
def settings(smtp):
    return {
        "SMTP_URL": f"smtp://127.0.0.1:{smtp.port}?from=board@example.com",
        "PUBLIC_URL": "https://board.example",
    }


@pytest.fixture
def ann(app):
    return accounts.create("Ann", "ann@example.com", passwords.hash_password("old"), "player")


def forgot(client, address, **options):
    return client.post("/api/auth/forgot", json={"email": address}, **options)


def test_the_mail_has_a_link_that_sets_the_password(client, ann, mails):
    response = forgot(client, "ANN@example.com", base_url="https://evil.example")

    assert (response.status_code, response.data) == (202, b"")
    wait_until(lambda: mails)
    (envelope,) = mails
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert envelope.rcpt_tos == ["ann@example.com"]
    assert message["From"] == "board@example.com"
    text = message.get_content()
    token = re.search(r"https://board\.example/#reset=(\S+)", text)[1]
    assert "evil" not in text
    body = {"token": token, "new_password": NEW_PASSWORD}
    assert client.post("/api/auth/reset", json=body).status_code == 204
    body = {"username": "Ann", "password": NEW_PASSWORD}
    assert client.post("/api/auth/login", json=body).status_code == 200


def test_an_unknown_address_gets_the_same_response_and_no_mail(client, ann, mails):
    unknown, known = (forgot(client, f"{name}@example.com") for name in ("eve", "ann"))

    assert (unknown.status_code, unknown.data) == (known.status_code, known.data)
    assert {*unknown.headers.keys()} == {*known.headers.keys()}
    wait_until(lambda: mails)
    assert [each.rcpt_tos for each in mails] == [["ann@example.com"]]


def test_the_response_does_not_wait_for_the_search_for_the_account(client, monkeypatch):
    spawned = []
    monkeypatch.setattr(runtime, "spawn", lambda work, *args: spawned.append(args))
    monkeypatch.setattr(accounts, "by_email", None)

    assert forgot(client, "ann@example.com").status_code == 202
    assert spawned == [("ann@example.com",)]


def test_an_account_gets_one_mail_at_a_time(client, ann, mails):
    accounts.create("Bob", "bob@example.com", None, "player")
    for name in ("ann", "ann", "bob"):
        forgot(client, f"{name}@example.com")
        wait_until(lambda: mails)

    wait_until(lambda: len(mails) == 2)
    assert sorted(each.rcpt_tos[0][:3] for each in mails) == ["ann", "bob"]


def test_a_change_of_address_and_back_brings_no_second_mail(client, ann, mails):
    accounts.create("Bob", "bob@example.com", None, "player")
    forgot(client, "ann@example.com")
    wait_until(lambda: mails)
    for address in ("other@example.com", "ann@example.com"):
        accounts.change(ann.user_id, email=address)

    for name in ("ann", "bob"):
        forgot(client, f"{name}@example.com")

    wait_until(lambda: len(mails) == 2)
    assert [each.rcpt_tos[0][:3] for each in mails] == ["ann", "bob"]


@pytest.mark.parametrize("address", [None, "", "ann", "a\x00@example.com", 7])
def test_an_invalid_address_is_named(client, address):
    response = forgot(client, address)

    assert status_and_code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == ["email"]


def test_the_doctor_signs_in_and_sends_no_mail(app, mails):
    assert doctor.mail() is None
    assert mails == []


class TestRefusedSignIn:
    @pytest.fixture
    def settings(self, smtp):
        return {
            "SMTP_URL": f"smtp://ann:wrong@127.0.0.1:{smtp.port}?from=board@example.com",
            "PUBLIC_URL": "https://board.example",
        }

    def test_it_is_a_problem_for_the_doctor(self, app):
        assert "refuses the sign-in" in doctor.mail()


class TestWithoutMail:
    @pytest.fixture
    def settings(self):
        return {}

    def test_the_error_names_the_way_to_a_link(self, client):
        response = forgot(client, "ann@example.com")

        assert status_and_code(response) == (404, "mail_unavailable")
        assert "admin" in response.json["error"]["message"]
