"""The page for wall screens, in a browser."""

import itertools
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import requests
from playwright.sync_api import expect

from scoreboard.services import services
from tests.support.boards import Boards
from tests.support.browsers import BLOCKED, OLDER, failing_requests, violations
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
NO_BOARD = "There is no board with this id."
STAGE = {"width": 1920, "height": 1080}
SCREENS = {
    "1080p": STAGE,
    "4k": {"width": 3840, "height": 2160},
    "16:10": {"width": 1280, "height": 800},
    "portrait": {"width": 1080, "height": 1920},
}
PHONE = {"width": 390, "height": 844}
NAMES = {
    "W" * 64: 9007199254740991,
    "محمد بن عبد الله بن خالد": 9007199254740990,
    "王小明和他的非常长的名字": 123456789.125,
    "👨‍👩‍👧‍👦 family": 0.333,
    "שלום עולם": 0,
    "සිංහල නම": -1.5,
    "A name of 64 characters ".ljust(64, "."): -120,
    "Ὀδυσσεύς": -9007199254740,
    "i̇şıl": -9007199254740990,
    "日本語の名前": -9007199254740991,
}

# The places whose parts are outside of them, or cover each other.
OVERLAPS = """() => [...document.querySelectorAll(".place")].flatMap((place) => {
    const box = place.getBoundingClientRect();
    const parts = [".name bdi", ".score"].map((part) => place.querySelector(part));
    const [name, score] = parts.map((part) => part.getBoundingClientRect());
    const isOutside = parts.some((part) => part.scrollWidth > part.clientWidth + 1)
        || [name, score].some((part) =>
            part.left < box.left - 1 || part.right > box.right + 1 || part.bottom > box.bottom + 1);
    const isCovered = place.classList.contains("podium")
        ? name.bottom > score.top + 2 : name.right > score.left + 1;
    return isOutside || isCovered ? [place.textContent] : [];
})"""


@pytest.fixture(scope="module")
def server(start):
    return start(BOARD_TITLE="Hack Night", HOST="127.0.0.1")


@pytest.fixture(scope="module")
def boards(server):
    boards = Boards(server)
    boards.create("speedrun", "Speedrun", policy="best", order="asc", format="time")
    for name, score in {"Ann": 83456, "Bo": 59007, "Chiara": 3_723_004}.items():
        boards.post(name, score, "speedrun")
    boards.create("crowd", "Crowd")
    for number in range(1, 22):
        boards.post(f"Player-{number}", 2200 - 100 * number, "crowd")
    return boards


@pytest.fixture
def board(boards):
    """Return the id of a new board with a title."""
    board_id = boards.create(f"new-{next(NUMBERS)}", "New board")
    yield board_id
    boards.archive(board_id)


@pytest.fixture
def wall(boards, visit):
    """Return a function that opens the wall of a board, and waits until it is live."""

    def wall(board_id, more="", **options):
        page = visit(
            boards.page(board_id, f"&display=wall{more}"), **{"viewport": STAGE, **options}
        )
        expect(page.locator("#status")).to_have_text("Live")
        return page

    return wall


def places(page):
    return page.locator(".place")


def texts(page):
    """Return rank, name and score of each place."""
    parts = "['rank', 'name', 'score'].map((part) => place.querySelector(`.${part}`).textContent)"
    return places(page).evaluate_all(f"places => places.map((place) => {parts})")


def place_of(page, name):
    return places(page).filter(has=page.get_by_text(name, exact=True))


def run_for(page, seconds):
    """Let the fake clock of the page run, then its requests."""
    page.clock.run_for(seconds * 1000)
    page.evaluate("true")


