"""The accent colours, the logo and the title of an installation."""

import re

import pytest

from scoreboard.web import theme
from tests.support.servers import ROOT

TOKENS = (ROOT / "scoreboard/web/static/design/tokens.css").read_text()
ACCENTS = ["#0a7a5a", "#000000", "#ffffff", "#ffff00", "#ff0000", "#5b2be0", "#777777", "#ffd1dc"]
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def colours(sheet, name):
    """Return the last values of a property, one for each scheme."""
    value = re.findall(rf"--{name}: (.*);", sheet)[-1]
    return [theme.parse(text) for text in re.findall("#[0-9a-f]{6}", value)]


@pytest.mark.parametrize("accent", ACCENTS)
def test_text_on_and_in_every_accent_is_legible(accent):
    sheet = theme.stylesheet(accent)
    text, soft, fill = (colours(sheet, name) for name in ("accent-text", "accent-soft", "accent"))

    assert min(map(theme.contrast, colours(sheet, "on-accent"), fill)) >= 4.5
    assert min(map(theme.contrast, text, soft)) >= 4.5
    for background in ("paper", "card", "sunken"):
        assert min(map(theme.contrast, text, colours(TOKENS, background))) >= 4.5
        assert min(map(theme.contrast, fill, colours(TOKENS, background))) >= 3
    for background in colours(TOKENS, "stage") + colours(TOKENS, "stage-raised"):
        assert theme.contrast(colours(sheet, "stage-accent")[0], background) >= 4.5


def test_a_legible_accent_is_not_changed():
    assert "--accent: light-dark(#5b2be0," in theme.stylesheet("#5b2be0")


@pytest.mark.parametrize("settings", [{"BOARD_ACCENT": "#5B2BE0"}])
def test_the_stylesheet_has_the_accent_of_the_setting(client):
    response = client.get("/theme.css")
    again = client.get("/theme.css", headers={"If-None-Match": response.headers["ETag"]})

    assert "#5b2be0" in response.text
    assert response.mimetype == "text/css"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert again.status_code == 304


def test_the_logo_is_a_picture_that_runs_no_code(make_app, tmp_path):
    path = tmp_path / "logo.svg"
    path.write_bytes(PICTURE)

    response = make_app(BOARD_LOGO=str(path)).test_client().get("/logo")

    assert response.data == PICTURE
    assert response.mimetype == "image/svg+xml"
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_without_a_logo_there_is_none(client):
    assert client.get("/logo").status_code == 404
