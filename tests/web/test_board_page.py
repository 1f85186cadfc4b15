"""The live page and its embedded form, in a real browser."""

import functools
import http.server
import itertools
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests
from playwright.sync_api import expect

from tests.support.browsers import Tab, chromium, stand_still, violations
from tests.support.servers import PASSWORD, ROOT, Server
from tests.support.waiting import wait_until

NUMBERS = itertools.count(1)
START = datetime(2026, 1, 1, tzinfo=UTC)
PHONE = {"width": 360, "height": 740}
LAPTOP = {"width": 1280, "height": 800}
WALL = {"width": 1920, "height": 1080}
LONG = "The one with a name that has exactly sixty-four letters or so..."
NOT_ALLOWED = "This board may not be shown on this website."


@pytest.fixture(scope="module")
def sites():
    """Return the origins of two other websites, each with a page that embeds the board."""
    pages = {}
    servers = [_site(pages) for _ in range(2)]
    yield [f"http://127.0.0.1:{site.server_port}" for site in servers], pages
    for site in servers:
        site.shutdown()
        site.server_close()


def _site(pages):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = pages.get(self.path)
            self.send_response(200 if found else 204)
            for name, value in (found or {"headers": {}})["headers"].items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found["body"].encode() if found else b"")

        def log_message(self, *arguments):
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=functools.partial(site.serve_forever, 0.05), daemon=True).start()
    return site


@pytest.fixture(scope="module")
def server(tmp_path_factory, sites):
    server = Server(tmp_path_factory.mktemp("server"), CORS_ORIGINS=sites[0][0])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """Return a server whose board is not public, where scores can be posted by a button."""
    server = Server(tmp_path_factory.mktemp("private"), PUBLIC_BOARD="0", DEMO="1")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Return a server where scores can be posted by a button."""
    server = Server(tmp_path_factory.mktemp("demo"), DEMO="1")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def game(server):
    """Return a game server's account."""
    return server.user("Game", "scorer")


@pytest.fixture(scope="module")
def crowd(server, game):
    """Return the ids of a dozen players, each with a score."""
    names = ["Ann", "Bo", "Chiara", "Dmitri", "Esi", "Farid", "Guðrún", "Hiro", "Ines", "Jo"]
    ids = {name: register(server, name) for name in [*names, "Kwame", LONG]}
    for place, name in enumerate(ids):
        post(server, game, ids[name], 1200 - 100 * place)
    return ids


