"""The live page and the embedded board in a browser."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
import requests
from playwright.sync_api import expect

from tests.support.board_pages import (
    expect_latest,
    expect_live,
    expect_signed_in,
    latest,
    post_score,
    register,
    rows,
    sign_in,
    signed_in,
    texts,
)
from tests.support.browsers import BLOCKED, LAPTOP, OLDER, failing_requests, violations
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
START = datetime(2026, 1, 1, tzinfo=UTC)
SCREENS = [  # path, size, whether a player is signed in
    ("/", {"width": 360, "height": 740}, False),
    ("/", LAPTOP, False),
    ("/", LAPTOP, True),
]
LONG_NAME = "A name of 64 characters ".ljust(64, ".")
NOT_ALLOWED = "This board may not be shown on this website."
NOT_PUBLIC = "This board is not public: sign in to watch it."
STORED_TOKEN = "localStorage.getItem('scoreboard.refresh_token')"

COUNT_ANIMATIONS = """() => {
    window.animations = 0;
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (...options) {
        window.animations += 1;
        return animate.apply(this, options);
    };
}"""

RECORD_STATES = """() => {
    const states = [];
    const status = document.getElementById("status");
    new MutationObserver(() => status.textContent === "Live" || states.push(status.textContent))
        .observe(status, { childList: true, characterData: true, subtree: true });
    return states;
}"""

NO_LOCKS = "delete Navigator.prototype.locks; delete window.BroadcastChannel;"
LOCKS_DENIED = """navigator.locks.request = async () => {
    throw new DOMException('', 'SecurityError');
};"""

FOCUSED = """() => {
    const { name, textContent } = document.activeElement;
    return [name || textContent, getComputedStyle(document.activeElement).outlineStyle];
}"""

OVERFLOWING_CARDS = """[...document.querySelectorAll(".card")]
    .filter((card) => card.scrollWidth > card.clientWidth).length"""


@pytest.fixture(scope="module")
def server(start, sites):
    return start(CORS_ORIGINS=sites[0][0])


@pytest.fixture(scope="module")
def another(start):
    """Return a server without the players of the other tests."""
    return start()


@pytest.fixture(scope="module")
def game(server):
    """Return a user that may post scores of any user."""
    return server.user("Game", "scorer")


@pytest.fixture(scope="module")
def players(server, game):
    """Return the ids of twelve players with scores by name."""
    names = ["Ann", "Bo", "Chiara", "Dmitri", "Esi", "Farid", "Guðrún", "Hiro", "Ines", "Jo"]
    ids = {name: register(server, name) for name in [*names, "Kwame", LONG_NAME]}
    for place, user_id in enumerate(ids.values()):
        post(server, game, user_id, 1200 - 100 * place)
    return ids


@pytest.fixture
def page(server, visit):
    return expect_live(visit(server.url))


@pytest.fixture
def kwame(page, players):
    """Return a page where the player Kwame is signed in."""
    return signed_in(page)


def post(server, by, user_id, score):
    """Post a score with a later timestamp than the previous one."""
    moment = START + timedelta(seconds=next(NUMBERS))
    update = {"user_id": user_id, "score_value": score, "timestamp": moment.isoformat()}
    assert server.post(by.token, update).status_code == 200


def order(server):
    return [entry["user_id"] for entry in server.top10()]


def until(page, condition):
    """Wait for events of the page, which the browser sends only while it processes a call."""
    wait_until(lambda: page.evaluate("true") and condition())


def count(urls, part):
    return len([url for url in urls if part in url])


def responding(**response):
    """Return a route handler with this response."""
    return lambda route: route.fulfill(**response)


def first_fails(fail):
    """Return a route handler that lets the first request fail, and the list of requests."""
    sent = []

    def handle(route):
        sent.append(route.request)
        if len(sent) == 1:
            fail(route)
        else:
            route.continue_()

    return handle, sent


class TestBoard:
    def test_equal_scores_share_their_rank(self, server, game, players, visit):
        for name, score in {"Bo": 9000, "Chiara": 8000, "Esi": 8000, "Hiro": 7000}.items():
            post(server, game, players[name], score)

        page = expect_live(visit(server.url))

        expect(rows(page)).to_have_count(10)
        expect(rows(page).first.locator(".name")).to_have_text("Bo")
        first = [row[:2] for row in texts(page)[:4]]
        assert first == [["1", "Bo"], ["2", "Chiara"], ["2", "Esi"], ["4", "Hiro"]]

    @pytest.mark.parametrize("motion", ["no-preference", "reduce"])
    def test_a_changed_score_moves_its_row(self, server, game, players, visit, motion):
        page = expect_live(visit(server.url, reduced_motion=motion))
        expect(rows(page)).to_have_count(10)
        lowest = order(server)[-1]
        page.evaluate(COUNT_ANIMATIONS)

        post(server, game, lowest, 10_000 + next(NUMBERS))

        score = page.locator(f"[data-user-id='{lowest}'] .score")
        expect(score).to_have_attribute("data-change", "up")
        expect(rows(page).first).to_have_attribute("data-user-id", lowest)
        if motion == "reduce":
            assert page.evaluate("window.animations") == 0
            assert page.evaluate("document.getAnimations().length") == 0
        else:
            assert page.evaluate("window.animations") >= 10

    def test_the_latest_scores_are_listed_newest_first(self, server, game, players, page):
        for score in range(1, 21):
            post(server, game, players["Kwame"], score)

        expect_latest(page, "Kwame", "20")
        expect(page.locator("#events li")).to_have_count(12)
        assert latest(page) == [f"Kwame: {score}" for score in range(20, 8, -1)]

    def test_names_are_in_the_messages_and_cause_no_requests(self, server, game, visit):
        urls = []
        page = expect_live(visit(server.url, fake_clock=True, urls=urls))
        expect(rows(page)).not_to_have_count(0)
        urls.clear()

        for number in range(3):
            post(server, game, register(server, f"Unknown {number}"), -number)
        expect_latest(page, "Unknown 2", "-2")
        page.clock.fast_forward("01:00")  # any delayed request is sent now
        post(server, game, register(server, "Unknown 3"), 15_000)

        expect(rows(page).first.locator(".name")).to_have_text("Unknown 3")
        # The board object has the number of players.
        assert {url.removeprefix(server.url) for url in urls} <= {"/api/boards"}

    @pytest.mark.parametrize(
        ("name", "score"),
        [("Newcomer", 20_000), ('<img src=x onerror="document.title=1"><b>bold</b>', 30_000)],
    )
    def test_a_new_player_appears_with_its_name_as_text(self, server, game, page, name, score):
        post(server, game, register(server, name), score)

        expect(rows(page).first.locator(".name")).to_have_text(name)
        expect_latest(page, name, f"{score:,}")
        assert page.locator("#table img, #table b, #events img, #events b").count() == 0

    def test_after_fifty_updates_the_order_is_that_of_the_api(self, server, game, page):
        trio = [server.user(f"Trio-{number}").user_id for number in range(3)]

        for number in range(50):
            post(server, game, trio[number % 3], 50_000 + number * 7919 % 1000)

        final = order(server)
        user_ids = "rows => rows.map((row) => row.dataset.userId)"
        wait_until(lambda: rows(page).evaluate_all(user_ids) == final)
        assert set(final[:3]) == set(trio)


class TestConnection:
    @failing_requests
    def test_the_page_reconnects_after_a_restart_of_the_server(self, server, game, players, page):
        page.evaluate("window.isSamePage = true")

        server.kill()
        expect(page.locator("#status")).to_contain_text("Offline: trying again in")
        server.start()
        expect(page.locator("#status")).to_have_text("Live", timeout=30_000)
        post(server, game, players["Farid"], 60_000)

        expect(rows(page).first).to_have_attribute("data-user-id", players["Farid"])
        assert page.evaluate("window.isSamePage")

    @pytest.mark.parametrize(("code", "tokens"), [(1012, 1), (4408, 1), (4401, 2)])
    def test_the_page_reconnects_after_every_close_code(self, server, visit, code, tokens):
        sockets, urls = [], []

        def forward(socket):
            sockets.append(socket)
            socket.connect_to_server()

        def prepare(page):
            page.route_web_socket("**/ws/scoreboard?*", forward)

        page = expect_live(visit(server.url, urls=urls, prepare=prepare))

        sockets[0].close(code=code)

        until(page, lambda: page.locator("#status").text_content() == "Live" and len(sockets) == 2)
        assert count(urls, "auth/viewer") == tokens

    def test_an_expiring_token_is_replaced_without_an_interruption(
        self, server, game, players, visit
    ):
        sockets, urls = [], []
        page = expect_live(visit(server.url, fake_clock=True, sockets=sockets, urls=urls))
        states = page.evaluate_handle(RECORD_STATES)

        page.clock.fast_forward("58:00")  # after this time without a message the page reconnects
        until(page, lambda: len(sockets) == 2 and sockets[0].is_closed())
        assert count(urls, "auth/viewer") == 1
        page.clock.fast_forward("01:30")
        until(page, lambda: len(sockets) == 3 and sockets[1].is_closed())
        assert count(urls, "auth/viewer") == 2
        post(server, game, players["Ines"], 65_000)

        expect(rows(page).first).to_have_attribute("data-user-id", players["Ines"])
        assert states.json_value() == []

    def test_a_page_restored_from_the_cache_reconnects(self, server, visit):
        sockets = []
        page = expect_live(visit(server.url, sockets=sockets))

        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")

        until(page, lambda: len(sockets) == 2 and sockets[0].is_closed())
        expect_live(page)
        # The URL has no token.
        url = f"{server.url.replace('http', 'ws')}/ws/scoreboard?board=main"
        assert [socket.url for socket in sockets] == [url, url]


class TestSession:
    def test_a_player_signs_in_sees_their_rank_and_signs_out(self, server, game, players, page):
        signed_in(page)

        expect(page.get_by_role("heading", name="Your place")).to_be_focused()
        expect(page.locator("#place tr.own .name")).to_have_text("Kwame")
        post(server, game, players["Kwame"], 70_000)
        board = requests.get(f"{server.url}/api/leaderboard?limit=1", timeout=10).json()
        expect(page.locator(".standing")).to_have_text(f"1st of {board['total']} players")
        expect(rows(page, "#place")).to_have_count(3)
        expect(rows(page).first).to_have_class("own")

        page.reload()
        expect_signed_in(page)

        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Join in")).to_be_focused()
        expect(page.locator(".own")).to_have_count(0)
        assert page.evaluate(STORED_TOKEN) is None
        expect_live(page)

    @failing_requests
    def test_a_refused_sign_in_shows_the_message_of_the_server(self, players, page):
        sign_in(page, password="wrong password")

        expect(page.get_by_role("alert")).to_have_text("Username or password is wrong.")
        button = page.locator("[data-part=signIn]").get_by_role("button", name="Sign in")
        expect(button).to_be_enabled()

    @failing_requests
    def test_a_refused_score_shows_the_invalid_field(self, another, visit):
        another.user("Vera")
        page = signed_in(expect_live(visit(another.url)), "Vera")

        post_score(page, "1e300")

        expect(page.get_by_role("alert")).to_contain_text("9007199254740991")

    @failing_requests
    def test_a_retry_after_a_lost_response_counts_once(self, another, visit):
        another.user("Walt")
        page = signed_in(expect_live(visit(another.url)), "Walt")

        def lose_response(route):
            route.fetch()
            route.fulfill(status=503, body="<html>")

        handle, sent = first_fails(lose_response)
        page.route("**/api/score/update", handle)
        post_score(page, "100")
        message = "The server could not process the request."
        expect(page.get_by_role("alert")).to_have_text(message)
        with page.expect_response("**/api/score/update") as response:
            page.get_by_role("button", name="Post score").click()

        expect(page.get_by_role("alert")).to_have_text("")
        assert response.value.json()["error"]["code"] == "replayed"
        assert len(sent) == 2

    @failing_requests
    def test_signing_out_without_the_server_signs_out_on_the_page(self, server, players, visit):
        page = signed_in(expect_live(visit(server.url, fake_clock=True)))
        page.route("**/api/auth/*", lambda route: route.abort())
        page.clock.fast_forward("02:00:00")  # the access token expires, too

        page.get_by_role("button", name="Sign out").click()

        expect(page.get_by_role("alert")).to_contain_text("Signed out on this page, but not on")
        expect(page.locator("[data-part=signIn]")).to_be_visible()
        assert page.evaluate(STORED_TOKEN) is None

    @failing_requests
    def test_a_revoked_session_is_signed_out_with_a_message(self, server, kwame):
        expect(kwame.locator("#place tr.own")).to_be_visible()
        revoked = {"error": {"code": "token_revoked", "message": "The token was revoked."}}
        for path in ("boards/main/leaderboard/users/**", "auth/refresh"):
            kwame.route(f"**/api/{path}", responding(status=401, json=revoked))

        other = server.user("Another")
        post(server, other, other.user_id, 2)

        message = "You have been signed out: sign in again."
        expect(kwame.get_by_role("alert")).to_have_text(message)
        expect(kwame.locator("[data-part=signIn]")).to_be_visible()
        expect(kwame.locator(".own")).to_have_count(0)

    @failing_requests
    def test_a_session_restored_after_an_error_leaves_no_message(self, kwame):
        error = {"error": {"code": "rate_limited", "message": "Too many requests."}}
        for path in ("refresh", "viewer"):
            kwame.route(f"**/api/auth/{path}", responding(status=429, json=error), times=1)

        kwame.reload()

        expect_signed_in(kwame)
        expect(kwame.get_by_role("alert")).to_have_text("")

    @failing_requests
    def test_a_failed_request_for_the_rank_is_sent_again(self, server, game, players, kwame):
        expect(kwame.locator("#place tr.own")).to_be_visible()
        handle, sent = first_fails(responding(status=503, body="<html>"))
        kwame.route("**/leaderboard/users/**", handle)

        post(server, game, players["Kwame"], 71_000)

        until(kwame, lambda: len(sent) > 1)
        expect(kwame.locator("#place tr.own .score")).to_have_text("71,000")

    @failing_requests
    def test_a_sign_in_replaces_a_session_that_is_being_restored(self, server, kwame):
        server.user("Later")
        held = []
        kwame.route("**/api/auth/refresh", lambda route: held.append(route))
        kwame.reload()
        until(kwame, lambda: held)

        signed_in(kwame, "Later")
        with kwame.expect_response("**/api/auth/refresh"):
            held[0].continue_()
        kwame.unroute("**/api/auth/refresh")
        kwame.reload()

        expect_signed_in(kwame, "Later")

    @failing_requests
    @pytest.mark.parametrize(
        "response",
        [
            None,
            {"status": 502, "body": "<html>"},
            # The page of a captive portal.
            {"status": 200, "content_type": "text/html", "body": "<html>Sign in"},
            {"status": 401, "content_type": "text/html", "body": "<html>Sign in"},
        ],
        ids=["none", "502 of a gateway", "200 of a portal", "401 of a portal"],
    )
    def test_a_refresh_without_a_response_of_the_server_is_sent_again(self, kwame, response):
        fail = responding(**response) if response else lambda route: route.abort()
        handle, sent = first_fails(fail)
        kwame.route("**/api/auth/refresh", handle)

        kwame.reload()

        expect_signed_in(kwame)
        assert sent[0].headers["authorization"] == sent[1].headers["authorization"]

    def test_a_duplicated_tab_and_the_first_both_stay_signed_in(self, kwame):
        used = kwame.evaluate(STORED_TOKEN)

        copy = duplicate(kwame)

        until(kwame, lambda: kwame.evaluate(STORED_TOKEN) != used)
        assert kwame.evaluate(STORED_TOKEN) == copy.evaluate(STORED_TOKEN)
        kwame.reload()
        expect_signed_in(kwame)

    def test_tabs_refresh_one_at_a_time(self, kwame):
        copy = duplicate(kwame)
        until(kwame, lambda: kwame.evaluate(STORED_TOKEN) == copy.evaluate(STORED_TOKEN))
        held = []
        handle, sent = first_fails(held.append)
        kwame.context.route("**/api/auth/refresh", handle)

        kwame.reload()
        until(kwame, lambda: held)
        copy.reload()
        until(copy, lambda: copy.evaluate("navigator.locks.query().then((all) => all.pending)"))

        assert len(sent) == 1
        held[0].continue_()
        for page in (kwame, copy):
            expect_signed_in(page)

    @pytest.mark.parametrize(
        "script", [OLDER, NO_LOCKS, LOCKS_DENIED], ids=["older", "no locks", "locks denied"]
    )
    def test_a_reload_keeps_the_session_in_browsers_with_fewer_features(
        self, server, players, visit, script
    ):
        page = signed_in(expect_live(visit(server.url, script=script)))

        page.reload()

        expect_signed_in(page)

    def test_a_player_signs_in_and_out_without_storage(self, server, players, visit):
        page = signed_in(expect_live(visit(server.url, script=BLOCKED)))

        page.get_by_role("button", name="Sign out").click()

        expect(page.get_by_role("heading", name="Sign in")).to_be_focused()

    @failing_requests
    def test_a_board_that_is_not_public_requires_a_session(self, start, visit):
        private = start(PUBLIC_BOARD="0")
        private.user("Olga")
        page = visit(private.url)
        expect(page.locator("#notice")).to_have_text(NOT_PUBLIC)

        sign_in(page, "Olga")

        expect_live(page)
        expect(page.locator("#notice")).to_contain_text("No scores yet.")
        expect(page.locator(".standing")).to_contain_text("You are not on the board yet")
        post_score(page, "120")
        expect(rows(page).first.locator(".name")).to_have_text("Olga")
        expect(page.locator(".standing")).to_have_text("1st of 1 player")
        page.get_by_role("link", name="wall screen").click()
        expect(page.locator("#places .name").first).to_have_text("Olga")
        page.go_back()
        expect_live(page)

        private.flask("users", "end-sessions", "Olga")
        expect(page.get_by_role("alert")).to_contain_text("You have been signed out")
        page.reload()

        expect(page.get_by_role("button", name="Join", exact=True)).to_be_visible()
        expect(page.locator("#notice")).to_have_text(NOT_PUBLIC)
        expect(rows(page)).to_have_count(0)


def duplicate(page):
    """Return a second tab with the sign-in of this one."""
    with page.expect_popup() as popup:
        page.evaluate("window.open(location.href)")
    return expect_signed_in(popup.value)


class TestScreens:
    @pytest.mark.parametrize("script", [OLDER, BLOCKED], ids=["older", "no storage"])
    def test_browsers_with_fewer_features_show_the_board(
        self, server, game, players, visit, script
    ):
        page = expect_live(visit(server.url, script=script))

        post(server, game, players["Kwame"], 72_000 + next(NUMBERS))

        expect(rows(page).locator(".name", has_text="Kwame")).to_have_count(1)

    def test_the_focus_is_visible(self, players, page):
        stops = []
        expect(page.get_by_role("button", name="Show all")).to_be_visible()
        for _ in range(8):
            page.keyboard.press("Tab")
            stops.append(page.evaluate(FOCUSED))

        assert [name for name, _ in stops] == [
            "username",
            "Join",
            "shared",
            "Create an account",
            "Sign in",
            page.get_by_role("button", name="Show all").text_content(),
            "Show on a wall screen",
            "For developers",
        ]
        assert {outline for _, outline in stops} == {"solid"}

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize(
        ("path", "viewport", "has_session"), SCREENS, ids=["phone", "laptop", "signed in"]
    )
    def test_the_page_is_accessible_and_fits_the_screen(
        self, server, players, visit, path, viewport, has_session, scheme
    ):
        options = {"viewport": viewport, "color_scheme": scheme, "reduced_motion": "reduce"}
        page = expect_live(visit(server.url + path, **options))
        expect(rows(page)).to_have_count(10)
        if has_session:
            sign_in(page)
            expect(rows(page, "#place").first).to_be_visible()

        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]

    def test_the_longest_scores_and_names_fit_the_narrowest_phone(self, another, visit):
        player = another.user("W" * 64)
        other = another.user("Other")
        post(another, player, player.user_id, -9007199254740991)
        post(another, other, other.user_id, 1)
        page = visit(another.url, viewport={"width": 320, "height": 640})
        sign_in(page, "W" * 64)
        for table in ("#table", "#place"):
            expect(rows(page, table)).not_to_have_count(0)

        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 640})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(OVERFLOWING_CARDS) == 0
        names = page.locator("tbody .name")
        assert min(names.evaluate_all("names => names.map((n) => n.clientWidth)")) > 40


class TestEmbeddedBoard:
    def test_it_is_live(self, server, game, players, embed):
        page = embed(body="<score-board count=3></score-board>")
        first, second = (page.locator(f"score-board >> nth={n} >> tbody tr") for n in range(2))
        expect(page.get_by_role("status").first).to_have_text("Live")
        expect(first).to_have_count(5)
        expect(second).to_have_count(3)

        post(server, game, players["Jo"], 80_000)

        expect(first.locator(".name").first).to_have_text("Jo")
        page.evaluate("document.querySelector('score-board').setAttribute('count', '4')")
        expect(first).to_have_count(4)
        assert violations(page) == []

    def test_it_is_shown_in_an_older_browser(self, server, players, embed):
        page = embed(policy=f"; style-src {server.url}", script=OLDER)

        expect(page.locator("score-board tbody tr")).to_have_count(5)
        expect(page.locator("score-board caption")).to_have_css("position", "absolute")

    def test_the_page_can_set_its_colours(self, players, embed):
        page = embed()
        expect(page.locator("score-board tbody tr")).to_have_count(5)

        page.evaluate(
            "document.querySelector('score-board')"
            ".style.setProperty('--score-board-ink', 'rgb(1, 2, 3)')"
        )

        expect(page.locator("score-board tbody .name").first).to_have_css("color", "rgb(1, 2, 3)")

    def test_a_removed_element_disconnects(self, players, embed):
        sockets = []
        page = embed(sockets=sockets)
        expect(page.get_by_role("status")).to_have_text("Live")

        page.evaluate("document.querySelector('score-board').remove()")

        until(page, lambda: [socket.is_closed() for socket in sockets] == [True])

    @failing_requests
    def test_a_removed_element_sends_no_more_requests(self, players, embed):
        urls = []
        failure = {"headers": {"Access-Control-Allow-Origin": "*"}, "body": "", "status": 503}
        reads = []

        def handle_read(route):
            reads.append(route.request)
            if len(reads) > 1:
                route.fulfill(**failure)
            else:
                route.continue_()

        def fail_second_read(page):
            page.route("**/api/boards/main", handle_read)

        page = embed(fake_clock=True, urls=urls, prepare=fail_second_read)
        expect(page.get_by_role("status")).to_have_text("Live")
        until(page, lambda: count(urls, "boards/main") > 1)
        page.route("**/api/auth/viewer", responding(**failure))
        page.clock.fast_forward("02:00:00")
        page.evaluate("dispatchEvent(new Event('offline'))")
        expect(page.get_by_role("status")).to_contain_text("trying again in")

        page.evaluate("document.querySelector('score-board').remove()")
        page.clock.run_for(1000)
        urls.clear()
        page.clock.run_for(120_000)

        assert urls == []

    @failing_requests
    def test_a_failure_that_looks_like_a_forbidden_origin_is_retried(self, players, embed):
        def fail_once(page):
            page.route("**/api/auth/viewer", lambda route: route.abort(), times=1)

        page = embed(fake_clock=True, prepare=fail_once)
        expect(page.locator("score-board .notice")).to_have_text(NOT_ALLOWED)

        page.clock.fast_forward("01:00")

        expect(page.get_by_role("status")).to_have_text("Live")

    @failing_requests
    def test_a_website_that_is_not_allowed_shows_the_reason(self, embed):
        page = embed(site=1)

        expect(page.locator("score-board .notice")).to_have_text(NOT_ALLOWED)


@pytest.mark.parametrize(
    "path", ["/embed.js", "/web/board/live.js", "/web/board/table.css", "/theme.css"]
)
def test_modules_may_be_loaded_by_every_website_and_are_revalidated(client, path):
    response = client.get(path)
    again = client.get(path, headers={"If-None-Match": response.headers["ETag"]})

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.mimetype in ("text/javascript", "text/css")
    assert again.status_code == 304


def test_other_websites_may_not_read_the_page(client):
    response = client.get("/")

    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers
