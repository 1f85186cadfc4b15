"""Check settings and services at start-up; each problem found has one line of advice."""

import itertools
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from flask import Flask

from ..concurrency import runtime
from ..db import transactions as database
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
REDIS_TIMEOUT = 2
# The lowest of the limits of the server, this database and this role.
CONNECTION_LIMIT = """
    SELECT least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int,
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
    )
"""
# Servers known from other projects; none exposes the socket that a WebSocket needs.
UNSUPPORTED_SERVERS = ("gunicorn", "uwsgi", "waitress-serve", "hypercorn", "uvicorn")


@dataclass(frozen=True)
class Finding:
    """The result of one check. `advice` says how to fix the problem, None if there is none.

    `note` is information that needs no action.
    """

    check: str
    advice: str | None
    note: str | None = None


def second_process(settings: Settings) -> str | None:
    """Return advice on a second process without Redis: it would miss the first one's updates."""
    number = re.fullmatch(r"web\.(\d+)", settings["DYNO"])
    if number and int(number[1]) > 1 and not settings["REDIS_URL"]:
        return "this is a second web process: add Redis (REDIS_URL) or scale to one"
    return None


def ephemeral_disk(settings: Settings) -> str | None:
    """Return advice on an SQLite database whose disk is lost when the process restarts."""
    on_sqlite = settings["SQLALCHEMY_DATABASE_URI"].startswith("sqlite")
    if settings["DYNO"] and on_sqlite and not settings["ALLOW_SQLITE"]:
        return "this disk is thrown away: add Postgres (DATABASE_URL), or set ALLOW_SQLITE=1"
    return None


def weak_secrets(settings: Settings) -> str | None:
    """Return advice on guessable secrets, with which anyone could mint tokens for any user."""
    secrets = {name: settings[name] for name in SECRETS}
    if not secrets[PREVIOUS]:
        del secrets[PREVIOUS]
    for name, secret in secrets.items():
        random = f"give it {MIN_SECRET_LENGTH} or more random characters"
        remedy = "leave it out" if name == PREVIOUS else random
        if len(secret) < MIN_SECRET_LENGTH:
            return f"{name} is weak: {remedy}"
        if PLACEHOLDER.search(re.sub("[^a-z0-9]", "", secret.lower())):
            return f"{name} is from an example: {remedy}"
    for one, other in itertools.combinations(secrets, 2):
        if secrets[one] == secrets[other]:
            return f"{other} must not be the same as {one}"
    return None


def repeated_secrets(settings: Settings) -> str | None:
    """Return advice on secrets that repeat one character: long enough, but easy to guess."""
    for name in SECRETS:
        if len(set(settings[name])) == 1:
            return f"{name} repeats one character: give it {MIN_SECRET_LENGTH} or more random ones"
    return None


def wrong_server(server: str) -> str | None:
    """Return advice on an unsupported server, or one that patched the standard library too late.

    Modules imported before the patching block the loop while they wait.
    """
    # Imported only with PostgreSQL; importing it here would slow down every other start.
    waiting = sys.modules.get("psycopg.waiting")
    waits_green = waiting is None or waiting.wait is waiting.wait_select
    if server != runtime.ASYNC_MODE or (runtime.ON_EVENTLET and not waits_green):
        return "start with `python wsgi.py` or with `flask run`, and with nothing imported before"
    return None


def concurrency(settings: Settings) -> str | None:
    """Return a note if WEB_CONCURRENCY, common on platforms, is set: it has no effect here."""
    if settings["WEB_CONCURRENCY"]:
        return "WEB_CONCURRENCY changes nothing: one process serves all"
    return None


def hidden_client_addresses(settings: Settings) -> str | None:
    """Return a note if limits per address would treat the platform's router as one client."""
    if settings["DYNO"] and not settings["TRUSTED_PROXIES"]:
        return "every client seems to come from the platform's router: set TRUSTED_PROXIES=1"
    return None