def register(server, name):
    """Return the id of a new user, whose name need not be fit for an address."""
    email = f"{next(NUMBERS)}@example.com"
    body = {"username": name, "email": email, "password": PASSWORD}
    answer = requests.post(f"{server.url}/api/auth/register", json=body, timeout=10)
    assert answer.status_code == 201, answer.text
    return answer.json()["user_id"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def requests_fail():
    """Return whether requests that fail are part of the test; it parametrizes this."""
    return False


@pytest.fixture
def visit(browser, requests_fail):
    """Return a function that opens a page; at the end none may have complained."""
    tabs = []

    def open_page(url, **options):
        tabs.append(Tab(browser, url, **{"viewport": LAPTOP, **options}))
        tabs[-1].page.goto(url)
        return tabs[-1].page

    yield open_page
    found = [problem for tab in tabs for problem in tab.unexpected(requests_fail)]
    for tab in tabs:
        tab.context.close()
    assert found == []


failing_requests = pytest.mark.parametrize("requests_fail", [True])


def post(server, by, user_id, score):
    """Post a score, each later than the one before."""
    moment = START + timedelta(seconds=next(NUMBERS))
    update = {"user_id": user_id, "score_value": score, "timestamp": moment.isoformat()}
    assert server.post(by.token, update).status_code == 200


def rows(page, table="#table"):
    return page.locator(f"{table} tbody tr")


def shown(page, table="#table"):
    """Return rank, name and score of every row."""
    return [row.split("\t") for row in rows(page, table).all_inner_texts()]


def live(page):
    expect(page.locator("#status")).to_have_text("Live")
    return page


def sign_in(page, name, password=PASSWORD):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def order(server):
    return [entry["user_id"] for entry in server.top10()]


def order_shown(page):
    return rows(page).evaluate_all("rows => rows.map((row) => row.dataset.userId)")


def until(page, true):
    """Wait for what the browser tells of the page; it does so only while it is asked something."""
    wait_until(lambda: page.evaluate("true") and true())


def test_a_score_shows_soon_after_its_post(server, game, crowd, visit):
    page = live(visit(server.url))

    post(server, game, crowd["Ann"], 1234)

    score = page.locator(f"[data-user-id='{crowd['Ann']}'] .score")
    expect(score).to_have_text("1,234", timeout=3000)


def test_the_page_says_what_it_is_and_where_to_read_on(server, visit):
    page = live(visit(server.url))

    expect(page.get_by_text("The ten highest scores, live")).to_be_visible()
    expect(page.get_by_role("link", name="documented API")).to_have_attribute("href", "/docs")


def test_equal_scores_share_their_rank(server, game, crowd, visit):
    for name, score in {"Bo": 9000, "Chiara": 8000, "Esi": 8000, "Hiro": 7000}.items():
        post(server, game, crowd[name], score)

    page = live(visit(server.url))

    expect(rows(page)).to_have_count(10)
    expect(rows(page).first.locator(".name")).to_have_text("Bo")
    assert [row[:2] for row in shown(page)[:4]] == [
        ["1", "Bo"],
        ["2", "Chiara"],
        ["2", "Esi"],
        ["4", "Hiro"],
    ]


def test_a_changed_score_is_marked_and_its_row_moves(server, game, crowd, visit):
    page = live(visit(server.url))
    expect(rows(page)).to_have_count(10)
    last = order(server)[-1]
    page.evaluate(COUNT_ANIMATIONS)

    post(server, game, last, 9500)

    expect(page.locator(f"[data-user-id='{last}'] .score")).to_have_attribute("data-change", "up")
    expect(rows(page).first).to_have_attribute("data-user-id", last)
    assert page.evaluate("window.animations") >= 10


def test_nothing_moves_for_who_prefers_reduced_motion(server, game, crowd, visit):
    page = live(visit(server.url, reduced_motion="reduce"))
    expect(rows(page)).to_have_count(10)
    last = order(server)[-1]
    page.evaluate(COUNT_ANIMATIONS)

    post(server, game, last, 9600)

    expect(rows(page).first).to_have_attribute("data-user-id", last)
    assert page.evaluate("window.animations") == 0
    assert page.evaluate("document.getAnimations().length") == 0


COUNT_ANIMATIONS = """() => {
    window.animations = 0;
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (...given) {
        window.animations += 1;
        return animate.apply(this, given);
    };
}"""


def test_the_newest_events_are_listed_by_name_the_newest_first(server, game, crowd, visit):
    page = live(visit(server.url))

    for score in range(1, 21):
        post(server, game, crowd["Kwame"], score)

    items = page.locator("#events li")
    expect(items.first).to_have_text("Kwame: 20")
    expect(items).to_have_count(12)
    assert items.all_inner_texts() == [f"Kwame: {score}" for score in range(20, 8, -1)]


def test_names_are_asked_for_once_however_many_events_there_are(server, game, crowd, visit):
    page = visit("about:blank")
    page.clock.install()
    live(page.goto(server.url) and page)
    expect(rows(page).first.locator(".name")).not_to_have_text(order(server)[0][:8])
    asked = []
    page.on("request", lambda request: "/api/leaderboard" in request.url and asked.append(request))

    for score in range(30, 60):
        post(server, game, crowd["Kwame"], score)
    expect(page.locator("#events li").first).to_have_text("Kwame: 59")
    page.clock.fast_forward("01:00")  # whatever was put off is due
    post(server, game, crowd["Kwame"], 60)

    expect(page.locator("#events li").first).to_have_text("Kwame: 60")
    assert asked == []


def test_a_new_player_appears_by_name(server, visit):
    page = live(visit(server.url))

    newcomer = server.user("Newcomer")
    post(server, newcomer, newcomer.user_id, 20_000)

    expect(rows(page).first.locator(".name")).to_have_text("Newcomer")
    expect(page.locator("#events li").first).to_have_text("Newcomer: 20,000")


def test_a_name_with_html_in_it_stays_text(server, game, visit):
    name = '<img src=x onerror="document.title=1"><b>bold</b>'
    user_id = register(server, name)
    page = live(visit(server.url))

    post(server, game, user_id, 30_000)

    expect(rows(page).first.locator(".name")).to_have_text(name)
    expect(page.locator("#events li").first).to_have_text(f"{name}: 30,000")
    assert page.locator("#table img, #table b, #events img, #events b").count() == 0


@failing_requests
def test_a_killed_and_restarted_server_is_survived_without_a_reload(server, game, crowd, visit):
    page = live(visit(server.url))
    page.evaluate("window.stayed = true")

    server.kill()
    expect(page.locator("#status")).to_contain_text("Offline: trying again in")
    server.start()
    expect(page.locator("#status")).to_have_text("Live", timeout=30_000)
    post(server, game, crowd["Farid"], 40_000)

    expect(rows(page).first).to_have_attribute("data-user-id", crowd["Farid"])
    assert page.evaluate("window.stayed")


def test_after_fifty_updates_of_three_users_the_order_is_that_of_the_api(server, game, visit):
    trio = [server.user(f"Trio-{number}").user_id for number in range(3)]
    page = live(visit(server.url))

    for number in range(50):
        post(server, game, trio[number % 3], 50_000 + number * 7919 % 1000)

    final = order(server)
    wait_until(lambda: order_shown(page) == final)
    assert set(final[:3]) == set(trio)


@pytest.mark.parametrize(("code", "tokens"), [(1012, 1), (4408, 1), (4401, 2)])
def test_whatever_the_connection_is_closed_with_it_comes_back(server, visit, code, tokens):
    sockets, asked = [], []
    page = visit("about:blank")
    page.on("request", lambda request: "auth/viewer" in request.url and asked.append(request.url))

    def keep(socket):
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket("**/ws/scoreboard", keep)
    live(page.goto(server.url) and page)

    sockets[0].close(code=code)

    wait_until(lambda: page.locator("#status").text_content() == "Live" and len(sockets) == 2)
    assert len(asked) == tokens


def test_a_token_that_is_about_to_expire_is_replaced_without_a_gap(server, game, crowd, visit):
    page = visit("about:blank")
    sockets, asked = [], []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.on("request", lambda request: "auth/viewer" in request.url and asked.append(request))
    page.clock.install()
    page.goto(server.url)
    live(page)
    states = page.evaluate_handle(KEEP_STATES)

    page.clock.fast_forward("58:00")  # so long without a word that the connection is tried anew
    until(page, lambda: len(sockets) == 2 and sockets[0].is_closed())
    assert len(asked) == 1
    page.clock.fast_forward("01:30")
    until(page, lambda: len(sockets) == 3 and sockets[1].is_closed())
    assert len(asked) == 2
    post(server, game, crowd["Ines"], 60_000)

    expect(rows(page).first).to_have_attribute("data-user-id", crowd["Ines"])
    assert states.json_value() == []


KEEP_STATES = """() => {
    const states = [];
    const status = document.getElementById("status");
    new MutationObserver(() => status.textContent === "Live" || states.push(status.textContent))
        .observe(status, { childList: true, characterData: true, subtree: true });
    return states;
}"""


def test_a_page_that_comes_back_as_it_was_left_connects_anew(server, visit):
    page = visit("about:blank")
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket))
    live(page.goto(server.url) and page)

    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")

    until(page, lambda: len(sockets) == 2 and sockets[0].is_closed())
    live(page)