class TestPlaces:
    def test_three_are_on_the_podium_and_the_others_below(self, wall):
        page = wall("crowd")
        expect(places(page)).to_have_count(10)

        assert texts(page)[0] == ["1", "Player-1", "2,100"]
        assert texts(page)[9] == ["10", "Player-10", "1,200"]
        expect(page.locator(".podium .name")).to_have_text(["Player-1", "Player-2", "Player-3"])
        expect(page.locator("#pages")).to_have_text("21 players")

    def test_equal_scores_share_their_rank(self, boards, board, wall):
        for name, score in {"Ann": 5, "Bo": 5, "Chiara": 4}.items():
            boards.post(name, score, board)

        page = wall(board)

        expect(places(page)).to_have_count(3)
        assert [rank for rank, *_ in texts(page)] == ["1", "1", "3"]

    @pytest.mark.parametrize("motion", ["no-preference", "reduce"])
    def test_a_change_shows_the_difference_and_the_moved_places(self, boards, board, wall, motion):
        for name, score in {"Ann": 400, "Bo": 300, "Chiara": 200, "Dmitri": 100}.items():
            boards.post(name, score, board)
        page = wall(board, reduced_motion=motion)
        expect(places(page)).to_have_count(4)

        boards.post("Dmitri", 320, board)

        expect(places(page).nth(1).locator(".name")).to_have_text("Dmitri")
        expect(place_of(page, "Dmitri").locator(".change")).to_have_text("+220")
        expect(place_of(page, "Dmitri").locator(".move")).to_have_text("▲2")
        expect(place_of(page, "Bo").locator(".move")).to_have_text("▼1")
        expect(place_of(page, "Bo").locator(".change")).to_have_text("")
        if motion == "reduce":
            assert page.evaluate("document.getAnimations().length") == 0
        else:
            assert page.evaluate("document.getAnimations().length") > 0

    def test_a_shorter_time_is_better(self, boards, wall):
        page = wall("speedrun")
        expect(places(page)).to_have_count(3)
        assert texts(page)[0] == ["1", "Bo", "0:59.007"]

        boards.post("Ann", 82_000, "speedrun")

        expect(place_of(page, "Ann").locator(".change")).to_have_text("−0:01.456")
        expect(place_of(page, "Ann")).to_have_attribute("data-change", "up")

    def test_a_new_leader_is_announced_by_name(self, boards, board, wall):
        for name, score in {"Ann": 400, "Bo": 300}.items():
            boards.post(name, score, board)
        page = wall(board)
        expect(places(page)).to_have_count(2)
        expect(page.locator("#moment")).to_have_text("")

        boards.post("Bo", 500, board)

        expect(page.locator("#moment")).to_have_text("New leader Bo")
        expect(page.locator("#moment")).to_have_text("", timeout=20_000)

    def test_a_hidden_user_leaves_at_once(self, boards, board, wall):
        for name, score in {"Ann": 400, "Rude": 300}.items():
            boards.post(name, score, board)
        page = wall(board)
        expect(places(page)).to_have_count(2)

        boards.send("POST", f"users/{boards.users['Rude'].user_id}/hide", {"reason": "rude"})

        expect(places(page)).to_have_count(1)
        expect(page.get_by_text("Rude")).to_have_count(0)

    def test_a_new_season_empties_the_list(self, boards, board, wall):
        boards.post("Ann", 5, board)
        page = wall(board)
        expect(places(page)).to_have_count(1)

        boards.end_season(board)

        expect(places(page)).to_have_count(0)
        expect(page.locator("#notice")).to_have_text("Be the first on the board")
        expect(page.locator("#moment")).to_have_text("")

    def test_the_whole_list_is_shown_page_by_page(self, wall):
        page = wall("crowd", fake_clock=True)
        expect(places(page)).to_have_count(10)

        run_for(page, 15)
        expect(page.locator("#pages")).to_have_text("Places 11–17 of 21 players")
        expect(page.locator(".podium .name")).to_have_text(["Player-1", "Player-2", "Player-3"])
        assert texts(page)[3:] == [
            [str(n), f"Player-{n}", f"{2200 - 100 * n:,}"] for n in range(11, 18)
        ]
        run_for(page, 8)
        expect(page.locator("#pages")).to_have_text("Places 18–21 of 21 players")
        run_for(page, 8)
        expect(page.locator("#pages")).to_have_text("21 players")
        expect(places(page).nth(3).locator(".name")).to_have_text("Player-4")


