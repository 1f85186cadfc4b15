"""Export and import move all data between databases of both kinds, or change nothing."""

import gzip
import io
import json
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest
import requests

from scoreboard.anomalies import flags
from scoreboard.db import archive
from scoreboard.extensions import Base, db
from tests.support import databases
from tests.support.api import submit
from tests.support.servers import Server

SETTINGS = {"SCORE_POLICY": "total"}
TOKEN_REFUSED, REPLAYED = (401, "token_revoked"), (400, "replayed")
ADDRESSES = (
    *("/api/score/top10", "/api/leaderboard?limit=3", "/api/boards", "/api/boards/run"),
    *(
        "/api/boards/run/seasons",
        "/api/boards/run/leaderboard?season=1",
        "/api/boards/a-week/top10",
    ),
)


@pytest.fixture
def settings():
    return SETTINGS


@pytest.fixture
def new_app(make_app, tmp_path):
    """Return a function that creates an application with a new database of this kind."""

    def new(kind):
        if kind == "sqlite":
            folder = tmp_path / f"new-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            url = databases.copied_sqlite(folder)
        else:
            url = databases.new_database()
        return make_app(DATABASE_URL=url, **SETTINGS)

    return new


def run(app, *arguments, **options):
    with app.app_context():
        return app.test_cli_runner().invoke(args=arguments, **options)


def exported(app):
    """Return the lines of an export. The first one, the header, has the time of the export."""
    result = run(app, "export", "-")
    assert result.exit_code == 0, result.output
    return result.stdout_bytes.splitlines()


def import_lines(app, lines):
    return run(app, "import", "-", input=b"".join(line + b"\n" for line in lines))


@pytest.fixture
def populated(app, client, make_user):
    """Use every feature that stores data; return the users by name, and the last update of Ann."""
    names = ("Ann", "Bob", "Eve", "Gone", "Zoë 🏃")
    users = {name: make_user(name=name) for name in names}
    admin = make_user("admin", name="Boss").bearer
    moments = iter(range(1000))

    def send(method, path, body=None):
        response = client.open(f"/api{path}", method=method, json=body, headers=admin)
        assert response.status_code < 300, response.json
        return response.json

    def post(name, score, board="main", **more):
        moment = f"2026-01-01T00:00:{next(moments):02}.{next(moments):06}+01:00"
        update = users[name].update(score, moment, board=board, **more)
        response = submit(client, users[name], update)
        assert response.status_code == 200, response.json
        return response.json, update

    reset = {"every": "week", "on": "monday", "at": "06:00", "time_zone": "Europe/Vienna"}
    rules = {"policy": "total", "order": "asc", "min_score": -0.1, "tickets": {"min_seconds": 0}}
    send("POST", "/admin/boards", {"board_id": "run", "title": "Lauf 🏃", **rules})
    week = {"board_id": "a-week", "title": "Week", "source": "run", "reset": reset}
    send("POST", "/admin/boards", week)
    for name in names[:3]:
        for score in (0.123456789, 4503599627370495.5, 1e-09):
            post(name, score)
        body = {"board": "run"}
        got = client.post("/api/score/ticket", json=body, headers=users[name].bearer)
        post(name, 0, "run", ticket=got.json["ticket"])
    send("POST", "/admin/boards", {"board_id": "cup", "title": "Cup"})
    hook = {"url": "http://127.0.0.1:9/hook", "events": ["new_leader"], "boards": ["cup"]}
    send("POST", "/admin/webhooks", hook)
    post("Gone", 1 / 3, "cup")
    voided, _ = post("Zoë 🏃", 1)
    send("POST", f"/admin/scores/{voided['score_id']}/void", {"reason": "too good"})
    send("POST", "/admin/boards/run/seasons")
    send("POST", "/admin/boards/main/freeze")
    _, users["update"] = post("Ann", 0.3, nonce="nonce-of-ann")
    send("POST", f"/admin/users/{users['Bob'].user_id}/hide")
    send("POST", f"/admin/users/{users['Eve'].user_id}/suspend")
    send("POST", f"/admin/users/{users['Bob'].user_id}/reset-link")
    send("DELETE", f"/admin/users/{users['Gone'].user_id}")
    assert client.post("/api/auth/join", json={"username": "Guest"}).status_code == 201
    users["left"] = make_user(name="Left")
    assert client.post("/api/auth/logout", headers=users["left"].bearer).status_code == 204
    flags.write(users["Ann"].user_id, "jump", 'a\ttab\n\\N "', datetime(2026, 1, 1, tzinfo=UTC))
    return users