def test_no_token_is_in_an_address(server, visit):
    page = visit("about:blank")
    addresses = []
    page.on("websocket", lambda socket: addresses.append(socket.url))

    page.goto(server.url)
    live(page)

    assert addresses == [f"{server.url.replace('http', 'ws')}/ws/scoreboard"]


def test_a_player_signs_in_sees_their_place_and_signs_out(server, game, crowd, visit):
    page = live(visit(server.url))

    sign_in(page, "Kwame")

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    expect(page.get_by_role("heading", name="Your place")).to_be_focused()
    expect(page.locator("#place tr.own .name")).to_have_text("Kwame")
    post(server, game, crowd["Kwame"], 70_000)
    expect(page.locator(".standing")).to_have_text(f"Rank 1 of {ranked(server)}")
    expect(rows(page, "#place")).to_have_count(3)
    expect(rows(page).first).to_have_class("own")

    page.reload()
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Name")).to_be_focused()
    expect(page.locator(".own")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0
    live(page)


def ranked(server):
    return requests.get(f"{server.url}/api/leaderboard?limit=1", timeout=10).json()["total"]


@failing_requests
def test_what_the_server_refuses_is_shown_in_its_own_sentence(server, crowd, visit):
    page = live(visit(server.url))

    sign_in(page, "Kwame", "wrong password")

    expect(page.get_by_role("alert")).to_have_text("Username or password is wrong.")
    expect(page.get_by_role("button", name="Sign in")).to_be_enabled()


@failing_requests
def test_a_value_that_is_refused_is_told_with_what_is_wrong_with_it(demo, visit):
    demo.user("Vera")
    page = visit(demo.url)
    sign_in(page, "Vera")
    live(page)

    page.get_by_label("Score", exact=True).fill("1e300")
    page.get_by_role("button", name="Post score").click()

    expect(page.get_by_role("alert")).to_contain_text("9007199254740991")


@failing_requests
def test_a_score_whose_answer_a_proxy_lost_is_not_counted_twice(demo, visit):
    demo.user("Walt")
    page = visit(demo.url)
    sign_in(page, "Walt")
    live(page)
    sent, answered = [], []

    def lose_the_first(route):
        sent.append(route.request.post_data_json["nonce"])
        answer = route.fetch()
        if len(sent) == 1:
            route.fulfill(status=503, body="<html>")
        else:
            route.fulfill(response=answer)
        answered.append(answer.status)

    page.route("**/api/score/update", lose_the_first)
    page.get_by_role("button", name="Post score").click()
    expect(page.get_by_role("alert")).to_have_text("The server could not answer.")
    page.get_by_role("button", name="Post score").click()
    expect(page.get_by_role("alert")).to_have_text("")

    until(page, lambda: len(answered) == 2)
    assert sent[0] == sent[1]


@failing_requests
def test_who_signs_out_while_the_server_is_away_is_signed_out_here(server, crowd, visit):
    page = visit("about:blank")
    page.clock.install()
    live(page.goto(server.url) and page)
    sign_in(page, "Kwame")
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    page.route("**/api/auth/*", lambda route: route.abort())
    page.clock.fast_forward("02:00:00")  # so that the access token is too old as well

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("alert")).to_contain_text("Signed out here, but the server was not")
    expect(page.get_by_label("Password")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


@failing_requests
def test_whose_sign_in_the_server_has_ended_is_told_so(server, visit):
    person = server.user("Ended")
    post(server, person, person.user_id, 1)
    page = live(visit(server.url))
    sign_in(page, "Ended")
    expect(page.locator("#place tr.own")).to_be_visible()

    ended = {"error": {"code": "token_revoked", "message": "The token was revoked."}}
    for path in ("leaderboard/users/**", "auth/refresh"):
        page.route(f"**/api/{path}", lambda route: route.fulfill(status=401, json=ended))
    other = server.user("Another")
    post(server, other, other.user_id, 2)

    expect(page.get_by_role("alert")).to_have_text("You have been signed out: sign in again.")
    expect(page.get_by_label("Password")).to_be_visible()
    expect(page.locator(".own")).to_have_count(0)


@failing_requests
def test_a_sign_in_that_is_gone_on_with_late_leaves_no_complaint(server, crowd, visit):
    page = live(visit(server.url))
    sign_in(page, "Kwame")
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    busy = {"error": {"code": "rate_limited", "message": "Too many requests."}}
    page.route("**/api/auth/refresh", lambda route: route.fulfill(status=429, json=busy), times=1)
    page.route("**/api/auth/viewer", lambda route: route.fulfill(status=429, json=busy), times=1)

    page.reload()

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("")


@failing_requests
def test_a_place_that_could_not_be_asked_for_is_asked_for_again(server, game, crowd, visit):
    page = live(visit(server.url))
    sign_in(page, "Kwame")
    expect(page.locator("#place tr.own")).to_be_visible()
    failed = []

    def fail(route):
        failed.append(route.fulfill(status=503, body="<html>"))

    page.route("**/api/leaderboard/users/**", fail, times=1)
    post(server, game, crowd["Kwame"], 71_000)
    until(page, lambda: failed)

    expect(page.locator("#place tr.own .score")).to_have_text("71,000")


@failing_requests
def test_signing_in_while_an_older_sign_in_is_gone_on_with_holds(server, crowd, visit):
    server.user("Later")
    page = live(visit(server.url))
    sign_in(page, "Kwame")
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    held = []
    page.route("**/api/auth/refresh", lambda route: held.append(route))
    page.reload()
    until(page, lambda: held)

    sign_in(page, "Later")
    expect(page.get_by_text("Signed in as Later")).to_be_visible()
    with page.expect_response("**/api/auth/refresh"):
        held[0].continue_()
    page.unroute("**/api/auth/refresh")
    page.reload()

    expect(page.get_by_text("Signed in as Later")).to_be_visible()


@failing_requests
@pytest.mark.parametrize("failure", ["no answer", "a gateway's 502"])
def test_a_refresh_without_an_answer_is_sent_again_and_keeps_the_sign_in(
    server, crowd, visit, failure
):
    page = live(visit(server.url))
    sign_in(page, "Kwame")
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    sent = []

    def lose_the_first(route):
        sent.append(route.request.headers["authorization"])
        if len(sent) > 1:
            route.continue_()
        elif failure == "no answer":
            route.abort()
        else:
            route.fulfill(status=502, body="<html>")

    page.route("**/api/auth/refresh", lose_the_first)
    page.reload()

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    assert sent[0] == sent[1]


@failing_requests
@pytest.mark.parametrize("status", [200, 401])
def test_a_page_of_something_in_between_does_not_end_the_sign_in(server, crowd, visit, status):
    page = live(visit(server.url))
    sign_in(page, "Kwame")
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    portal = {"status": status, "content_type": "text/html", "body": "<html>Sign in to the WiFi"}
    page.route("**/api/auth/refresh", lambda route: route.fulfill(**portal), times=1)

    page.reload()

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()


def duplicated(page):
    """Return a second tab that has a copy of the first one's sessionStorage."""
    with page.expect_popup() as popup:
        page.evaluate("window.open(location.href)")
    return popup.value


KEPT = "sessionStorage.getItem('scoreboard.refresh_token')"


def test_a_duplicated_tab_and_the_first_one_both_stay_signed_in(server, crowd, visit):
    first = live(visit(server.url))
    sign_in(first, "Kwame")
    expect(first.get_by_text("Signed in as Kwame")).to_be_visible()
    used = first.evaluate(KEPT)

    second = duplicated(first)
    expect(second.get_by_text("Signed in as Kwame")).to_be_visible()
    until(first, lambda: first.evaluate(KEPT) != used)
    assert first.evaluate(KEPT) == second.evaluate(KEPT)
    first.reload()

    expect(first.get_by_text("Signed in as Kwame")).to_be_visible()


def test_tabs_refresh_one_at_a_time(server, crowd, visit):
    first = live(visit(server.url))
    sign_in(first, "Kwame")
    expect(first.get_by_text("Signed in as Kwame")).to_be_visible()
    second = duplicated(first)
    expect(second.get_by_text("Signed in as Kwame")).to_be_visible()
    until(first, lambda: first.evaluate(KEPT) == second.evaluate(KEPT))
    held = []

    def hold_the_first(route):
        held.append(route)
        if len(held) > 1:
            route.continue_()

    first.context.route("**/api/auth/refresh", hold_the_first)

    first.reload()
    until(first, lambda: held)
    second.reload()
    until(second, lambda: second.evaluate("navigator.locks.query().then((all) => all.pending)"))

    assert len(held) == 1
    held[0].continue_()
    for page in (first, second):
        expect(page.get_by_text("Signed in as Kwame")).to_be_visible()


@pytest.mark.parametrize(
    "missing",
    [
        "delete Navigator.prototype.locks; delete window.BroadcastChannel;",
        "navigator.locks.request = async () => { throw new DOMException('', 'SecurityError') };",
    ],
)
def test_a_reload_keeps_the_sign_in_where_tabs_have_no_locks(server, crowd, visit, missing):
    page = visit("about:blank")
    page.add_init_script(missing)
    live(page.goto(server.url) and page)
    sign_in(page, "Kwame")
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()

    page.reload()

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()


BLOCKED = """for (const name of ["sessionStorage", "localStorage", "caches", "indexedDB"])
    Object.defineProperty(window, name, {
        get() { throw new DOMException("Access is denied for this document.", "SecurityError"); },
    });"""


@pytest.mark.parametrize("path", ["/", "/?display=wall"])
def test_the_board_shows_where_storage_is_blocked(server, game, crowd, visit, path):
    page = visit("about:blank")
    page.add_init_script(BLOCKED)

    page.goto(server.url + path)

    post(server, game, crowd["Kwame"], 72_000)
    expect(rows(page).locator(".name", has_text="Kwame")).to_have_count(1)


def test_a_player_signs_in_where_storage_is_blocked(server, crowd, visit):
    page = visit("about:blank")
    page.add_init_script(BLOCKED)
    live(page.goto(server.url) and page)

    sign_in(page, "Kwame")

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Name")).to_be_focused()


# What is newer than Safari 15, Chromium 86 and Firefox 90, the oldest that the pages support.
OLDER = """for (const [object, ...names] of [
    [AbortSignal, "timeout", "any"],
    [AbortSignal.prototype, "throwIfAborted"],
    [Array, "fromAsync"],
    [Array.prototype, "at", "findLast", "findLastIndex", "toSorted", "toReversed", "with"],
    [String.prototype, "at", "isWellFormed"],
    [Object, "hasOwn", "groupBy"],
    [Promise, "withResolvers", "try"],
    [URL, "canParse"],
    [Crypto.prototype, "randomUUID"],
    [Navigator.prototype, "locks"],
    [Document.prototype, "adoptedStyleSheets"],
    [ShadowRoot.prototype, "adoptedStyleSheets"],
    [window, "structuredClone", "BroadcastChannel", "CSSStyleSheet", "scheduler"],
]) for (const name of names) delete object[name];"""


@pytest.mark.parametrize("path", ["/", "/?display=wall"])
def test_an_older_browser_shows_the_board(server, game, crowd, visit, path):
    page = visit("about:blank")
    page.add_init_script(OLDER)

    live(page.goto(server.url + path) and page)

    post(server, game, crowd["Kwame"], 73_000)
    expect(rows(page).locator(".name", has_text="Kwame")).to_have_count(1)


def test_an_older_browser_signs_in_and_stays_so_over_a_reload(server, crowd, visit):
    page = visit("about:blank")
    page.add_init_script(OLDER)
    live(page.goto(server.url) and page)
    sign_in(page, "Kwame")
    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()

    page.reload()

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()


def test_by_default_there_is_no_button_that_posts_a_score(server, crowd, visit):
    page = live(visit(server.url))

    sign_in(page, "Kwame")

    expect(page.get_by_text("Signed in as Kwame")).to_be_visible()
    expect(page.get_by_role("button", name="Post score")).to_have_count(0)


@failing_requests
def test_a_board_that_is_not_public_is_shown_to_who_signs_in(private, visit):
    private.user("Olga")
    page = visit(private.url)
    expect(page.locator("#notice")).to_have_text("This board is not public: sign in to watch it.")

    sign_in(page, "Olga")

    live(page)
    expect(page.locator("#notice")).to_contain_text("No scores yet.")
    expect(page.locator(".standing")).to_contain_text("You are not on the board yet")
    page.get_by_label("Score", exact=True).fill("120")
    page.get_by_role("button", name="Post score").click()
    expect(rows(page).first.locator(".name")).to_have_text("Olga")
    expect(page.locator(".standing")).to_have_text("Rank 1 of 1")
    page.get_by_role("link", name="wall screen").click()
    expect(rows(page).first.locator(".name")).to_have_text("Olga")
    page.go_back()
    live(page)

    private.flask("users", "end-sessions", "Olga")
    page.reload()

    expect(page.get_by_label("Password")).to_be_visible()
    expect(page.locator("#notice")).to_have_text("This board is not public: sign in to watch it.")
    expect(rows(page)).to_have_count(0)


def test_a_wall_screen_shows_the_board_and_nothing_to_operate(server, crowd, visit):
    page = live(visit(f"{server.url}/?display=wall", viewport=WALL))

    expect(rows(page)).to_have_count(10)

    assert page.locator("a, button, input, form, #events").count() == 0
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollHeight") <= WALL["height"]
    assert rows(page).first.evaluate("row => row.getBoundingClientRect().height") > 80


def test_whoever_uses_the_keyboard_sees_where_they_are(server, crowd, visit):
    page = live(visit(server.url))
    stops = []

    for _ in range(5):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUSED))

    assert [stop[0] for stop in stops] == [
        "documented API",
        "username",
        "password",
        "Sign in",
        "Show the board on a wall screen",
    ]
    assert {stop[1] for stop in stops} == {"solid"}


