"""Settings are read from the environment; an error names the malformed one."""

import stat
import subprocess
import sys

import pytest

from config import POLICIES, Config, SettingError
from scoreboard.scores import policy
from tests.support.servers import ROOT, SECRETS


def test_the_default_is_sqlite_in_the_instance_folder(tmp_path):
    config = Config.from_environment({}, tmp_path)

    assert f"sqlite:///{tmp_path}/scoreboard.db" == config.SQLALCHEMY_DATABASE_URI
    assert (config.SCORE_POLICY, config.PUBLIC_BOARD, config.PORT) == ("latest", True, None)
    assert (config.SCORE_RATE_LIMIT, config.AUTH_RATE_LIMIT) == ("60/minute", "100/minute")
    assert (config.LOGIN_RATE_LIMIT, config.VIEWER_RATE_LIMIT) == ("10/minute", "600/minute")


def test_generated_secrets_are_stored_and_readable_only_by_the_owner(tmp_path):
    first = Config.from_environment({}, tmp_path)
    second = Config.from_environment({}, tmp_path)

    assert first.JWT_SECRET_KEY == second.JWT_SECRET_KEY != first.SECRET_KEY
    assert len(first.JWT_SECRET_KEY) >= 43  # 256 bits in base 64
    for name in ("secret_key", "jwt_secret_key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_removing_its_file_changes_a_generated_secret(tmp_path):
    old = Config.from_environment({}, tmp_path).JWT_SECRET_KEY
    (tmp_path / "jwt_secret_key").unlink()

    config = Config.from_environment({"JWT_SECRET_KEY_PREVIOUS": old}, tmp_path)

    assert old != config.JWT_SECRET_KEY
    assert (config.JWT_SECRET_KEY, old) == config.JWT_ACCEPTED_KEYS


@pytest.mark.parametrize(
    ("settings", "is_public"),
    [
        ({}, False),
        ({"HOST": "127.0.0.1"}, False),
        ({"HOST": "::1"}, False),
        ({"HOST": "localhost"}, False),
        ({"HOST": "0.0.0.0"}, True),
        ({"HOST": "192.0.2.7"}, True),
        ({"HOST": "board.example.com"}, True),
        ({"PORT": "5000"}, True),
        # A proxy on the same machine serves other machines.
        ({"HOST": "127.0.0.1", "PORT": "5000"}, True),
        ({"TRUSTED_PROXIES": "1"}, True),
    ],
    ids=str,
)
def test_a_server_that_other_machines_may_reach_is_public(tmp_path, settings, is_public):
    assert is_public == Config.from_environment(settings, tmp_path).IS_PUBLIC


def test_no_secret_is_in_the_repr_of_the_settings(tmp_path):
    settings = {**SECRETS, "JWT_SECRET_KEY_PREVIOUS": "p" * 48, "METRICS_TOKEN": "m" * 48}

    shown = repr(Config.from_environment(settings, tmp_path))

    assert not [value for value in settings.values() if value in shown]


MALFORMED = {
    "PORT": ["http", "70000", "-1", "５０００"],
    "DATABASE_URL": [
        "mysql://localhost/x",
        "scoreboard.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:board?mode=memory&cache=shared&uri=true",
        "sqlite:///file:/board?vfs=memdb&uri=true",
        "sqlite://host/board.db",
        "postgres://",
        "postgres://user:pass@host:port/board",
        "postgres://user:pass@host:0/board",
        "postgres://user:pass@host:70000/board",
        "postgres://user:pass@host:-1/board",
        "postgres://user:pass@:5432/board",
    ],
    "REDIS_URL": [
        "localhost:6379",
        "redis://",
        "redis://:6379",
        "redis://user:pass@:6379",
        "redis://host:port",
        "redis://host:0",
        "redis://host:70000",
        "redis://user:pa#ss@host:6379",
        "redis://[::1",
        "rediss://host:6379/board",
    ],
    "DATABASE_POOL_SIZE": ["1", "many"],
    "SECRET_KEY": [" "],
    "JWT_SECRET_KEY": [""],
    "JWT_SECRET_KEY_PREVIOUS": ["", " "],
    "JWT_JWKS": [
        *("nowhere.json", "http://issuer.example/jwks.json", "ftp://issuer.example", "https://"),
        *("https://host:port/jwks.json", "http://localhost.issuer.example/", "http://a@b.example/"),
    ],
    "JWT_ISSUER": ["https://a.example\n", " padded", "https://jwks.is.missing.example"],
    "JWT_AUDIENCE": ["x" * 501],
    "JWT_AUTO_CREATE": ["yes", "1"],
    "CORS_ORIGINS": ["example.com", "https://example.com/path", "https://"],
    "SCORE_RATE_LIMIT": ["often", "0/minute"],
    "AUTH_RATE_LIMIT": ["20 a minute"],
    "LOGIN_RATE_LIMIT": ["0/minute"],
    "VIEWER_RATE_LIMIT": ["many"],
    "SCORE_POLICY": ["median"],
    "PUBLIC_BOARD": ["maybe"],
    "SMTP_URL": [
        *("localhost", "smtp://host", "http://host?from=a@b", "smtp://?from=a@b"),
        *("smtp://host:port?from=a@b", "smtp://host?from=board"),
    ],
    "PUBLIC_URL": ["board.example", "https://board.example/path", "ftp://board.example"],
    "WEBHOOK_ALLOW_PRIVATE": ["yes"],
    "JOINING": ["never"],
    "JOIN_CODE": ["abc", "two words", "x" * 65, "abcd\n", "valid-but-JOINING-is-open"],
    "BOARD_TITLE": [" ", "x" * 65, "two\nlines"],
    "BOARD_ACCENT": ["green", "#12345", "#12345g", "0a7a5a", "#0a7a5a\n"],
    "BOARD_LOGO": ["nowhere.svg", "README.md", "instance"],
    "CONNECTIONS_PER_ADDRESS": ["0"],
    "METRICS_TOKEN": ["", "two words", "schlüssel"],
    "ACTIVITY_JUMP": ["-1", "20.5"],
    "ACTIVITY_REFUSALS": ["301"],
    "ACTIVITY_USERS_PER_ADDRESS": ["many"],
    "ACTIVITY_REGULARITY": ["2", "2%", "nan"],
}
VALID = {
    "DATABASE_URL": [
        "sqlite:///board.db",
        "sqlite:////tmp/memory/board.db?timeout=5",
        "postgresql+psycopg://user@host/board",
        "postgresql+psycopg://user:p%40ss@[::1]:5432/board?sslmode=require",
        "postgresql+psycopg:///board",
        "postgresql+psycopg:///board?host=/var/run/postgresql",
    ],
    "REDIS_URL": ["redis://host", "redis://[::1]:6379/7", "rediss://:pass@host:6380/"],
}


def pairs(table):
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), pairs(MALFORMED))
def test_an_error_names_the_malformed_setting(tmp_path, name, value):
    with pytest.raises(SettingError, match=f"setting {name} "):
        Config.from_environment({name: value}, tmp_path)


