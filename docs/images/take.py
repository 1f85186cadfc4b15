"""Take the pictures of the README: `make images`.

Starts a server with an empty database, fills its board as an event would, and takes pictures of the
real pages in Chromium. Writes them beside this file.
"""

import tempfile
import time
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, expect

from tests.support.boards import Boards
from tests.support.browsers import chromium
from tests.support.servers import Server

FOLDER = Path(__file__).parent
SCORES = {
    "Amara": 18450,
    "Ben": 17920,
    "Chiara": 16375,
    "Deniz": 15210,
    "Elif": 14980,
    "Farid": 13640,
    "Grace": 12555,
    "Haruto": 11890,
    "Inés": 10425,
    "Jonas": 9870,
    "Kofi": 8615,
    "Lena": 7390,
    "Mei": 6240,
    "Noor": 5105,
}
TITLE = "Hack Night"
LAPTOP, STAGE = {"width": 1280, "height": 800}, {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}
# Long enough for the animations that follow a change.
SETTLED = 3  # seconds


def join(server: Server, name: str) -> tuple[str, str]:
    """Join as a guest; return the user id and the access token."""
    response = requests.post(f"{server.url}/api/auth/join", json={"username": name}, timeout=10)
    response.raise_for_status()
    user = response.json()
    return user["user_id"], user["access_token"]


def fill(server: Server) -> None:
    """Let the players join, then post their scores from the lowest to the highest."""
    for number, (name, score) in enumerate(reversed(SCORES.items())):
        user_id, token = join(server, name)
        moment = f"2026-01-01T00:00:{number:02}Z"
        update = {"user_id": user_id, "score_value": score, "timestamp": moment}
        server.post(token, update).raise_for_status()


def open_page(browser: Browser, url: str, size: dict, **options: object) -> Page:
    context = browser.new_context(locale="en-US", viewport=size, **options)
    page = context.new_page()
    page.goto(url)
    return page


def take(page: Page, name: str) -> None:
    time.sleep(SETTLED)
    page.screenshot(path=FOLDER / f"{name}.png")


def main() -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = Server(Path(folder), BOARD_TITLE=TITLE, SCORE_POLICY="best")
        try:
            Boards(server)
            fill(server)
            take(open_page(browser, server.url, LAPTOP), "board")
            wall = open_page(browser, f"{server.url}/?display=wall", STAGE)
            expect(wall.locator("#status")).to_have_text("Live")
            take(wall, "wall")
            phone = open_page(browser, server.url, PHONE, device_scale_factor=2)
            phone.get_by_label("Nickname").fill("Omar")
            phone.get_by_role("button", name="Join", exact=True).click()
            phone.get_by_label("Score", exact=True).fill("14500")
            phone.get_by_role("button", name="Post score").click()
            expect(phone.get_by_text("14,500 points")).to_be_visible()
            take(phone, "phone")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