FOCUSED = """() => {
    const { name, textContent } = document.activeElement;
    return [name || textContent, getComputedStyle(document.activeElement).outlineStyle];
}"""


@pytest.mark.parametrize("signed_in", [False, True], ids=["signed out", "signed in"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_with_the_page(server, crowd, visit, scheme, signed_in):
    page = live(visit(server.url, color_scheme=scheme, reduced_motion="reduce"))
    expect(rows(page)).to_have_count(10)
    if signed_in:
        sign_in(page, "Kwame")
        expect(rows(page, "#place").first).to_be_visible()

    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "path", "viewport"),
    [("phone", "/", PHONE), ("laptop", "/", LAPTOP), ("wall", "/?display=wall", WALL)],
)
def test_it_fits_the_screen(server, crowd, visit, tmp_path, name, path, viewport, scheme):
    page = live(visit(server.url + path, viewport=viewport, color_scheme=scheme))
    expect(rows(page)).to_have_count(10)

    stand_still(page)
    page.screenshot(path=tmp_path / f"{name}-{scheme}.png", full_page=True)

    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_the_longest_scores_and_names_fit_the_narrowest_phone(demo, visit):
    person = demo.user("W" * 64)
    post(demo, person, person.user_id, -9007199254740991)
    page = visit(demo.url, viewport={"width": 320, "height": 640})
    sign_in(page, "W" * 64)
    expect(rows(page)).not_to_have_count(0)
    expect(rows(page, "#place")).not_to_have_count(0)

    for width in (320, 1280):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(STICKING_OUT) == 0
    widths = page.locator("tbody .name").evaluate_all("names => names.map((n) => n.clientWidth)")
    assert min(widths) > 40


