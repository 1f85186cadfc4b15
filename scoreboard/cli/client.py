"""HTTP client of a running server, for `simulate` and `replay`."""

from typing import Any

import click
import requests
from flask import current_app

from ..http.addresses import ALL_ADDRESSES, DEFAULT_PORT, LOCAL, url


def own_url() -> str:
    """Return the URL of the server that has the settings of this command."""
    host, port = current_app.config["HOST"], current_app.config["PORT"]
    return url(LOCAL if host in (None, *ALL_ADDRESSES) else host, port or DEFAULT_PORT)


url_option = click.option(
    "--url", default=own_url, show_default="by HOST and PORT", help="The server's address."
)
board_option = click.option("--board", help="The board to use; `main` if left out.")


def post(
    session: requests.Session, url: str, path: str, token: str, body: dict[str, Any]
) -> requests.Response:
    """Post JSON to the server at `url`. Raises ClickException if it cannot be reached."""
    headers = {"Authorization": f"Bearer {token}"}
    try:
        return session.post(url.rstrip("/") + path, json=body, headers=headers, timeout=30)
    except requests.RequestException:
        raise click.ClickException(f"No response from {url}: is the server running?") from None
