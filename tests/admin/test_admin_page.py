"""The page for admins, in a real browser."""

import itertools
import os
import re

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browsers import Tab, chromium, violations
from tests.support.servers import PASSWORD, Person, Server
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
PHONE, LAPTOP, WIDE = (360, 740), (1280, 800), (1920, 1080)
# The height of each bar, and the count that the minute's title says.
BARS = """groups => groups.filter((group) => group.querySelector(".bar")).map((group) => [
    parseFloat(group.querySelector(".bar").getAttribute("height")),
    parseFloat(group.querySelector("title").textContent.split("\\n")[1]),
])"""
MARKUP = '<img src="/x" onerror="alert(1)">'


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
def open_tab(server, browser):
    """Return a function that opens the page; at the end it must not have complained of anything."""

    def open_tab(size=LAPTOP, **options):
        viewport = {"width": size[0], "height": size[1]}
        tab = Tab(browser, f"{server.url}/admin", viewport=viewport, **options)
        tab.requests_fail = False
        opened.append(tab)
        tab.page.goto(tab.url)
        return tab

    opened = []
    yield open_tab
    problems = [problem for tab in opened for problem in tab.unexpected(tab.requests_fail)]
    for tab in opened:
        tab.context.close()
    assert problems == []


@pytest.fixture
def signed_in(open_tab, admin):
    """Return a function that opens the page, signs in as the admin and returns the tab."""

    def signed_in(*size, **options):
        tab = open_tab(*size, **options)
        sign_in(tab.page, "Ruth")
        expect(tab.page.get_by_text("Up to date")).to_be_visible()
        return tab

    return signed_in


@pytest.fixture
def page(signed_in):
    return signed_in().page


@pytest.fixture
def player(server):
    """Return a player with a score and a name that nobody else has."""
    person = make_player(server, f"Player {next(NUMBERS)}")
    server.post(person.token, person.update(7))
    return person


@pytest.fixture
def suspect(server, player):
    """Return a player whose score of 900 has just left a mark; `score_id` is its id."""
    player.score_id = make_a_jump(server, player)["score_id"]
    return player


def make_player(server, name):
    email = f"player-{next(NUMBERS)}@example.com"
    body = {"username": name, "email": email, "password": PASSWORD}
    account = requests.post(f"{server.url}/api/auth/register", json=body, timeout=10).json()
    person = Person(account["user_id"], server.sign_in(name)["access_token"])
    person.name = name
    return person


def make_a_jump(server, person):
    """Post seven scores, the last of them a jump; return its receipt."""
    for second, score in enumerate([1, 2, 3, 4, 5, 6, 900]):
        answer = server.post(person.token, person.update(score, f"2026-01-02T00:00:0{second}Z"))
    return answer.json()


def sign_in(page, name, password=PASSWORD):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def look_again(page):
    """Have the page ask now, rather than in five seconds."""
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Pause").click()


def on_the_board(server, person):
    """Return the person's score on the board, None if not there."""
    scores = {entry["user_id"]: entry["score"] for entry in server.top10()}
    return scores.get(person.user_id)


def mark_of(page, person):
    row = page.get_by_role("table", name="The newest 100 flags").get_by_role("row")
    return row.filter(has=page.get_by_role("rowheader", name=person.name, exact=False))


def audit_lines(page):
    return page.get_by_role("table", name="The newest 100 lines").locator("tbody tr")


