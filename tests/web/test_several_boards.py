"""Pages and embedded elements of several boards, in a browser."""

import itertools
import re
from datetime import UTC, datetime, timedelta

import pytest
import requests
from playwright.sync_api import expect

from tests.support.board_pages import (
    expect_latest,
    expect_live,
    latest,
    post_score,
    rows,
    signed_in,
    texts,
)
from tests.support.boards import Boards
from tests.support.browsers import LAPTOP, failing_requests, violations
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
PHONE = {"width": 390, "height": 844}
NO_BOARD = "There is no board with this id."
TIMES = {
    0: "0:00.000",
    7: "0:00.007",
    83456: "1:23.456",
    59999.6: "1:00.000",
    600_000: "10:00.000",
    3_723_004: "1:02:03.004",
    360_000_000: "100:00:00.000",
    -1500: "−0:01.500",
}


@pytest.fixture(scope="module")
def server(start, sites):
    return start(CORS_ORIGINS=sites[0][0])


@pytest.fixture(scope="module")
def boards(server):
    boards = Boards(server)
    weekly = {"every": "week", "on": "monday", "at": "06:00", "time_zone": "Europe/Vienna"}
    boards.create("weekly", "This week", source="main", policy="total", reset=weekly)
    boards.create("speedrun", "Speedrun", policy="best", order="asc", format="time")
    for name, score in {"Ann": 300, "Bo": 200, "Chiara": 1000}.items():
        boards.post(name, score)
    for name, score in {"Ann": 83456, "Bo": 59007, "Chiara": 3_723_004}.items():
        boards.post(name, score, "speedrun")
    return boards


@pytest.fixture
def board(boards):
    """Return the id of a new board without scores."""
    board_id = boards.create(f"new-{next(NUMBERS)}", "New board", policy="best")
    yield board_id
    requests.delete(
        f"{boards.url}/api/admin/boards/{board_id}", headers=boards.admin.bearer, timeout=10
    )


class TestPicker:
    def test_a_server_with_one_board_shows_no_links_to_boards(self, start, visit):
        page = expect_live(visit(start().url))

        expect(page.get_by_role("heading", level=1)).to_have_text("Scoreboard")
        expect(page.locator("#rule")).to_have_text("Your latest score counts; higher is better.")
        expect(page.get_by_role("navigation")).to_have_count(0)

    def test_the_links_to_all_boards_mark_the_current_one(self, boards, visit):
        page = expect_live(visit(boards.url))

        links = page.get_by_role("navigation", name="Boards").get_by_role("link")
        expect(links).to_have_text(["Scoreboard", "Speedrun", "This week"])
        expect(page.locator("[aria-current=page]")).to_have_text("Scoreboard")

    def test_a_link_shows_the_other_board_and_keeps_the_sign_in(self, boards, visit):
        page = signed_in(expect_live(visit(boards.url)), "Ann")
        expect(rows(page)).to_have_count(3)

        page.get_by_role("link", name="Speedrun").click()

        expect(page.get_by_role("heading", level=1)).to_have_text("Speedrun")
        expect(page.locator("[aria-current=page]")).to_have_text("Speedrun")
        expect(rows(page).first.locator(".name")).to_have_text("Bo")
        expect(page.get_by_text("Signed in as Ann")).to_be_visible()
        expect(page.locator(".standing")).to_have_text("2nd of 3 players, 0:24.449 behind Bo")
        page.go_back()
        expect(rows(page).first.locator(".name")).to_have_text("Chiara")

    def test_a_page_shows_the_updates_of_its_board_only(self, boards, board, visit):
        page = expect_live(visit(boards.page(board)))
        boards.post("Ann", 1)
        boards.post("Ann", 90_000, "speedrun")

        boards.post("Bo", 7, board)

        expect(rows(page)).to_have_count(1)
        assert latest(page) == ["Bo: 7"]

    @failing_requests
    def test_an_unknown_board_shows_a_message_and_the_links(self, boards, visit):
        page = visit(boards.url)

        for board_id in ("nowhere", "main,speedrun", "..", "%3Cb%3E", "a/b?c=d%23"):
            page.goto(boards.page(board_id))
            expect(page.locator("#status")).to_have_text("Not connected")
            expect(page.locator("#notice")).not_to_have_text("Loading the board…")
            page.get_by_role("link", name="Speedrun").click()
            expect(rows(page)).to_have_count(3)

    @failing_requests
    def test_an_archived_board_is_removed_from_the_page(self, boards, visit):
        board = boards.create("short", "Short-lived")
        boards.post("Ann", 5, board)
        page = expect_live(visit(boards.page(board)))
        expect(rows(page)).to_have_count(1)

        boards.archive(board)

        expect(page.locator("#notice")).to_have_text(NO_BOARD)
        expect(rows(page)).to_have_count(0)

    @failing_requests
    def test_a_board_that_is_not_public_requires_a_sign_in(self, boards, board, visit):
        boards.post("Ann", 5, board)
        page = expect_live(visit(boards.page(board)))
        expect(rows(page)).to_have_count(1)

        boards.change(board, public=False)

        expect(page.locator("#notice")).to_contain_text("This board is not public")
        expect(rows(page)).to_have_count(0)
        signed_in(page, "Bo")
        expect_live(page)
        expect(rows(page)).to_have_count(1)
        boards.post("Bo", 6, board)
        expect(rows(page)).to_have_count(2)