def test_all_data_moves_to_the_other_kind_of_database_and_back(app, populated, new_app):
    kind = db.engine.dialect.name
    other = new_app("postgres" if kind == "sqlite" else "sqlite")
    back = new_app("sqlite" if kind == "sqlite" else "postgres")
    lines = exported(app)

    results = [import_lines(other, lines), import_lines(back, exported(other))]

    assert [result.exit_code for result in results] == [0, 0], results[0].output
    assert exported(other)[1:] == lines[1:]
    assert exported(back)[1:] == lines[1:]
    counts = json.loads(lines[-1])["rows"]
    assert counts.keys() == Base.metadata.tables.keys()
    # A new table needs a row in `populated`.
    assert [name for name, count in counts.items() if not count] == []


def test_a_server_on_the_imported_data_answers_as_before(app, client, populated, new_app, tmp_path):
    kind = "postgres" if db.engine.dialect.name == "sqlite" else "sqlite"
    target = new_app(kind)
    import_lines(target, exported(app))
    before = [client.get(address) for address in ADDRESSES]
    url = target.config["SQLALCHEMY_DATABASE_URI"].replace("+psycopg", "")

    server = Server(tmp_path, DATABASE_URL=url, **SETTINGS)
    try:
        after = [requests.get(server.url + address, timeout=10) for address in ADDRESSES]
        replay = server.post(populated["Ann"].token, populated["update"])
        left = server.post(populated["left"].token, populated["left"].update(1))
        new = server.post(
            populated["Zoë 🏃"].token, populated["Zoë 🏃"].update(1, nonce="a-new-nonce")
        )
    finally:
        server.stop()

    for old, response in zip(before, after, strict=True):
        assert response.content == old.data
        assert response.headers.get("ETag") == old.headers.get("ETag")
    assert (replay.status_code, replay.json()["error"]["code"]) == REPLAYED
    assert (left.status_code, left.json()["error"]["code"]) == TOKEN_REFUSED
    assert new.status_code == 200


def test_an_export_shows_one_moment_while_updates_arrive(app, client, player):
    class File(io.BytesIO):
        def write(self, data):
            if b'"table":"' in data:
                update = player.update(1, nonce=f"nonce-{self.tell()}")
                assert submit(client, player, update).status_code == 200
            return super().write(data)

    file = File()

    counts = archive.write(db.engine, file)

    assert counts["scores"] == counts["standings"] == 0
    assert json.loads(exported(app)[-1])["rows"]["scores"] == len(Base.metadata.tables)


class TestFiles:
    @pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
    def test_the_file_is_private_and_replaces_an_older_one(
        self, app, player, new_app, tmp_path, name
    ):
        file = tmp_path / name
        file.write_text("older")
        target = new_app("sqlite")

        results = [run(app, "export", str(file)), run(target, "import", str(file))]

        assert [result.exit_code for result in results] == [0, 0], results[0].output
        assert file.stat().st_mode & 0o777 == 0o600
        assert exported(target)[1:] == exported(app)[1:]

    def test_a_failed_export_leaves_the_older_file(self, app, tmp_path, monkeypatch):
        (tmp_path / "folder").mkdir()
        file = tmp_path / "folder" / "all.jsonl"
        file.write_text("older")
        monkeypatch.setattr(archive, "_write_rows", Mock(side_effect=OSError("the disk is full")))

        result = run(app, "export", str(file))

        assert result.exit_code == 1
        assert "Error: the disk is full" in result.output
        assert [each.name for each in file.parent.iterdir()] == ["all.jsonl"]
        assert file.read_text() == "older"

    def test_a_truncated_compressed_file_is_refused(self, app, player, new_app, tmp_path):
        target = new_app("sqlite")
        file = tmp_path / "all.jsonl.gz"
        file.write_bytes(gzip.compress(b"\n".join(exported(app)))[:-20])

        result = run(target, "import", str(file))

        assert "Error: The file is damaged or incomplete" in result.output


