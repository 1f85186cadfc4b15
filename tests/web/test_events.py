"""Whole events from an empty server with the default limits, on the pages alone."""

import csv
import io
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browsers import failing_requests
from tests.support.servers import PASSWORD

STAGE, PHONE = {"width": 1920, "height": 1080}, {"width": 390, "height": 844}
DEFAULT_LIMITS = {
    "SCORE_RATE_LIMIT": "60/minute",
    "AUTH_RATE_LIMIT": "100/minute",
    "VIEWER_RATE_LIMIT": "600/minute",
}
GUESTS = [f"Guest {number}" for number in range(1, 39)]
RUDE = "=HYPERLINK(rude)"


@pytest.fixture
def server(start):
    return start(BOARD_TITLE="Class 7b", **DEFAULT_LIMITS)


@pytest.fixture
def organizer(server, visit):
    """Return the admin page, signed in by the link that the start of the server prints."""
    (link,) = re.findall(r"http://127\.0\.0\.1\S+#reset=\S+", server.log())
    page = visit(link)
    page.get_by_role("textbox", name="Name The name").fill("Organizer")
    page.get_by_role("textbox", name="New password").fill(PASSWORD)
    page.get_by_role("button", name="Set the password and sign in").click()
    expect(page.get_by_text("Signed in as")).to_be_visible()
    return page


@pytest.fixture
def wall(server, visit):
    page = visit(f"{server.url}/?display=wall", viewport=STAGE)
    expect(page.locator("#status")).to_have_text("Live")
    return page


def join(server, name, score):
    """Join and post a score as a phone does; return the two statuses."""
    joined = requests.post(f"{server.url}/api/auth/join", json={"username": name}, timeout=30)
    user = joined.json()
    update = {
        "user_id": user["user_id"],
        "score_value": score,
        "timestamp": "2026-01-01T00:00:00Z",
    }
    return joined.status_code, server.post(user["access_token"], update).status_code


def show(page, section):
    page.get_by_role("navigation", name="Sections").get_by_role("link", name=section).click()


@failing_requests  # the place of a player without a score is a 404
def test_a_class_of_forty_plays_a_round(server, organizer, wall, visit):
    phone = visit(server.url, viewport=PHONE, has_touch=True)
    phone.get_by_label("Nickname").fill("Søren 👩‍🚀")
    phone.get_by_role("button", name="Join", exact=True).click()
    phone.get_by_label("Score", exact=True).fill("5000")
    phone.get_by_role("button", name="Post score").click()
    expect(phone.get_by_text("5,000 points")).to_be_visible()

    with ThreadPoolExecutor(40) as executor:
        names = [*GUESTS, RUDE]
        statuses = list(executor.map(join, [server] * 39, names, range(100, 139)))

    assert statuses == [(201, 200)] * 39
    expect(wall.get_by_text("40 players")).to_be_visible()
    expect(wall.locator(".place").first).to_contain_text("5,000")
    expect(phone.locator("#events")).to_contain_text(RUDE)

    # Nobody is flagged, and the rude name goes everywhere.
    show(organizer, "People")
    organizer.get_by_label("Search by name or email").fill(RUDE)
    organizer.get_by_role("button", name=f"Hide {RUDE}", exact=True).click()
    for page in (wall, phone):
        expect(page.get_by_text(RUDE)).to_have_count(0)
    expect(wall.get_by_text("39 players")).to_be_visible()
    show(organizer, "Activity")
    expect(organizer.get_by_text("No user has been flagged.")).to_be_visible()

    # A new round, and the table of the first.
    show(organizer, "Boards")
    organizer.get_by_role("button", name="End season…").click()
    organizer.get_by_role("dialog").get_by_role("button", name="End the season").click()
    expect(wall.locator(".place")).to_have_count(0)
    token = server.sign_in("Organizer")["access_token"]
    exported = requests.get(
        f"{server.url}/api/admin/boards/main/export.csv?season=1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    rows = list(csv.DictReader(io.StringIO(exported.content.decode("utf-8-sig"))))
    assert len(rows) == 39
    assert (rows[0]["rank"], rows[0]["score"]) == ("1", "5000")


def test_a_contest_is_frozen_and_revealed_on_the_wall(server, organizer, wall, visit):
    for name, score in {"Red": 300, "Green": 200, "Blue": 100}.items():
        assert join(server, name, score) == (201, 200)
    names = wall.locator(".place .name")
    expect(names).to_have_text(["Red", "Green", "Blue"])

    show(organizer, "Boards")
    organizer.get_by_role("button", name="Freeze", exact=True).click()
    expect(organizer.get_by_role("button", name="Reveal next")).to_be_visible()
    show(organizer, "Scores")
    organizer.get_by_role("combobox", name="Person").fill("Blue")
    organizer.get_by_label("Value").fill("900")
    organizer.get_by_role("button", name="Save the score").click()
    expect(organizer.locator(".toast")).to_contain_text("Blue")
    expect(names).to_have_text(["Red", "Green", "Blue"])

    show(organizer, "Boards")
    organizer.get_by_role("button", name="Reveal all…").click()
    organizer.get_by_role("dialog").get_by_role("button", name="Reveal all").click()

    expect(names).to_have_text(["Blue", "Red", "Green"])