def encoding() -> str | None:
    """Return advice on a database that cannot store every name; None if it does not answer."""
    found = _ask("SHOW server_encoding")
    if found in (None, "UTF8"):
        return None
    return f"the database's encoding is {found}: create it with ENCODING 'UTF8'"


def too_few_connections(pool_size: int) -> tuple[str | None, str | None]:
    """Return advice if the database allows fewer connections than `pool_size`, and a note.

    The note says how many processes fit. Both are None if the limit is unknown.
    """
    limit = _ask(CONNECTION_LIMIT)
    if limit is None:
        return None, None
    if limit < pool_size:
        return f"the database allows {limit} connections: set DATABASE_POOL_SIZE below that", None
    return None, f"{limit // pool_size} processes of {pool_size} connections each fit into {limit}"


def _ask(query: str) -> Any:
    """Return the result of the query, None if PostgreSQL fails or the database is SQLite."""
    if db.engine.dialect.name == "sqlite":
        return None
    try:
        return database.read(lambda connection: connection.exec_driver_sql(query).scalar_one())
    except database.FAILURES:
        return None


def old_tables() -> str | None:
    """Return advice on tables of another version than the code's; None if the database fails."""
    try:
        return None if database.is_up_to_date() else "run `flask --app scoreboard db upgrade`"
    except database.FAILURES:
        return None


def check_start(app: Flask, server: str) -> None:
    """Raise SystemExit with one line of advice if this process cannot serve.

    `server` is the async mode of the server that starts. Notes and warnings are logged. Blocks
    for database queries.
    """
    with app.app_context():
        server_finding = Finding("server", wrong_server(server))
        for finding in (*_settings(app), server_finding, _encoding(), _tables()):
            if finding.advice:
                raise SystemExit(f"scoreboard: {finding.advice}")
            if finding.note:
                log.info("%s", finding.note)
        if warning := repeated_secrets(app.config):
            log.warning("%s", warning)


def examine(app: Flask) -> list[Finding]:
    """Return the findings of all checks, including database and Redis. Blocks for their answers."""
    return [
        *_settings(app),
        Finding("secrets' text", repeated_secrets(app.config)),
        _database(),
        _encoding(),
        _connections(),
        _tables(),
        _redis(app.config["REDIS_URL"]),
    ]


def init_app(app: Flask) -> None:
    """Raise SystemExit if a server is about to serve an application that cannot work.

    `python wsgi.py` checks this itself; other commands than `flask run` serve nothing.
    """
    if server := _server():
        check_start(app, server)


def _server() -> str | None:
    """Return the async mode of the server that creates the application, if it is known."""
    context = click.get_current_context(silent=True)
    if context:
        return "threading" if context.info_name == "run" else None
    program = Path(sys.argv[0]).name
    return program if program in UNSUPPORTED_SERVERS else None


def _settings(app: Flask) -> list[Finding]:
    return [
        Finding("second process", second_process(app.config), concurrency(app.config)),
        Finding("disk", ephemeral_disk(app.config)),
        Finding("secrets", weak_secrets(app.config)),
        Finding("addresses", None, hidden_client_addresses(app.config)),
    ]


def _tables() -> Finding:
    return Finding("tables", old_tables())


def _encoding() -> Finding:
    return Finding("encoding", encoding())


def _connections() -> Finding:
    size = 0 if db.engine.dialect.name == "sqlite" else db.engine.pool.size()  # type: ignore[attr-defined]
    return Finding("connections", *too_few_connections(size))


def _database() -> Finding:
    try:
        database.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
    except database.FAILURES:
        return Finding("database", "DATABASE_URL does not answer: is it right, is it running?")
    if not services().database.try_write():
        return Finding("database", "the database cannot be written to: is it full, or read-only?")
    return Finding("database", None)


def _redis(url: str) -> Finding:
    if not url:
        return Finding("redis", None, "not used, nor needed by one process")
    if not services().rate_limits.is_reachable(REDIS_TIMEOUT):
        return Finding("redis", "REDIS_URL does not answer: is it right, is it running?")
    return Finding("redis", None)