class TestRuleAndState:
    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"policy": "latest"}, "Your latest score counts; higher is better."),
            ({"policy": "best"}, "Your best score counts; higher is better."),
            ({"policy": "total"}, "Your scores add up; higher is better."),
            ({"policy": "best", "order": "asc"}, "Your best score counts; lower is better."),
            (
                {"policy": "best", "order": "asc", "format": "time"},
                "Your best time counts; lower is better.",
            ),
        ],
    )
    def test_a_changed_rule_is_shown_at_once(self, boards, board, visit, settings, sentence):
        page = expect_live(visit(boards.page(board)))
        expect(page.locator("#rule")).not_to_have_text("")

        boards.change(board, **settings)

        expect(page.locator("#rule")).to_have_text(sentence)

    def test_a_changed_title_is_shown_at_once(self, boards, board, visit):
        page = expect_live(visit(boards.page(board)))
        expect(page.get_by_role("heading", level=1)).to_have_text("New board")

        boards.change(board, title="<b>Renamed</b>")

        expect(page.get_by_role("heading", level=1)).to_have_text("<b>Renamed</b>")
        expect(page.locator("[aria-current=page]")).to_have_text("<b>Renamed</b>")
        expect(page).to_have_title("<b>Renamed</b>: the top 10, live")

    def test_the_state_says_when_a_board_opens_and_that_it_is_closed(self, boards, board, visit):
        page = expect_live(visit(boards.page(board), timezone_id="Europe/Vienna"))
        state = page.locator("#season")
        expect(state).to_have_text("")

        boards.change(board, opens_at="2099-12-04T18:00:00Z")
        expect(state).to_have_text("Opens on Friday, December 4, 2099 at 7:00 PM")
        boards.change(board, opens_at=None, closes_at="2026-01-01T00:00:00Z")
        expect(state).to_have_text("Closed")
        closing = datetime.now(UTC) + timedelta(days=2, seconds=-1)
        boards.change(board, closes_at=closing.isoformat())
        expect(state).to_have_text(re.compile(r"Closes in 1 day, 23:59:\d\d"))
        boards.change(board, closes_at=None)
        expect(state).to_have_text("")

    def test_a_frozen_list_says_since_when_and_that_scores_count(self, boards, board, visit):
        boards.post("Ann", 5, board)
        page = expect_live(visit(boards.page(board), timezone_id="Asia/Kathmandu"))
        expect(rows(page)).to_have_count(1)
        expect(page.locator("#freeze")).to_have_text("")

        boards.send("POST", f"boards/{board}/freeze")

        frozen_at = requests.get(f"{boards.url}/api/boards/{board}", timeout=10).json()["frozen_at"]
        there = datetime.fromisoformat(frozen_at) + timedelta(hours=5, minutes=45)
        time = there.strftime("%I:%M %p").lstrip("0")
        expect(page.locator("#freeze")).to_have_text(
            re.compile(f"^The list was frozen (at|on .* at) {time}. Scores still count")
        )
        assert violations(page) == []
        boards.send("POST", f"boards/{board}/unfreeze")
        expect(page.locator("#freeze")).to_have_text("")

    def test_the_countdown_runs_to_the_end_of_the_season(self, boards, visit):
        season = requests.get(f"{boards.url}/api/boards/weekly", timeout=10).json()["season"]
        end = datetime.fromisoformat(season["ends_at"])

        def prepare(page):
            page.clock.install(time=end - timedelta(days=2, hours=5))
            page.clock.pause_at(end - timedelta(days=2, hours=4, minutes=3, seconds=2))

        page = visit(boards.page("weekly"), prepare=prepare)
        state = page.locator("#season")
        page.clock.run_for(100)  # frames are drawn by the page's clock
        wait_until(lambda: page.clock.run_for(20) or state.text_content())
        assert state.text_content().startswith("Season 1 ends in 2 days, 04:03:0")

        page.clock.set_fixed_time(end - timedelta(hours=1))
        page.clock.run_for(1000)
        expect(state).to_have_text("Season 1 ends in 01:00:00")
        page.clock.set_fixed_time(end - timedelta(seconds=1))
        page.clock.run_for(1000)
        expect(state).to_have_text("Season 1 ends in 00:00:01")
        page.clock.set_fixed_time(end)
        page.clock.run_for(1000)
        expect(state).to_have_text("Season 1 has ended")

    def test_a_new_season_empties_the_list(self, boards, board, visit):
        page = expect_live(visit(boards.page(board)))
        boards.post("Ann", 5, board)
        expect(rows(page)).to_have_count(1)
        expect(page.locator("#events li")).to_have_count(1)

        boards.end_season(board)

        expect(page.locator("#season")).to_have_text("Season 2")
        expect(page.locator("#notice")).to_contain_text("No scores yet.")
        expect(rows(page)).to_have_count(0)
        expect(page.locator("#events li")).to_have_count(0)
        boards.post("Bo", 4, board)
        expect(rows(page)).to_have_count(1)
        assert texts(page) == [["1", "Bo", "4"]]

    def test_a_change_made_while_the_page_connects_is_shown(self, boards, board, visit):
        changed = []

        def change_title(socket):
            if not changed:
                changed.append(boards.change(board, title="Changed meanwhile"))
            socket.connect_to_server()

        page = visit(
            boards.page(board),
            prepare=lambda page: page.route_web_socket("**/ws/scoreboard?*", change_title),
        )

        expect(page.get_by_role("heading", level=1)).to_have_text("Changed meanwhile")

    @failing_requests
    def test_a_failed_request_for_the_board_is_sent_again(self, boards, visit):
        page = visit(
            boards.page("speedrun"),
            prepare=lambda page: page.route(
                "**/api/boards", lambda route: route.fulfill(status=503, body="<html>"), times=1
            ),
        )

        expect(rows(page)).to_have_count(3, timeout=20_000)


