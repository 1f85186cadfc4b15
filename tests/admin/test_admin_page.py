"""The admin page in a browser."""

import csv
import itertools
import os
import re

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browsers import Tab, chromium, violations
from tests.support.servers import PASSWORD, Server
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
NARROW, PHONE, LAPTOP = (320, 700), (390, 844), (1280, 800)
WIDE, CINEMA = (1920, 1080), (3840, 2160)
SECTIONS = ("People", "Scores", "Boards", "Activity", "Log")
# Elements that show data of the server.
DATA = "table, figure, dl, .rows"
# The height of each bar, and the count in the title of its minute.
BARS = """groups => groups.filter((group) => group.querySelector(".bar")).map((group) => [
    parseFloat(group.querySelector(".bar").getAttribute("height")),
    parseFloat(group.querySelector("title").textContent.split("\\n")[1]),
])"""
MARKUP = '<img src="/x" onerror="alert(1)">'
LONG_NAMES = ["و" * 64, "נועם", "👩‍👩‍👧‍👦" * 8, "W" * 64, "小林さくら"]


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

    def open_page(requests_fail=False, fragment="", script=None, **options):
        viewport = {"width": LAPTOP[0], "height": LAPTOP[1]}
        tab = Tab(browser, f"{server.url}/admin{fragment}", viewport=viewport, **options)
        opened.append((tab, requests_fail))
        if script:
            tab.page.add_init_script(script)
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
    """Return a function that opens the page, signs the admin in and shows a section."""

    def signed_in(section="People", **options):
        page = open_page(**options)
        sign_in(page, "Ruth")
        expect_up_to_date(page)
        show(page, section)
        return page

    return signed_in


@pytest.fixture
def page(signed_in):
    return signed_in()


@pytest.fixture
def make_player(server):
    """Return a function that makes a player with a score and a unique name."""

    def make_player():
        name = f"Player-{next(NUMBERS)}-end"
        player = server.user(name)
        player.name = name
        server.post(player.token, player.update(7))
        return player

    return make_player


@pytest.fixture
def player(make_player):
    return make_player()


@pytest.fixture
def suspect(server, player):
    """Return a player flagged for a score of 900."""
    for second, score in enumerate([1, 2, 3, 4, 5, 6, 900]):
        server.post(player.token, player.update(score, f"2026-01-02T00:00:0{second}Z"))
    return player


@pytest.fixture
def board(server, admin):
    """Return the id of a new board; its title is the id in capitals."""
    board_id = f"board-{next(NUMBERS)}"
    body = {"board_id": board_id, "title": board_id.upper()}
    administer(server, admin, "POST", "boards", body)
    return board_id


def administer(server, admin, method, path, body=None):
    url = f"{server.url}/api/admin/{path}"
    response = requests.request(method, url, json=body, headers=admin.bearer, timeout=10)
    assert response.ok, response.text
    return response.json() if response.content else None


def board_object(server, board_id):
    return requests.get(f"{server.url}/api/boards/{board_id}", timeout=10).json()


def account_of(server, admin, player):
    return administer(server, admin, "GET", f"users/{player.user_id}")


def sign_in(page, name, password=PASSWORD):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    click(page, "Sign in")


def click(scope, button):
    scope.get_by_role("button", name=button, exact=True).click()


def show(page, section):
    page.get_by_role("navigation", name="Sections").get_by_role("link", name=section).click()
    expect(heading(page, section)).to_be_visible()


def heading(page, section):
    return page.get_by_role("heading", name=section, exact=True, level=2)


def expect_up_to_date(page):
    expect(page.get_by_text("Up to date")).to_be_visible()


def update_now(page):
    """Make the page send its requests now instead of in five seconds."""
    click(page, "Pause")
    click(page, "Pause")


def score_on_board(server, player):
    """Return the player's score on the board, also below the top 10."""
    url = f"{server.url}/api/boards/main/leaderboard/users/{player.user_id}"
    return requests.get(url, timeout=10).json()["entry"]["score"]


