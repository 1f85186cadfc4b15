"""The tables come from one version to the next, and back, with everything that is in them."""

import logging
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import downgrade, upgrade
from sqlalchemy import event, insert, select, text, update

from scoreboard.auth import accounts
from scoreboard.db import transactions as database
from scoreboard.db.engine import STATEMENT_TIMEOUT
from scoreboard.extensions import Base, db
from scoreboard.leaderboard import ranking as leaderboard
from scoreboard.models import MAX_SCORE, MAX_TOTAL, Score, Standing, User
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
    """Return what is in the database, which is of the first version."""
    downgrade(revision="0001")
    standings.create_users(len(BOARD))
    rows = standings.rows(BOARD)
    database.transaction(lambda c: c.execute(insert(Standing), rows))
    database.transaction(lambda c: c.execute(text("UPDATE board_version SET version = 7")))
    return content()


LATER = {"remainder", "sent_timestamp"}  # columns that the first version has not


def content():
    """Return the rows of users, scores and standings, and the board's version."""

    def read(connection):
        tables = (Base.metadata.tables[name] for name in ("users", "scores", "standings"))
        columns = ([each for each in table.c if each.name not in LATER] for table in tables)
        rows = [sorted(connection.execute(select(*each)).all(), key=str) for each in columns]
        version = connection.execute(text("SELECT version FROM board_version")).all()
        return [*rows, version]

    return database.read(read)


def stamp():
    return database.read(leaderboard.stamp)


def test_an_older_database_keeps_everything_and_has_a_board_with_a_stamp(old_board):
    upgrade()

    assert content() == old_board
    assert [len(rows) for rows in old_board] == [3, 3, 3, 1]
    assert len(stamp()) == 16


def test_to_upgrade_what_is_up_to_date_changes_nothing(old_board):
    upgrade()
    first = stamp()

    upgrade()

    assert (content(), stamp()) == (old_board, first)
    assert database.is_up_to_date()


@pytest.mark.parametrize(
    "day", [datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)]
)
def test_what_comes_next_is_later_than_what_was_there(old_board, day):
    moment = day.replace(hour=23, minute=59, second=59, microsecond=999_999)
    database.transaction(lambda c: c.execute(update(Score).values(created_at=moment)))

    upgrade()

    _, moments = database.transaction(lambda c: database.next_version(c, 1))
    assert moment < next(moments) < max(moment, datetime.now(UTC)) + timedelta(seconds=2)


def test_a_downgrade_keeps_what_the_older_version_knows(old_board):
    upgrade()

    downgrade(revision="0001")

    assert content() == old_board
    assert not database.is_up_to_date()


def test_a_downgrade_keeps_what_the_older_version_has_no_place_for(old_board):
    """Updates of one identity by two submitters, and a total beyond the largest score."""
    upgrade()
    user, other = (standings.user_id(number) for number in range(2))

    def write(connection):
        score = connection.execute(select(Score.__table__)).mappings().first()
        again = {**score, "score_id": 99, "user_id": user, "submitted_by": other}
        connection.execute(insert(Score), again)
        connection.execute(update(Standing).values(score=MAX_TOTAL, remainder=-1))

    database.transaction(write)

    downgrade(revision="0003")

    rows = database.read(lambda c: c.execute(text("SELECT identity FROM scores")).scalars().all())
    scores = database.read(lambda c: c.execute(text("SELECT score FROM standings")).scalars().all())
    assert sorted(rows) == ["x", "x", "x", "x/99"]
    assert set(scores) == {MAX_SCORE}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_after_an_upgrade_foreign_keys_are_checked_and_hold(old_board):
    upgrade()

    assert database.read(lambda c: c.exec_driver_sql("PRAGMA foreign_keys").scalar_one()) == 1
    assert database.read(lambda c: c.exec_driver_sql("PRAGMA foreign_key_check").all()) == []


def test_a_downgrade_to_nothing_can_be_upgraded_again(old_board):
    downgrade(revision="base")
    upgrade()

    assert database.read(lambda c: c.execute(select(User)).all()) == []


def test_the_migrations_lead_to_the_tables_of_the_models(app):
    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)

    assert database.read(differences) == []


def insert_users(*names):
    """Insert users of these names, the oldest first, with the keys that names used to have."""
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
    database.transaction(lambda c: c.execute(insert(User), users))


def keys():
    statement = select(User.name_key).order_by(User.created_at)
    return database.read(lambda c: list(c.execute(statement).scalars()))


class TestNames:
    """Keys are worked out again by the newer rule."""

    @pytest.fixture(autouse=True)
    def _older(self, app):
        downgrade(revision="0003")

    def test_a_name_with_something_invisible_in_it_is_found_without_it(self):
        insert_users("Ann", "Bob\u3164", "Al  Lee")

        upgrade()

        assert keys() == ["ann", "bob", "al lee"]
        assert accounts.by_name("bob").username == "Bob\u3164"

    def test_of_two_names_that_are_one_now_the_second_gets_a_key_of_its_own(self, caplog):
        logging.getLogger("scoreboard").addHandler(caplog.handler)
        insert_users("Ann", "ann\ufe0f", "Ann\u3164", "\u2800")

        upgrade()

        logging.getLogger("scoreboard").removeHandler(caplog.handler)
        assert keys() == ["ann", "ann~00000001", "ann~00000002", "~00000003"]
        assert accounts.by_name("ANN~00000001").user_id == standings.user_id(1)
        for number in (1, 2, 3):
            assert standings.user_id(number) in caplog.text

    def test_who_has_the_key_keeps_it_however_young(self):
        insert_users("Ann\u3164", "Ann")

        upgrade()

        assert keys() == ["ann~00000000", "ann"]

    def test_to_go_back_and_forth_changes_nothing_more(self):
        insert_users("Ann", "Ann\u3164")
        upgrade()
        before = keys()

        downgrade(revision="0003")
        upgrade()

        assert keys() == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_embedded_database_is_brought_up_to_date_by_the_next_start(old_board, make_app):
    with make_app().app_context():
        assert database.is_up_to_date()
        assert content() == old_board


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_of_several_that_start_at_once_one_upgrades_from_its_first_look_to_the_end(app):
    downgrade(revision="base")
    path, seen = db.engine.url.database, []

    def look(connection, cursor, statement, *rest):
        if statement.startswith("BEGIN"):
            return
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        tables = other.execute("SELECT count(*) FROM sqlite_master WHERE name = 'users'")
        seen.append((tables.fetchone()[0], may_write(other)))
        other.close()

    event.listen(db.engine, "before_cursor_execute", look)
    upgrade()

    assert len(seen) > 10
    assert set(seen) == {(0, False)}


def may_write(connection):
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_an_index_of_a_long_history_may_take_its_time_to_make(old_board):
    def timeout(connection):
        return connection.exec_driver_sql("SHOW statement_timeout").scalar_one()

    found = []

    def look(connection, cursor, statement, *rest):
        if statement.startswith("CREATE INDEX"):
            found.append(timeout(connection))

    event.listen(db.engine, "before_cursor_execute", look)
    upgrade()

    assert set(found) == {"0"}
    assert database.read(timeout) == f"{STATEMENT_TIMEOUT}s"
