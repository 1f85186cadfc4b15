"""Joining, keeping a place and choosing a new password, in a browser."""

import itertools

import pytest
import requests
from playwright.sync_api import expect

from tests.support.board_pages import (
    expect_live,
    expect_signed_in,
    latest,
    post_score,
    rows,
    sign_in,
)
from tests.support.browsers import BLOCKED, OLDER, failing_requests, violations
from tests.support.servers import PASSWORD

NUMBERS = itertools.count(1)
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def server(start):
    return start(SCORE_POLICY="best")


@pytest.fixture
def name():
    return f"Player-{next(NUMBERS)}"


def join(page, name):
    """Join with a nickname and return the page."""
    page.get_by_label("Nickname").fill(name)
    page.get_by_role("button", name="Join", exact=True).click()
    return expect_signed_in(page, name)


def new_tab(page):
    """Close the tab and open the board in another one of the same browser."""
    context = page.context
    url = page.url
    page.close()
    page = context.new_page()
    page.goto(url)
    return page


class TestJoining:
    @failing_requests  # the player is not on the board yet
    def test_a_visitor_joins_posts_and_is_told_what_became_of_it(self, server, visit, name):
        page = join(expect_live(visit(server.url, viewport=PHONE)), name)
        done = page.locator("#place [data-part=done]")

        post_score(page, "120")
        expect(done).to_have_text("120 points: you are 1st.")
        post_score(page, "100")
        expect(done).to_have_text("100 points: you are 1st. Your best stays 120.")
        post_score(page, "1")
        expect(done).to_have_text("1 point: you are 1st. Your best stays 120.")
        post_score(page, "1200.5")
        expect(done).to_have_text("1,200.5 points: you are 1st. A new best!")

        expect(page.locator("tr.own .score").last).to_have_text("1,200.5")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]

    @failing_requests
    def test_the_sign_in_outlives_the_tab(self, server, visit, name):
        page = join(expect_live(visit(server.url)), name)

        expect_signed_in(new_tab(page), name)

    @failing_requests
    def test_on_a_shared_computer_the_sign_in_ends_with_the_tab(self, server, visit, name):
        page = expect_live(visit(server.url))
        page.locator("[data-part=join]").get_by_label("This is a shared computer").check()
        join(page, name)
        page.reload()
        expect_signed_in(page, name)

        page = new_tab(page)

        expect(page.get_by_label("Nickname")).to_be_visible()

    @failing_requests
    @pytest.mark.parametrize("script", [OLDER, BLOCKED], ids=["older", "no storage"])
    def test_browsers_with_fewer_features_can_join(self, server, visit, name, script):
        page = join(expect_live(visit(server.url, script=script)), name)

        post_score(page, "7")

        expect(page.locator("#place [data-part=done]")).to_contain_text("7 points: you are")

    @failing_requests
    def test_the_keyboard_alone_is_enough(self, server, visit, name):
        page = expect_live(visit(server.url))

        page.get_by_label("Nickname").focus()
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        expect_signed_in(page, name)
        page.keyboard.press("Tab")
        page.keyboard.type("5")
        page.keyboard.press("Enter")

        expect(page.locator("#place [data-part=done]")).to_contain_text("5 points: you are")

    @failing_requests
    def test_signing_in_and_out_in_one_tab_does_so_in_all(self, server, visit, name):
        page = expect_live(visit(server.url))
        other = page.context.new_page()
        other.goto(server.url)
        expect_live(other)

        join(page, name)
        expect_signed_in(other, name)
        for _ in range(2):  # a player without a password confirms it
            other.get_by_role("button", name="Sign out").click()

        expect(page.get_by_label("Nickname")).to_be_visible()

    @failing_requests
    def test_a_taken_name_shows_the_message(self, server, visit, name):
        server.user(name)
        page = expect_live(visit(server.url))

        page.get_by_label("Nickname").fill(name)
        page.get_by_role("button", name="Join", exact=True).click()

        expect(page.get_by_role("alert")).not_to_have_text("")

    @failing_requests
    def test_a_visitor_creates_an_account(self, server, visit, name):
        page = expect_live(visit(server.url))
        page.get_by_role("button", name="Create an account").click()
        form = page.locator("[data-part=register]")
        form.get_by_label("Name").fill(name)
        form.get_by_label("Email").fill(f"{next(NUMBERS)}@example.org")
        form.get_by_label("Password").fill(PASSWORD)
        form.get_by_role("button").click()

        expect_signed_in(page, name)
        expect(page.get_by_text("Keep your place")).to_be_hidden()

    @failing_requests
    def test_a_player_keeps_the_place_with_a_password(self, server, visit, name):
        page = join(expect_live(visit(server.url)), name)
        page.get_by_text("Keep your place").click()
        form = page.locator("[data-part=claimForm]")
        form.get_by_label("Email").fill(f"{next(NUMBERS)}@example.org")
        form.get_by_label("Password").fill(PASSWORD)
        assert violations(page) == []
        form.get_by_role("button").click()
        expect(page.get_by_text("Your place is kept")).to_be_visible()

        page.get_by_role("button", name="Sign out").click()
        sign_in(page, name)

        expect_signed_in(page, name)