def row_of(page, player):
    """Search for the player and return its row."""
    page.get_by_label("Search by name or email").fill(player.name)
    rows = page.get_by_role("list", name="People").get_by_role("listitem")
    row = rows.filter(has=page.get_by_role("link", name=player.name, exact=True))
    expect(rows).to_have_count(1)
    expect(row).to_be_visible()
    return row


def open_panel(page, player):
    row_of(page, player).get_by_role("link").click()
    panel = page.get_by_role("complementary", name="The chosen person")
    expect(panel.get_by_role("heading", name=player.name)).to_be_focused()
    return panel


def expect_toast(page, text):
    expect(page.locator(".toast")).to_contain_text(text)


def undo(page, text):
    """Undo the last act; `text` is part of the report of that."""
    click(page, "Undo")
    expect_toast(page, text)


def open_scores(page, player):
    page.goto(page.url.split("#")[0] + f"#scores/{player.user_id}")
    expect(page.get_by_role("heading", name=f"Scores of {player.name}")).to_be_visible()
    return page.get_by_role("table", name="Scores, newest first").locator("tbody tr")


def card_of(page, board_id):
    heading = page.get_by_role("heading", name=re.compile(f"^{board_id}$", re.IGNORECASE))
    return page.get_by_role("listitem").filter(has=heading)


def log_lines(page):
    return page.get_by_role("table", name="The newest 100 lines").locator("tbody tr")


class TestSession:
    def test_an_admin_sees_the_people(self, page):
        expect(page.get_by_text("Signed in as Ruth")).to_be_visible()
        expect(page.get_by_role("heading", name="Sign in")).to_be_hidden()
        expect(page.get_by_role("link", name="Ruth", exact=True)).to_be_visible()

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
        assert page.evaluate("sessionStorage.length + localStorage.length") == 0

    def test_a_reload_keeps_the_session_and_the_section(self, signed_in):
        page = signed_in("Boards")

        page.reload()

        expect(heading(page, "Boards")).to_be_visible()
        expect(page.get_by_text("Signed in as Ruth")).to_be_visible()
        assert page.evaluate("localStorage.length") == 0

    def test_with_blocked_storage_the_session_ends_with_the_page(self, signed_in):
        page = signed_in(
            script="""Object.defineProperty(window, "sessionStorage", {
                get() { throw new DOMException("blocked", "SecurityError"); } });"""
        )

        page.reload()

        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    def test_losing_the_role_ends_the_session(self, server, open_page):
        former = server.user("Former", "admin")
        page = open_page(requests_fail=True)
        sign_in(page, "Former")
        expect_up_to_date(page)

        server.execute(f"UPDATE users SET role = 'player' WHERE user_id = '{former.user_id}'")
        update_now(page)

        expect(page.get_by_role("alert")).to_have_text("This needs the token of an admin.")
        assert page.locator(DATA).count() == 0

    def test_concurrent_requests_renew_an_expired_token_once(self, signed_in):
        page = signed_in("Activity", requests_fail=True)
        renewed, refused = [], set()
        page.on("response", lambda r: "refresh" in r.url and renewed.append(r.status))

        def expire(route):
            if renewed or route.request.url in refused:
                route.continue_()
            else:
                refused.add(route.request.url)
                error = {"code": "token_expired", "message": "The token has expired."}
                route.fulfill(status=401, json={"error": error})

        page.route("**/api/admin/*", expire)
        click(page, "Pause")
        with page.expect_response(lambda r: "/overview?" in r.url and r.ok):
            click(page, "Pause")

        expect_up_to_date(page)
        assert renewed == [200]

    def test_a_captive_portal_does_not_sign_out(self, signed_in):
        page = signed_in("Activity", requests_fail=True)
        portal = {"status": 401, "content_type": "text/html", "body": "<html>Sign in to the WiFi"}
        page.route("**/api/admin/marks", lambda route: route.fulfill(**portal), times=1)
        with page.expect_response("**/api/admin/marks"):
            update_now(page)
        update_now(page)

        expect_up_to_date(page)