def test_mails_need_the_public_address(tmp_path):
    with pytest.raises(SettingError, match="setting PUBLIC_URL is missing"):
        Config.from_environment({"SMTP_URL": "smtp://host?from=board@example.com"}, tmp_path)


@pytest.mark.parametrize("name", ["JWT_ISSUER", "JWT_AUDIENCE"])
def test_the_keys_of_an_issuer_need_its_claims(tmp_path, name):
    settings = {
        "JWT_JWKS": "http://127.0.0.1:9/jwks.json",
        "JWT_ISSUER": "https://issuer.example/",
        "JWT_AUDIENCE": "scoreboard",
    }

    with pytest.raises(SettingError, match=f"setting {name} is missing"):
        Config.from_environment({**settings, name: ""}, tmp_path)


def test_joining_with_a_code_needs_one(tmp_path):
    with pytest.raises(SettingError, match="setting JOIN_CODE is missing"):
        Config.from_environment({"JOINING": "code"}, tmp_path)


@pytest.mark.parametrize(("name", "value"), pairs(VALID))
def test_a_valid_address_is_used_unchanged(tmp_path, name, value):
    config = Config.from_environment({**SECRETS, name: value}, tmp_path)

    assert value in (config.SQLALCHEMY_DATABASE_URI, config.REDIS_URL)


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
def test_the_error_of_a_malformed_address_has_no_password(tmp_path, name):
    scheme = "redis" if name == "REDIS_URL" else "postgres"

    with pytest.raises(SettingError) as raised:
        Config.from_environment({name: f"{scheme}://user:hunter2@host:port/0"}, tmp_path)

    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("command", [["wsgi.py"], ["-m", "flask", "run", "--port", "0"]], ids=str)
def test_a_malformed_setting_stops_the_start_with_one_line(command):
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 30}
    environment = {**SECRETS, "DATABASE_URL": "sqlite://"}

    done = subprocess.run([sys.executable, *command], env=environment, **options)

    assert done.returncode == 1
    example = "sqlite:////var/lib/scoreboard/scoreboard.db"
    assert done.stderr == f"scoreboard: setting DATABASE_URL must name a file, as in {example}\n"


def test_anomaly_rules_can_be_set_and_disabled(tmp_path):
    default = Config.from_environment({}, tmp_path)
    changes = {"ACTIVITY_JUMP": "0", "ACTIVITY_REGULARITY": "0.1", "ACTIVITY_REFUSALS": ""}

    config = Config.from_environment(changes, tmp_path)

    assert (default.ACTIVITY_JUMP, default.ACTIVITY_REGULARITY) == (20, 0.02)
    assert (default.ACTIVITY_REFUSALS, default.ACTIVITY_USERS_PER_ADDRESS) == (30, 50)
    assert (config.ACTIVITY_JUMP, config.ACTIVITY_REGULARITY) == (0, 0.1)
    assert config.ACTIVITY_REFUSALS == 30


def test_every_policy_of_the_settings_exists():
    orders = ("asc", "desc")
    assert policy._POLICIES.keys() == {(name, order) for name in POLICIES for order in orders}


def test_origins_are_a_comma_separated_list(tmp_path):
    config = Config.from_environment({"CORS_ORIGINS": "https://a.example, http://b:80"}, tmp_path)

    assert config.CORS_ORIGINS == ("https://a.example", "http://b")


@pytest.mark.parametrize(
    "settings", [{"CORS_ORIGINS": "https://a.example", "VIEWER_RATE_LIMIT": "1/minute"}]
)
def test_a_listed_origin_may_read_retry_after(client):
    client.post("/api/auth/viewer")

    refused = client.post("/api/auth/viewer", headers={"Origin": "https://a.example"})

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("name", ["logo.svg", "logo.png"])
def test_a_logo_in_the_instance_folder_is_used(tmp_path, name):
    (tmp_path / name).write_bytes(b"a picture")

    config = Config.from_environment({}, tmp_path)

    assert str(tmp_path / name) == config.BOARD_LOGO