class TestSigningIn:
    def test_before_it_there_is_nothing_of_the_data(self, open_tab):
        page = open_tab().page

        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.locator("table, figure, dl").count() == 0

    def test_an_admin_sees_how_the_server_does(self, page):
        expect(page.get_by_text("Signed in as Ruth")).to_be_visible()
        expect(page.get_by_role("heading", name="Sign in")).to_be_hidden()
        expect(page.get_by_role("img", name="Accepted updates per minute")).to_be_visible()

    def test_a_player_is_refused_in_words_and_signed_out_again(self, server, open_tab, player):
        page = open_tab().page
        with page.expect_response("**/api/auth/logout") as logout:
            sign_in(page, player.name)

        expect(page.get_by_role("alert")).to_have_text(
            "This is the account of a player: this page is for admins."
        )
        assert logout.value.status == 204
        assert page.locator("table, figure, dl").count() == 0

    def test_a_wrong_password_is_told_as_the_server_tells_it(self, open_tab, admin):
        tab = open_tab()
        tab.requests_fail = True
        sign_in(tab.page, "Ruth", "wrong password")

        expect(tab.page.get_by_role("alert")).to_have_text("Username or password is wrong.")

    def test_signing_out_ends_the_session_and_takes_the_data_away(self, page):
        with page.expect_response("**/api/auth/logout") as logout:
            page.get_by_role("button", name="Sign out").click()

        expect(page.get_by_role("alert")).to_have_text("You have signed out.")
        assert logout.value.status == 204
        assert page.locator("table, figure, dl").count() == 0

    def test_a_reload_signs_out(self, page):
        page.reload()

        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.evaluate("sessionStorage.length + localStorage.length") == 0
        assert page.context.cookies() == []

    def test_whoever_is_no_admin_any_more_is_told_so(self, server, open_tab, admin):
        former = server.user("Former")
        url = f"{server.url}/api/admin/users/{former.user_id}/role"
        requests.post(url, json={"role": "admin"}, headers=admin.bearer, timeout=10)
        tab = open_tab()
        tab.requests_fail = True
        sign_in(tab.page, "Former")
        expect(tab.page.get_by_text("Up to date")).to_be_visible()

        requests.post(url, json={"role": "player"}, headers=admin.bearer, timeout=10)
        look_again(tab.page)

        expect(tab.page.get_by_role("alert")).to_have_text("This needs the token of an admin.")
        assert tab.page.locator("table, figure, dl").count() == 0

    def test_an_expired_token_is_renewed_once_for_all_who_need_it(self, signed_in):
        tab = signed_in()
        tab.requests_fail = True
        renewed = []
        tab.page.on("response", lambda got: "refresh" in got.url and renewed.append(got.status))
        expired = {"error": {"code": "token_expired", "message": "The token has expired."}}
        refused = set()

        def expire(route):
            if renewed or route.request.url in refused:
                route.continue_()
            else:
                refused.add(route.request.url)
                route.fulfill(status=401, json=expired)

        tab.page.route("**/api/admin/*", expire)
        tab.page.get_by_role("button", name="Pause").click()
        with tab.page.expect_response(
            lambda got: got.url.endswith("/overview") and got.status == 200
        ):
            tab.page.get_by_role("button", name="Pause").click()

        expect(tab.page.get_by_text("Up to date")).to_be_visible()
        assert renewed == [200]

    def test_a_renewal_without_an_answer_is_sent_again_with_the_same_token(self, signed_in):
        tab = signed_in()
        tab.requests_fail = True
        expired = {"error": {"code": "token_expired", "message": "The token has expired."}}
        overview = "**/api/admin/overview"
        tab.page.route(overview, lambda route: route.fulfill(status=401, json=expired), times=1)
        sent = []

        def lose_the_first(route):
            sent.append(route.request.headers["authorization"])
            if len(sent) == 1:
                route.abort()
            else:
                route.continue_()

        tab.page.route("**/api/auth/refresh", lose_the_first)
        with tab.page.expect_response("**/api/auth/refresh"):
            look_again(tab.page)

        expect(tab.page.get_by_text("Up to date")).to_be_visible()
        assert len(sent) == 2
        assert sent[0] == sent[1]

    def test_a_page_of_something_in_between_does_not_sign_out(self, signed_in):
        tab = signed_in()
        tab.requests_fail = True
        portal = {"status": 401, "content_type": "text/html", "body": "<html>Sign in to the WiFi"}
        tab.page.route("**/api/admin/marks", lambda route: route.fulfill(**portal), times=1)
        with tab.page.expect_response("**/api/admin/marks"):
            look_again(tab.page)
        look_again(tab.page)

        expect(tab.page.get_by_text("Up to date")).to_be_visible()