class TestSections:
    def test_they_have_addresses_and_the_back_button_works(self, page):
        for section in SECTIONS:
            show(page, section)
            expect(page).to_have_url(re.compile(f"#{section.lower()}$"))

        page.go_back()

        expect(heading(page, "Activity")).to_be_visible()
        expect(page.get_by_role("link", name="Activity")).to_have_attribute("aria-current", "page")
        expect(page).to_have_title(re.compile("^Activity"))


class TestPeople:
    @pytest.mark.parametrize(
        ("act", "report", "field", "reversal"),
        [
            ("Hide", "is off every board", "hidden_at", "back on the boards"),
            ("Suspend", "cannot sign in", "suspended_at", "may sign in again"),
        ],
    )
    def test_an_act_in_the_list_is_done_at_once_and_undone(
        self, server, admin, player, page, act, report, field, reversal
    ):
        click(row_of(page, player), f"{act} {player.name}")

        expect_toast(page, report)
        assert account_of(server, admin, player)[field]
        expect(row_of(page, player).locator(".chip")).to_be_visible()
        undo(page, reversal)
        assert account_of(server, admin, player)[field] is None

    def test_a_role_is_changed_and_undone(self, server, admin, player, page):
        row_of(page, player).get_by_label("Role").select_option("scorer")

        expect_toast(page, f"{player.name} is now a scorer.")
        assert account_of(server, admin, player)["role"] == "scorer"
        undo(page, "is now a player")
        assert account_of(server, admin, player)["role"] == "player"

    def test_a_reset_link_sets_a_new_password(self, server, open_page, player, page):
        click(open_panel(page, player), "Reset link")
        url = page.get_by_label("Reset link", exact=True).input_value()
        server.execute(f"UPDATE users SET role = 'admin' WHERE user_id = '{player.user_id}'")

        other = open_page(fragment=f"#reset={url.partition('=')[2]}")
        expect(other).to_have_url(f"{server.url}/admin")
        other.get_by_role("textbox", name="Name The name").fill(player.name)
        other.get_by_role("textbox", name="New password").fill("another good password")
        click(other, "Set the password and sign in")

        expect(other.get_by_text(f"Signed in as {player.name}")).to_be_visible()
        assert "access_token" not in server.sign_in(player.name)

    def test_a_user_is_renamed_and_the_name_undone(self, server, admin, player, page):
        click(open_panel(page, player), "Rename")
        page.get_by_role("dialog").get_by_label("New name").fill("  Renamed")
        click(page.get_by_role("dialog"), "Rename")

        expect_toast(page, f"{player.name} is now Renamed.")
        assert account_of(server, admin, player)["username"] == "Renamed"
        undo(page, f"The name is {player.name} again.")
        assert account_of(server, admin, player)["username"] == player.name

    def test_a_deleted_user_leaves_the_list_after_a_question(self, player, page):
        panel = open_panel(page, player)
        click(panel, "Delete…")
        dialog = page.get_by_role("dialog", name=f"Delete {player.name}?")
        expect(dialog).to_contain_text("This cannot be undone.")

        click(dialog, "Delete")

        expect_toast(page, f"{player.name} is deleted.")
        expect(panel).to_be_hidden()
        expect(page.get_by_text("Nobody matches.")).to_be_visible()

    def test_a_person_is_added(self, server, admin, page):
        name = f"Added-{next(NUMBERS)}"
        click(page, "Add a person")
        dialog = page.get_by_role("dialog", name="Add a person")
        dialog.get_by_label("Name").fill(name)
        dialog.get_by_label("Email").fill(f"{name}@example.com")
        dialog.get_by_label("Password").fill(PASSWORD)
        dialog.get_by_label("Role").select_option("scorer")
        click(dialog, "Add")

        expect_toast(page, f"{name} is added.")
        assert "access_token" in server.sign_in(name)

    def test_signing_out_everywhere_ends_the_sessions(self, server, player, page):
        click(open_panel(page, player), "Sign out everywhere")

        expect_toast(page, "signed out on every device")
        assert server.post(player.token, player.update(8)).status_code == 401

    def test_the_panel_shows_the_flags(self, suspect, page):
        panel = open_panel(page, suspect)

        expect(panel.get_by_role("listitem")).to_contain_text("A jump: a step of 894")

    def test_the_keyboard_moves_between_names_and_closes_the_panel(self, player, make_player, page):
        other = make_player()
        page.keyboard.press("Control+k")
        page.keyboard.type("Player-")
        expect(page.get_by_role("link", name=other.name)).to_be_visible()
        names = page.get_by_role("list", name="People").get_by_role("link")
        expect(names.first).to_be_visible()
        names.first.focus()

        page.keyboard.press("ArrowDown")
        expect(names.nth(1)).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("complementary").get_by_role("heading").first).to_be_focused()
        page.keyboard.press("Escape")

        expect(page.get_by_role("complementary")).to_be_hidden()
        expect(names.nth(1)).to_be_focused()

    def test_nobody_found_is_said(self, page):
        page.get_by_label("Search by name or email").fill("no such name")

        expect(page.get_by_text("Nobody matches.")).to_be_visible()

    def test_further_pages_are_added_on_request(self, server, page, admin):
        for _ in range(60):
            name = f"Many-{next(NUMBERS)}"
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            requests.post(f"{server.url}/api/auth/register", json=body, timeout=10)
        page.get_by_label("Search by name or email").fill("Many-")
        rows = page.get_by_role("list", name="People").get_by_role("listitem")
        expect(rows.first).to_contain_text("Many-")

        click(page, "Show more")

        expect(rows).to_have_count(60)
        expect(rows.nth(50).get_by_role("link")).to_be_focused()
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()

    def test_markup_in_a_name_is_shown_as_text(self, server, suspect, page):
        renamed = f"UPDATE users SET username = '{MARKUP}' WHERE user_id = '{suspect.user_id}'"
        server.execute(renamed)
        page.goto(page.url.split("#")[0] + f"#people/{suspect.user_id}")

        panel = page.get_by_role("complementary")
        expect(panel.get_by_role("heading", name=MARKUP)).to_be_visible()
        click(panel, f"Hide {MARKUP}")
        expect_toast(page, MARKUP)
        assert page.locator("img").count() == 0


