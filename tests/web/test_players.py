"""The podium and the list of all players, in a browser."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.support.board_pages import expect_live, register, rows, texts
from tests.support.browsers import violations

NAMES = [
    *("سارا محمدی", "නිමල් පෙරේරා", "محمد", "עומר", "王小明", "👩‍👩‍👧‍👦 family", "🏴‍☠️"),
    *("W" * 64, "a" * 64, "Bo"),
]
SCORES = [9007199254740991, 1234567.8914, 0.5, 0.1254, 0, -0.25, -3, -1e6, -1e15, -9007199254740991]
SHOWN = [
    *("9,007,199,254,740,991", "1,234,567.891", "0.5", "0.125", "0", "-0.25", "-3"),
    *("-1,000,000", "-1,000,000,000,000,000", "-9,007,199,254,740,991"),
]
SIZES = [(320, 640), (390, 844), (1280, 800), (1920, 1080), (3840, 2160)]


@pytest.fixture(scope="module")
def many(start):
    """Return a server with 250 players."""
    server = start()
    server.flask("users", "seed", "250", "--scores")
    return server


@pytest.fixture(scope="module")
def unusual(start):
    """Return a server with the longest names and scores, in several scripts."""
    server = start()
    game = server.user("Game", "scorer")
    for name, score in zip(NAMES, SCORES, strict=True):
        moment = datetime.now(UTC).isoformat()
        update = {"user_id": register(server, name), "score_value": score, "timestamp": moment}
        assert server.post(game.token, update).status_code == 200
    return server


class TestPodium:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_names_and_scores_of_all_kinds_fit(self, unusual, visit, scheme):
        page = expect_live(visit(unusual.url, color_scheme=scheme, reduced_motion="reduce"))

        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.reload()  # the first layout at this size
            expect(rows(expect_live(page))).to_have_count(10)
            assert [score for _, _, score in texts(page)] == SHOWN
            assert page.evaluate("document.documentElement.scrollWidth") == width
            cells = page.locator("#table tbody :is(.name, .score)")
            overflowing = "all => all.filter((c) => c.scrollWidth > c.clientWidth)"
            assert cells.evaluate_all(overflowing) == []
            assert violations(page) == []

    def test_the_first_stands_in_the_middle_and_highest(self, unusual, visit):
        page = expect_live(visit(unusual.url, reduced_motion="reduce"))
        expect(rows(page)).to_have_count(10)

        boxes = [rows(page).nth(place).locator(".rank").bounding_box() for place in range(3)]

        first, second, third = boxes
        assert second["x"] < first["x"] < third["x"]
        assert first["y"] < second["y"] < third["y"]

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_a_board_with_few_players_is_accessible(self, start, visit, count):
        server = start()
        for number in range(count):
            player = server.user(f"Player-{number}")
            server.post(player.token, player.update(number))
        page = expect_live(visit(server.url))

        expect(rows(page)).to_have_count(count)
        if count == 0:
            expect(page.locator("#notice")).to_contain_text("Join with a nickname")
        assert violations(page) == []

    def test_an_arrow_shows_a_changed_rank(self, start, visit):
        server = start()
        ann, bo = server.user("Ann"), server.user("Bo")
        for player, score in ((ann, 5), (bo, 3)):
            server.post(player.token, player.update(score))
        page = expect_live(visit(server.url))
        expect(rows(page)).to_have_count(2)

        server.post(bo.token, bo.update(8))

        names = rows(page).locator(".name")
        expect(names.first).to_have_attribute("data-moved", "▲1")
        expect(names.last).to_have_attribute("data-moved", "▼1")
        arrow = "name => getComputedStyle(name, '::before').display"
        assert names.first.evaluate(arrow) == "block"


class TestPlayers:
    def test_all_players_are_one_click_away_in_pages(self, many, visit):
        page = expect_live(visit(many.url))

        page.get_by_role("button", name="Show all 250 players").click()

        expect(page.get_by_role("heading", name="All players")).to_be_focused()
        expect(rows(page, "#all")).to_have_count(100)
        page.get_by_role("button", name="Show more").click()
        expect(rows(page, "#all")).to_have_count(200)
        page.get_by_role("button", name="Show more").click()
        expect(rows(page, "#all")).to_have_count(250)
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()
        assert violations(page) == []

    def test_the_number_of_players_follows_within_seconds(self, start, visit):
        server = start()
        ann, bo = server.user("Ann"), server.user("Bo")
        server.post(ann.token, ann.update(5))
        page = expect_live(visit(server.url, fake_clock=True))
        expect(page.locator("#players")).to_have_text("1 player")

        server.post(bo.token, bo.update(3))
        expect(page.locator("#events li")).to_have_count(1)
        page.clock.fast_forward(15_000)

        expect(page.locator("#players")).to_have_text("2 players")

    def test_a_search_finds_names_on_pages_that_are_not_shown(self, many, visit):
        page = expect_live(visit(many.url))
        page.get_by_role("button", name="Show all").click()
        expect(rows(page, "#all")).to_have_count(100)
        page.get_by_role("button", name="Show more").click()
        expect(rows(page, "#all")).to_have_count(200)
        # The longest name is no part of another name.
        name = max(rows(page, "#all").locator(".name").all_text_contents()[100:], key=len)
        page.get_by_role("button", name="Refresh").click()
        expect(rows(page, "#all")).to_have_count(100)

        page.get_by_label("Find a name").fill(name.upper())

        expect(rows(page, "#all").first.locator(".name")).to_have_text(name)
        expect(page.locator("#all [data-part=state]")).to_contain_text("found")
        page.get_by_label("Find a name").fill("nobody has this")
        expect(page.locator("#all [data-part=state]")).to_have_text(
            "No player has this in the name."
        )
