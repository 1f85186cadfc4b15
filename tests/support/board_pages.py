"""What tests do on the page of a board."""

import itertools

import requests
from playwright.sync_api import Locator, Page, expect

from tests.support.servers import PASSWORD, Server

NUMBERS = itertools.count(1)


def register(server: Server, name: str) -> str:
    """Create a user with any name and return its id."""
    body = {"username": name, "email": f"{next(NUMBERS)}@example.com", "password": PASSWORD}
    response = requests.post(f"{server.url}/api/auth/register", json=body, timeout=10)
    assert response.status_code == 201, response.text
    return response.json()["user_id"]


def rows(page: Page, table: str = "#table") -> Locator:
    """Return the rows of the top 10, or of the table in another element."""
    return page.locator(f"{table} tbody tr")


def texts(page: Page, table: str = "#table") -> list[list[str]]:
    """Return rank, name and score of each row."""
    cells = "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    return rows(page, table).evaluate_all(cells)


def latest(page: Page) -> list[str]:
    """Return the latest scores, newest first, as in `Ann: 20`."""
    items = page.locator("#events li").all()
    return [": ".join(item.locator("bdi, .score").all_text_contents()) for item in items]


def expect_latest(page: Page, name: str, score: str) -> None:
    """Wait until this is the newest of the latest scores."""
    newest = page.locator("#events li").first
    expect(newest.locator("bdi")).to_have_text(name)
    expect(newest.locator(".score")).to_have_text(score)


def expect_live(page: Page) -> Page:
    expect(page.locator("#status")).to_have_text("Live")
    return page


def sign_in(page: Page, name: str = "Kwame", password: str = PASSWORD) -> None:
    """Choose the form to sign in, unless it is the one shown, and submit it."""
    form = page.locator("[data-part=signIn]")
    if not form.is_visible():
        page.locator(".ways").get_by_role("button", name="Sign in").click()
    form.get_by_label("Name").fill(name)
    form.get_by_label("Password").fill(password)
    form.get_by_role("button", name="Sign in").click()


def signed_in(page: Page, name: str = "Kwame") -> Page:
    """Sign in and return the page."""
    sign_in(page, name)
    return expect_signed_in(page, name)


def expect_signed_in(page: Page, name: str = "Kwame") -> Page:
    expect(page.get_by_text(f"Signed in as {name}")).to_be_visible()
    return page


def post_score(page: Page, score: str) -> None:
    """Type in a score and post it."""
    page.locator("[data-part=post] input").fill(score)
    page.get_by_role("button", name="Post score").click()