class TestTimes:
    def test_milliseconds_are_shown_as_minutes_and_seconds(self, boards, visit):
        page = expect_live(visit(boards.page("speedrun")))
        expect(rows(page)).to_have_count(3)

        shown = page.evaluate(
            """async (values) => {
                const { scoreText } = await import("/web/design/format.js");
                return values.map((value) => scoreText(value, "time"));
            }""",
            list(TIMES),
        )

        assert shown == list(TIMES.values())
        assert texts(page) == [
            ["1", "Bo", "0:59.007"],
            ["2", "Ann", "1:23.456"],
            ["3", "Chiara", "1:02:03.004"],
        ]
        assert page.locator("#table th.score").text_content() == "Time"

    def test_a_shorter_time_moves_up(self, boards, visit):
        page = signed_in(expect_live(visit(boards.page("speedrun"))), "Chiara")
        expect(rows(page)).to_have_count(3)

        boards.post("Chiara", 58_000, "speedrun")

        expect(rows(page).first.locator(".name")).to_have_text("Chiara")
        expect(rows(page).first.locator(".score")).to_have_attribute("data-change", "up")
        expect_latest(page, "Chiara", "0:58.000")
        expect(page.locator("#place tr.own .score")).to_have_text("0:58.000")
        expect(page.get_by_label("Time", exact=True)).to_be_visible()


