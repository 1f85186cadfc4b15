"""One's own account on the page, in a browser: change it, download it, delete it, get back in."""

import email
import email.policy
import itertools
import json
import re

import pytest
import requests
from aiosmtpd.controller import Controller
from playwright.sync_api import expect

from tests.auth.test_mail import Mailbox
from tests.support.board_pages import (
    expect_live,
    expect_signed_in,
    post_score,
    rows,
    sign_in,
    signed_in,
)
from tests.support.browsers import failing_requests, violations
from tests.support.servers import PASSWORD, free_port
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
SIZES = [(320, 640), (1280, 800), (3840, 2160)]
FOCUSED = "document.activeElement.name || document.activeElement.textContent.trim()"

# Without a score, the place of a player is a 404.
pytestmark = failing_requests


@pytest.fixture(scope="module")
def mails():
    """Return the mails that an SMTP server has received, which listens at their `port`."""
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture(scope="module")
def server(start, mails):
    public = "https://board.example"
    url = f"smtp://127.0.0.1:{mails.port}?from=board@example.com"
    return start(SMTP_URL=url, PUBLIC_URL=public)


@pytest.fixture
def name():
    return f"Player-{next(NUMBERS)}"


@pytest.fixture
def guest(server, visit, name):
    """Return the page of a guest with a score and the section of the account open."""
    page = expect_live(visit(server.url))
    page.get_by_label("Nickname").fill(name)
    page.get_by_role("button", name="Join", exact=True).click()
    expect_signed_in(page, name)
    post_score(page, "7")
    expect(rows(page).filter(has_text=name)).to_have_count(1)
    return opened(page)


@pytest.fixture
def member(server, visit, name):
    """Return the page of a player with a password and the section of the account open."""
    server.user(name)
    return opened(signed_in(expect_live(visit(server.url)), name))


def opened(page):
    page.get_by_role("button", name="Your account").click()
    expect(page.get_by_role("heading", name="Your account")).to_be_focused()
    return page


def form(page, part):
    return page.locator(f"#account [data-part={part}]")


def save(page, button="Save", part="profile", **fields):
    """Fill in the fields of a form and submit it."""
    for name, value in fields.items():
        form(page, part).locator(f"[name={name}]").fill(value)
    form(page, part).get_by_role("button", name=button).click()


def expect_done(page, text):
    expect(page.locator("#account [data-part=done]")).to_have_text(text)


def tab_to(page, focused):
    """Press the tab key until this has the focus."""
    for _ in range(40):
        if page.evaluate(FOCUSED) == focused:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the tab key does not reach {focused!r}")


def test_a_guest_takes_another_name_without_a_password(guest, name):
    save(guest, username=f"{name} سارا")

    expect_done(guest, "Saved.")
    expect_signed_in(guest, f"{name} سارا")
    expect(rows(guest).filter(has_text=f"{name} سارا")).to_have_count(1)
    expect(guest.locator("#account").get_by_label("Email")).to_have_count(1)
    expect(guest.locator("#account").get_by_label("Email")).to_be_hidden()


def test_a_taken_name_is_named_in_the_form(server, guest, name):
    server.user(f"{name}-other")

    save(guest, username=f"{name}-other")

    expect(form(guest, "profile").get_by_role("alert")).to_contain_text("taken")
    expect_signed_in(guest, name)


def test_a_player_changes_name_address_and_password(server, member, name):
    save(member, username=f"New {name}", email="new@example.com", current_password="wrong one")
    expect(form(member, "profile").get_by_role("alert")).to_contain_text("wrong")

    save(member, current_password=PASSWORD)
    expect_done(member, "Saved.")
    expect(form(member, "profile").get_by_role("alert")).to_have_text("")
    expect(member.locator("#account").get_by_label("Email")).to_have_value("new@example.com")
    member.get_by_text("Change the password").click()
    save(
        member,
        "Set the password",
        "password",
        current_password=PASSWORD,
        new_password="battery staple",
    )
    expect_done(member, "Your new password is set. Other devices are signed out.")

    member.reload()
    expect_signed_in(member, f"New {name}")
    member.get_by_role("button", name="Sign out").click()
    sign_in(member, f"New {name}", "battery staple")
    expect_signed_in(member, f"New {name}")


