"""The fixtures. `app` and what hangs on it runs in this process, `server` is a real one."""

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
from scoreboard.observability.metrics import WEBSOCKET
from scoreboard.realtime import hub
from tests.support import databases
from tests.support.backing_services import RedisServer
from tests.support.frames import texts
from tests.support.servers import (
    RUN_MODES,
    SECRETS,
    Server,
    ServerGroup,
    SignedInUser,
    start_servers,
)

NUMBERS = itertools.count()
# Few tests that take long: begun last, they would be waited for.
LONG = [
    "soak",
    "floods",
    "kills",
    "processes",
    "board_page",
    "admin_page",
    "real_results",
    "readme",
]


# Folders, and names that a module imports or a test requests, of tests that start processes.
PROCESS_FOLDERS = {"end_to_end", "faults", "stress"}
PROCESS_NAMES = {
    *("Server", "start_servers", "server", "subprocess"),
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
    """Mark the tests that start processes; begin with the files that take longest."""
    for item in items:
        if starts_processes(item):
            item.add_marker("processes")
    long = [f"test_{name}" for name in LONG]
    items.sort(key=lambda item: long.index(name) if (name := item.path.stem) in long else len(long))


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request, tmp_path):
    """Return an empty database with tables; every test in this process runs on both kinds."""
    if request.param == "postgres":
        return databases.emptied_postgres()
    return databases.copied_sqlite(tmp_path)


@pytest.fixture
def make_app(database_url):
    """Return a function that makes an application with these settings."""

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
        made.append(app)
        return app

    made = []
    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def settings():
    """Return the settings of `app`; a test that wants others parametrizes this."""
    return {}


@pytest.fixture
def app(make_app, settings):
    app = make_app(**settings)
    with app.app_context():
        yield app


@pytest.fixture(autouse=True, scope="session")
def cheap_password_hashes():
    """Hash passwords in this process at a low cost; the default takes tens of milliseconds."""
    cheap = functools.partial(passwords.generate_password_hash, method="scrypt:1024:8:1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "generate_password_hash", cheap)
        yield


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def make_user(app):
    """Return a function that makes a user of a role, with a token."""

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
def subscriber(app):
    """Return a viewer inside this process: it has every message when `publish` has returned."""

    class Subscriber:
        def __init__(self):
            self.frames = []

        def push(self, frames):
            self.frames.append(frames)

        def messages(self):
            """Return the messages after the board at first."""
            return [message for frames in self.frames[1:] for message in texts(frames)]

    subscriber = Subscriber()
    hub.subscribe(app, WEBSOCKET, subscriber)
    return subscriber


@pytest.fixture
def audit_lines(app, caplog):
    """Return a function that returns the lines of the audit log so far."""
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
    """Return the errors that nobody foresaw, as they come to be logged with a traceback."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.exc_info[1])
    logger = logging.getLogger("scoreboard.errors")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


@pytest.fixture(scope="module", params=[*RUN_MODES, "three processes"])
def server(request, tmp_path_factory):
    """Return a real server, once for each way to run it."""
    folder = tmp_path_factory.mktemp("server")
    if request.param != "three processes":
        server = Server(folder, request.param)
        yield server
        server.stop()
        return
    redis = RedisServer(folder)
    server = ServerGroup(
        start_servers(folder, DATABASE_URL=databases.new_database(), REDIS_URL=redis.url)
    )
    yield server
    server.stop()
    redis.stop()


@pytest.fixture(scope="module")
def users(server):
    """Return a user of each role on the real server."""
    return {role: server.user(f"The-{role}", role) for role in ("viewer", "player", "scorer")}


@pytest.fixture
def closing():
    """Return a function that keeps a viewer for the test and closes it at the end."""
    opened = []

    def keep(viewer):
        opened.append(viewer)
        return viewer

    yield keep
    for viewer in opened:
        viewer.close()
