"""What the command groups `users` and `boards` have in common."""

import uuid
from typing import Any

import click
from flask.cli import AppGroup
from marshmallow import ValidationError
from sqlalchemy.exc import ProgrammingError

from ..admin.service import Moderator
from ..db import transactions
from ..errors import InvalidInput, ScoreboardError, translate
from ..http.request import ClientInfo
from . import database


class ModerationGroup(AppGroup):
    """Reports errors about the input in one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command. Raises ClickException for such an error."""
        database.announce()
        try:
            return super().invoke(ctx)
        except (ValidationError, ScoreboardError) as error:
            raise click.ClickException(_line(translate(error))) from None
        except ProgrammingError:
            if transactions.is_up_to_date():
                raise
            advice = (
                "The tables are those of another version: run `flask --app scoreboard db upgrade`."
            )
            raise click.ClickException(advice) from None


def _line(error: ScoreboardError) -> str:
    """Return the error in one line: the problems of the fields if there are any."""
    fields = error.fields if isinstance(error, InvalidInput) else {}
    problems = (f"{name}: {' '.join(each)}" for name, each in fields.items())
    return " ".join(problems) or error.message


def moderator() -> Moderator:
    """Return the command line as a moderator, with a new request id."""
    return Moderator(None, ClientInfo("command line", "local", uuid.uuid4().hex))