class TestCodes:
    @failing_requests
    def test_a_join_link_fills_in_the_code(self, start, visit, name):
        url = start(JOINING="code", JOIN_CODE="maple-42").url

        page = visit(f"{url}/#join=maple-42", viewport=PHONE)

        expect(page.locator("[data-part=join]").get_by_label("Join code")).to_have_value("maple-42")
        join(page, name)

    def test_a_closed_server_offers_only_to_sign_in(self, start, visit):
        page = expect_live(visit(start(JOINING="closed").url))

        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.get_by_role("button", name="Join", exact=True)).to_have_count(0)
        expect(page.get_by_role("button", name="Create an account")).to_have_count(0)


class TestReset:
    @failing_requests  # the player is not on the board
    def test_a_link_of_an_admin_sets_a_new_password(self, server, visit, name):
        admin, player = server.user(f"Boss-{name}", "admin"), server.user(name)
        path = f"/api/admin/users/{player.user_id}/reset-link"
        response = requests.post(server.url + path, headers=admin.bearer, timeout=10)
        assert response.status_code == 200, response.text

        page = visit(response.json()["url"])
        form = page.locator("#reset form")
        form.get_by_label("New password").fill("another horse")
        assert violations(page) == []
        form.get_by_role("button").click()
        expect(page.get_by_text("Your new password is set")).to_be_visible()
        sign_in(page, name, "another horse")

        expect_signed_in(page, name)
        assert "#" not in page.url

    @failing_requests
    def test_a_used_link_shows_the_message(self, server, visit):
        page = visit(f"{server.url}/#reset=used")

        page.locator("#reset input").fill("another horse")
        page.locator("#reset button").click()

        expect(page.locator("#reset").get_by_role("alert")).not_to_have_text("")


class TestPosting:
    @failing_requests  # the player is not on the board
    def test_a_board_for_game_servers_has_no_form(self, start, visit, name):
        game_server = start(SCORE_SUBMIT="scorer")
        game_server.user(name)
        page = expect_live(visit(game_server.url))

        sign_in(page, name)

        expect_signed_in(page, name)
        expect(page.get_by_role("button", name="Post score")).to_be_hidden()


class TestLatest:
    @failing_requests
    def test_the_latest_scores_survive_a_reload(self, start, visit):
        server = start()
        ann, bo = server.user("Ann"), server.user("Bo")
        page = expect_live(visit(server.url))
        for player, score in ((ann, 5), (bo, 3)):
            server.post(player.token, player.update(score))
        expect(page.locator("#events li")).to_have_count(2)

        page.reload()
        expect(page.locator("#events li")).to_have_count(2)

        assert latest(page) == ["Bo: 3", "Ann: 5"]

    @failing_requests
    def test_a_hidden_name_is_removed_from_the_latest_scores(self, start, visit):
        server = start()
        admin, ann, bo = server.user("Boss", "admin"), server.user("Ann"), server.user("Bo")
        page = expect_live(visit(server.url))
        for player, score in ((ann, 5), (bo, 3)):
            server.post(player.token, player.update(score))
        expect(page.locator("#events li")).to_have_count(2)

        path = f"/api/admin/users/{ann.user_id}/hide"
        assert requests.post(server.url + path, headers=admin.bearer, timeout=10).ok

        expect(rows(page)).to_have_count(1)
        expect(page.locator("#events li")).to_have_count(1)
        assert latest(page) == ["Bo: 3"]
