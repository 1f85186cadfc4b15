"""The admin page in a browser."""

import itertools
import os
import re

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browsers import Tab, chromium, violations
from tests.support.servers import PASSWORD, Server, SignedInUser
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
PHONE, LAPTOP, WIDE = (360, 740), (1280, 800), (1920, 1080)
# Elements that show data of the server.
DATA = "table, figure, dl"
# The height of each bar, and the count in the title of its minute.
BARS = """groups => groups.filter((group) => group.querySelector(".bar")).map((group) => [
    parseFloat(group.querySelector(".bar").getAttribute("height")),
    parseFloat(group.querySelector("title").textContent.split("\\n")[1]),
])"""
MARKUP = '<img src="/x" onerror="alert(1)">'
EXPIRED = {
    "status": 401,
    "json": {"error": {"code": "token_expired", "message": "The token has expired."}},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def admin(server):
    return server.user("Ruth", "admin")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(server, browser):
    """Return a function that opens the page; it must not report errors.

    Errors about failed requests are allowed with `requests_fail`.
    """

    def open_page(requests_fail=False, **options):
        viewport = {"width": LAPTOP[0], "height": LAPTOP[1]}
        tab = Tab(browser, f"{server.url}/admin", viewport=viewport, **options)
        opened.append((tab, requests_fail))
        tab.page.goto(tab.url)
        return tab.page

    opened = []
    yield open_page
    problems = [problem for tab, may_fail in opened for problem in tab.unexpected(may_fail)]
    for tab, _ in opened:
        tab.context.close()
    assert problems == []


@pytest.fixture
def signed_in(open_page, admin):
    """Return a function that opens the page and signs the admin in."""

    def signed_in(**options):
        page = open_page(**options)
        sign_in(page, "Ruth")
        expect_up_to_date(page)
        return page

    return signed_in


@pytest.fixture
def page(signed_in):
    return signed_in()


@pytest.fixture
def player(server):
    """Return a player with a score and a unique name."""
    person = make_player(server, f"Player {next(NUMBERS)}")
    server.post(person.token, person.update(7))
    return person


@pytest.fixture
def suspect(server, player):
    """Return a player flagged for a score of 900, whose id is `score_id`."""
    player.score_id = make_a_jump(server, player)["score_id"]
    return player


def make_player(server, name):
    email = f"player-{next(NUMBERS)}@example.com"
    body = {"username": name, "email": email, "password": PASSWORD}
    account = requests.post(f"{server.url}/api/auth/register", json=body, timeout=10).json()
    person = SignedInUser(account["user_id"], server.sign_in(name)["access_token"])
    person.name = name
    return person


def make_a_jump(server, person):
    """Post seven scores, of which the seventh is a jump; return its receipt."""
    for second, score in enumerate([1, 2, 3, 4, 5, 6, 900]):
        response = server.post(person.token, person.update(score, f"2026-01-02T00:00:0{second}Z"))
    return response.json()


def post_as(admin, server, path, body):
    url = f"{server.url}/api/admin/{path}"
    assert requests.post(url, json=body, headers=admin.bearer, timeout=10).status_code == 200


def sign_in(page, name, password=PASSWORD):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    click(page, "Sign in")


def click(scope, button):
    scope.get_by_role("button", name=button).click()


def expect_up_to_date(page):
    expect(page.get_by_text("Up to date")).to_be_visible()


def update_now(page):
    """Make the page send its requests now instead of in five seconds."""
    click(page, "Pause")
    click(page, "Pause")


def score_on_board(server, person):
    """Return the person's score on the board, None if not there."""
    scores = {entry["user_id"]: entry["score"] for entry in server.top10()}
    return scores.get(person.user_id)


def flag_of(page, person):
    row = page.get_by_role("table", name="The newest 100 flags").get_by_role("row")
    return row.filter(has=page.get_by_role("rowheader", name=person.name, exact=False))


def confirm(page, button):
    click(page.get_by_role("dialog"), button)


def open_scores(page, person):
    """Open the dialog with the person's scores and return it."""
    click(flag_of(page, person), "Scores")
    return page.get_by_role("dialog", name=f"Scores of {person.name}")


def audit_lines(page):
    return page.get_by_role("table", name="The newest 100 lines").locator("tbody tr")


class TestSigningIn:
    def test_the_page_shows_no_data_without_a_sign_in(self, open_page):
        page = open_page()

        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.locator(DATA).count() == 0

    def test_an_admin_sees_the_overview(self, page):
        expect(page.get_by_text("Signed in as Ruth")).to_be_visible()
        expect(page.get_by_role("heading", name="Sign in")).to_be_hidden()
        expect(page.get_by_role("img", name="Accepted updates per minute")).to_be_visible()

    def test_a_player_is_refused_and_signed_out(self, open_page, player):
        page = open_page()
        with page.expect_response("**/api/auth/logout") as logout:
            sign_in(page, player.name)

        expect(page.get_by_role("alert")).to_have_text(
            "This is the account of a player: this page is for admins."
        )
        assert logout.value.status == 204
        assert page.locator(DATA).count() == 0

    def test_a_wrong_password_shows_the_servers_message(self, open_page, admin):
        page = open_page(requests_fail=True)
        sign_in(page, "Ruth", "wrong password")

        expect(page.get_by_role("alert")).to_have_text("Username or password is wrong.")

    def test_signing_out_ends_the_session_and_removes_the_data(self, page):
        with page.expect_response("**/api/auth/logout") as logout:
            click(page, "Sign out")

        expect(page.get_by_role("alert")).to_have_text("You have signed out.")
        assert logout.value.status == 204
        assert page.locator(DATA).count() == 0

    def test_a_reload_signs_out_and_nothing_is_stored(self, page):
        page.reload()

        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.evaluate("sessionStorage.length + localStorage.length") == 0
        assert page.context.cookies() == []

    def test_losing_the_role_removes_the_data(self, server, open_page, admin):
        former = server.user("Former")
        path = f"users/{former.user_id}/role"
        post_as(admin, server, path, {"role": "admin"})
        page = open_page(requests_fail=True)
        sign_in(page, "Former")
        expect_up_to_date(page)

        post_as(admin, server, path, {"role": "player"})
        update_now(page)

        expect(page.get_by_role("alert")).to_have_text("This needs the token of an admin.")
        assert page.locator(DATA).count() == 0

    def test_concurrent_requests_renew_an_expired_token_once(self, signed_in):
        page = signed_in(requests_fail=True)
        renewed, refused = [], set()
        page.on("response", lambda got: "refresh" in got.url and renewed.append(got.status))

        def expire(route):
            if renewed or route.request.url in refused:
                route.continue_()
            else:
                refused.add(route.request.url)
                route.fulfill(**EXPIRED)

        page.route("**/api/admin/*", expire)
        click(page, "Pause")
        with page.expect_response(lambda got: got.url.endswith("/overview") and got.ok):
            click(page, "Pause")

        expect_up_to_date(page)
        assert renewed == [200]

    def test_a_renewal_without_a_response_is_repeated_with_the_same_token(self, signed_in):
        page = signed_in(requests_fail=True)
        page.route("**/api/admin/overview", lambda route: route.fulfill(**EXPIRED), times=1)
        sent = []

        def lose_the_first(route):
            sent.append(route.request.headers["authorization"])
            if len(sent) == 1:
                route.abort()
            else:
                route.continue_()

        page.route("**/api/auth/refresh", lose_the_first)
        with page.expect_response("**/api/auth/refresh"):
            update_now(page)

        expect_up_to_date(page)
        assert len(sent) == 2
        assert sent[0] == sent[1]

    def test_a_captive_portal_does_not_sign_out(self, signed_in):
        page = signed_in(requests_fail=True)
        portal = {"status": 401, "content_type": "text/html", "body": "<html>Sign in to the WiFi"}
        page.route("**/api/admin/marks", lambda route: route.fulfill(**portal), times=1)
        with page.expect_response("**/api/admin/marks"):
            update_now(page)
        update_now(page)

        expect_up_to_date(page)


class TestPlots:
    def test_they_show_accepted_and_refused_updates(self, server, admin, player, signed_in):
        for second in range(5):
            server.post(player.token, player.update(8, f"2026-01-01T00:00:1{second}Z"))
        for _ in range(3):
            server.post(player.token, player.update(7))
        url = f"{server.url}/api/admin/overview"
        minutes = requests.get(url, headers=admin.bearer, timeout=10).json()["minutes"]
        accepted = sum(minute["accepted"] for minute in minutes)
        replayed = sum(minute["refused"].get("replayed", 0) for minute in minutes)

        page = signed_in()

        assert accepted >= 6
        assert replayed >= 3
        plot = page.get_by_role("img", name="Accepted updates per minute")
        expect(plot.locator("desc")).to_contain_text(f"accepted {accepted}.")
        refusals = page.get_by_role("img", name="Refusals per minute, by code")
        expect(refusals.locator("desc")).to_contain_text(f"replayed {replayed}")
        legend = page.locator("figure", has=refusals).locator(".legend")
        expect(legend).to_contain_text(f"replayed {replayed}")

    def test_the_heights_of_bars_are_proportional_to_their_counts(self, player, page):
        plot = page.get_by_role("img", name="Accepted updates per minute")
        expect(plot.locator(".bar").first).to_be_visible()

        scales = [height / count for height, count in plot.locator("g g").evaluate_all(BARS)]

        assert scales
        assert max(scales) == pytest.approx(min(scales))

    def test_the_data_is_also_shown_as_a_table(self, server, player, signed_in):
        server.post(player.token, player.update("seven"))
        page = signed_in()
        figure = page.locator("figure", has=page.get_by_role("heading", name="Refusals"))
        figure.get_by_text("As a table").click()

        table = figure.get_by_role("table")
        expect(table.get_by_role("columnheader", name="invalid_input")).to_be_visible()
        expect(table.get_by_role("row").nth(1)).to_contain_text(re.compile(r"\d\d:\d\d"))


class TestModeration:
    def test_a_flagged_user_is_hidden_and_restored(self, server, suspect, page):
        flag = flag_of(page, suspect)
        expect(flag).to_contain_text("A jump: a step of 894")

        click(flag, "Hide")
        assert score_on_board(server, suspect) == 900
        confirm(page, "Hide")
        expect(page.get_by_text(f"{suspect.name} is off the board.")).to_be_visible()
        assert score_on_board(server, suspect) is None

        expect(flag).to_contain_text("hidden")
        click(flag, "Restore")
        expect(page.get_by_text(f"{suspect.name} is back on the board.")).to_be_visible()
        assert score_on_board(server, suspect) == 900

    def test_cancelling_changes_nothing_and_restores_the_focus(self, server, suspect, page):
        other = make_player(server, f"Player {next(NUMBERS)}")
        click(flag_of(page, suspect), "Hide")
        make_a_jump(server, other)  # adds a row to the table behind the dialog
        expect(page.locator("table.marks th", has_text=other.name)).to_be_attached()

        page.keyboard.press("Escape")

        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(flag_of(page, suspect).get_by_role("button", name="Hide")).to_be_focused()
        assert score_on_board(server, suspect) == 900

    def test_a_suspended_user_cannot_sign_in_until_reinstated(self, server, suspect, page):
        flag = flag_of(page, suspect)

        click(flag, "Suspend")
        confirm(page, "Suspend")
        expect(flag.get_by_role("button", name="Reinstate")).to_be_focused()
        assert server.sign_in(suspect.name)["error"]["code"] == "account_suspended"

        page.keyboard.press("Enter")
        expect(page.get_by_text("may sign in again")).to_be_visible()
        assert "access_token" in server.sign_in(suspect.name)

    def test_a_score_is_voided_with_a_reason(self, server, suspect, signed_in):
        page = signed_in(requests_fail=True)
        scores = open_scores(page, suspect)
        expect(scores.locator("tbody tr")).to_have_count(8)

        click(scores, "Void the score of 900")
        question = page.get_by_role("dialog", name="Void the score of 900?")
        question.get_by_label("Reason").fill(" ")
        click(question, "Void")
        expect(question.get_by_role("alert")).to_contain_text("Must be printable")
        assert score_on_board(server, suspect) == 900

        question.get_by_label("Reason").fill("cheated")
        click(question, "Void")

        expect(scores.get_by_role("status")).to_have_text("The score of 900 is void.")
        expect(scores.locator("tbody tr").first).to_contain_text("voided")
        assert score_on_board(server, suspect) == 6
        page.keyboard.press("Escape")
        line = audit_lines(page).filter(has_text="cheated")
        expect(line).to_contain_text("moderation void score")
        expect(line).to_contain_text(suspect.user_id)

    def test_two_clicks_load_older_scores_once(self, server, suspect, page):
        for number in range(20):
            update = suspect.update(number / 16, f"2026-01-03T00:00:{number:02}Z")
            assert server.post(suspect.token, update).status_code == 200
        scores = open_scores(page, suspect)
        expect(scores.locator("tbody tr")).to_have_count(20)

        older = scores.get_by_role("button", name="Show older scores")
        older.evaluate("button => { button.click(); button.click(); }")

        expect(scores.locator("tbody tr")).to_have_count(28)
        expect(scores.get_by_role("button", name="Void the score of 1.1875,")).to_have_count(1)

    def test_a_refusal_shows_the_servers_message(self, server, admin, suspect, signed_in):
        page = signed_in(requests_fail=True)
        click(open_scores(page, suspect), "Void the score of 900")
        post_as(admin, server, f"scores/{suspect.score_id}/void", {"reason": "first"})

        question = page.get_by_role("dialog", name="Void the score of 900?")
        question.get_by_label("Reason").fill("second")
        click(question, "Void")

        expect(question.get_by_role("alert")).to_contain_text("voided before")


class TestAudit:
    def test_attempts_appear_and_can_be_filtered(self, server, player, page):
        server.post(player.token, player.update(4321, "2026-01-01T00:00:05Z"))
        server.post(player.token, player.update(7))

        line = audit_lines(page).filter(has_text="4,321")
        expect(line).to_contain_text("accepted")
        expect(line).to_contain_text(player.user_id)
        expect(line).to_contain_text("http, 127.0.0.1")

        page.get_by_label("Show").select_option("refused updates")

        expect(audit_lines(page).first).to_contain_text("refused")
        expect(audit_lines(page).filter(has_text="accepted")).to_have_count(0)

    def test_markup_in_a_name_is_shown_as_text(self, server, signed_in):
        person = make_player(server, MARKUP)
        make_a_jump(server, person)
        page = signed_in()

        flag = flag_of(page, person)
        expect(flag.get_by_role("rowheader")).to_have_text(MARKUP)
        click(flag, "Hide")
        expect(page.get_by_role("dialog")).to_contain_text(MARKUP)
        assert page.locator("img").count() == 0


class TestUpdating:
    def test_an_unreachable_server_is_reported_and_tried_again(self, signed_in):
        page = signed_in(requests_fail=True)
        page.clock.install()
        page.route("**/api/admin/*", lambda route: route.abort())

        update_now(page)
        expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
        assert page.get_by_role("img").count() == 2

        page.unroute("**/api/admin/*")
        page.clock.run_for(5000)
        expect_up_to_date(page)

    @pytest.mark.parametrize("reason", ["paused", "hidden"])
    def test_a_paused_or_hidden_page_sends_no_requests(self, page, reason):
        def switch(off):
            if reason == "paused":
                click(page, "Pause")
            else:
                page.evaluate(
                    """(hidden) => {
                        const value = { value: hidden, configurable: true };
                        Object.defineProperty(document, "hidden", value);
                        document.dispatchEvent(new Event("visibilitychange"));
                    }""",
                    off,
                )

        sent = []
        page.on("request", lambda request: sent.append(request.url))
        page.clock.install()
        switch(True)
        sent.clear()

        page.clock.run_for(60_000)
        assert sent == []
        switch(False)
        wait_until(lambda: page.evaluate("1") and len(sent) >= 3)

    def test_several_processes_are_added_up(self, open_page, admin):
        page = open_page()
        processes = itertools.cycle([("web.1", 100), ("web.2", 23)])

        def respond(route):
            body = route.fetch().json()
            name, accepted = next(processes)
            body["process"] |= {"name": name, "dyno": name}
            for minute in body["minutes"]:
                minute |= {"accepted": 0, "refused": {}}
            body["minutes"][30]["accepted"] = accepted
            body["connections"] = {"socket.io": 4, "websocket": 1}
            route.fulfill(json=body)

        page.route("**/api/admin/overview", respond)
        sign_in(page, "Ruth")
        expect_up_to_date(page)
        update_now(page)

        expect(page.locator("[data-part=accepted]")).to_have_text("123")
        expect(page.locator("[data-part=connections]")).to_have_text("10")
        rows = page.get_by_role("table", name="Live connections").locator("tbody th")
        expect(rows).to_have_text(["web.1", "web.2"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_every_screen(open_page, admin, suspect, scheme, tmp_path):
    """The environment variable SCREENSHOTS names a folder for the screenshots."""
    folder = os.environ.get("SCREENSHOTS", tmp_path)
    page = open_page(color_scheme=scheme)

    def check(state):
        for width, height in (PHONE, LAPTOP, WIDE):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            file = f"{folder}/admin-{state}-{width}-{scheme}.png"
            page.screenshot(path=file, full_page=state == "signed-in")
            if width != WIDE[0]:
                assert violations(page) == []

    check("signed-out")
    sign_in(page, "Ruth")
    expect(flag_of(page, suspect)).to_be_visible()
    for summary in page.locator("summary").all():
        summary.click()
    check("signed-in")
    expect(open_scores(page, suspect).locator("tbody tr")).to_have_count(8)
    check("dialog")