class TestPlots:
    def test_they_show_what_was_accepted_and_refused(self, server, admin, player, signed_in):
        def counts():
            answer = requests.get(
                f"{server.url}/api/admin/overview", headers=admin.bearer, timeout=10
            )
            minutes = answer.json()["minutes"]
            return (
                sum(minute["accepted"] for minute in minutes),
                sum(minute["refused"].get("replayed", 0) for minute in minutes),
            )

        for second in range(5):
            server.post(player.token, player.update(8, f"2026-01-01T00:00:1{second}Z"))
        for _ in range(3):
            server.post(player.token, player.update(7))
        accepted, replayed = counts()
        assert accepted >= 6
        assert replayed >= 3

        page = signed_in().page
        plot = page.get_by_role("img", name="Accepted updates per minute")
        expect(plot.locator("desc")).to_contain_text(f"accepted {accepted}.")
        refusals = page.get_by_role("img", name="Refusals per minute, by code")
        expect(refusals.locator("desc")).to_contain_text(f"replayed {replayed}")
        legend = page.locator("figure", has=refusals).locator(".legend")
        expect(legend).to_contain_text(f"replayed {replayed}")

    def test_the_bars_are_as_high_as_their_counts(self, server, player, page):
        plot = page.get_by_role("img", name="Accepted updates per minute")
        expect(plot.locator(".bar").first).to_be_visible()

        heights = plot.locator("g g").evaluate_all(BARS)
        scales = [height / count for height, count in heights]

        assert scales
        assert max(scales) == pytest.approx(min(scales))

    def test_the_same_is_there_as_a_table(self, server, player, signed_in):
        server.post(player.token, player.update("seven"))
        page = signed_in().page
        figure = page.locator("figure", has=page.get_by_role("heading", name="Refusals"))
        figure.get_by_text("As a table").click()

        table = figure.get_by_role("table")
        expect(table.get_by_role("columnheader", name="invalid_input")).to_be_visible()
        expect(table.get_by_role("row").nth(1)).to_contain_text(re.compile(r"\d\d:\d\d"))