class TestHeader:
    def test_the_title_of_the_installation_is_above_that_of_the_board(self, boards, board, wall):
        page = wall(board)
        expect(page.get_by_role("heading", level=1)).to_have_text("Hack Night")
        expect(page.locator("#board-title")).to_have_text("New board")
        expect(page.locator("#rule")).to_have_text("Your latest score counts; higher is better.")

        boards.change(board, title="<b>Renamed</b>")

        expect(page.locator("#board-title")).to_have_text("<b>Renamed</b>")

    def test_the_countdown_runs_to_the_end_of_the_season(self, boards, board, wall):
        closing = datetime.now(UTC) + timedelta(days=2, seconds=-1)
        boards.change(board, closes_at=closing.isoformat())

        page = wall(board)

        expect(page.locator("#clock .label")).to_have_text("Closes in")
        expect(page.locator("#clock .time")).to_have_text(re.compile(r"1 day, 23:59:\d\d"))

    def test_a_closed_board_says_so(self, boards, board, wall):
        boards.post("Ann", 5, board)
        page = wall(board)
        expect(page.locator("#clock")).to_be_hidden()

        boards.change(board, closes_at="2026-01-01T00:00:00Z")

        expect(page.locator("#clock")).to_have_text("Closed")
        expect(places(page)).to_have_count(1)


class TestFreeze:
    def test_a_reveal_shows_every_list_long_enough_to_be_seen(self, boards, board, visit):
        for name, score in {"Ann": 40, "Bo": 30, "Chiara": 20}.items():
            boards.post(name, score, board)
        sockets = []

        def forward(socket):
            sockets.append(socket)
            socket.connect_to_server()

        def prepare(page):
            page.route_web_socket("**/ws/scoreboard?*", forward)

        url = boards.page(board, "&display=wall")
        page = visit(url, viewport=STAGE, fake_clock=True, prepare=prepare)
        expect(places(page)).to_have_count(3)
        run_for(page, 1)
        message = {"board": board, "season": 1}
        frozen = {**requests.get(f"{boards.url}/api/boards/{board}", timeout=10).json()}
        frozen["state"] = "frozen"
        sockets[0].send(json.dumps({**message, "type": "board_update", "data": frozen}))
        run_for(page, 1)
        expect(page.locator("#clock .time")).to_have_text("Frozen")

        for score in (25, 35, 45):
            top10 = [
                {"user_id": name, "username": name, "score": points, "rank": rank}
                for rank, (name, points) in enumerate([("Dmitri", score), ("Bo", 30)], 1)
            ]
            data = {"top_10_scores": top10}
            sockets[0].send(json.dumps({**message, "type": "top_10_update", "data": data}))

        for score in (25, 35, 45):
            expect(places(page).first.locator(".score")).to_have_text(str(score))
            run_for(page, 3)


class TestJoining:
    def test_an_empty_board_shows_how_to_join(self, server, board, wall):
        page = wall(board)

        expect(page.locator("#notice")).to_have_text("Be the first on the board")
        expect(page.locator("#join-address")).to_have_text(server.url.removeprefix("http://"))
        code = page.get_by_role("img", name="QR code")
        expect(code).to_have_js_property("complete", True)
        assert code.evaluate("image => image.naturalWidth") > 0
        assert code.bounding_box()["width"] > 400

    def test_an_address_that_phones_cannot_open_is_named(self, board, wall):
        page = wall(board)

        expect(page.locator("#join-how")).to_contain_text("Phones cannot open this address")

    def test_at_the_address_of_its_own_machine_the_address_in_the_network_is_shown(self, app):
        client, network = app.test_client(), "http://192.168.7.7:5000"
        code = client.get("/join.svg", base_url=network).text
        services(app).network_url = network

        for own in ("http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000"):
            assert f'data-url="{network}/"' in client.get("/?display=wall", base_url=own).text
            assert client.get("/join.svg", base_url=own).text == code
        public = client.get("/?display=wall", base_url="https://board.example").text
        assert 'data-url="https://board.example/"' in public

    def test_the_organiser_can_show_the_join_code(self, boards, board, visit):
        sent = []

        def prepare(page):
            page.on("request", lambda request: sent.append(request))

        page = visit(boards.page(board, "&display=wall#join=BLUE-42"), prepare=prepare)

        expect(page.locator("#join-word")).to_have_text("Code BLUE-42")
        expect(page.get_by_role("img", name="QR code")).to_be_visible()
        (request,) = (each for each in sent if each.url.endswith("/join.svg"))
        assert request.headers["join-code"] == "BLUE-42"

    def test_the_picture_is_an_svg_of_the_address_of_the_request(self, client):
        plain = client.get("/join.svg", headers={"Host": "board.example"})
        again = client.get("/join.svg", headers={"Host": "board.example"})
        other = client.get("/join.svg", headers={"Host": "other.example"})
        with_code = client.get("/join.svg", headers={"Join-Code": "BLUE-42"})

        assert plain.mimetype == "image/svg+xml"
        assert plain.headers["Cache-Control"] == "no-store"
        assert plain.text == again.text
        assert len({plain.text, other.text, with_code.text}) == 3

    @pytest.mark.parametrize("settings", [{"JOINING": "closed"}])
    def test_where_nobody_can_join_nothing_says_how(self, client):
        assert client.get("/join.svg").status_code == 404
        assert 'id="join"' not in client.get("/?display=wall").text

    def test_the_picture_and_the_page_do_not_contain_the_join_code(self, client, make_app):
        coded = make_app(JOINING="code", JOIN_CODE="BLUE-42").test_client()

        assert coded.get("/join.svg").text == client.get("/join.svg").text
        assert "BLUE-42" not in coded.get("/?display=wall").text

    @pytest.mark.parametrize("code", ["abc", "a" * 65, "a b c d", "<svg>", "%41%41%41%41"])
    def test_a_code_that_cannot_be_one_is_refused(self, client, code):
        response = client.get("/join.svg", headers={"Join-Code": code})

        assert response.status_code == 400
        assert response.json["error"]["code"] == "invalid_input"

    def test_a_host_that_is_longer_than_a_name_can_be_is_refused(self, client):
        response = client.get("/join.svg", headers={"Host": ".".join(["a" * 60] * 7)})

        assert response.status_code == 400
        assert response.json["error"]["code"] == "invalid_input"


