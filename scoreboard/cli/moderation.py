"""`flask users` commands for moderators, with the same actions as the admin endpoints.

This process has no subscribers: the servers detect a change within a second and push it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from marshmallow import ValidationError

from ..admin import service
from ..anomalies import flags
from ..errors import ScoreboardError
from ..permissions import ROLES
from .users import named, origin, users


@users.command()
@click.argument("name")
@click.argument("role", type=click.Choice(list(ROLES)))
def role(name: str, role: str) -> None:
    """Change the role of the user NAME to ROLE, from its next request on."""
    service.set_role(_moderator(), named(name).user_id, {"role": role})


@users.command()
@click.argument("name")
def hide(name: str) -> None:
    """Hide the user NAME from the board."""
    service.hide(_moderator(), named(name).user_id)


@users.command()
@click.argument("name")
def restore(name: str) -> None:
    """Put the hidden user NAME back on the board."""
    service.restore(_moderator(), named(name).user_id)


@users.command()
@click.argument("name")
def suspend(name: str) -> None:
    """Suspend the user NAME: refuse its requests and end all of its sessions."""
    service.suspend(_moderator(), named(name).user_id)


@users.command()
@click.argument("name")
def reinstate(name: str) -> None:
    """Allow the suspended user NAME to sign in again."""
    service.reinstate(_moderator(), named(name).user_id)


@users.command("end-sessions")
@click.argument("name")
def end_sessions(name: str) -> None:
    """Revoke all tokens of the user NAME issued until now."""
    service.end_sessions(_moderator(), named(name).user_id)


@users.command()
@click.argument("score_id")
@click.option("--reason", required=True, help="Why, in 1 to 200 characters.")
def void(score_id: str, reason: str) -> None:
    """Void the score SCORE_ID."""
    with _complaints():
        service.void(_moderator(), score_id, {"reason": reason})


@users.command()
def marks() -> None:
    """List the newest anomaly flags (marks), newest first."""
    for mark in flags.newest():
        moment = mark.created_at.isoformat(timespec="seconds")
        click.echo(f"{moment}  {mark.rule:17}  {mark.username}  {mark.detail}")


def _moderator() -> service.Moderator:
    return service.Moderator(None, origin())


@contextmanager
def _complaints() -> Iterator[None]:
    """Convert errors about the input into a ClickException of one line."""
    try:
        yield
    except ValidationError as error:
        problems = (f"{field}: {' '.join(told)}" for field, told in error.messages_dict.items())
        raise click.ClickException("; ".join(problems)) from None
    except ScoreboardError as error:
        raise click.ClickException(error.message) from None
