"""Check settings and services at start-up; each problem found has one line of advice."""

import itertools
import logging
import re
import smtplib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import jwt
from flask import Flask, current_app

from ..auth import key_set
from ..auth.mail import signed_in
from ..concurrency import runtime
from ..db import transactions
from ..errors import DATABASE_ERRORS
from ..extensions import db
from ..services import services

log = logging.getLogger(__name__)

Settings = Mapping[str, Any]

PREVIOUS = "JWT_SECRET_KEY_PREVIOUS"
SECRETS = ("SECRET_KEY", "JWT_SECRET_KEY", PREVIOUS)
# HS256 requires 256 bits (RFC 7518, section 3.2): at least 32 characters of text.
MIN_SECRET_LENGTH = 32
# Secrets copied from examples, reduced to lower-case letters and digits.
PLACEHOLDER = re.compile(
    r"changeme|changethis|replaceme|placeholder|yoursecret|your256bit|secretkey|supersecret"
    r"|topsecret|insecure|example|password|astringsecretatleast256bitslong"
)
REDIS_TIMEOUT = 2  # seconds
# The lowest of the limits of the server, this database and this role.
CONNECTION_LIMIT = """
    SELECT least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int,
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
    )
"""
# Servers that expose no socket, which a WebSocket needs.
UNSUPPORTED_SERVERS = ("gunicorn", "uwsgi", "waitress-serve", "hypercorn", "uvicorn")


class Problem(str):
    """Advice on a problem. A check returns a plain string for a note that needs no action."""


def second_process(settings: Settings) -> str | None:
    """Check for a second process without Redis: it would miss the updates of the first."""
    number = re.fullmatch(r"web\.(\d+)", settings["DYNO"])
    if number and int(number[1]) > 1 and not settings["REDIS_URL"]:
        return Problem("this is a second web process: add Redis (REDIS_URL) or scale to one")
    if settings["WEB_CONCURRENCY"]:
        return "WEB_CONCURRENCY changes nothing: one process serves all"
    return None


def ephemeral_disk(settings: Settings) -> str | None:
    """Check for an SQLite database on a disk that is erased when the process restarts."""
    on_sqlite = settings["SQLALCHEMY_DATABASE_URI"].startswith("sqlite")
    remedy = "add Postgres (DATABASE_URL), or set ALLOW_SQLITE=1"
    if settings["DYNO"] and on_sqlite and not settings["ALLOW_SQLITE"]:
        return Problem(f"the disk is erased at restart: {remedy}")
    return None


def weak_secrets(settings: Settings) -> str | None:
    """Check for guessable secrets, with which anyone could mint tokens for any user."""
    secrets = {name: settings[name] for name in SECRETS if name != PREVIOUS or settings[name]}
    for name, secret in secrets.items():
        remedy = f"set it to {MIN_SECRET_LENGTH} or more random characters"
        if name == PREVIOUS:
            remedy = "leave it out"
        if len(secret) < MIN_SECRET_LENGTH:
            return Problem(f"{name} is weak: {remedy}")
        if PLACEHOLDER.search(re.sub("[^a-z0-9]", "", secret.lower())):
            return Problem(f"{name} is from an example: {remedy}")
    for first, second in itertools.combinations(secrets, 2):
        if secrets[first] == secrets[second]:
            return Problem(f"{second} must not be the same as {first}")
    return None


def hidden_client_addresses(settings: Settings) -> str | None:
    """Check whether limits per address would treat the platform's router as one client."""
    if settings["DYNO"] and not settings["TRUSTED_PROXIES"]:
        return "all clients have the address of the platform's router: set TRUSTED_PROXIES=1"
    return None


def closed_metrics(settings: Settings) -> str | None:
    """Check whether `/metrics` refuses every request, which is safe but may be a surprise."""
    if settings["IS_PUBLIC"] and not (settings["METRICS_TOKEN"] or settings["METRICS_PUBLIC"]):
        return "/metrics is closed: set METRICS_TOKEN to open it"
    return None


def repeated_secrets(settings: Settings) -> str | None:
    """Check for secrets that repeat one character. At start-up this is only a warning."""
    for name in SECRETS:
        if len(set(settings[name])) == 1:
            remedy = f"use {MIN_SECRET_LENGTH} or more random characters"
            return Problem(f"{name} repeats one character: {remedy}")
    return None


def wrong_server(server: str) -> str | None:
    """Check for an unsupported server, or modules imported before the library was patched."""
    # Imported only with PostgreSQL; importing it here would slow down every other start.
    waiting = sys.modules.get("psycopg.waiting")
    waits_green = waiting is None or waiting.wait is waiting.wait_select
    if server != runtime.ASYNC_MODE or (runtime.ON_EVENTLET and not waits_green):
        remedy = "start with `python wsgi.py` or with `flask run`"
        return Problem(f"{remedy}, and with nothing imported before")
    return None


def database() -> str | None:
    """Check whether the database responds and can be written to.

    The other checks of the database return None if it fails.
    """
    try:
        transactions.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
    except DATABASE_ERRORS:
        return Problem("DATABASE_URL does not respond: is it correct, and is the database running?")
    if not services().database.try_write():
        return Problem("the database cannot be written to: is it full, or read-only?")
    return None


