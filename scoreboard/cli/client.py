"""HTTP client of a running server, for `simulate` and `replay`."""

from typing import Any

import click
import requests

url_option = click.option("--url", default="http://127.0.0.1:5000", show_default=True)
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