class TestScores:
    def test_a_score_is_typed_by_name_and_undone(self, server, player, signed_in):
        page = signed_in("Scores")
        page.get_by_role("combobox", name="Person").fill(player.name)
        page.get_by_label("Value", exact=True).fill("1,234.5")
        click(page, "Save the score")
        expect(page.get_by_role("alert")).to_have_text("Type a number such as 120.")
        assert score_on_board(server, player) == 7

        page.get_by_label("Value", exact=True).fill("1234.5")
        page.get_by_label("Reason", exact=True).fill("counted on paper")
        page.keyboard.press("Enter")

        expect_toast(page, f"{player.name} has 1,234.5 on Scoreboard.")
        assert score_on_board(server, player) == 1234.5
        expect(page.get_by_role("table", name="Scores").locator("tbody tr")).to_have_count(2)
        undo(page, "is void")
        assert score_on_board(server, player) == 7
        show(page, "Log")
        expect(log_lines(page).filter(has_text="counted on paper")).to_be_visible()

    def test_points_are_added_to_the_score(self, server, player, signed_in):
        page = signed_in("Scores")
        page.get_by_role("combobox", name="Person").fill(player.name)
        page.get_by_label("How it counts").select_option("It is added")
        page.get_by_label("Value", exact=True).fill("-2")

        click(page, "Save the score")

        expect_toast(page, f"{player.name} has 5 on")
        assert score_on_board(server, player) == 5

    def test_a_time_is_typed_as_a_time(self, server, admin, player, signed_in):
        board_id = f"race-{next(NUMBERS)}"
        body = {"board_id": board_id, "title": board_id, "format": "time", "order": "asc"}
        administer(server, admin, "POST", "boards", body)
        page = signed_in("Scores")
        page.get_by_role("combobox", name="Board").select_option(board_id)
        page.get_by_role("combobox", name="Person").fill(player.name)
        page.get_by_label("Value", exact=True).fill("1:23.456")

        click(page, "Save the score")

        expect_toast(page, "has 1:23.456 on")
        url = f"{server.url}/api/boards/{board_id}/top10"
        (entry,) = requests.get(url, timeout=10).json()["top_10_scores"]
        assert entry["score"] == 83456

    def test_an_unknown_name_is_refused_in_the_form(self, signed_in):
        page = signed_in("Scores", requests_fail=True)
        page.get_by_role("combobox", name="Person").fill("no such name")
        page.get_by_label("Value", exact=True).fill("1")

        click(page, "Save the score")

        expect(page.get_by_role("alert")).to_contain_text("no user with this username")

    def test_the_latest_scores_lead_to_those_of_their_users(self, player, signed_in):
        page = signed_in("Scores")
        latest = page.get_by_role("table", name="The latest scores").locator("tbody tr")
        expect(latest.first).to_contain_text(f"{player.name}7themselves")

        latest.first.get_by_role("link", name=player.name).click()

        expect(page.get_by_role("heading", name=f"Scores of {player.name}")).to_be_visible()
        expect(page.get_by_role("heading", name="Latest scores")).to_be_hidden()

    def test_a_score_is_voided_and_restored(self, server, suspect, page):
        scores = open_scores(page, suspect)
        expect(scores).to_have_count(8)

        scores.first.get_by_role("button", name="Void the score of 900").click()

        expect_toast(page, "The score of 900 is void.")
        expect(scores.first.get_by_role("button", name="Restore")).to_be_focused()
        assert score_on_board(server, suspect) == 6
        undo(page, "The score of 900 counts again.")
        assert score_on_board(server, suspect) == 900

    def test_two_clicks_load_older_scores_once(self, server, suspect, page):
        for number in range(20):
            update = suspect.update(number / 16, f"2026-01-03T00:00:{number:02}Z")
            assert server.post(suspect.token, update).status_code == 200
        scores = open_scores(page, suspect)
        expect(scores).to_have_count(20)

        older = page.get_by_role("button", name="Show older scores")
        older.evaluate("button => { button.click(); button.click(); }")

        expect(scores).to_have_count(28)
        name = re.compile(r"Void the score of 1\.18")
        expect(page.get_by_role("button", name=name)).to_have_count(1)