def test_a_player_downloads_account_and_scores(guest, name):
    guest.get_by_text("Download your data").click()

    with guest.expect_download() as download:
        save(guest, "Download", "export")

    expect_done(guest, "Your data has been downloaded.")
    assert download.value.suggested_filename == "scoreboard-account.json"
    data = json.loads(download.value.path().read_text())
    assert data["account"]["username"] == name
    assert [score["score_value"] for score in data["scores"]] == [7]


def test_a_guest_deletes_the_account_with_the_keyboard_alone(server, guest, name):
    tab_to(guest, "Delete the account")
    guest.keyboard.press("Enter")
    tab_to(guest, "Delete for good")
    guest.keyboard.press("Enter")

    expect(guest.get_by_text("Your account is deleted.")).to_be_visible()
    expect(guest.get_by_role("heading", name="Join in")).to_be_focused()
    expect(guest.locator("#account")).to_be_hidden()
    expect(rows(guest).filter(has_text=name)).to_have_count(0)
    found = requests.get(f"{server.url}/api/boards/main/leaderboard?query={name}", timeout=10)
    assert name not in [entry["username"] for entry in found.json()["entries"]]


def test_deleting_an_account_needs_its_password(member, name):
    member.get_by_text("Delete the account").click()
    save(member, "Delete for good", "erase", current_password="wrong one")
    expect(form(member, "erase").get_by_role("alert")).to_contain_text("wrong")

    save(member, "Delete for good", "erase", current_password=PASSWORD)

    expect(member.get_by_text("Your account is deleted.")).to_be_visible()


def test_the_keyboard_opens_and_closes_the_section(member):
    tab_to(member, "Close")
    member.keyboard.press("Enter")

    expect(member.locator("#account")).to_be_hidden()
    button = member.get_by_role("button", name="Your account")
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "false")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_section_is_accessible_and_fits_every_screen(member, scheme):
    member.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    for summary in member.locator("#account summary").all():
        summary.click()
    save(member, current_password="wrong one")
    expect(form(member, "profile").get_by_role("alert")).not_to_have_text("")

    for width, height in SIZES:
        member.set_viewport_size({"width": width, "height": height})

        assert violations(member) == []
        assert member.evaluate("document.documentElement.scrollWidth") == width


class TestForgotten:
    def test_the_form_mails_a_link_that_sets_a_new_password(self, server, visit, name, mails):
        server.user(name)
        page = expect_live(visit(server.url))
        page.get_by_role("button", name="Sign in").first.click()
        page.get_by_role("button", name="Forgot your password?").click()
        page.locator("[data-part=forgot]").get_by_label("Email").fill(f"{name}@example.com")
        assert violations(page) == []
        page.get_by_role("button", name="Send me a link").click()
        expect(page.get_by_text("a link is on its way to it")).to_be_visible()
        wait_until(lambda: page.evaluate("true") and mails.handler.mails)

        (envelope,) = mails.handler.mails
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        (path,) = re.findall(r"https://board\.example(/#reset=\S+)", message.get_content())
        page = visit(server.url + path)
        page.locator("#reset").get_by_label("New password").fill("another horse")
        page.get_by_role("button", name="Set the password").click()
        expect(page.get_by_text("Your new password is set")).to_be_visible()
        sign_in(page, name, "another horse")

        expect_signed_in(page, name)

    def test_without_mail_the_page_names_the_way_to_a_link(self, start, visit):
        page = expect_live(visit(start().url))

        page.get_by_role("button", name="Sign in").first.click()
        page.get_by_role("button", name="Forgot your password?").click()

        expect(page.get_by_text("Ask an organiser for a link")).to_be_visible()
        expect(page.get_by_role("button", name="Send me a link")).to_have_count(0)
