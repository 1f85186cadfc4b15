"""`flask doctor`: print the findings of the start-up checks as a table."""

import click
from flask import current_app
from flask.cli import with_appcontext

from ..ops.doctor import Problem, examine
from . import database


@click.command()
@with_appcontext
def doctor() -> None:
    """Check settings and services; the exit status is 1 if there is a problem."""
    database.announce()
    results = examine(current_app)
    for check, result in results.items():
        state = "problem" if isinstance(result, Problem) else "ok"
        click.echo(f"{check:15} {state:8} {result or ''}".rstrip())
    if any(isinstance(result, Problem) for result in results.values()):
        raise SystemExit(1)
