"""Say which database a command works on: it may not be that of the server one thinks of."""

import click
from flask import current_app
from sqlalchemy import make_url


def announce() -> None:
    """Print the database to standard error, without password and parameters."""
    url = make_url(current_app.config["SQLALCHEMY_DATABASE_URI"]).set(query={})
    click.echo(f"database: {url.render_as_string(hide_password=True)}", err=True)