def edited(name, column, value):
    """Return a function that sets a column of the first row of a table."""

    def edit(lines):
        heading = next(
            n for n, line in enumerate(lines) if line.startswith(b'{"table":"%b"' % name)
        )
        index = json.loads(lines[heading])["columns"].index(column)
        row = json.loads(lines[heading + 1])
        row[index] = value
        return [*lines[: heading + 1], json.dumps(row).encode(), *lines[heading + 2 :]]

    return edit


DAMAGED = {
    "empty": (lambda lines: [], "it has no trailer"),
    "another file": (lambda lines: [b"[1]"], "This is not an export of a scoreboard."),
    "no trailer": (lambda lines: lines[:-1], "it has no trailer"),
    "half a line": (lambda lines: [*lines[:-2], lines[-2][:30]], "this is not JSON"),
    "a row less": (lambda lines: [*lines[:-2], lines[-1]], 'expected {"rows"'),
    "a table less": (lambda lines: [lines[0], *lines[3:]], 'expected {"table":"boards"'),
    "more": (lambda lines: [*lines, b"[]"], "expected the end of the file"),
    "a column less": (lambda lines: [*lines[:-2], b"[1]", lines[-1]], "do not fit"),
    "text for a number": (
        edited(b"scores", "score_value", "x"),
        "do not fit the columns of scores",
    ),
    "no value": (edited(b"users", "role", None), "do not fit the columns of users"),
    "no time": (edited(b"users", "created_at", "today"), "Invalid isoformat string"),
    "no offset": (edited(b"users", "created_at", "2026-01-01"), "a moment needs an offset"),
    "no such user": (edited(b"scores", "user_id", "nobody"), "The database refuses this"),
    "no such role": (edited(b"users", "role", "king"), "The database refuses this"),
    "too large a number": (edited(b"scores", "version", 2**63), "The database refuses this"),
    "another version": (
        lambda lines: [lines[0].replace(b'_export":1', b'_export":2'), *lines[1:]],
        "The file has scoreboard_export 2, and this version of the scoreboard reads 1",
    ),
    "older tables": (
        lambda lines: [lines[0].replace(b'"schema":"', b'"schema":"old-'), *lines[1:]],
        "The file has schema old-",
    ),
}


@pytest.fixture
def small(app, client, player):
    """Return an export with one user and one score."""
    submit(client, player, player.update(7))
    return exported(app)


@pytest.mark.parametrize("edit", DAMAGED)
def test_a_file_that_is_not_whole_is_refused_and_changes_nothing(new_app, small, edit):
    target = new_app("sqlite" if db.engine.dialect.name == "sqlite" else "postgres")
    before = exported(target)
    change, problem = DAMAGED[edit]

    result = import_lines(target, change(small))

    assert result.exit_code == 1
    assert problem in result.output
    assert exported(target)[1:] == before[1:]


def test_only_an_empty_database_takes_an_import(app, small):
    result = import_lines(app, small)

    assert result.exit_code == 1
    assert (
        "Error: The database is not empty: import into a new one, before a server" in result.output
    )
    assert exported(app)[1:] == small[1:]


@pytest.mark.parametrize("command", ["export", "import"])
def test_tables_of_another_version_are_refused(make_app, tmp_path, command):
    app = make_app(DATABASE_URL=databases.new_postgres())

    result = run(app, command, "-", input=b"")

    assert result.exit_code == 1
    assert "run `flask --app scoreboard db upgrade`" in result.output