class TestModeration:
    def test_a_mark_appears_and_its_user_is_hidden_and_restored(self, server, suspect, page):
        assert on_the_board(server, suspect) == 900
        mark = mark_of(page, suspect)
        expect(mark).to_contain_text("A jump: a step of 894")

        mark.get_by_role("button", name="Hide").click()
        assert on_the_board(server, suspect) == 900
        page.get_by_role("dialog").get_by_role("button", name="Hide").click()
        expect(page.get_by_text(f"{suspect.name} is off the board.")).to_be_visible()
        assert on_the_board(server, suspect) is None

        expect(mark).to_contain_text("hidden")
        mark.get_by_role("button", name="Restore").click()
        expect(page.get_by_text(f"{suspect.name} is back on the board.")).to_be_visible()
        assert on_the_board(server, suspect) == 900

    def test_what_is_not_confirmed_is_not_done(self, server, suspect, page):

        mark_of(page, suspect).get_by_role("button", name="Hide").click()
        page.keyboard.press("Escape")

        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(mark_of(page, suspect).get_by_role("button", name="Hide")).to_be_focused()
        assert on_the_board(server, suspect) == 900

    def test_the_focus_comes_back_though_the_marks_were_drawn_anew(self, server, suspect, page):
        other = make_player(server, f"Player {next(NUMBERS)}")
        mark_of(page, suspect).get_by_role("button", name="Hide").click()
        make_a_jump(server, other)
        expect(page.locator("table.marks th", has_text=other.name)).to_be_attached()

        page.keyboard.press("Escape")

        expect(mark_of(page, suspect).get_by_role("button", name="Hide")).to_be_focused()

    def test_a_suspended_user_is_refused_until_reinstated(self, server, suspect, page):
        mark = mark_of(page, suspect)

        mark.get_by_role("button", name="Suspend").click()
        page.get_by_role("dialog").get_by_role("button", name="Suspend").click()
        expect(mark.get_by_role("button", name="Reinstate")).to_be_focused()
        assert server.sign_in(suspect.name)["error"]["code"] == "account_suspended"

        page.keyboard.press("Enter")
        expect(page.get_by_text("may sign in again")).to_be_visible()
        assert "access_token" in server.sign_in(suspect.name)

    def test_a_voided_score_counts_no_more(self, server, suspect, signed_in):
        tab = signed_in()
        tab.requests_fail = True
        page = tab.page
        mark_of(page, suspect).get_by_role("button", name="Scores").click()
        scores = page.get_by_role("dialog", name=f"Scores of {suspect.name}")
        expect(scores.locator("tbody tr")).to_have_count(8)

        scores.get_by_role("button", name="Void the score of 900").click()
        question = page.get_by_role("dialog", name="Void the score of 900?")
        question.get_by_label("Reason").fill(" ")
        question.get_by_role("button", name="Void").click()
        expect(question.get_by_role("alert")).to_contain_text("Must be printable")
        assert on_the_board(server, suspect) == 900

        question.get_by_label("Reason").fill("cheated")
        question.get_by_role("button", name="Void").click()

        expect(scores.get_by_role("status")).to_have_text("The score of 900 is void.")
        expect(scores.locator("tbody tr").first).to_contain_text("voided")
        assert on_the_board(server, suspect) == 6
        page.keyboard.press("Escape")
        line = audit_lines(page).filter(has_text="cheated")
        expect(line).to_contain_text("moderation void score")
        expect(line).to_contain_text(suspect.user_id)

    def test_older_scores_are_shown_once_however_often_they_are_asked_for(
        self, server, suspect, page
    ):
        for number in range(20):
            update = suspect.update(number / 16, f"2026-01-03T00:00:{number:02}Z")
            assert server.post(suspect.token, update).status_code == 200
        mark_of(page, suspect).get_by_role("button", name="Scores").click()
        scores = page.get_by_role("dialog", name=f"Scores of {suspect.name}")
        expect(scores.locator("tbody tr")).to_have_count(20)

        older = scores.get_by_role("button", name="Show older scores")
        older.evaluate("button => { button.click(); button.click(); }")

        expect(scores.locator("tbody tr")).to_have_count(28)
        expect(scores.get_by_role("button", name="Void the score of 1.1875,")).to_have_count(1)

    def test_what_the_server_refuses_is_told_in_its_words(self, server, admin, suspect, signed_in):
        tab = signed_in()
        tab.requests_fail = True
        mark_of(tab.page, suspect).get_by_role("button", name="Scores").click()
        tab.page.get_by_role("button", name="Void the score of 900").click()
        url = f"{server.url}/api/admin/scores/{suspect.score_id}/void"
        requests.post(url, json={"reason": "first"}, headers=admin.bearer, timeout=10)

        question = tab.page.get_by_role("dialog", name="Void the score of 900?")
        question.get_by_label("Reason").fill("second")
        question.get_by_role("button", name="Void").click()

        expect(question.get_by_role("alert")).to_contain_text("voided before")


class TestAudit:
    def test_it_shows_the_attempt_by_itself(self, server, player, page):
        server.post(player.token, player.update(4321, "2026-01-01T00:00:05Z"))

        line = audit_lines(page).filter(has_text="4,321")
        expect(line).to_contain_text("accepted")
        expect(line).to_contain_text(player.user_id)
        expect(line).to_contain_text("http, 127.0.0.1")

    def test_it_can_be_narrowed_to_what_was_refused(self, server, player, page):
        server.post(player.token, player.update(7))

        page.get_by_label("Show").select_option("refused updates")

        expect(audit_lines(page).first).to_contain_text("refused")
        expect(audit_lines(page).filter(has_text="accepted")).to_have_count(0)

    def test_text_of_a_client_stays_text(self, server, signed_in):
        person = make_player(server, MARKUP)
        make_a_jump(server, person)
        page = signed_in().page

        mark = mark_of(page, person)
        expect(mark.get_by_role("rowheader")).to_have_text(MARKUP)
        mark.get_by_role("button", name="Hide").click()
        expect(page.get_by_role("dialog")).to_contain_text(MARKUP)
        assert page.locator("img").count() == 0


