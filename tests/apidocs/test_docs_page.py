"""The page /docs: Swagger UI for the endpoints, then the live messages and the error codes."""

import html
import re

import pytest
from playwright.sync_api import expect

from scoreboard.apidocs import reference
from scoreboard.web.routes import CONTENT_SECURITY_POLICY
from tests.support import databases
from tests.support.browsers import Tab, chromium, violations
from tests.support.servers import Server

SIZES = {"phone": {"width": 360, "height": 800}, "laptop": {"width": 1280, "height": 800}}


@pytest.fixture
def database_url(tmp_path):
    """Return one kind of database: the page does not depend on it."""
    return databases.copied_sqlite(tmp_path)


@pytest.fixture
def text(client):
    return html.unescape(client.get("/docs").text)


def test_every_message_and_close_code_is_on_the_page(client, text):
    document = client.get("/api/asyncapi.json").json

    for name in document["components"]["messages"]:
        assert f'id="message-{name}"' in text
    for channel in document["channels"].values():
        for code in (channel["address"], *channel.get("x-close-codes", ())):
            assert f"<code>{code}</code>" in text


def test_every_error_code_is_on_the_page_with_its_status_and_remedy(text):
    text = re.sub("</?code>", "`", text)

    for code, entry in reference.codes().items():
        row = text.split(f'<dt id="code-{code}">')[1].split("</dd>")[0]
        assert f"`{code}` {entry['status']}" in row
        assert entry["meaning"] in row
        assert entry["remedy"] in row


def test_every_link_and_file_of_the_page_exists(client, text):
    ids = set(re.findall(r'id="([^"]+)"', text))

    assert set(re.findall(r'href="#([^"]+)"', text)) <= ids
    for path in set(re.findall(r'(?:href|src)="(/[^"]*)"', text)):
        assert client.get(path).status_code == 200


def test_the_page_has_the_content_security_policy_and_no_inline_code(client, text):
    headers = client.get("/docs").headers

    assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert not re.search(r"<script>|<style|\bstyle=|\bon\w+=", text)


def test_other_files_of_swagger_ui_are_not_served(client):
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
    return SIZES[request.param]


@pytest.fixture
def visit(server, browser, size):
    """Return a function that opens the page. At the end it may have reported no problem."""
    tabs = []

    def visit(**options):
        tabs.append(Tab(browser, f"{server.url}/docs", viewport=size, **options))
        tabs[-1].page.goto(tabs[-1].url)
        return tabs[-1].page

    yield visit
    problems = [problem for tab in tabs for problem in tab.problems]
    for tab in tabs:
        tab.context.close()
    assert problems == []


@pytest.fixture
def page(visit):
    return visit()


def opened(page, operation):
    """Open an operation and return it."""
    element = page.locator(f"#operations-{operation}")
    element.locator(".opblock-summary-control").click()
    return element


def test_every_endpoint_is_listed_and_can_be_filtered_by_path(client, page):
    paths = client.get("/api/openapi.json").json["paths"]
    expect(page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))

    page.get_by_placeholder("Filter").fill("suspend")

    expect(page.locator(".opblock")).to_have_count(1)
    expect(page.locator(".opblock-summary-path")).to_contain_text("suspend")


def test_endpoints_have_a_curl_example_with_a_copy_button(server, page):
    update = opened(page, "Scores-scores_update")
    void = opened(page, "Moderation-admin_void")

    curl = update.locator(".curl-example")
    body = '"score_value":120'
    for part in (f"{server.url}/api/score/update", "Authorization: Bearer TOKEN", body):
        expect(curl).to_contain_text(part)
    expect(curl.get_by_role("button", name="Copy")).to_be_visible()
    score_id = reference.fields()["score_id"]["example"]
    expect(void.locator(".curl-example")).to_contain_text(f"/api/admin/scores/{score_id}/void")


def test_a_request_can_be_sent_with_a_token(server, page, size):
    ann = server.user(f"ann-{size['width']}")
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("auth-bearer-value").first.fill(ann.token)
    page.get_by_role("button", name="Apply credentials").first.click()
    page.get_by_role("button", name="Close", exact=True).first.click()
    me = opened(page, "Signing_in-auth_me")

    me.get_by_role("button", name="Try it out").click()
    me.get_by_role("button", name="Execute").click()

    expect(me.locator(".live-responses-table")).to_contain_text(ann.user_id)


def test_the_page_fits_the_screen(page, size):
    for operation in ("Scores-scores_update", "Leaderboard-leaderboard_past_scores"):
        opened(page, operation).locator(".curl-example").wait_for()

    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_around_swagger_ui_is_accessible(visit, scheme):
    page = visit(color_scheme=scheme)
    page.locator(".opblock").first.wait_for()

    assert violations(page, exclude="#endpoints") == []
