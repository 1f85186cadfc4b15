"""Shared fixtures: `app` runs in the process of the tests, `server` in its own."""

import functools
import itertools
import json
import logging
import uuid

import pytest

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts, passwords, tokens
from scoreboard.extensions import db
from scoreboard.services import services
from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.local_subscribers import LocalSubscriber
from tests.support.servers import (
    RUN_MODES,
    SECRETS,
    Server,
    ServerGroup,
    SignedInUser,
    start_servers,
)

NUMBERS = itertools.count()
# The slowest files start first, so that no worker is still busy when all others have finished.
SLOW_FILES = [
    *("test_board_page", "test_admin_page", "test_wall", "test_several_boards"),
    *("test_floods", "test_kills", "test_processes", "test_joining", "test_players"),
    *("test_real_results", "test_real_seasons", "test_readme", "test_js_package"),
]
# A test starts processes if it is in one of these folders, if its module imports one of these
# names, or if it requests a fixture of such a name.
PROCESS_FOLDERS = {"end_to_end", "faults", "stress"}
PROCESS_NAMES = {
    *("Server", "start_servers", "server", "start", "subprocess"),
    *("PostgresServer", "RedisServer", "databases", "chromium"),
}


def starts_processes(item):
    """Whether a test starts processes, such as a server, Postgres or a browser."""
    names = vars(item.module).keys() | set(item.fixturenames)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return (
        item.path.parent.name in PROCESS_FOLDERS
        or not PROCESS_NAMES.isdisjoint(names)
        or parameters.get("database_url") == "postgres"
    )


def pytest_collection_modifyitems(items):
    """Mark the tests that start processes; run the slowest files first."""
    for item in items:
        if starts_processes(item):
            item.add_marker("processes")
    priorities = {name: number for number, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: priorities.get(item.path.stem, len(priorities)))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request, tmp_path):
    """Return the URL of an empty database with tables, once for each kind of database."""
    if request.param == "postgres":
        return databases.emptied_postgres()
    return databases.copied_sqlite(tmp_path)


@pytest.fixture
def make_app(database_url):
    """Return a function that creates an application with these settings."""
    made = []

    def make(**settings):
        environment = {
            "DATABASE_URL": database_url,
            "SCORE_RATE_LIMIT": "1000000/minute",
            "AUTH_RATE_LIMIT": "1000000/minute",
            "VIEWER_RATE_LIMIT": "1000000/minute",
            **SECRETS,
            **settings,
        }
        app = create_app(Config.from_environment(environment))
        # Maintenance threads never end: they would work on the database of later tests.
        services(app).connections.on_first_connection(lambda: None)
        made.append(app)
        return app

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def settings():
    """Return the settings of `app`; a test that needs others parametrizes this."""
    return {}


@pytest.fixture
def app(make_app, settings):
    app = make_app(**settings)
    with app.app_context():
        yield app


@pytest.fixture(autouse=True, scope="session")
def cheap_password_hashes():
    """Hash passwords in this process at a low cost; the default cost takes tens of ms."""
    cheap = functools.partial(passwords.generate_password_hash, method="scrypt:1024:8:1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "generate_password_hash", cheap)
        yield


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def make_user(app):
    """Return a function that creates a user with this role and a token."""

    def make(role="player", name=None, password_hash=None):
        name = name or f"{role}-{next(NUMBERS)}"
        account = accounts.create(name, f"{uuid.uuid4().hex}@example.com", password_hash, role)
        return SignedInUser(account.user_id, tokens.issue_access(account.user_id, role))

    return make


@pytest.fixture
def player(make_user):
    return make_user("player")


@pytest.fixture
def scorer(make_user):
    return make_user("scorer")


@pytest.fixture
def admin(make_user):
    return make_user("admin")


@pytest.fixture
def subscriber(app):
    """Return a subscriber in this process that names no board."""
    return LocalSubscriber(app)


@pytest.fixture
def audit_lines(app, caplog):
    """Return a function that returns the current lines of the audit log."""
    logger = logging.getLogger("scoreboard.audit")
    logger.addHandler(caplog.handler)
    yield lambda: [
        json.loads(line)
        for record in caplog.records
        if record.name == logger.name
        for line in record.getMessage().splitlines()
    ]
    logger.removeHandler(caplog.handler)


@pytest.fixture
def unexpected_errors():
    """Return the list of unexpected errors, which are logged with a traceback."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.exc_info[1])
    logger = logging.getLogger("scoreboard.errors")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a function that starts a server with these settings, stopped after the module."""
    servers = []

    def start(*mode, **settings):
        servers.append(Server(tmp_path_factory.mktemp("server"), *mode, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module", params=[*RUN_MODES, "three processes"])
def server(request, start, tmp_path_factory):
    """Return a real server, once for each way to run it."""
    if request.param != "three processes":
        yield start(request.param)
        return
    folder = tmp_path_factory.mktemp("servers")
    redis = RedisServer(folder)
    server = ServerGroup(
        start_servers(folder, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url)
    )
    yield server
    server.stop()
    redis.stop()


@pytest.fixture(scope="module")
def users(server):
    """Return a user of each role except admin on the real server."""
    return {role: server.user(f"The-{role}", role) for role in ("viewer", "player", "scorer")}


@pytest.fixture
def closing():
    """Return a function that closes a subscriber after the test, and returns it."""
    opened = []

    def closing(subscriber):
        opened.append(subscriber)
        return subscriber

    yield closing
    for subscriber in opened:
        subscriber.close()
