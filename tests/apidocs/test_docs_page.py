"""The page /docs: Swagger UI for the endpoints, then the live messages and the error codes."""

import html
import re

import pytest
from playwright.sync_api import expect

from scoreboard.apidocs import reference
from scoreboard.web.routes import CONTENT_SECURITY_POLICY
from tests.support import databases
from tests.support.browsers import Tab, chromium, violations

PHONE = {"width": 360, "height": 800}
LAPTOP = {"width": 1280, "height": 800}


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
def server(start):
    return start()


@pytest.fixture
def options():
    """Return the browser options of `page`; a test that needs others parametrizes this."""
    return {"viewport": LAPTOP}


@pytest.fixture
def page(server, browser, options):
    """Return the open page, which must not report a problem."""
    tab = Tab(browser, f"{server.url}/docs", **options)
    tab.page.goto(tab.url)
    yield tab.page
    tab.context.close()
    assert tab.problems == []


def open_operation(page, operation):
    """Open an operation and return its element."""
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
    update = open_operation(page, "Scores-scores_update").locator(".curl-example")
    void = open_operation(page, "Moderation-admin_void").locator(".curl-example")

    for part in ("/api/score/update", "Authorization: Bearer TOKEN", '"score_value":120'):
        expect(update).to_contain_text(part)
    expect(update.get_by_role("button", name="Copy")).to_be_visible()
    score_id = reference.fields()["score_id"]["example"]
    expect(void).to_contain_text(f"{server.url}/api/admin/scores/{score_id}/void")


def test_a_request_can_be_sent_with_a_token(server, page):
    ann = server.user("ann")
    page.get_by_role("button", name="Authorize").first.click()
    page.get_by_label("auth-bearer-value").first.fill(ann.token)
    page.get_by_role("button", name="Apply credentials").first.click()
    page.get_by_role("button", name="Close", exact=True).first.click()
    me = open_operation(page, "Signing_in-auth_me")

    me.get_by_role("button", name="Try it out").click()
    me.get_by_role("button", name="Execute").click()

    expect(me.locator(".live-responses-table")).to_contain_text(ann.user_id)


@pytest.mark.parametrize("options", [{"viewport": PHONE}, {"viewport": LAPTOP}], ids=str)
def test_the_page_fits_the_screen(page, options):
    for operation in ("Scores-scores_update", "Leaderboard-leaderboard_past_scores"):
        open_operation(page, operation).locator(".curl-example").wait_for()

    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == options["viewport"]["width"]


@pytest.mark.parametrize("options", [{"color_scheme": name} for name in ("light", "dark")], ids=str)
def test_the_page_around_swagger_ui_is_accessible(page):
    page.locator(".opblock").first.wait_for()

    assert violations(page, exclude="#endpoints") == []