class TestKeepingUp:
    def test_it_says_that_the_server_cannot_be_reached_and_goes_on_trying(self, signed_in):
        tab = signed_in()
        tab.requests_fail = True
        tab.page.clock.install()
        tab.page.get_by_role("button", name="Pause").click()
        tab.page.route("**/api/admin/*", lambda route: route.abort())

        tab.page.get_by_role("button", name="Pause").click()
        expect(tab.page.get_by_text("The server cannot be reached.")).to_be_visible()
        assert tab.page.get_by_role("img").count() == 2

        tab.page.unroute("**/api/admin/*")
        tab.page.clock.run_for(5000)
        expect(tab.page.get_by_text("Up to date")).to_be_visible()

    def test_nothing_is_asked_while_it_is_paused(self, page):
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.install()
        page.get_by_role("button", name="Pause").click()
        asked.clear()

        page.clock.run_for(60_000)
        assert asked == []
        page.get_by_role("button", name="Pause").click()
        wait_until(lambda: page.evaluate("1") and len(asked) >= 3)

    def test_nothing_is_asked_while_nobody_looks(self, page):
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        hide = """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        page.clock.install()
        page.evaluate(hide, True)
        asked.clear()

        page.clock.run_for(60_000)
        assert asked == []
        page.evaluate(hide, False)
        wait_until(lambda: page.evaluate("1") and len(asked) >= 3)

    def test_what_several_processes_answer_is_added_up(self, open_tab, admin):
        page = open_tab().page
        processes = itertools.cycle(["web.1", "web.2"])

        def answer(route):
            told = route.fetch().json()
            name = next(processes)
            told["process"] |= {"name": name, "dyno": name}
            told["minutes"] = [
                {**minute, "accepted": 0, "refused": {}} for minute in told["minutes"]
            ]
            told["minutes"][30]["accepted"] = {"web.1": 100, "web.2": 23}[name]
            told["connections"] = {"socket.io": 4, "websocket": 1}
            route.fulfill(json=told)

        page.route("**/api/admin/overview", answer)
        sign_in(page, "Ruth")
        expect(page.get_by_text("Up to date")).to_be_visible()
        look_again(page)

        expect(page.locator("[data-part=accepted]")).to_have_text("123")
        expect(page.locator("[data-part=connections]")).to_have_text("10")
        rows = page.get_by_role("table", name="Live connections").locator("tbody th")
        expect(rows).to_have_text(["web.1", "web.2"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_for_everybody_in_any_size(open_tab, admin, suspect, scheme, tmp_path):
    """SCREENSHOTS names a folder for what the page looks like."""
    folder = os.environ.get("SCREENSHOTS", tmp_path)
    page = open_tab(color_scheme=scheme).page

    def look(what):
        for width, height in (PHONE, LAPTOP, WIDE):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            file = f"{folder}/admin-{what}-{width}-{scheme}.png"
            page.screenshot(path=file, full_page=what == "signed-in")
            if width != WIDE[0]:
                assert violations(page) == []

    look("signed-out")
    sign_in(page, "Ruth")
    expect(mark_of(page, suspect)).to_be_visible()
    for summary in page.locator("summary").all():
        summary.click()
    look("signed-in")
    mark_of(page, suspect).get_by_role("button", name="Scores").click()
    expect(page.get_by_role("dialog").locator("tbody tr")).to_have_count(8)
    look("dialog")
