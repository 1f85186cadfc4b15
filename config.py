"""Read the settings from environment variables, once at startup.

A malformed setting ends the process with a one-line message that names it. The application reads
no environment variables elsewhere, and in it only `create_app` imports this module.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from limits import parse_many
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

INSTANCE = Path(__file__).parent / "instance"
POLICIES = ("latest", "best", "total")
# Default size of one process's PostgreSQL pool, in connections.
DATABASE_POOL_SIZE = 4

IN_MEMORY = "must name a file, as in sqlite:////var/lib/scoreboard/scoreboard.db"
MALFORMED = "cannot be read: check its port, and write / : @ # ? % in a password as %XX"
PORT_RANGE = "must have a port from 1 to 65535"


class SettingError(SystemExit):
    """A setting is malformed. As a SystemExit it ends the process with a one-line message."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"scoreboard: setting {name} {problem}")


@dataclass(frozen=True)
class Config:
    """All settings of the application, under the names that its extensions read."""

    SQLALCHEMY_DATABASE_URI: str
    SQLALCHEMY_ENGINE_OPTIONS: dict[str, Any]
    REDIS_URL: str
    SECRET_KEY: str = field(repr=False)
    JWT_SECRET_KEY: str = field(repr=False)
    JWT_SECRET_KEY_PREVIOUS: str = field(default="", repr=False)
    HOST: str | None = None
    PORT: int | None = None
    CORS_ORIGINS: tuple[str, ...] = ()
    SCORE_POLICY: str = "latest"
    SCORE_RATE_LIMIT: str = "60/minute"
    AUTH_RATE_LIMIT: str = "100/minute"
    LOGIN_RATE_LIMIT: str = "10/minute"
    VIEWER_RATE_LIMIT: str = "600/minute"
    PUBLIC_BOARD: bool = True
    DEMO: bool = False
    CONNECTIONS_PER_ADDRESS: int = 1000
    TRUSTED_PROXIES: int = 0
    ALLOW_SQLITE: bool = False
    DYNO: str = ""
    WEB_CONCURRENCY: str = ""
    METRICS_TOKEN: str = field(default="", repr=False)
    ACTIVITY_JUMP: int = 20
    ACTIVITY_REFUSALS: int = 30
    # More than a school class of 40 behind one address, with a teacher and a few guests.
    ACTIVITY_USERS_PER_ADDRESS: int = 50
    ACTIVITY_REGULARITY: float = 0.02

    MAX_CONTENT_LENGTH = 64 * 1024
    JWT_ALGORITHM = "HS256"
    JWT_ACCESS_TOKEN_EXPIRES = timedelta(minutes=15)
    JWT_REFRESH_TOKEN_EXPIRES = timedelta(days=30)
    VIEWER_TOKEN_EXPIRES = timedelta(hours=1)
    RATELIMIT_STRATEGY = "moving-window"

    @property
    def RATELIMIT_STORAGE_URI(self) -> str:  # noqa: N802 - Flask-Limiter's name
        """The storage URI of a class in scoreboard/db/rate_limits.py."""
        return f"limits+{self.REDIS_URL or 'memory://'}"

    @property
    def JWT_ACCEPTED_KEYS(self) -> tuple[str, ...]:  # noqa: N802 - read as a setting is
        """The keys that verify tokens; the first one also signs."""
        return tuple(filter(None, (self.JWT_SECRET_KEY, self.JWT_SECRET_KEY_PREVIOUS)))

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, instance: Path = INSTANCE
    ) -> "Config":
        """Return the settings from these environment variables.

        `instance` is the folder for the default database and generated secrets. Raises
        SettingError, which names the variable, for a malformed value.
        """
        url = _database_url(environ, instance)
        embedded = url.startswith("sqlite")
        return cls(
            SQLALCHEMY_DATABASE_URI=url,
            SQLALCHEMY_ENGINE_OPTIONS=_engine_options(environ, url),
            REDIS_URL=_redis_url(environ),
            SECRET_KEY=_secret(environ, "SECRET_KEY", embedded, instance),
            JWT_SECRET_KEY=_secret(environ, "JWT_SECRET_KEY", embedded, instance),
            JWT_SECRET_KEY_PREVIOUS=_given_secret(environ, "JWT_SECRET_KEY_PREVIOUS"),
            HOST=environ.get("HOST") or None,
            PORT=_whole(environ, "PORT", None, 0, 65535),
            CORS_ORIGINS=_origins(environ),
            SCORE_POLICY=_one_of(environ, "SCORE_POLICY", POLICIES),
            SCORE_RATE_LIMIT=_rate_limit(environ, "SCORE_RATE_LIMIT", cls.SCORE_RATE_LIMIT),
            AUTH_RATE_LIMIT=_rate_limit(environ, "AUTH_RATE_LIMIT", cls.AUTH_RATE_LIMIT),
            LOGIN_RATE_LIMIT=_rate_limit(environ, "LOGIN_RATE_LIMIT", cls.LOGIN_RATE_LIMIT),
            VIEWER_RATE_LIMIT=_rate_limit(environ, "VIEWER_RATE_LIMIT", cls.VIEWER_RATE_LIMIT),
            PUBLIC_BOARD=_one_of(environ, "PUBLIC_BOARD", ("1", "0")) == "1",
            DEMO=_one_of(environ, "DEMO", ("0", "1")) == "1",
            CONNECTIONS_PER_ADDRESS=_whole(
                environ, "CONNECTIONS_PER_ADDRESS", cls.CONNECTIONS_PER_ADDRESS, 1, 1_000_000
            )
            or cls.CONNECTIONS_PER_ADDRESS,
            TRUSTED_PROXIES=_whole(environ, "TRUSTED_PROXIES", 0, 0, 10) or 0,
            ALLOW_SQLITE=_one_of(environ, "ALLOW_SQLITE", ("0", "1")) == "1",
            DYNO=environ.get("DYNO", ""),
            WEB_CONCURRENCY=environ.get("WEB_CONCURRENCY", ""),
            METRICS_TOKEN=_metrics_token(environ),
            **_activity(environ),
        )