STICKING_OUT = """[...document.querySelectorAll(".card")]
    .filter((card) => card.scrollWidth > card.clientWidth).length"""


def embedding(server):
    """Return a page with the lines of the README, under a policy as strict as can be."""
    (lines,) = re.findall(r"```html\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    policy = (
        f"default-src 'none'; script-src {server.url}; "
        f"connect-src {server.url} {server.url.replace('http', 'ws')}"
    )
    body = (
        "<!doctype html><html lang=en><title>Theirs</title><main><h1>Theirs</h1>"
        f"{lines.replace('https://your-board', server.url)}</main>"
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}
    return {"headers": headers, "body": body}


def test_the_board_is_live_on_another_website(server, game, crowd, sites, visit):
    (allowed, _), pages = sites
    pages["/five"] = embedding(server)
    page = visit(f"{allowed}/five")
    expect(page.get_by_role("status")).to_have_text("Live")
    expect(page.locator("score-board tbody tr")).to_have_count(5)

    post(server, game, crowd["Jo"], 80_000)

    expect(page.locator("score-board tbody .name").first).to_have_text("Jo")
    page.evaluate("document.querySelector('score-board').setAttribute('count', '3')")
    expect(page.locator("score-board tbody tr")).to_have_count(3)
    assert violations(page) == []