class TestBoards:
    def test_a_board_is_made_and_edited(self, server, signed_in):
        page = signed_in("Boards")
        title = f"Sprint {next(NUMBERS)}"
        click(page, "New board")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Title").fill(title)
        dialog.get_by_label("Order").select_option("Lower is better")
        dialog.get_by_label("Shown as").select_option("Times in milliseconds")
        click(dialog, "Make the board")
        expect_toast(page, f"{title} is ready.")
        board_id = title.lower().replace(" ", "-")

        card = card_of(page, title)
        click(card, "Edit")
        dialog.get_by_label("Least score").fill("1000")
        click(dialog, "Save")

        expect_toast(page, f"{title} is changed.")
        found = board_object(server, board_id)
        assert (found["title"], found["order"], found["format"]) == (title, "asc", "time")
        assert found["min_score"] == 1000
        expect(card).to_contain_text("at least 0:01.000")
        undo(page, "is as it was")
        assert board_object(server, board_id)["min_score"] is None

    def test_an_error_is_shown_in_the_dialog(self, board, signed_in):
        page = signed_in("Boards", requests_fail=True)
        click(page, "New board")
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Title").fill(board)

        click(dialog, "Make the board")

        expect(dialog.get_by_role("alert")).not_to_be_empty()

    def test_a_board_is_closed_and_opened_again(self, server, board, signed_in):
        page = signed_in("Boards")
        card = card_of(page, board)
        click(card, "Close")
        expect(card.locator(".chip")).to_have_text("closed")
        assert board_object(server, board)["state"] == "closed"

        click(card, "Open")

        expect(card.locator(".chip")).to_have_text("open")
        assert board_object(server, board)["state"] == "open"

    @pytest.mark.parametrize(
        ("act", "answer"), [("End season…", "End the season"), ("Archive…", "Archive")]
    )
    def test_what_cannot_be_undone_is_asked_first(self, server, board, signed_in, act, answer):
        page = signed_in("Boards")
        before = board_object(server, board)
        click(card_of(page, board), act)
        dialog = page.get_by_role("dialog", name=board.upper())
        expect(dialog).to_contain_text("This cannot be undone.")
        click(dialog, "Cancel")
        expect(card_of(page, board).get_by_role("button", name=act)).to_be_focused()
        assert board_object(server, board) == before

        click(card_of(page, board), act)
        click(dialog, answer)

        expect_toast(page, "has started" if act == "End season…" else "is archived")
        assert board_object(server, board) != before

    def test_a_board_is_frozen_and_revealed(self, server, admin, board, make_player, signed_in):
        for _ in range(2):
            player = make_player()
            server.post(player.token, player.update(5, board=board))
        page = signed_in("Boards")
        card = card_of(page, board)
        click(card, "Freeze")
        expect_toast(page, "is frozen")
        expect(card.locator(".chip")).to_have_text("frozen")
        undo(page, "is live again")
        click(card, "Freeze")
        click(card, "Reveal next")
        expect_toast(page, "The next place")

        click(card, "Reveal all…")
        click(page.get_by_role("dialog"), "Reveal all")

        expect_toast(page, "shows the whole list")
        assert board_object(server, board)["state"] == "open"

    def test_a_season_is_exported(self, server, admin, board, player, signed_in):
        server.post(player.token, player.update(5, board=board))
        administer(server, admin, "POST", f"boards/{board}/seasons")
        card = card_of(signed_in("Boards"), board)
        card.get_by_label("Season to export").select_option("Season 1")

        with card.page.expect_download() as download:
            click(card, f"Export {board.upper()} as CSV")

        assert download.value.suggested_filename == f"{board}-season-1.csv"
        with download.value.path().open(encoding="utf-8-sig", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["username"], row["score"]) == (player.name, "5")

    def test_a_board_links_to_its_page_and_its_wall(self, board, signed_in):
        card = card_of(signed_in("Boards"), board)

        page, wall = (card.get_by_role("link", name=name) for name in ("Page", "Wall"))

        expect(page).to_have_attribute("href", f"/?board={board}")
        expect(wall).to_have_attribute("href", f"/?board={board}&display=wall")


