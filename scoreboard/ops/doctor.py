"""The start-up doctor: finds what cannot work, and says in one line what to do about it."""

import itertools
import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
from flask import Flask

from ..concurrency import runtime as transport
from ..db import transactions as database
from ..extensions import db, limiter

log = logging.getLogger(__name__)

Settings = Mapping[str, Any]

PREVIOUS = "JWT_SECRET_KEY_PREVIOUS"
SECRETS = ("SECRET_KEY", "JWT_SECRET_KEY", PREVIOUS)
# 256 bits for HS256, as RFC 7518, section 3.2, asks; in text that is no less than this.
SHORTEST_SECRET = 32
# In letters and digits only: what people copy from an example and never change.
PLACEHOLDER = re.compile(
    r"changeme|changethis|replaceme|placeholder|yoursecret|your256bit|secretkey|supersecret"
    r"|topsecret|insecure|example|password|astringsecretatleast256bitslong"
)
REDIS_SECONDS = 2
# The least of what the server, this database and this role allow.
CONNECTION_LIMIT = """
    SELECT least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int,
        (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
        (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)
    )
"""
# Servers known from other projects; none hands out the socket that a WebSocket needs.
FOREIGN = ("gunicorn", "uwsgi", "waitress-serve", "hypercorn", "uvicorn")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` is what to do, None if all is well.

    `note` is worth knowing all the same.
    """

    check: str
    advice: str | None
    note: str | None = None


def second_process(settings: Settings) -> str | None:
    """Find a second process without Redis: the two would know nothing of each other's updates."""
    number = re.fullmatch(r"web\.(\d+)", settings["DYNO"])
    if number and int(number[1]) > 1 and not settings["REDIS_URL"]:
        return "this is a second web process: add Redis (REDIS_URL) or scale to one"
    return None


def throw_away_disk(settings: Settings) -> str | None:
    """Find a database on a disk that is gone with the process's next start."""
    on_sqlite = settings["SQLALCHEMY_DATABASE_URI"].startswith("sqlite")
    if settings["DYNO"] and on_sqlite and not settings["ALLOW_SQLITE"]:
        return "this disk is thrown away: add Postgres (DATABASE_URL), or set ALLOW_SQLITE=1"
    return None


def weak_secrets(settings: Settings) -> str | None:
    """Find secrets that can be guessed: who does mints tokens for anybody."""
    secrets = {name: settings[name] for name in SECRETS}
    if not secrets[PREVIOUS]:
        del secrets[PREVIOUS]
    for name, secret in secrets.items():
        random = f"give it {SHORTEST_SECRET} or more random characters"
        remedy = "leave it out" if name == PREVIOUS else random
        if len(secret) < SHORTEST_SECRET:
            return f"{name} is weak: {remedy}"
        if PLACEHOLDER.search(re.sub("[^a-z0-9]", "", secret.lower())):
            return f"{name} is from an example: {remedy}"
    for one, other in itertools.combinations(secrets, 2):
        if secrets[one] == secrets[other]:
            return f"{other} must not be the same as {one}"
    return None


def repeated_secrets(settings: Settings) -> str | None:
    """Find secrets that are one character again and again: long enough, and easily guessed."""
    for name in SECRETS:
        if len(set(settings[name])) == 1:
            return f"{name} repeats one character: give it {SHORTEST_SECRET} or more random ones"
    return None


def wrong_server(server: str) -> str | None:
    """Find a server that this cannot run on, or one whose patching came too late.

    What was imported before the patching waits in ways that stop everybody else.
    """
    # There only if Postgres is: without, to import it here would make every start longer.
    waiting = sys.modules.get("psycopg.waiting")
    waits_green = waiting is None or waiting.wait is waiting.wait_select
    if server != transport.ASYNC_MODE or (transport.GREEN and not waits_green):
        return "start with `python wsgi.py` or with `flask run`, and with nothing imported before"
    return None


def concurrency(settings: Settings) -> str | None:
    """Note that a platform's usual setting does nothing here."""
    if settings["WEB_CONCURRENCY"]:
        return "WEB_CONCURRENCY changes nothing: one process serves all"
    return None


def unseen_addresses(settings: Settings) -> str | None:
    """Note that the limits per address count a platform's router, which is not one client."""
    if settings["DYNO"] and not settings["TRUSTED_PROXIES"]:
        return "every client seems to come from the platform's router: set TRUSTED_PROXIES=1"
    return None


def encoding() -> str | None:
    """Find a database that cannot hold every name; nothing if it cannot be asked."""
    found = _ask("SHOW server_encoding")
    if found in (None, "UTF8"):
        return None
    return f"the database's encoding is {found}: create it with ENCODING 'UTF8'"


def too_few_connections(pool_size: int) -> tuple[str | None, str | None]:
    """Find a server or role that has too few connections for this process.

    Return what to do, and otherwise how many processes there is room for.
    """
    limit = _ask(CONNECTION_LIMIT)
    if limit is None:
        return None, None
    if limit < pool_size:
        return f"the database allows {limit} connections: set DATABASE_POOL_SIZE below that", None
    return None, f"{limit // pool_size} processes of {pool_size} connections each fit into {limit}"


def _ask(query: str) -> Any:
    """Return what PostgreSQL answers, None if it cannot be asked or the database is SQLite."""
    if db.engine.dialect.name == "sqlite":
        return None
    try:
        return database.read(lambda connection: connection.exec_driver_sql(query).scalar_one())
    except database.FAILURES:
        return None


def old_tables() -> str | None:
    """Find tables that are not of the code's version; nothing if the database cannot be asked."""
    try:
        return None if database.is_up_to_date() else "run `flask --app scoreboard db upgrade`"
    except database.FAILURES:
        return None


def refuse_what_cannot_work(app: Flask, server: str) -> None:
    """Raise SystemExit with one line that says what to do, if this process cannot serve.

    `server` is the async mode that the server at hand asks for. Notes are logged.
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
    """Return everything that was looked at, services included."""
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
        refuse_what_cannot_work(app, server)


def _server() -> str | None:
    """Return the async mode of the server that creates the application, if it is known."""
    context = click.get_current_context(silent=True)
    if context:
        return "threading" if context.info_name == "run" else None
    program = Path(sys.argv[0]).name
    return program if program in FOREIGN else None


def _settings(app: Flask) -> list[Finding]:
    return [
        Finding("second process", second_process(app.config), concurrency(app.config)),
        Finding("disk", throw_away_disk(app.config)),
        Finding("secrets", weak_secrets(app.config)),
        Finding("addresses", None, unseen_addresses(app.config)),
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
    if not database.is_writable():
        return Finding("database", "the database cannot be written to: is it full, or read-only?")
    return Finding("database", None)


def _redis(url: str) -> Finding:
    if not url:
        return Finding("redis", None, "not used, nor needed by one process")
    if not cast(Any, limiter.storage).is_reachable(REDIS_SECONDS):
        return Finding("redis", "REDIS_URL does not answer: is it right, is it running?")
    return Finding("redis", None)
