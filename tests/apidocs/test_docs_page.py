"""The page /docs: Swagger UI for the endpoints, the live messages and the error codes below."""

import html
import re

import pytest
from playwright.sync_api import expect

from scoreboard.apidocs import reference
from scoreboard.web.pages import POLICY
from tests.support import databases
from tests.support.browsers import Tab, chromium, violations
from tests.support.servers import Server

SIZES = {"phone": (360, 800), "laptop": (1280, 800)}


@pytest.fixture
def database_url(tmp_path):
    """Return one kind of database: the page is the same with every kind."""
    return databases.copied_sqlite(tmp_path)


@pytest.fixture
def page(client):
    return html.unescape(client.get("/docs").text)


def test_every_message_and_close_code_is_on_the_page(client, page):
    document = client.get("/api/asyncapi.json").json

    for name in document["components"]["messages"]:
        assert f'id="message-{name}"' in page
    for channel in document["channels"].values():
        assert f"<code>{channel['address']}</code>" in page
        assert all(f"<code>{code}</code>" in page for code in channel.get("x-close-codes", ()))


def test_every_error_code_is_on_the_page_with_its_status_and_remedy(page):
    text = re.sub("</?code>", "`", page)

    for code, entry in reference.codes().items():
        row = text.split(f'<dt id="code-{code}">')[1].split("</dd>")[0]
        assert f"`{code}` {entry['status']}" in row
        assert entry["meaning"] in row
        assert entry["remedy"] in row


def test_every_link_and_file_of_the_page_exists(client, page):
    ids = set(re.findall(r'id="([^"]+)"', page))

    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    for path in set(re.findall(r'(?:href|src)="(/[^"]*)"', page)):
        assert client.get(path).status_code == 200


def test_the_policy_is_that_of_every_page(client, page):
    assert client.get("/docs").headers["Content-Security-Policy"] == POLICY
    assert not re.search(r"<script>|<style|\bstyle=|\bon\w+=", page)


def test_no_other_file_of_the_package_is_served(client):
    assert client.get("/docs/ui/oauth2-redirect.html").status_code == 404


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(params=SIZES)
def size(request):
    width, height = SIZES[request.param]
    return {"width": width, "height": height}


@pytest.fixture
def tab(server, browser, size):
    """Return the page, open at this size; it must have no problem until the test ends."""
    tab = Tab(browser, f"{server.url}/docs", viewport=size)
    tab.page.goto(tab.url)
    yield tab
    assert tab.problems == []
    tab.context.close()


def open_operation(tab, operation):
    """Return this operation, open."""
    found = tab.page.locator(f"#operations-{operation}")
    found.locator(".opblock-summary-control").click()
    return found


def test_every_endpoint_is_listed(client, tab):
    paths = client.get("/api/openapi.json").json["paths"]

    expect(tab.page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))


def test_the_list_can_be_filtered_by_path(tab):
    tab.page.get_by_placeholder("Filter").fill("suspend")

    expect(tab.page.locator(".opblock")).to_have_count(1)
    expect(tab.page.locator(".opblock-summary-path")).to_contain_text("suspend")


def test_every_endpoint_has_a_curl_example_with_a_copy_button(server, tab):
    update = open_operation(tab, "Scores-scores_update")
    void = open_operation(tab, "Moderation-admin_void")

    curl = update.locator(".curl-example")
    expect(curl).to_contain_text(f"{server.url}/api/score/update")
    expect(curl).to_contain_text("Authorization: Bearer TOKEN")
    expect(curl).to_contain_text('"score_value":120')
    expect(curl.get_by_role("button", name="Copy")).to_be_visible()
    score_id = reference.fields()["score_id"]["example"]
    expect(void.locator(".curl-example")).to_contain_text(f"/api/admin/scores/{score_id}/void")


def test_a_request_can_be_tried_with_a_token(server, tab):
    ann = server.user(f"ann-{tab.page.viewport_size['width']}")
    tab.page.get_by_role("button", name="Authorize").first.click()
    tab.page.get_by_label("auth-bearer-value").first.fill(ann.token)
    tab.page.get_by_role("button", name="Apply credentials").first.click()
    tab.page.get_by_role("button", name="Close", exact=True).first.click()
    me = open_operation(tab, "Signing_in-auth_me")

    me.get_by_role("button", name="Try it out").click()
    me.get_by_role("button", name="Execute").click()

    expect(me.locator(".live-responses-table")).to_contain_text(ann.user_id)


def test_the_page_is_never_wider_than_the_screen(tab, size):
    for operation in ("Scores-scores_update", "Leaderboard-leaderboard_past_scores"):
        open_operation(tab, operation).locator(".curl-example").wait_for()

    width = tab.page.evaluate("document.documentElement.scrollWidth")

    assert width == size["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong_around_swagger_ui(server, browser, size, scheme):
    tab = Tab(browser, f"{server.url}/docs", viewport=size, color_scheme=scheme)

    tab.page.goto(tab.url)
    tab.page.locator(".opblock").first.wait_for()

    assert violations(tab.page, exclude="#endpoints") == []
    assert tab.problems == []
    tab.context.close()
