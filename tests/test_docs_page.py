"""The page /docs shows everything that the documents and the table of errors have."""

import html
import re

import databases
import pytest
from browsing import Tab, chromium, violations
from serving import Server

from scoreboard.docs.codes import CODES
from scoreboard.web.pages import POLICY

SIZES = {"phone": (360, 800), "laptop": (1280, 800), "wall": (2560, 1440)}


@pytest.fixture
def database_url(tmp_path):
    """Return one kind of database: the page is the same with every kind."""
    return databases.copied_sqlite(tmp_path)


@pytest.fixture
def page(client):
    return html.unescape(client.get("/docs").text)


def test_every_endpoint_is_there_with_who_may_and_its_codes(client, page):
    for path, methods in client.get("/api/openapi.json").json["paths"].items():
        for operation in methods.values():
            article = page.split(f'<article id="{operation["operationId"]}"')[1].split(
                "</article>"
            )[0]
            assert f"<code>{path}</code>" in article
            assert operation["summary"] in article
            codes = {
                code
                for answer in operation["responses"].values()
                for code in answer.get("x-codes", ())
            }
            assert codes == set(re.findall(r'href="#code-(\w+)"', article))
            if {"access": []} in operation["security"]:
                assert ", ".join(operation["x-roles"]) in article


def test_every_field_of_every_body_is_there_with_its_rule(page):
    register = page.split('<article id="auth_register"')[1].split("</article>")[0]

    assert "<code>username</code>" in register
    assert "string, 1 to 64 characters" in register
    assert "string, email, at most 254 characters" in register
    assert "string, 8 to 256 characters" in register


def test_every_message_and_close_code_is_there(client, page):
    document = client.get("/api/asyncapi.json").json

    for name in document["components"]["messages"]:
        assert f'id="message-{name}"' in page
    for channel in document["channels"].values():
        assert f"<code>{channel['address']}</code>" in page
        assert all(f"<code>{code}</code>" in page for code in channel.get("x-close-codes", ()))


def test_every_error_code_is_there_with_what_to_do(page):
    for code, told in CODES.items():
        row = page.split(f'<tr id="code-{code}">')[1].split("</tr>")[0]
        assert f"<td>{told.status}</td>" in row
        assert re.sub("</?code>", "`", row).count(told.remedy) == 1


def test_every_link_leads_somewhere(client, page):
    ids = set(re.findall(r'id="([^"]+)"', page))

    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids
    for path in set(re.findall(r'href="(/[^"]*)"', page)):
        assert client.get(path).status_code == 200


def test_it_is_as_strict_as_every_page(client, page):
    assert client.get("/docs").headers["Content-Security-Policy"] == POLICY
    assert not re.search(r"<script|<style|\bstyle=|\bon\w+=", page)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_every_screen_without_javascript(server, browser, tmp_path, size, scheme):
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        java_script_enabled=False,
    )
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))

    page.goto(f"{server.url}/docs")
    page.screenshot(path=tmp_path / f"docs-{size}-{scheme}.png")

    assert page.locator("h1").is_visible()
    right_ends = [each.bounding_box() for each in page.locator("article").all()]
    assert all(box["x"] + box["width"] <= width for box in right_ends)
    assert complaints == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "laptop"])
def test_axe_finds_nothing_wrong_with_it(server, browser, size, scheme):
    width, height = SIZES[size]
    url = f"{server.url}/docs"
    tab = Tab(browser, url, viewport={"width": width, "height": height}, color_scheme=scheme)

    tab.page.goto(url)

    assert violations(tab.page) == []
    assert tab.problems == []
    tab.context.close()


def test_the_keyboard_leads_past_the_contents(server, browser):
    page = browser.new_page()
    page.goto(f"{server.url}/docs")

    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    page.keyboard.press("Enter")

    page.wait_for_url("**/docs#content")
    page.close()