def test_an_older_browser_shows_the_board_on_another_website(server, crowd, sites, visit):
    (allowed, _), pages = sites
    older = embedding(server)
    older["headers"]["Content-Security-Policy"] += f"; style-src {server.url}"
    pages["/older"] = older
    page = visit("about:blank")
    page.add_init_script(OLDER)

    page.goto(f"{allowed}/older")

    expect(page.locator("score-board tbody tr")).to_have_count(5)
    expect(page.locator("score-board caption")).to_have_css("position", "absolute")


def test_a_website_gives_the_board_its_own_colours(server, crowd, sites, visit):
    (allowed, _), pages = sites
    pages["/themed"] = embedding(server)
    page = visit(f"{allowed}/themed")
    expect(page.locator("score-board tbody tr")).to_have_count(5)

    page.evaluate(
        "document.querySelector('score-board')"
        ".style.setProperty('--score-board-ink', 'rgb(1, 2, 3)')"
    )

    expect(page.locator("score-board tbody .name").first).to_have_css("color", "rgb(1, 2, 3)")


def test_an_element_that_is_taken_away_disconnects(server, crowd, sites, visit):
    (allowed, _), pages = sites
    pages["/gone"] = embedding(server)
    page = visit("about:blank")
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.goto(f"{allowed}/gone")
    expect(page.get_by_role("status")).to_have_text("Live")

    page.evaluate("document.querySelector('score-board').remove()")

    until(page, lambda: [socket.is_closed() for socket in sockets] == [True])