class TestRotation:
    def test_boards_take_turns(self, boards, wall):
        page = wall("main", "&boards=speedrun,crowd&seconds=5", fake_clock=True)
        expect(places(page)).to_have_count(3)
        expect(page.locator("#boards li")).to_have_text(["Speedrun", "Crowd"])
        expect(page.locator("#boards [data-current]")).to_have_text("Speedrun")

        run_for(page, 5)
        expect(page.locator("#board-title")).to_have_text("Crowd")
        expect(places(page)).to_have_count(10)
        expect(page.locator("#moment")).to_have_text("")
        run_for(page, 5)
        expect(page.locator("#board-title")).to_have_text("Speedrun")
        expect(places(page).first.locator(".score")).to_contain_text(":")

    @failing_requests
    def test_an_unknown_board_is_left_out_and_named(self, wall):
        page = wall("main", "&boards=speedrun,nowhere,crowd&seconds=5", fake_clock=True)

        expect(page.locator("#problems")).to_have_text("Not shown: nowhere.")
        expect(page.locator("#boards li")).to_have_text(["Speedrun", "Crowd"])
        run_for(page, 5)
        expect(page.locator("#board-title")).to_have_text("Crowd")

    def test_bad_seconds_are_named_and_the_board_is_shown(self, boards, wall):
        page = wall("speedrun")

        for seconds in ("abc", "0", "-5", "4", "5.5", "1e9", "NaN", "%00"):
            page.goto(boards.page("speedrun", f"&display=wall&seconds={seconds}"))
            expect(page.locator("#status")).to_have_text("Live")
            expect(page.locator("#problems")).to_contain_text("“seconds” must be a whole number")
            expect(places(page)).to_have_count(3)

    @failing_requests
    def test_of_300_boards_the_first_are_shown(self, wall):
        others = ",".join(f"board-{number}" for number in range(300))

        page = wall("main", f"&boards=speedrun,{others}")

        expect(page.locator("#problems")).to_contain_text("Only the first 20 boards")
        expect(places(page)).to_have_count(3)

    @failing_requests
    def test_an_unknown_board_shows_a_message(self, wall, boards):
        page = wall("speedrun")

        for board_id in ("nowhere", "..", "%3Cb%3E", "a/b?c=d%23", "W" * 500):
            page.goto(boards.page(board_id, "&display=wall"))
            expect(page.locator("#status")).to_have_text("Not connected")
            expect(page.locator("#notice")).not_to_have_text("Loading the board…")
            expect(page.locator("#notice")).to_be_visible()