class TestActivity:
    def test_plots_show_accepted_and_refused_updates(self, server, admin, player, signed_in):
        for second in range(5):
            server.post(player.token, player.update(8, f"2026-01-01T00:00:1{second}Z"))
        for _ in range(3):
            server.post(player.token, player.update(7))
        minutes = administer(server, admin, "GET", "overview")["minutes"]
        accepted = sum(minute["accepted"] for minute in minutes)
        replayed = sum(minute["refused"].get("replayed", 0) for minute in minutes)

        page = signed_in("Activity")
        click(page, "1 h")

        assert accepted >= 6
        assert replayed >= 3
        plot = page.get_by_role("img", name="Accepted updates")
        expect(plot.locator("desc")).to_contain_text(f"accepted {accepted}.")
        refusals = page.get_by_role("img", name="Refused updates, by reason")
        expect(refusals.locator("desc")).to_contain_text(f"replayed {replayed}")
        legend = page.locator("figure", has=refusals).locator(".legend")
        expect(legend).to_contain_text(f"replayed {replayed}")

    @pytest.mark.parametrize(("time", "bars"), [("15 min", 15), ("24 h", 48)])
    def test_the_time_shown_can_be_changed(self, signed_in, time, bars):
        page = signed_in("Activity")

        click(page, time)

        expect(page.get_by_role("button", name=time)).to_be_focused()
        expect(page.get_by_role("button", name=time)).to_have_attribute("aria-pressed", "true")
        expect(page.locator(".plot").first.locator(".hover")).to_have_count(bars)

    def test_the_heights_of_bars_are_proportional_to_their_counts(self, player, signed_in):
        plot = signed_in("Activity").get_by_role("img", name="Accepted updates")
        expect(plot.locator(".bar").first).to_be_visible()

        scales = [height / count for height, count in plot.locator("g g").evaluate_all(BARS)]

        assert scales
        assert max(scales) == pytest.approx(min(scales))

    def test_the_data_is_also_shown_as_a_table(self, server, player, signed_in):
        server.post(player.token, player.update("seven"))
        page = signed_in("Activity")
        figure = page.locator("figure", has=page.get_by_role("heading", name="Refused"))
        figure.get_by_text("As a table").click()

        table = figure.get_by_role("table")
        expect(table.get_by_role("columnheader", name="invalid input")).to_be_visible()
        expect(table.get_by_role("row").nth(1)).to_contain_text(re.compile(r"\d\d:\d\d"))

    def test_a_flag_links_to_its_user(self, suspect, signed_in):
        page = signed_in("Activity")
        flag = page.get_by_role("list", name="Flags").get_by_role("listitem")
        flag = flag.filter(has=page.get_by_role("link", name=suspect.name))
        expect(flag).to_contain_text("A jump: a step of 894")

        flag.get_by_role("link").click()

        panel = page.get_by_role("complementary", name="The chosen person")
        expect(panel.get_by_role("heading", name=suspect.name)).to_be_visible()


