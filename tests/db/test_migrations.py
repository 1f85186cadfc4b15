"""Migrations upgrade and downgrade the schema and keep all data."""

import contextlib
import logging
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade
from sqlalchemy import column, event, insert, inspect, select, table, text, update

from scoreboard.auth import accounts
from scoreboard.db import transactions
from scoreboard.db.engine import STATEMENT_TIMEOUT
from scoreboard.extensions import Base, db
from scoreboard.leaderboard import ranking
from scoreboard.models import MAIN, MAX_SCORE, MAX_TOTAL, Score, Standing, User
from tests.support import databases, standings

BOARD = [(5, 0, False), (9, 1, False), (9, 2, True)]


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request, tmp_path):
    """Return an empty database of each kind, without tables."""
    if request.param == "postgres":
        return databases.new_postgres()
    return f"sqlite:///{tmp_path}/scoreboard.db"


@pytest.fixture
def app(app):
    upgrade()
    return app


@pytest.fixture
def old_board(app):
    """Downgrade to the first version, add rows, and return the content of the database."""
    downgrade(revision="0001")
    standings.create_users(len(BOARD))
    rows = [{**row, "score": row["rank_key"]} for row in standings.rows(BOARD)]
    transactions.transaction(lambda c: c.execute(insert(standings_table("score")), rows))
    transactions.transaction(lambda c: c.execute(text("UPDATE board_version SET version = 7")))
    return content()


# Columns since the first version.
ADDED_COLUMNS = {"remainder", "sent_timestamp", "board_id", "season", "derived"}


def first_columns(table):
    return [each for each in table.c if each.name not in ADDED_COLUMNS]


def standings_table(score):
    """Return the standings with the columns of the first version; `score` is the name of one."""
    columns = first_columns(Standing.__table__)
    names = [score if each.name == "rank_key" else each.name for each in columns]
    types = [each.type for each in columns]
    return table("standings", *map(column, names, types))


def content():
    """Return the rows of users, scores and standings, and the board's version."""

    def read(connection):
        is_old = inspect(connection).has_table("board_version")
        board = standings_table("score" if is_old else "rank_key")
        columns = (*map(first_columns, (User.__table__, Score.__table__)), board.c)
        rows = [sorted(connection.execute(select(*each)).all(), key=str) for each in columns]
        versions = "board_version" if is_old else "board_versions"
        return [*rows, connection.execute(text(f"SELECT version FROM {versions}")).all()]

    return transactions.read(read)


def stamp():
    return transactions.read(lambda c: ranking.view(c, MAIN))


def test_an_upgrade_keeps_all_data_and_adds_a_stamp(old_board):
    upgrade()

    assert content() == old_board
    assert [len(rows) for rows in old_board] == [3, 3, 3, 1]
    assert len(stamp()[0]) == 16


def test_a_repeated_upgrade_changes_nothing(old_board):
    upgrade()
    first = stamp()

    upgrade()

    assert (content(), stamp()) == (old_board, first)
    assert transactions.is_up_to_date()


@pytest.mark.parametrize("year", [2026, 2100])
def test_server_times_are_later_than_all_recorded_before_the_upgrade(old_board, year):
    newest = datetime(year, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    transactions.transaction(lambda c: c.execute(update(Score).values(created_at=newest)))

    upgrade()

    clock = transactions.transaction(lambda c: transactions.next_version(c, 1)).clock
    [time] = transactions.moments(clock, 1)
    assert newest < time < max(newest, datetime.now(UTC)) + timedelta(seconds=2)


def test_a_downgrade_keeps_the_data_that_the_older_version_has(old_board):
    upgrade()

    downgrade(revision="0001")

    assert content() == old_board
    assert not transactions.is_up_to_date()


def test_a_downgrade_converts_values_that_the_older_version_cannot_store(old_board):
    """Updates of one identity by two submitters, and a total beyond the largest score."""
    upgrade()
    user, other = (standings.user_id(number) for number in range(2))

    def write(connection):
        score = connection.execute(select(Score.__table__)).mappings().first()
        same_identity = {**score, "score_id": 99, "user_id": user, "submitted_by": other}
        connection.execute(insert(Score), same_identity)
        connection.execute(update(Standing).values(rank_key=MAX_TOTAL, remainder=-1))

    transactions.transaction(write)

    downgrade(revision="0003")

    def values(name, table):
        statement = text(f"SELECT {name} FROM {table} ORDER BY 1")
        return transactions.read(lambda c: list(c.execute(statement).scalars()))

    assert values("identity", "scores") == ["x", "x", "x", "x/99"]
    assert set(values("score", "standings")) == {MAX_SCORE}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_after_an_upgrade_foreign_keys_are_enforced_and_valid(old_board):
    upgrade()

    assert transactions.read(lambda c: c.exec_driver_sql("PRAGMA foreign_keys").scalar_one()) == 1
    assert transactions.read(lambda c: c.exec_driver_sql("PRAGMA foreign_key_check").all()) == []


def test_an_empty_database_can_be_upgraded_after_a_downgrade(old_board):
    downgrade(revision="base")
    upgrade()

    assert transactions.read(lambda c: c.execute(select(User)).all()) == []


def test_the_migrations_create_the_tables_of_the_models(app):
    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)

    assert transactions.read(differences) == []