@failing_requests
def test_an_element_that_is_taken_away_leaves_nothing_running(server, crowd, sites, visit):
    (allowed, _), pages = sites
    pages["/idle"] = embedding(server)
    page = visit("about:blank")
    page.clock.install()
    page.add_init_script(KEEP_INTERVALS)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    away = {"headers": {"Access-Control-Allow-Origin": "*"}, "body": "<html>", "status": 503}
    page.route("**/api/leaderboard*", lambda route: route.fulfill(**away))
    page.goto(f"{allowed}/idle")
    expect(page.get_by_role("status")).to_have_text("Live")
    until(page, lambda: any("leaderboard" in url for url in asked))
    page.route("**/api/auth/viewer", lambda route: route.fulfill(**away))
    page.clock.fast_forward("02:00:00")
    page.evaluate("dispatchEvent(new Event('offline'))")
    expect(page.get_by_role("status")).to_contain_text("trying again in")
    assert page.evaluate("window.intervals.size") > 0

    page.evaluate("document.querySelector('score-board').remove()")
    page.clock.run_for(1000)
    asked.clear()
    page.clock.run_for(120_000)

    assert page.evaluate("window.intervals.size") == 0
    assert asked == []


KEEP_INTERVALS = """
    window.intervals = new Set();
    const { setInterval, clearInterval } = window;
    window.setInterval = (...given) => {
        const id = setInterval(...given);
        window.intervals.add(id);
        return id;
    };
    window.clearInterval = (id) => {
        window.intervals.delete(id);
        clearInterval(id);
    };
"""


