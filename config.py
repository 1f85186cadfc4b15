"""Read the settings from environment variables, once at startup.

A malformed setting ends the process with a one-line message that names it. No other module reads
environment variables, and only `create_app` imports this module.
"""

import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from limits import parse_many
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

INSTANCE = Path(__file__).parent / "instance"
LOGO_SUFFIXES = (".svg", ".png")
POLICIES = ("latest", "best", "total")
# The environment variables that are not named after their setting.
VARIABLES = {"SQLALCHEMY_DATABASE_URI": "DATABASE_URL"}

IN_MEMORY = "must name a file, as in sqlite:////var/lib/scoreboard/scoreboard.db"
MALFORMED = "cannot be read: check its port, and write / : @ # ? % in a password as %XX"
SMTP_EXAMPLE = "must be as smtp://user:password@host:587?from=board@example.com"
PORT_RANGE = "must have a port from 1 to 65535"


class SettingError(SystemExit):
    """A setting is malformed. As a SystemExit it ends the process with a one-line message."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"scoreboard: setting {name} {problem}")


# The parsers raise ValueError with the problem, which `from_environment` puts after the name.


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return text

    return parse


def _flag(text: str) -> bool:
    return _choice("0", "1")(text) == "1"


def _fraction(text: str) -> float:
    if not re.fullmatch(r"0|1|0?\.[0-9]{1,9}", text, re.ASCII):
        raise ValueError("must be a number from 0 to 1, such as 0.02")
    return float(text)


def _score(text: str) -> float:
    # Plain digits: Python would also accept `nan` and `1_0`. From 2**53 doubles skip integers.
    if (
        not re.fullmatch(r"-?[0-9]{1,16}(\.[0-9]{1,9})?", text, re.ASCII)
        or abs(float(text)) >= 2**53
    ):
        raise ValueError("must be a number such as 0 or -12.5")
    return float(text)


def _rate_limit(text: str) -> str:
    try:
        limits = parse_many(text)
    except ValueError:
        limits = []
    if not limits or any(limit.amount < 1 for limit in limits):
        raise ValueError("must be a rate such as 60/minute or 60/minute;1000/day")
    return text


def _secret(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: give it a long random value")
    return text


def _join_code(text: str) -> str:
    # Part of the join link, so without characters that a URL escapes.
    if text and not re.fullmatch(r"[A-Za-z0-9_-]{4,64}", text, re.ASCII):
        raise ValueError("must be 4 to 64 characters of A-Z a-z 0-9 _ -")
    return text


def _metrics_token(text: str) -> str:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be a long random value of ASCII without spaces")
    return text


def _origins(text: str) -> tuple[str, ...]:
    """Return the normalised origins of a comma-separated list."""
    # Imported here to avoid an import cycle: the package imports this module.
    from scoreboard.http.origins import normalise_listed

    parts = [part.strip() for part in text.split(",")]
    try:
        return tuple(normalise_listed(part) for part in parts if part)
    except ValueError as error:
        example = "https://example.com or https://*.example.com"
        raise ValueError(f"must list origins such as {example}: {error}") from error


def _database_url(text: str) -> str:
    # Heroku sets postgres://; SQLAlchemy needs the name of the driver.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", text)
    if url in ("sqlite:", "sqlite:/", "sqlite://"):
        raise ValueError(IN_MEMORY)
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must start with sqlite:/// or postgres://")
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):  # not shown: their messages contain the password
        raise ValueError(MALFORMED) from None
    if url.startswith("sqlite"):
        if _is_in_memory(parts):
            raise ValueError(IN_MEMORY)
        return url
    if parts.port is not None and not 1 <= parts.port <= 65535:
        raise ValueError(PORT_RANGE)
    # Without host and port, libpq uses a local Unix socket.
    if not (parts.host or parts.query.get("host")) and (parts.port or not parts.database):
        raise ValueError("names no host, as in postgres://user@host/database")
    return url


def _is_in_memory(url: URL) -> bool:
    """Whether this SQLite URL has no file: each connection would have its own database."""
    file = (url.database or "").removeprefix("file:").partition("?")[0]
    return file in ("", ":memory:") or not {"memory", "memdb"}.isdisjoint(url.query.values())


def _redis_url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://")):
        raise ValueError("must start with redis:// or rediss://")
    try:
        parts, port = urlsplit(text), urlsplit(text).port
    except ValueError:
        raise ValueError(MALFORMED) from None
    if port == 0:  # the client would use the default port
        raise ValueError(PORT_RANGE)
    if not parts.hostname:
        raise ValueError("names no host, as in redis://host:6379")
    if not re.fullmatch("/?[0-9]*", parts.path, re.ASCII):
        raise ValueError("must end with the number of a database, as in /0")
    return text


def _title(text: str) -> str:
    if not 1 <= len(text.strip()) <= 64 or not text.isprintable():
        raise ValueError("must be 1 to 64 printable characters")
    return text.strip()


def _colour(text: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text, re.ASCII):
        raise ValueError("must be a colour such as #0a7a5a")
    return text.lower()


def _logo(text: str) -> str:
    path = Path(text)
    if path.suffix.lower() not in LOGO_SUFFIXES or not path.is_file():
        raise ValueError("must name an existing .svg or .png file")
    return str(path.resolve())


def _smtp_url(text: str) -> str:
    """Return the URL with its port. The address of the sender is its parameter `from`."""
    try:
        parts, port = urlsplit(text), urlsplit(text).port
        senders = parse_qs(parts.query)["from"]
    except (ValueError, KeyError):
        raise ValueError(SMTP_EXAMPLE) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or "@" not in senders[0]:
        raise ValueError(SMTP_EXAMPLE)
    default = 465 if parts.scheme == "smtps" else 587
    return text if port else parts._replace(netloc=f"{parts.netloc}:{default}").geturl()


def _public_url(text: str) -> str:
    if not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+/?", text, re.ASCII | re.IGNORECASE):
        raise ValueError("must be the address of the server, such as https://board.example.com")
    return text.rstrip("/")


def _jwks(text: str) -> str:
    """Return the https URL, or the absolute path of a file. http is for this machine only."""
    if re.match("https?://", text):
        try:
            parts, _ = urlsplit(text), urlsplit(text).port
        except ValueError:
            raise ValueError(MALFORMED) from None
        if not parts.hostname:
            raise ValueError("names no host, as in https://example.com/jwks.json")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError(
                "must be https, except on this machine: forged keys would sign anyone in"
            )
        return text
    if not Path(text).is_file():
        raise ValueError("must be an https URL or an existing file")
    return str(Path(text).resolve())


def _claim(text: str) -> str:
    if not text.isprintable() or text != text.strip() or len(text) > 500:
        raise ValueError("must be the text of the claim, without spaces around it")
    return text


def _setting(parse: Callable[[str], Any], default: Any = MISSING, secret: bool = False) -> Any:
    """Declare a setting. An empty variable means the default, except that of a secret.

    `repr` does not show a secret.
    """
    return field(default=default, repr=not secret, metadata={"parse": parse, "secret": secret})


@dataclass(frozen=True)
class Config:
    """All settings of the application, under the names that its extensions read."""

    SQLALCHEMY_DATABASE_URI: str = _setting(_database_url)
    SECRET_KEY: str = _setting(_secret, secret=True)
    JWT_SECRET_KEY: str = _setting(_secret, secret=True)
    # The issuer of other tokens: its keys, and the claims `iss` and `aud` of its tokens for us.
    JWT_JWKS: str = _setting(_jwks, "")
    JWT_ISSUER: str = _setting(_claim, "")
    JWT_AUDIENCE: str = _setting(_claim, "")
    JWT_AUTO_CREATE: bool = _setting(_flag, False)
    # One connection writes and the rest read, each briefly: more would not be faster. Two processes
    # and their two replacements during a deploy fit a 20-connection plan.
    DATABASE_POOL_SIZE: int = _setting(_integer(2, 100), 4)
    REDIS_URL: str = _setting(_redis_url, "")
    JWT_SECRET_KEY_PREVIOUS: str = _setting(_secret, "", secret=True)
    HOST: str | None = _setting(str, None)
    PORT: int | None = _setting(_integer(0, 65535), None)
    CORS_ORIGINS: tuple[str, ...] = _setting(_origins, ())
    SCORE_POLICY: str = _setting(_choice(*POLICIES), "latest")
    SCORE_MIN: float | None = _setting(_score, None)
    SCORE_MAX: float | None = _setting(_score, None)
    SCORE_SUBMIT: str = _setting(_choice("player", "scorer"), "player")
    SCORE_RATE_LIMIT: str = _setting(_rate_limit, "60/minute")
    AUTH_RATE_LIMIT: str = _setting(_rate_limit, "100/minute")
    LOGIN_RATE_LIMIT: str = _setting(_rate_limit, "10/minute")
    VIEWER_RATE_LIMIT: str = _setting(_rate_limit, "600/minute")
    PUBLIC_BOARD: bool = _setting(_flag, True)
    JOINING: str = _setting(_choice("open", "code", "closed"), "open")
    JOIN_CODE: str = _setting(_join_code, "", secret=True)
    SMTP_URL: str = _setting(_smtp_url, "", secret=True)
    # Links in mails start with it: the Host header of a request is the choice of its sender.
    PUBLIC_URL: str = _setting(_public_url, "")
    WEBHOOK_ALLOW_PRIVATE: bool = _setting(_flag, False)
    BOARD_TITLE: str = _setting(_title, "Scoreboard")
    BOARD_ACCENT: str = _setting(_colour, "#0a7a5a")
    BOARD_LOGO: str = _setting(_logo, "")
    CONNECTIONS_PER_ADDRESS: int = _setting(_integer(1, 1_000_000), 1000)
    TRUSTED_PROXIES: int = _setting(_integer(0, 10), 0)
    ALLOW_SQLITE: bool = _setting(_flag, False)
    DYNO: str = _setting(str, "")
    WEB_CONCURRENCY: str = _setting(str, "")
    # An empty token must not make the metrics public.
    METRICS_TOKEN: str = _setting(_metrics_token, "", secret=True)
    METRICS_PUBLIC: bool = _setting(_flag, False)
    # Thresholds of the anomaly rules; 0 disables a rule. Memory use grows with the second and the
    # third, so they are bounded: see `Memory` in scoreboard/anomalies/rules.py.
    ACTIVITY_JUMP: int = _setting(_integer(0, 1_000_000), 20)
    ACTIVITY_REFUSALS: int = _setting(_integer(0, 300), 30)
    # More than a school class of 40 behind one address.
    ACTIVITY_USERS_PER_ADDRESS: int = _setting(_integer(0, 300), 50)
    ACTIVITY_REGULARITY: float = _setting(_fraction, 0.02)

    # Maximum body sizes in bytes; a batch of MAX_BATCH_UPDATES updates of any kind fits in its own.
    MAX_CONTENT_LENGTH = 64 * 1024
    MAX_BATCH_CONTENT_LENGTH = 256 * 1024
    JWT_ALGORITHM = "HS256"
    JWT_ACCESS_TOKEN_EXPIRES = timedelta(minutes=15)
    JWT_REFRESH_TOKEN_EXPIRES = timedelta(days=30)
    # A guest has no other key to the account.
    GUEST_REFRESH_TOKEN_EXPIRES = timedelta(days=180)
    VIEWER_TOKEN_EXPIRES = timedelta(hours=1)
    RATELIMIT_STRATEGY = "moving-window"

    @property
    def IS_PUBLIC(self) -> bool:  # noqa: N802 - read as a setting is
        """Whether other machines may reach this server, directly or through a proxy."""
        is_local = self.HOST is None or _is_loopback(self.HOST)
        return self.PORT is not None or bool(self.TRUSTED_PROXIES) or not is_local

    @property
    def RATELIMIT_STORAGE_URI(self) -> str:  # noqa: N802 - Flask-Limiter's name
        """The storage URI of a class in scoreboard/db/rate_limits.py."""
        return f"limits+{self.REDIS_URL or 'memory://'}"

    @property
    def JWT_ACCEPTED_KEYS(self) -> tuple[str, ...]:  # noqa: N802 - read as a setting is
        """The keys that verify tokens; the first one also signs."""
        return tuple(filter(None, (self.JWT_SECRET_KEY, self.JWT_SECRET_KEY_PREVIOUS)))

    @property
    def SQLALCHEMY_ENGINE_OPTIONS(self) -> dict[str, Any]:  # noqa: N802 - Flask-SQLAlchemy's name
        """The options of the database engine."""
        # Keep the values in failed statements (email addresses, password hashes) out of the log.
        options: dict[str, Any] = {"hide_parameters": True}
        if self.SQLALCHEMY_DATABASE_URI.startswith("sqlite"):
            return options
        pool = {"pool_size": self.DATABASE_POOL_SIZE, "max_overflow": 0, "pool_timeout": 5}
        # `tcp_user_timeout`: the milliseconds after which a server that vanished is given up.
        connect = {"connect_timeout": 2, "client_encoding": "utf8", "tcp_user_timeout": 10_000}
        return {**options, **pool, "connect_args": connect}

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, instance: Path = INSTANCE
    ) -> "Config":
        """Return the settings from these environment variables.

        `instance` is the folder for the default database, generated secrets and the logo. Raises
        SettingError, which names the variable, for a malformed value.
        """
        values: dict[str, Any] = {}
        for each in fields(cls):
            variable = VARIABLES.get(each.name, each.name)
            text = environ.get(variable)
            if text is None or (text == "" and not each.metadata["secret"]):
                continue
            try:
                values[each.name] = each.metadata["parse"](text)
            except ValueError as error:
                raise SettingError(variable, str(error)) from None
        if "SQLALCHEMY_DATABASE_URI" not in values:
            values["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{instance / 'scoreboard.db'}"
            instance.mkdir(exist_ok=True)
        for name in ("SECRET_KEY", "JWT_SECRET_KEY"):
            if name not in values:
                if not values["SQLALCHEMY_DATABASE_URI"].startswith("sqlite"):
                    raise SettingError(name, "is missing: give it a long random value")
                values[name] = _stored_secret(instance / name.lower())
        logos = [instance / f"logo{suffix}" for suffix in LOGO_SUFFIXES]
        if "BOARD_LOGO" not in values and (found := [path for path in logos if path.is_file()]):
            values["BOARD_LOGO"] = str(found[0].resolve())
        lowest, highest = values.get("SCORE_MIN"), values.get("SCORE_MAX")
        if lowest is not None and highest is not None and highest < lowest:
            raise SettingError("SCORE_MAX", "must not be below SCORE_MIN")
        joining, join_code = values.get("JOINING", "open"), values.get("JOIN_CODE", "")
        if joining == "code" and not join_code:
            raise SettingError("JOIN_CODE", "is missing: JOINING=code needs it")
        if joining == "open" and join_code:
            raise SettingError("JOIN_CODE", "has no effect unless JOINING is code")
        if values.get("SMTP_URL") and not values.get("PUBLIC_URL"):
            raise SettingError("PUBLIC_URL", "is missing: SMTP_URL needs it for the links in mails")
        for name in ("JWT_ISSUER", "JWT_AUDIENCE"):
            if values.get("JWT_JWKS") and not values.get(name):
                raise SettingError(name, "is missing: JWT_JWKS needs it")
        for name in ("JWT_ISSUER", "JWT_AUDIENCE", "JWT_AUTO_CREATE"):
            if values.get(name) and not values.get("JWT_JWKS"):
                raise SettingError(name, "has no effect without JWT_JWKS")
        return cls(**values)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stored_secret(path: Path) -> str:
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
