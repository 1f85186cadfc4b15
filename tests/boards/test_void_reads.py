"""A void reads the user's scores of the affected seasons alone, through one index."""

import pytest
from sqlalchemy import event

from scoreboard.extensions import db
from tests.support.api import submit


@pytest.fixture
def reads(app):
    """Return the reads of values of scores: statements with their parameters."""
    found = []

    def note(connection, cursor, statement, parameters, context, many):
        if statement.startswith("SELECT") and "scores.score_value" in statement:
            found.append((statement, parameters))

    event.listen(db.engine, "before_cursor_execute", note)
    yield found
    event.remove(db.engine, "before_cursor_execute", note)


def repeat(reads, explain=""):
    """Return the rows of each read."""
    with db.engine.connect() as connection:
        if db.engine.dialect.name == "postgresql":  # it scans small tables
            for method in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{method} = off")
        return [connection.exec_driver_sql(explain + sql, values).all() for sql, values in reads]


@pytest.mark.parametrize(("season", "values"), [(1, [1]), (2, [2, 3, 4]), (3, [5, 6])])
def test_a_void_reads_the_scores_of_the_user_in_that_season(
    client, make_board, administer, player, scorer, admin, reads, season, values
):
    make_board("run", policy="total")
    receipts = []
    for value in range(1, 7):
        for user in (player, scorer):
            update = user.update(value, board="run", nonce=f"number-{value}")
            receipts.append(submit(client, user, update).json)
        if value in (1, 4):
            administer("POST", "/run/seasons")
    voided = next(r for r in receipts if r["season"] == season and r["user_id"] == player.user_id)
    reads.clear()

    url = f"/api/admin/scores/{voided['score_id']}/void"
    assert client.post(url, json={"reason": "x"}, headers=admin.bearer).status_code == 200

    taken = list(reads)
    before, within = repeat(taken)  # before the transaction, and what is newer within it
    assert ([row[1] for row in before], within) == (values, [])
    explain = "EXPLAIN " if db.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    assert all("scores_of_user" in str(plan) for plan in repeat(taken, explain))


def test_a_void_reads_the_longest_of_the_affected_seasons(
    client, make_board, administer, player, admin, reads
):
    make_board("daily", source="main", policy="total")
    receipts = []
    for value in range(1, 7):
        receipts.append(submit(client, player, player.update(value)).json)
        if value == 2:
            administer("POST", "/main/seasons")
        if value in (3, 5):
            administer("POST", "/daily/seasons")
    reads.clear()

    url = f"/api/admin/scores/{receipts[4]['score_id']}/void"
    client.post(url, json={"reason": "x"}, headers=admin.bearer)

    before, within = repeat(list(reads))
    assert ([row[1] for row in before], within) == ([3, 4, 5, 6], [])  # the season of main
