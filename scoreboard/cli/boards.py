"""`flask boards`: create, list and change boards, end seasons, freeze, reveal and archive boards.

The commands are those of the admin endpoints. This process has no subscribers: the servers detect a
change within a second and push it.
"""

from collections.abc import Callable
from typing import Any

import click
from marshmallow import Schema

from ..admin import service
from ..boards.schemas import changes_schema, new_board_schema
from ..boards.service import every_board
from ..observability import logging
from .moderation import ModerationGroup, moderator

# The text of an option that stands for null in a body.
NONE = "none"
RESET_USAGE = 'Write it as "day 06:00 ZONE", "week monday 06:00 ZONE" or "month 1 06:00 ZONE".'

boards = ModerationGroup(
    "boards",
    help=f"Create, list and change boards; end seasons. `{NONE}` clears an optional field.",
    callback=logging.audit_to_stderr,
)


def _rules(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each field that `create` and `set` have in common."""
    for name, metavar, help_ in (
        ("--reset", "WHEN", "When seasons end, such as 'week monday 06:00 Europe/Vienna'."),
        ("--freezes-at", "TIME", "When the board freezes, in ISO 8601."),
        ("--closes-at", "TIME", "When the board closes, in ISO 8601."),
        ("--opens-at", "TIME", "When the board opens, in ISO 8601."),
        ("--tickets", "SECONDS", "Players need a run ticket of this age; `none`: no tickets."),
        ("--submit", "player|scorer", "Who may send updates: players too, or scorers only."),
        ("--max-score", "NUMBER", "The highest value of an update."),
        ("--min-score", "NUMBER", "The lowest value of an update."),
        ("--format", "number|time", "How pages show scores; time: milliseconds."),
        ("--order", "desc|asc", "asc: lower is better."),
        ("--policy", "latest|best|total", "How the score is computed."),
        ("--title", "TEXT", "1 to 64 characters."),
    ):
        command = click.option(name, metavar=metavar, help=help_)(command)
    public = click.option("--public/--private", default=None, help="Who may read: all, or users.")
    return public(command)


@boards.command()
@click.argument("board")
@click.option("--source", metavar="BOARD", help="The board whose updates count here as well.")
@_rules
def create(board: str, **options: Any) -> None:
    """Create the board BOARD; a title is required."""
    body = {"board_id": board, **_body(new_board_schema, options)}
    _show(service.create_board(moderator(), body))


@boards.command("list")
def list_() -> None:
    """List all boards, `main` first, then by id."""
    for board in every_board():
        _show(board)


@boards.command("set")
@click.argument("board")
@_rules
def set_(board: str, **options: Any) -> None:
    """Change the fields of the board BOARD for which an option is given."""
    _show(service.change_board(moderator(), board, _body(changes_schema, options)))


@boards.command()
@click.argument("board")
def end_season(board: str) -> None:
    """End the current season of the board BOARD now, and open the next."""
    _show(service.end_season(moderator(), board))


@boards.command()
@click.argument("board")
def freeze(board: str) -> None:
    """Freeze the board BOARD: everybody sees it as it is now."""
    _show(service.freeze_board(moderator(), board))


@boards.command()
@click.argument("board")
def unfreeze(board: str) -> None:
    """Show the whole of the frozen board BOARD as it is."""
    _show(service.unfreeze_board(moderator(), board))


@boards.command()
@click.argument("board")
@click.argument("places")
def reveal(board: str, places: str) -> None:
    """Show the next PLACES of the frozen board BOARD, from the last; `all` shows the whole."""
    value = int(places) if places.isdecimal() else places
    _show(service.reveal_board(moderator(), board, {"places": value}))


@boards.command()
@click.argument("board")
def archive(board: str) -> None:
    """Archive the board BOARD: it is no longer listed or fed."""
    service.archive_board(moderator(), board)


def _show(board: dict[str, Any]) -> None:
    """Print a board object in one line."""
    season = board["season"]
    rule = f"{board['policy']} {board['order']}"
    if board["source"]:
        rule += f" of {board['source']}"
    ends = f" until {season['ends_at']}" if season["ends_at"] else ""
    click.echo(
        f"{board['board_id']:12}  {board['state']:6}  {rule:20}  season {season['number']}{ends},"
        f" {board['players']} players  {board['title']}"
    )


def _body(schema: Schema, options: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the request that has the same fields as these options."""
    given = {name: value for name, value in options.items() if value is not None}
    return {
        name: None if value == NONE and schema.fields[name].allow_none else _value(name, value)
        for name, value in given.items()
    }


def _value(name: str, value: Any) -> Any:
    """Return an option as the JSON value of its field, which the schema then checks."""
    if name == "reset":
        return _reset(value)
    if name == "tickets":
        return {"min_seconds": int(value) if value.isdecimal() else value}
    if name in ("min_score", "max_score"):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _reset(text: str) -> dict[str, Any]:
    """Return the object that the text describes. Raises ClickException."""
    every, *rest = text.split() or [""]
    names = ["at", "time_zone"] if every == "day" else ["on", "at", "time_zone"]
    if len(rest) != len(names):
        raise click.ClickException(f"reset: {RESET_USAGE}")
    reset: dict[str, Any] = {"every": every, **dict(zip(names, rest, strict=True))}
    if every == "month" and reset["on"].isdecimal():
        reset["on"] = int(reset["on"])
    return reset
