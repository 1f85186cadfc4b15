"""The upgrade to boards loses nothing and changes nothing for clients of the previous release.

`release_0005.json` was recorded with the release before boards, at revision 0005 and with the
policy `total`: the rows of its SQLite database, its responses to reads, and its responses to three
replays. It contains exact totals with a remainder, a tie, voided scores, a hidden and a suspended
user, an update from the future, a batch, a flag, and seeded players.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask_migrate import downgrade, upgrade
from sqlalchemy import DateTime, MetaData, Table, delete, insert, inspect, select

from scoreboard.auth import tokens
from scoreboard.boards import service as boards
from scoreboard.db import transactions
from scoreboard.extensions import db
from tests.support import databases

RELEASE = json.loads((Path(__file__).parent / "release_0005.json").read_text(encoding="utf-8"))
TABLES = RELEASE["tables"]
IDS = RELEASE["users"]
RECORDED = [
    (each["path"], each["status"], each["etag"], each["body"]) for each in RELEASE["responses"]
]
REVISION = "0005"
NEW_NAMES = {("standings", "score"): "rank_key"}


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request, tmp_path):
    """Return an empty database of each kind, without tables."""
    if request.param == "postgres":
        return databases.new_postgres()
    return f"sqlite:///{tmp_path}/scoreboard.db"


@pytest.fixture
def settings():
    return {"SCORE_POLICY": "total"}


@pytest.fixture
def app(app):
    """Return the application with the database of the previous release."""
    if transactions.is_up_to_date():  # the start has upgraded SQLite
        downgrade(revision="base")
    upgrade(revision=REVISION)
    for name, rows in TABLES.items():
        insert_rows(name, rows)
    return app


def reflected(connection, name):
    return Table(name, MetaData(), autoload_with=connection, resolve_fks=False)


def insert_rows(name, rows):
    """Insert rows as SQLite stores them: truth values as numbers and times as text, in UTC."""

    def write(connection):
        table = reflected(connection, name)
        connection.execute(delete(table))  # the migrations have inserted a version
        connection.execute(insert(table), [_typed(table, row) for row in rows])
        if connection.dialect.name == "postgresql" and name == "scores":
            last = f"(SELECT max(score_id) FROM {name})"
            sequence = f"pg_get_serial_sequence('{name}', 'score_id')"
            connection.exec_driver_sql(f"SELECT setval({sequence}, {last})")

    transactions.transaction(write)


def _typed(table, row):
    is_sqlite = db.engine.dialect.name == "sqlite"

    def value(column, stored):
        if isinstance(column.type, DateTime) and stored is not None:
            moment = datetime.fromisoformat(stored)
            return moment if is_sqlite else moment.replace(tzinfo=UTC)
        return bool(stored) if column.type.python_type is bool else stored

    return {name: value(table.c[name], stored) for name, stored in row.items()}


def stored_rows(name, old_columns, new_names=NEW_NAMES):
    """Return the rows of a table, of these columns alone, under their old names."""

    def read(connection):
        table = reflected(connection, name)
        columns = [table.c[new_names.get((name, each), each)].label(each) for each in old_columns]
        return [dict(row) for row in connection.execute(select(*columns)).mappings()]

    return sorted(map(comparable, transactions.read(read)))


def comparable(row):
    """Return a row as text that is the same for both databases."""

    def value(stored):
        if isinstance(stored, datetime):
            stored = stored.replace(tzinfo=None).isoformat(" ", "microseconds")
        return float(stored) if isinstance(stored, bool | int) else stored

    return json.dumps({name: value(row[name]) for name in sorted(row)})


def recorded_rows(name):
    return sorted(map(comparable, TABLES[name]))


def bearer(name, role):
    return {"Authorization": f"Bearer {tokens.issue_access(IDS[name], role)}"}


def responses(client, known=False):
    """Return the responses to the recorded reads; with `known`, to clients that have them."""
    found = []
    for recorded in RELEASE["responses"]:
        headers = bearer("Server", "scorer")
        if known:
            headers["If-None-Match"] = recorded["etag"] or ""
        response = client.get(recorded["path"], headers=headers)
        etag = response.headers.get("ETag")
        found.append((recorded["path"], response.status_code, etag, response.text))
    return found


def assert_is_as_recorded(client):
    assert responses(client) == RECORDED
    for name, rows in TABLES.items():
        if name != "board_version":
            assert stored_rows(name, rows[0]) == recorded_rows(name)


def test_all_rows_are_kept(app):
    upgrade()

    (old,) = TABLES["board_version"]
    for name, rows in TABLES.items():
        if name == "board_version":
            names = {key: old[key] for key in ("version", "stamp", "clock")}
            new = {**names, "board_id": "main", "settings_version": 0, "season": 1}
            assert stored_rows("board_versions", new) == [comparable(new)]
        else:
            assert stored_rows(name, rows[0]) == recorded_rows(name)


def test_clients_receive_the_same_bytes_and_etags(app, client):
    upgrade()

    assert responses(client) == RECORDED
    expected = [(path, 304 if etag else 404, etag) for path, _, etag, _ in RECORDED]
    assert [each[:3] for each in responses(client, known=True)] == expected


def test_the_board_is_main_in_the_season_of_its_first_score(app, client):
    upgrade()

    (board,) = client.get("/api/boards").json["boards"]
    first = min(row["created_at"] for row in TABLES["scores"])
    starts_at = datetime.fromisoformat(first).isoformat() + "Z"
    assert board["season"] == {"number": 1, "starts_at": starts_at, "ends_at": None}
    rules = ("board_id", "title", "source", "policy", "order", "state", "public", "players")
    expected = ["main", "Scoreboard", None, "total", "desc", "open", True, 8]
    assert [board[name] for name in rules] == expected
    page = client.get("/api/boards/main/leaderboard").json
    assert page["entries"] == client.get("/api/leaderboard").json["entries"]


def test_a_replay_of_an_old_update_is_answered_as_before(app, client):
    upgrade()

    for replay in RELEASE["replays"]:
        response = client.post(
            "/api/score/update", json=replay["request"], headers=bearer("Server", "scorer")
        )
        assert (response.status_code, response.text) == (400, replay["response"])


def test_the_next_update_follows_the_recorded_ones(app, client):
    upgrade()
    update = {"user_id": IDS["Bob"], "score_value": 0.7, "timestamp": "2026-01-30T00:00:00Z"}
    path, headers = "/api/score/update", bearer("Server", "scorer")

    above = client.post(path, json=update, headers=headers)
    exact = client.post(path, json={**update, "score_value": 0.6}, headers=headers)

    # With the remainder of the recorded total, 2**53 is reached exactly and refused.
    assert above.status_code == 400
    assert (exact.status_code, exact.json["score"]) == (200, 2**53)
    assert exact.json["score_id"] > max(row["score_id"] for row in TABLES["scores"])
    created_at = exact.json["created_at"].rstrip("Z").replace("T", " ")
    assert created_at > max(row["created_at"] for row in TABLES["scores"])


def test_old_scores_and_users_are_moderated_as_before(app, client):
    upgrade()
    admin = bearer("Admin", "admin")
    cat = [row for row in TABLES["scores"] if row["user_id"] == IDS["Cat"]]

    client.post(f"/api/admin/users/{IDS['Dan']}/restore", headers=admin)
    body = {"reason": "an error"}
    client.post(f"/api/admin/scores/{cat[-1]['score_id']}/void", json=body, headers=admin)

    entries = client.get("/api/leaderboard").json["entries"]
    scores = {entry["user_id"]: entry["score"] for entry in entries}
    assert (scores[IDS["Dan"]], scores[IDS["Cat"]]) == (50, -5)


def test_a_downgrade_restores_the_database_of_the_previous_release(app, client):
    upgrade()

    downgrade(revision=REVISION)

    for name, rows in TABLES.items():
        assert stored_rows(name, rows[0], {}) == recorded_rows(name)
    upgrade()
    assert_is_as_recorded(client)


def test_a_downgrade_restores_the_schema_of_the_previous_release(app):
    before = schema()
    upgrade()

    downgrade(revision=REVISION)

    assert schema() == before


def schema():
    """Return columns, keys and indexes of all tables."""

    def read(connection):
        found, tables = inspect(connection), {}
        for name in found.get_table_names():
            columns = found.get_columns(name)
            tables[name] = [
                sorted(
                    (each["name"], str(each["type"]), each["nullable"], each["default"])
                    for each in columns
                ),
                found.get_pk_constraint(name)["constrained_columns"],
                sorted(
                    (each["name"], str(each["column_names"]), str(each.get("expressions")))
                    for each in found.get_indexes(name)
                ),
                sorted(str(each["constrained_columns"]) for each in found.get_foreign_keys(name)),
                sorted(each["sqltext"] for each in found.get_check_constraints(name)),
            ]
        return tables

    return transactions.read(read)


def test_a_downgrade_keeps_main_alone_and_its_current_season(app, client):
    upgrade()
    admin, server = bearer("Admin", "admin"), bearer("Server", "scorer")
    boards.create({"board_id": "derived", "title": "Derived", "source": "main"})
    boards.create({"board_id": "other", "title": "Other"})
    boards.end_season("main")
    update = {"user_id": IDS["Ann"], "score_value": 3, "timestamp": "2026-01-30T00:00:00Z"}
    for board in ("main", "other"):
        body = {**update, "board": board}
        assert client.post("/api/score/update", json=body, headers=server).status_code == 200

    downgrade(revision=REVISION)

    rows = [json.loads(row) for row in stored_rows("standings", TABLES["standings"][0], {})]
    assert [(row["user_id"], row["score"]) for row in rows] == [(IDS["Ann"], 3)]
    (clock,) = stored_rows("board_version", ["clock"])
    assert json.loads(clock)["clock"] > TABLES["board_version"][0]["clock"]
    upgrade()
    assert [each["board_id"] for each in client.get("/api/boards").json["boards"]] == ["main"]
    history = client.get(f"/api/users/{IDS['Ann']}/scores", headers=admin).json["scores"]
    assert len(history) == 11
    assert client.post("/api/score/update", json=update, headers=server).status_code == 400


def test_a_downgrade_keeps_scores_of_a_board_where_lower_is_better(app, client):
    upgrade()
    downgrade(revision="base")
    upgrade()
    boards.change("main", {"order": "asc"})
    insert_rows("users", TABLES["users"])
    update = {"user_id": IDS["Ann"], "score_value": 3, "timestamp": "2026-01-30T00:00:00Z"}
    client.post("/api/score/update", json=update, headers=bearer("Server", "scorer"))

    downgrade(revision=REVISION)

    assert stored_rows("standings", ["score"], {}) == [comparable({"score": 3.0})]