class TestConnection:
    @failing_requests
    def test_it_reconnects_after_a_restart_of_the_server(self, start, visit):
        server = start()
        boards = Boards(server)
        boards.post("Ann", 5)
        page = visit(boards.page("main", "&display=wall"), viewport=STAGE)
        expect(places(page)).to_have_count(1)

        server.kill()
        expect(page.locator("#status")).to_contain_text("Offline: trying again in")
        expect(places(page)).to_have_count(1)
        server.start()
        expect(page.locator("#status")).to_have_text("Live", timeout=30_000)
        boards.post("Bo", 6)

        expect(places(page)).to_have_count(2)

    @failing_requests
    def test_an_archived_board_is_removed(self, boards, visit):
        board = boards.create("short", "Short-lived")
        boards.post("Ann", 5, board)
        page = visit(boards.page(board, "&display=wall"), viewport=STAGE)
        expect(places(page)).to_have_count(1)

        boards.archive(board)

        expect(page.locator("#notice")).to_have_text(NO_BOARD)
        expect(places(page)).to_have_count(0)

    @pytest.mark.parametrize("script", [OLDER, BLOCKED], ids=["older", "no storage"])
    def test_browsers_with_fewer_features_show_the_list(self, boards, board, wall, script):
        boards.post("Ann", 5, board)
        page = wall(board, script=script)
        expect(places(page)).to_have_count(1)

        boards.post("Bo", 6, board)

        expect(places(page).first.locator(".name")).to_have_text("Bo")


@pytest.fixture(scope="module")
def names(boards):
    """Return a board with difficult names, scores and a title of the greatest length."""
    board = boards.create("names", "W" * 64)
    for number, (name, score) in enumerate(NAMES.items()):
        user = boards.users[name] = boards.server.user(f"Name-{number}")
        boards.post(name, score, board)
        boards.server.execute(
            f"UPDATE users SET username = '{name}' WHERE user_id = '{user.user_id}'"
        )
    return board


class TestScreens:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("viewport", SCREENS.values(), ids=SCREENS)
    def test_every_name_and_score_fits_every_screen(self, names, wall, viewport, scheme):
        options = {"viewport": viewport, "reduced_motion": "reduce"}
        page = wall(names, f"&theme={scheme}", **options)
        expect(places(page)).to_have_count(10)
        expect(page.get_by_role("img", name="QR code")).to_be_visible()

        assert violations(page) == []
        size = page.evaluate(
            "({scrollWidth, scrollHeight} = document.documentElement, [scrollWidth, scrollHeight])"
        )
        assert size == [viewport["width"], viewport["height"]]
        assert page.evaluate(OVERLAPS) == []
        row = places(page).last.bounding_box()
        assert row["height"] > viewport["height"] / 24

    @pytest.mark.parametrize("players", [0, 1, 3, 5])
    def test_few_players_fit_every_screen(self, boards, board, wall, players):
        for number in range(players):
            boards.post(f"Player-{number + 1}", 10.0**number * 1.25, board)
        page = wall(board, reduced_motion="reduce")
        expect(places(page)).to_have_count(players)

        for viewport in (*SCREENS.values(), PHONE):
            page.set_viewport_size(viewport)
            assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
            assert page.evaluate(OVERLAPS) == []
        assert violations(page) == []

    def test_a_phone_can_show_it(self, names, wall):
        page = wall(names, viewport=PHONE, reduced_motion="reduce")
        expect(places(page)).to_have_count(10)

        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]

    def test_nothing_on_it_can_be_clicked(self, wall):
        page = wall("crowd")
        expect(places(page)).to_have_count(10)

        assert page.locator("a, button, input, form").count() == 0

    def test_it_shows_ten_of_ten_thousand_players(self, start, visit):
        server = start()
        server.flask("users", "seed", "10000", "--scores")
        page = visit(f"{server.url}/?display=wall", viewport=STAGE, fake_clock=True)
        expect(places(page)).to_have_count(10)

        expect(page.locator("#pages")).to_have_text("10,000 players")
        run_for(page, 15)
        expect(page.locator("#pages")).to_contain_text("of 10,000 players")
        wait_until(lambda: len(texts(page)) == 10)


def test_the_page_has_its_theme_and_the_same_policy_as_the_board(client):
    wall, light = client.get("/?display=wall"), client.get("/?display=wall&theme=light")

    assert '<html lang="en" class="dark"' in wall.text
    assert '<html lang="en" class="light"' in light.text
    assert (
        wall.headers["Content-Security-Policy"]
        == client.get("/").headers["Content-Security-Policy"]
    )