def _database_url(environ: Mapping[str, str], instance: Path) -> str:
    url = environ.get("DATABASE_URL", "")
    if not url:
        instance.mkdir(exist_ok=True)
        return f"sqlite:///{instance / 'scoreboard.db'}"
    # Heroku sets postgres://; SQLAlchemy needs the name of the driver.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    if url in ("sqlite:", "sqlite:/", "sqlite://"):
        raise SettingError("DATABASE_URL", IN_MEMORY)
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise SettingError("DATABASE_URL", "must start with sqlite:/// or postgres://")
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):  # not shown: their messages contain the password
        raise SettingError("DATABASE_URL", MALFORMED) from None
    if url.startswith("sqlite"):
        if _is_in_memory(parts):
            raise SettingError("DATABASE_URL", IN_MEMORY)
        return url
    if parts.port is not None and not 1 <= parts.port <= 65535:
        raise SettingError("DATABASE_URL", PORT_RANGE)
    # Without host and port, libpq uses a local Unix socket.
    if not (parts.host or parts.query.get("host")) and (parts.port or not parts.database):
        raise SettingError("DATABASE_URL", "names no host, as in postgres://user@host/database")
    return url


def _is_in_memory(url: URL) -> bool:
    """Whether this SQLite URL has no file: each connection would have its own database."""
    file = (url.database or "").removeprefix("file:").partition("?")[0]
    return file in ("", ":memory:") or not {"memory", "memdb"}.isdisjoint(url.query.values())


def _engine_options(environ: Mapping[str, str], url: str) -> dict[str, Any]:
    # Keep parameter values of failed statements (email addresses, password hashes) out of the log.
    options: dict[str, Any] = {"hide_parameters": True}
    pool_size = _whole(environ, "DATABASE_POOL_SIZE", DATABASE_POOL_SIZE, 2, 100)
    if url.startswith("sqlite"):
        return options
    return {
        **options,
        # One connection writes and the rest read, each briefly: more would not be faster. With the
        # default, two processes and their two replacements during a deploy fit a 20-connection
        # plan.
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": 5,
        "connect_args": {
            "connect_timeout": 2,
            "client_encoding": "utf8",
            # Milliseconds after which a server that vanished without closing is given up.
            "tcp_user_timeout": 10_000,
        },
    }