class TestPosting:
    @failing_requests  # the player is not on the board yet
    def test_a_score_is_posted_to_the_board(self, boards, board, visit):
        page = signed_in(expect_live(visit(boards.page(board))), "Ann")

        post_score(page, "120")

        expect(page.locator(".standing")).to_have_text("1st of 1 player")
        expect(page.get_by_text("which feeds this board")).to_have_count(0)

    def test_a_score_for_a_derived_board_is_posted_to_its_source(self, boards, visit):
        page = signed_in(expect_live(visit(boards.page("weekly"))), "Ann")
        expect(page.get_by_text("Posted to “Scoreboard”, which feeds this board.")).to_be_visible()

        with page.expect_request("**/api/score/update") as request:
            post_score(page, "5000")

        assert request.value.post_data_json["board"] == "main"
        expect(rows(page).first.locator(".name")).to_have_text("Ann")
        expect(page.get_by_role("alert")).to_have_text("")

    @failing_requests
    def test_a_score_for_a_closed_board_shows_the_message(self, boards, board, visit):
        boards.change(board, closes_at="2026-01-01T00:00:00Z")
        page = signed_in(expect_live(visit(boards.page(board))), "Ann")

        post_score(page, "1")

        expect(page.get_by_role("alert")).to_contain_text("closed")


class TestScreens:
    def test_the_page_links_to_the_wall_of_its_board(self, boards, visit):
        page = expect_live(visit(boards.page("speedrun")))

        page.get_by_role("link", name="wall screen").click()

        expect(page.locator("#places .score").first).to_contain_text(":")
        expect(page.get_by_role("heading", level=1)).to_have_text("Speedrun")

    def test_the_longest_title_fits_every_screen(self, boards, board, visit):
        boards.change(
            board, title="W" * 64, reset={"every": "day", "at": "00:00", "time_zone": "UTC"}
        )
        for number in range(10):
            boards.post("Ann" if number == 0 else f"Player-{number}", number, board)
        for viewport in ({"width": 320, "height": 640}, LAPTOP):
            page = expect_live(visit(boards.page(board), viewport=viewport))
            expect(rows(page)).to_have_count(10)
            assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_page_is_accessible_and_fits_the_screen(self, boards, visit, scheme):
        options = {"color_scheme": scheme, "reduced_motion": "reduce"}
        page = expect_live(visit(boards.page("weekly"), **options))

        for viewport in (PHONE, LAPTOP):
            page.set_viewport_size(viewport)
            page.reload()  # the first layout at this size
            expect(rows(expect_live(page))).to_have_count(3)
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


class TestEmbeddedBoards:
    def test_an_element_shows_its_board(self, boards, embed):
        page = embed(body='<score-board board="speedrun"></score-board>')

        main, speedrun = (page.locator(f"score-board >> nth={n} >> tbody tr") for n in range(2))
        expect(main.first.locator(".score")).not_to_contain_text(":")
        expect(speedrun.locator(".score").last).to_have_text("1:23.456")
        boards.post("Dmitri", 1000, "speedrun")
        expect(speedrun.first.locator(".name")).to_have_text("Dmitri")
        expect(speedrun.first.locator(".score")).to_have_text("0:01.000")

    def test_a_changed_attribute_shows_the_other_board(self, boards, board, embed):
        boards.post("Esi", 12, board)
        sockets = []
        page = embed(sockets=sockets)
        expect(page.get_by_role("status")).to_have_text("Live")
        element = page.locator("score-board")

        element.evaluate("(element, board) => element.setAttribute('board', board)", board)

        expect(element.locator("tbody .name")).to_have_text(["Esi"])
        wait_until(lambda: page.evaluate("true") and sockets[0].is_closed())
        assert [socket.url.partition("?")[2] for socket in sockets] == [
            "board=main",
            f"board={board}",
        ]

    @failing_requests
    def test_an_element_of_an_unknown_board_shows_the_message(self, boards, embed):
        page = embed(body='<score-board board="nowhere"></score-board>')

        expect(page.locator("score-board .notice").last).to_have_text(NO_BOARD)
