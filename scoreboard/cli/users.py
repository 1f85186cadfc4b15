"""`flask users`: create and list users, mint tokens, seed players in bulk."""

import json
import secrets
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from flask.cli import AppGroup
from marshmallow import ValidationError
from sqlalchemy import Connection, false, insert, select

from ..auth import accounts, passwords, tokens
from ..auth.schemas import register_schema
from ..db import transactions as database
from ..errors import ScoreboardError
from ..http.request import Origin
from ..models import Score, Standing, User
from ..observability import audit
from ..observability import logging as logs
from ..permissions import ROLES

users = AppGroup(
    "users",
    help="Create, list and moderate users, mint tokens.",
    callback=logs.audit_to_stderr,
)

# Rows per transaction: enough to be fast, few enough not to block other writers for long.
CHUNK = 5_000


@users.command()
@click.argument("name")
@click.argument("email")
@click.option("--role", type=click.Choice(list(ROLES)), default="player", show_default=True)
@click.option("--password", prompt=True, hide_input=True, confirmation_prompt=True)
def create(name: str, email: str, role: str, password: str) -> None:
    """Create the user NAME with address EMAIL. Prompts for the password if none is given."""
    try:
        given = register_schema.load({"username": name, "email": email, "password": password})
        password_hash = passwords.hash_password(given["password"])
        account = accounts.create(given["username"], given["email"], password_hash, role)
    except ValidationError as error:
        problems = (f"{field}: {' '.join(told)}" for field, told in error.messages_dict.items())
        raise click.ClickException("; ".join(problems)) from None
    except ScoreboardError as error:
        raise click.ClickException(error.message) from None
    audit.moderation(origin(), None, f"create {role}", {"user_id": account.user_id}, reason=None)
    click.echo(account.user_id)


@users.command("list")
def list_() -> None:
    """List all users, oldest first."""
    for account in accounts.list_all():
        click.echo(f"{account.user_id}  {account.role:7}  {account.username}  {account.email}")


@users.command()
@click.argument("name")
@click.option("--minutes", type=click.IntRange(1, 5_256_000), default=60, show_default=True)
def token(name: str, minutes: int) -> None:
    """Print an access token of the user NAME on a line of its own."""
    account = named(name)
    click.echo(tokens.issue_access(account.user_id, account.role, timedelta(minutes=minutes)))


@users.command()
@click.argument("count", metavar="N", type=click.IntRange(1, 10_000_000))
@click.option("--scores", is_flag=True, help="Give each a score.")
def seed(count: int, scores: bool) -> None:
    """Create N players in bulk, without passwords, and print their ids as a JSON list."""
    click.echo(json.dumps([account["user_id"] for account in seed_players(count, scores)]))


def seed_players(count: int, scores: bool) -> list[dict[str, Any]]:
    """Create players, each with a random score if `scores`, and return their rows."""
    made: list[dict[str, Any]] = []
    for size in [CHUNK] * (count // CHUNK) + [count % CHUNK]:
        players = list(_players(size))
        if players:
            _store(players, scores)
        made += players
    return made


def _players(count: int) -> Iterator[dict[str, Any]]:
    batch = secrets.token_hex(4)
    for number in range(count):
        name = f"player-{batch}-{number}"
        yield {
            "user_id": str(uuid.uuid4()),
            "username": name,
            "name_key": name,
            "email": f"{name}@seed.invalid",
            "role": "player",
            "created_at": datetime.now(UTC),
        }


def _store(players: list[dict[str, Any]], scores: bool) -> None:
    def write(connection: Connection) -> None:
        connection.execute(insert(User), players)
        if scores:
            user_ids = [player["user_id"] for player in players]
            _, moments = database.next_version(connection, len(user_ids))
            connection.execute(insert(Score), list(map(_score, user_ids, moments)))
            columns = ["user_id", "score", "reached_at", "achieved_at", "score_id", "hidden"]
            reached = select(
                Score.user_id,
                Score.score,
                Score.created_at,
                Score.achieved_at,
                Score.score_id,
                false(),
            ).where(Score.user_id.in_(user_ids))
            connection.execute(insert(Standing).from_select(columns, reached))

    database.transaction(write)


def _score(user_id: str, now: datetime) -> dict[str, Any]:
    value = float(secrets.randbelow(1_000_000))
    return {
        "user_id": user_id,
        "score_value": value,
        "created_at": now,
        "achieved_at": now,
        "identity": "seed-" + secrets.token_hex(8),
        "submitted_by": user_id,
        "score": value,
        "applied": True,
    }


def origin() -> Origin:
    """Return the origin of this command for the audit log."""
    return Origin("command line", "local", uuid.uuid4().hex)


def named(name: str) -> accounts.Account:
    """Return the user with this name. Raises ClickException if there is none."""
    account = accounts.by_name(name)
    if account is None:
        raise click.ClickException(f"There is no user named {name}.")
    return account
