"""`flask users`: create, list and moderate users, mint tokens, seed players.

Moderation is that of the admin endpoints. This process has no subscribers: the servers detect a
change within a second and push it.
"""

import functools
import json
from collections.abc import Callable
from datetime import timedelta

import click
from flask import current_app

from ..admin import service
from ..anomalies import flags
from ..auth import accounts, passwords, schemas, tokens
from ..auth.issuer import user_id_of
from ..http import addresses
from ..observability import audit, logging
from ..permissions import ROLES
from .moderation import ModerationGroup, moderator
from .seeding import seed_players

Action = Callable[[service.Moderator, str], accounts.Account]

users = ModerationGroup(
    "users", help="Create, list and moderate users, mint tokens.", callback=logging.audit_to_stderr
)


@users.command()
@click.argument("name")
@click.argument("email")
@click.option("--role", type=click.Choice(list(ROLES)), default="player", show_default=True)
@click.option("--password", help="Without it, a prompt asks for one.")
@click.option("--subject", help="The `sub` of this user's tokens from JWT_ISSUER; no password.")
def create(name: str, email: str, role: str, password: str | None, subject: str | None) -> None:
    """Create the user NAME with address EMAIL, who signs in with a password or at JWT_ISSUER."""
    sent, issuer = {"username": name, "email": email}, current_app.config["JWT_ISSUER"]
    if subject is not None and not issuer:
        raise click.UsageError("--subject needs JWT_ISSUER")
    if subject is None:
        ask = functools.partial(click.prompt, hide_input=True, confirmation_prompt=True)
        sent["password"] = password or ask("Password")
    values = schemas.register_schema.load(sent, partial=("password",))
    password_hash = passwords.hash_password(values["password"]) if subject is None else None
    user_id = None if subject is None else user_id_of(issuer, subject)
    account = accounts.create(values["username"], values["email"], password_hash, role, user_id)
    client = moderator().client
    audit.moderation(client, None, f"create {role}", {"user_id": account.user_id}, reason=None)
    click.echo(account.user_id)
    way = f"at {_page()} with this password" if subject is None else f"with tokens of {issuer}"
    click.echo(f"{account.username} can now sign in {way}.", err=True)


@users.command("list")
def list_() -> None:
    """List all users, oldest first."""
    for account in accounts.list_all():
        click.echo(
            f"{account.user_id}  {account.role:7}  {account.username}  {account.email or '-'}"
        )


@users.command()
@click.argument("name")
@click.option("--minutes", type=click.IntRange(1, 5_256_000), default=60, show_default=True)
def token(name: str, minutes: int) -> None:
    """Print an access token of the user NAME on a line of its own."""
    account = _named(name)
    click.echo(tokens.issue_access(account.user_id, account.role, timedelta(minutes=minutes)))


@users.command()
@click.argument("count", metavar="N", type=click.IntRange(1, 10_000_000))
@click.option("--scores", is_flag=True, help="Give each a score.")
def seed(count: int, scores: bool) -> None:
    """Create N players in bulk, without passwords, and print their ids as a JSON list."""
    click.echo(json.dumps([player["user_id"] for player in seed_players(count, scores)]))


def _add(name: str, act: Action, summary: str) -> None:
    """Add a command that moderates the user of its only argument."""

    @users.command(name, help=summary)
    @click.argument("name")
    def command(name: str) -> None:
        act(moderator(), _named(name).user_id)


_add("hide", service.hide, "Hide the user NAME from the board.")
_add("restore", service.restore, "Put the hidden user NAME back on the board.")
_add("suspend", service.suspend, "Suspend the user NAME: refuse its requests, end its sessions.")
_add("reinstate", service.reinstate, "Allow the suspended user NAME to sign in again.")
_add("end-sessions", service.end_sessions, "Revoke all tokens of the user NAME issued until now.")


@users.command()
@click.argument("name")
@click.argument("role", type=click.Choice(list(ROLES)))
def role(name: str, role: str) -> None:
    """Change the role of the user NAME to ROLE, from its next request on."""
    service.set_role(moderator(), _named(name).user_id, {"role": role})


@users.command("reset-link")
@click.argument("name")
def reset_link(name: str) -> None:
    """Print a link with which the user NAME sets a password, once and within 24 hours."""
    click.echo(service.reset_link(moderator(), _named(name).user_id, _page())["url"])


@users.command()
@click.argument("name")
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Rename the user NAME to NEW_NAME, on all boards at once."""
    service.rename(moderator(), _named(name).user_id, {"username": new_name})


@users.command()
@click.argument("name")
@click.confirmation_option(prompt="This cannot be undone. Erase the user?")
def delete(name: str) -> None:
    """Erase name, address and password of the user NAME, who leaves every board."""
    service.erase(moderator(), _named(name).user_id)


def _page() -> str:
    """Return PUBLIC_URL, or the address on this machine: a command serves no request."""
    settings = current_app.config
    local = addresses.url("localhost", settings["PORT"] or addresses.DEFAULT_PORT)
    return settings["PUBLIC_URL"] or local


@users.command()
@click.argument("score_id")
@click.option("--reason", required=True, help="Why, in 1 to 200 characters.")
def void(score_id: str, reason: str) -> None:
    """Void the score SCORE_ID."""
    service.void(moderator(), score_id, {"reason": reason})


@users.command()
def marks() -> None:
    """List the newest anomaly flags (marks), newest first."""
    for flag in flags.newest():
        moment = flag.created_at.isoformat(timespec="seconds")
        click.echo(f"{moment}  {flag.rule:17}  {flag.username}  {flag.detail}")


def _named(name: str) -> accounts.Account:
    account = accounts.by_name(name)
    if account is None:
        raise click.ClickException(f"There is no user named {name}.")
    return account