def insert_users(*names):
    """Insert users with these names, oldest first, with keys of the older rule."""
    users = [
        {
            "user_id": standings.user_id(number),
            "username": name,
            "name_key": name.casefold(),
            "email": f"{number}@example.com",
            "role": "player",
            "created_at": standings.START + timedelta(days=number),
        }
        for number, name in enumerate(names)
    ]
    transactions.transaction(lambda c: c.execute(insert(User), users))


def keys():
    statement = select(User.name_key).order_by(User.created_at)
    return transactions.read(lambda c: list(c.execute(statement).scalars()))


class TestNames:
    """The upgrade computes the keys of names by the newer rule."""

    @pytest.fixture(autouse=True)
    def older(self, app):
        downgrade(revision="0003")

    def test_a_name_is_found_without_its_invisible_characters(self):
        insert_users("Ann", "Bob\u3164", "Al  Lee")

        upgrade()

        assert keys() == ["ann", "bob", "al lee"]
        assert accounts.by_name("bob").username == "Bob\u3164"

    def test_the_second_of_two_names_with_equal_keys_gets_a_distinct_key(self, caplog):
        logging.getLogger("scoreboard").addHandler(caplog.handler)
        insert_users("Ann", "ann\ufe0f", "Ann\u3164", "\u2800")

        upgrade()

        logging.getLogger("scoreboard").removeHandler(caplog.handler)
        assert keys() == ["ann", "ann~00000001", "ann~00000002", "~00000003"]
        assert accounts.by_name("ANN~00000001").user_id == standings.user_id(1)
        for number in (1, 2, 3):
            assert standings.user_id(number) in caplog.text

    def test_the_user_with_the_exact_key_keeps_it(self):
        insert_users("Ann\u3164", "Ann")

        upgrade()

        assert keys() == ["ann~00000000", "ann"]

    def test_a_repeated_downgrade_and_upgrade_changes_nothing(self):
        insert_users("Ann", "Ann\u3164")
        upgrade()
        first = keys()

        downgrade(revision="0003")
        upgrade()

        assert keys() == first


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_next_start_upgrades_a_sqlite_database(old_board, make_app):
    with make_app().app_context():
        assert transactions.is_up_to_date()
        assert content() == old_board


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_upgrade_of_sqlite_holds_the_write_lock_from_start_to_end(app):
    downgrade(revision="base")
    path, observed = db.engine.url.database, set()

    def observe(connection, cursor, statement, *rest):
        if statement.startswith("BEGIN"):
            return
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
            tables = other.execute("SELECT count(*) FROM sqlite_master WHERE name = 'users'")
            observed.add((tables.fetchone()[0], can_write(other)))

    event.listen(db.engine, "before_cursor_execute", observe)
    upgrade()

    assert observed == {(0, False)}


def can_write(connection):
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_creating_an_index_has_no_statement_timeout(old_board):
    def timeout(connection):
        return connection.exec_driver_sql("SHOW statement_timeout").scalar_one()

    observed = set()

    def observe(connection, cursor, statement, *rest):
        if statement.startswith("CREATE INDEX"):
            observed.add(timeout(connection))

    event.listen(db.engine, "before_cursor_execute", observe)
    upgrade()

    assert observed == {"0"}
    assert transactions.read(timeout) == f"{STATEMENT_TIMEOUT}s"