def encoding() -> str | None:
    """Check for a database that cannot store every name."""
    found = _query("SHOW server_encoding")
    if found in (None, "UTF8"):
        return None
    return Problem(f"the database's encoding is {found}: create it with ENCODING 'UTF8'")


def connections() -> str | None:
    """Check whether the database allows as many connections as the pool has."""
    if (limit := _query(CONNECTION_LIMIT)) is None:
        return None
    size = db.engine.pool.size()  # type: ignore[attr-defined]
    if limit < size:
        remedy = "set DATABASE_POOL_SIZE below that"
        return Problem(f"the database allows {limit} connections: {remedy}")
    return f"{limit // size} processes of {size} connections each fit into {limit}"


def tables() -> str | None:
    """Check whether the tables have the version that this code needs.

    SQLite always has it: creating the application upgrades it.
    """
    upgrade = "run `flask --app scoreboard db upgrade`"
    try:
        if transactions.is_up_to_date():
            return None
        if expected := transactions.expected_upgrade():
            return Problem(f"stop all servers, then {upgrade}: {expected}")
    except DATABASE_ERRORS:
        return None
    return Problem(upgrade)


def redis() -> str | None:
    """Check whether Redis responds, if it is used."""
    if not current_app.config["REDIS_URL"]:
        return "not used, and not needed by one process"
    if not services().rate_limits.is_reachable(REDIS_TIMEOUT):
        return Problem("REDIS_URL does not respond: is it correct, and is Redis running?")
    return None


def mail() -> str | None:
    """Check whether the mail server accepts a sign-in, if there is one. Sends no mail."""
    settings = current_app.config
    if not settings["SMTP_URL"]:
        return "not used: admins make the links of forgotten passwords"
    try:
        with signed_in(settings["SMTP_URL"]):
            pass
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError):
        return Problem("the mail server refuses the sign-in of SMTP_URL: is it correct?")
    except OSError:  # with all other errors of smtplib
        return Problem("SMTP_URL does not respond: are its host, port and scheme correct?")
    if not settings["PUBLIC_URL"].startswith("https://"):
        return "PUBLIC_URL is not https: the links in mails can be read on the network"
    return None


def issuer() -> str | None:
    """Check whether the keys of the other issuer of tokens can be read, if there is one."""
    source = current_app.config["JWT_JWKS"]
    if not source:
        return "not used: only this server's own tokens are accepted"
    try:
        keys = runtime.run_in_thread(key_set.fetch, source)
    except (OSError, ValueError, jwt.PyJWTError) as error:
        return Problem(f"the keys of JWT_JWKS cannot be read: {error}")
    return f"keys for tokens of JWT_ISSUER: {', '.join(keys)}"


def _query(query: str) -> Any:
    """Return the result of the query, None if PostgreSQL fails or the database is SQLite."""
    if db.engine.dialect.name == "sqlite":
        return None
    try:
        return transactions.read(lambda connection: connection.exec_driver_sql(query).scalar_one())
    except DATABASE_ERRORS:
        return None


SETTINGS_CHECKS: dict[str, Callable[[Settings], str | None]] = {
    "second process": second_process,
    "disk": ephemeral_disk,
    "secrets": weak_secrets,
    "addresses": hidden_client_addresses,
}
SERVICE_CHECKS = {
    each.__name__: each for each in (database, encoding, connections, tables, redis, mail, issuer)
}


def examine(app: Flask) -> dict[str, str | None]:
    """Return the result of each check. Blocks for responses of all services."""
    return {
        **{name: check(app.config) for name, check in SETTINGS_CHECKS.items()},
        "secrets' text": repeated_secrets(app.config),
        "metrics": closed_metrics(app.config),
        **{name: check() for name, check in SERVICE_CHECKS.items()},
    }


def check_start(app: Flask, server: str) -> None:
    """Raise SystemExit with one line of advice if this process cannot serve.

    `server` is the async mode of the server that starts. Notes and warnings are logged. Blocks
    for database queries.
    """
    with app.app_context():
        results = [check(app.config) for check in SETTINGS_CHECKS.values()]
        results += [wrong_server(server), encoding(), tables()]
    for result in results:
        if isinstance(result, Problem):
            raise SystemExit(f"scoreboard: {result}")
        if result:
            log.info("%s", result)
    if warning := repeated_secrets(app.config):
        log.warning("%s", warning)


def init_app(app: Flask) -> None:
    """Raise SystemExit if a server is about to serve an application that cannot work.

    `python wsgi.py` calls `check_start` itself. No command but `flask run` starts a server.
    """
    if server := _server():
        check_start(app, server)


def _server() -> str | None:
    """Return the async mode of the server that creates the application, if it is known."""
    if context := click.get_current_context(silent=True):
        return "threading" if context.info_name == "run" else None
    program = Path(sys.argv[0]).name
    return program if program in UNSUPPORTED_SERVERS else None
