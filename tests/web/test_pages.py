"""The files that browsers and other sites request, and the page for unknown addresses."""

import re

import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_browser_receives_a_page_for_an_unknown_address(client):
    response = client.get("/nowhere", headers=BROWSER)

    assert response.status_code == 404
    assert response.mimetype == "text/html"
    assert "Show the board" in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/nowhere", {}), ("/nowhere", {"Accept": "*/*"}), ("/api/nowhere", BROWSER)],
)
def test_a_client_of_the_api_receives_the_error_as_json(client, path, headers):
    response = client.get(path, headers=headers)

    assert response.status_code == 404
    assert response.json["error"]["code"] == "not_found"


@pytest.mark.parametrize("settings", [{"BOARD_TITLE": "Robotics <Cup>"}])
def test_the_pages_and_the_manifest_have_the_title(client):
    page = client.get("/").text

    assert "<title>Robotics &lt;Cup&gt;</title>" in page
    assert client.get("/manifest.webmanifest").json["name"] == "Robotics <Cup>"
    assert "<title>Robotics &lt;Cup&gt; admin</title>" in client.get("/admin").text
    assert "/logo" not in page


def test_all_files_that_the_page_names_exist(client):
    page = client.get("/").text
    icons = [icon["src"] for icon in client.get("/manifest.webmanifest").json["icons"]]
    (preview,) = re.findall('og:image" content="http://localhost(.*?)"', page)
    files = [*re.findall('(?:href|src)="(/[a-z][^"?]*)"', page), *icons, preview]

    assert {path: client.get(path).status_code for path in files} == dict.fromkeys(files, 200)
    assert len(files) > 10