class TestLog:
    def test_attempts_appear_with_names_and_can_be_filtered(self, server, player, signed_in):
        server.post(player.token, player.update(4321, "2026-01-01T00:00:05Z"))
        server.post(player.token, player.update(7))
        page = signed_in("Log")

        line = log_lines(page).filter(has_text="4,321")
        expect(line.get_by_role("link", name=player.name)).to_be_visible()
        expect(line).to_contain_text("http, 127.0.0.1")
        expect(line).to_contain_text(re.compile(r"sec\. ago|now"))

        page.get_by_role("combobox", name="Show").select_option("refused updates")

        expect(log_lines(page).first).to_contain_text("refused replayed")
        expect(log_lines(page).filter(has_text="4,321")).to_have_count(0)


class TestUpdating:
    def test_an_unreachable_server_is_reported_and_tried_again(self, signed_in):
        page = signed_in("Activity", requests_fail=True)
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
        wait_until(lambda: page.evaluate("1") and len(sent) >= 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_every_screen(open_page, server, admin, suspect, scheme):
    """The environment variable SCREENSHOTS names a folder for the screenshots, if there are any."""
    folder = os.environ.get("SCREENSHOTS")
    for name in LONG_NAMES:
        user = server.user(f"Long-{next(NUMBERS)}")
        renamed = f"UPDATE users SET username = '{name}' WHERE user_id = '{user.user_id}'"
        server.execute(renamed)
    page = open_page(color_scheme=scheme)

    def check(state):
        for width, height in (NARROW, PHONE, LAPTOP, WIDE, CINEMA):
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            if folder:
                page.screenshot(path=f"{folder}/admin-{state}-{width}-{scheme}.png")
            if (width, height) in (NARROW, LAPTOP):
                assert violations(page) == []

    check("signed-out")
    sign_in(page, "Ruth")
    for section in SECTIONS:
        show(page, section)
        expect_up_to_date(page)
        check(section.lower())
    show(page, "People")
    panel = open_panel(page, suspect)
    check("person")
    click(panel, f"Hide {suspect.name}")
    expect_toast(page, "is off every board")
    expect(open_scores(page, suspect)).to_have_count(8)
    check("history")
    show(page, "Boards")
    click(page, "New board")
    check("dialog")