def _redis_url(environ: Mapping[str, str]) -> str:
    url = environ.get("REDIS_URL", "")
    if not url:
        return url
    if not url.startswith(("redis://", "rediss://")):
        raise SettingError("REDIS_URL", "must start with redis:// or rediss://")
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        raise SettingError("REDIS_URL", MALFORMED) from None
    if port == 0:  # the client would use the default port
        raise SettingError("REDIS_URL", PORT_RANGE)
    if not parts.hostname:
        raise SettingError("REDIS_URL", "names no host, as in redis://host:6379")
    if not re.fullmatch("/?[0-9]*", parts.path, re.ASCII):
        raise SettingError("REDIS_URL", "must end with the number of a database, as in /0")
    return url


def _secret(environ: Mapping[str, str], name: str, embedded: bool, instance: Path) -> str:
    """Return a secret. With SQLite, a missing one is generated and stored in a file."""
    given = _given_secret(environ, name)
    if given:
        return given
    if not embedded:
        raise SettingError(name, "is missing: give it a long random value")
    return _kept_secret(instance / name.lower())


def _given_secret(environ: Mapping[str, str], name: str) -> str:
    """Return the secret, or "" if the variable is not set. Raises SettingError if it is blank."""
    if name in environ and not environ[name].strip():
        raise SettingError(name, "is empty: give it a long random value")
    return environ.get(name, "")


def _kept_secret(path: Path) -> str:
    """Return the secret in the file, generated if missing; only its owner may read the file."""
    path.parent.mkdir(exist_ok=True)
    written = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        # A hard link is atomic: of two processes that start at the same time, one wins.
        os.link(written, path)
    except FileExistsError:
        pass
    finally:
        written.unlink()
    return path.read_text().strip()


def _metrics_token(environ: Mapping[str, str]) -> str:
    """Return the token, or "" if the variable is not set. Raises SettingError if it is empty.

    An empty token must not make the metrics public.
    """
    token = environ.get("METRICS_TOKEN")
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SettingError("METRICS_TOKEN", "must be a long random value of ASCII without spaces")
    return token or ""


def _whole(
    environ: Mapping[str, str], name: str, default: int | None, least: int, most: int
) -> int | None:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise SettingError(name, f"must be a whole number from {least} to {most}")
    return int(text)


def _activity(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the thresholds of the anomaly rules that are set; 0 disables a rule."""
    # Memory use grows with the second and third, so they are bounded: see `Memory` in
    # scoreboard/anomalies/rules.py.
    given = {
        "ACTIVITY_JUMP": _whole(environ, "ACTIVITY_JUMP", None, 0, 1_000_000),
        "ACTIVITY_REFUSALS": _whole(environ, "ACTIVITY_REFUSALS", None, 0, 300),
        "ACTIVITY_USERS_PER_ADDRESS": _whole(environ, "ACTIVITY_USERS_PER_ADDRESS", None, 0, 300),
        "ACTIVITY_REGULARITY": _fraction(environ, "ACTIVITY_REGULARITY"),
    }
    return {name: value for name, value in given.items() if value is not None}


def _fraction(environ: Mapping[str, str], name: str) -> float | None:
    text = environ.get(name, "")
    if text and not re.fullmatch(r"0|1|0?\.[0-9]{1,9}", text, re.ASCII):
        raise SettingError(name, "must be a number from 0 to 1, such as 0.02")
    return float(text) if text else None


def _one_of(environ: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return the value, or the first choice if the variable is not set or empty."""
    value = environ.get(name) or choices[0]
    if value not in choices:
        raise SettingError(name, f"must be one of: {', '.join(choices)}")
    return value


def _rate_limit(environ: Mapping[str, str], name: str, default: str) -> str:
    value = environ.get(name) or default
    try:
        limits = parse_many(value)
    except ValueError:
        limits = []
    if not limits or any(limit.amount < 1 for limit in limits):
        raise SettingError(name, "must be a rate such as 60/minute or 60/minute;1000/day")
    return value


def _origins(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the normalised origins of a comma-separated list."""
    # Imported here to avoid an import cycle: the package imports this module.
    from scoreboard.http.origins import normalise_listed

    parts = [part.strip() for part in environ.get("CORS_ORIGINS", "").split(",")]
    try:
        return tuple(normalise_listed(part) for part in parts if part)
    except ValueError as error:
        problem = f"must list origins such as https://example.com or https://*.example.com: {error}"
        raise SettingError("CORS_ORIGINS", problem) from error