def test_two_boards_on_one_page_are_both_live(server, crowd, sites, visit):
    (allowed, _), pages = sites
    twice = embedding(server)
    pages["/two"] = {**twice, "body": twice["body"] + "<score-board count=3></score-board>"}

    page = visit(f"{allowed}/two")

    expect(page.locator("score-board").first.locator("tbody tr")).to_have_count(5)
    expect(page.locator("score-board").last.locator("tbody tr")).to_have_count(3)


@failing_requests
def test_a_board_that_was_taken_for_forbidden_by_mistake_comes_by_itself(
    server, crowd, sites, visit
):
    (allowed, _), pages = sites
    pages["/mistaken"] = embedding(server)
    page = visit("about:blank")
    page.clock.install()
    page.route("**/api/auth/viewer", lambda route: route.abort(), times=1)
    page.goto(f"{allowed}/mistaken")
    expect(page.locator("score-board .notice")).to_have_text(NOT_ALLOWED)

    page.clock.fast_forward("01:00")

    expect(page.get_by_role("status")).to_have_text("Live")


@failing_requests
def test_a_website_that_is_not_allowed_says_so(server, sites, visit):
    (_, foreign), pages = sites
    pages["/foreign"] = embedding(server)

    page = visit(f"{foreign}/foreign")

    expect(page.locator("score-board .notice")).to_have_text(NOT_ALLOWED)


@failing_requests
def test_a_server_that_is_away_is_not_taken_for_one_that_forbids(server, sites, visit):
    (allowed, _), pages = sites
    pages["/away"] = embedding(server)
    page = visit(f"{allowed}/away")
    expect(page.get_by_role("status")).to_have_text("Live")

    server.kill()

    expect(page.get_by_role("status")).to_contain_text("Offline: trying again in")
    server.start()
    expect(page.get_by_role("status")).to_have_text("Live", timeout=30_000)


@pytest.mark.parametrize("path", ["/embed.js", "/web/board/live.js", "/web/board/table.css"])
def test_the_modules_may_be_loaded_by_any_website_and_are_not_stale(client, path):
    answer = client.get(path)
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.mimetype in ("text/javascript", "text/css")
    assert again.status_code == 304


def test_the_page_itself_is_for_nobody_else_to_read(client):
    answer = client.get("/")

    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
