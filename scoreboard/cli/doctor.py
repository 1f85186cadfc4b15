"""`flask doctor`: print the findings of the start-up checks as a table."""

import click
from flask import current_app
from flask.cli import with_appcontext

from ..ops import doctor as examination


@click.command()
@with_appcontext
def doctor() -> None:
    """Check settings and services; the exit status is 1 if there is a problem."""
    findings = examination.examine(current_app)
    for finding in findings:
        state, told = ("problem", finding.advice) if finding.advice else ("ok", finding.note)
        click.echo(f"{finding.check:15} {state:8} {told or ''}".rstrip())
    if any(finding.advice for finding in findings):
        raise SystemExit(1)
