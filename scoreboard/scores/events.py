"""The events of boards for webhooks, stored by the transaction of the ledger that causes them.

They have what the public sees: while a board is frozen its leader stays, and the seasons that end
are reported once it is not frozen any more. Hidden users are not on a board, so no event has them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from ..boards.board import BoardState
from ..boards.store import Current, LedgerBoards
from ..db.transactions import moment_of
from ..http.fields import moment
from ..leaderboard import top10
from ..leaderboard.top10 import BoardChange, Entry
from ..models import Season
from ..webhooks import outbox

# The first entry of a board and the season in which it is first, by board.
Leaders = dict[str, tuple[int, Entry]]


def leaders(connection: Connection, boards: LedgerBoards) -> Leaders:
    """Return who is first on the boards of which a webhook asks for new leaders.

    Executes no statement if there is no such webhook.
    """
    asked = [b for b in boards.boards if outbox.wants(boards.webhooks, "new_leader", b.board_id)]
    found = zip(asked, top10.read(connection, asked), strict=True)
    return {board.board_id: (board.shown_season, top[0]) for board, top in found if top}


def store(
    connection: Connection, current: Current, before: Leaders, changes: Mapping[str, BoardChange]
) -> None:
    """Store what webhooks ask for: seasons that ended, boards that closed, and new leaders.

    `before` are the leaders at the start of the transaction, `changes` has the top 10 at its end.
    Executes no statement if no webhook asks for what happened.
    """
    if not current.boards.webhooks:
        return
    known = {board.board_id: board for board in current.before}
    for board in current.boards.boards:
        happened: list[tuple[str, dict[str, Any]]] = []
        if old := known.get(board.board_id):
            if outbox.wants(current.boards.webhooks, "season_ended", board.board_id):
                ended = range(old.shown_season, board.shown_season)
                happened += [_season_ended(connection, board, number) for number in ended]
            if (old.state, board.state) == ("open", "closed"):
                closes_at = board.closes_at and moment(board.closes_at)
                happened.append(("board_closed", {"closes_at": closes_at}))
        happened += _new_leader(before.get(board.board_id), changes[board.board_id])
        for event, data in happened:
            of_board = {"board": board.board_id, "title": board.title, "format": board.format}
            now = moment_of(current.clock)
            webhooks = current.boards.webhooks
            outbox.add(connection, webhooks, event, now, {**of_board, **data}, board.board_id)


def _season_ended(
    connection: Connection, board: BoardState, number: int
) -> tuple[str, dict[str, Any]]:
    times = select(Season.starts_at, Season.ends_at).where(
        Season.board_id == board.board_id, Season.number == number
    )
    starts_at, ends_at = connection.execute(times).one()
    (entries,) = top10.read(connection, [replace(board, season=number, frozen=None)])
    return "season_ended", {
        "season": number,
        "starts_at": moment(starts_at),
        "ends_at": ends_at and moment(ends_at),
        "top_10": entries,
    }


def _new_leader(
    before: tuple[int, Entry] | None, change: BoardChange
) -> list[tuple[str, dict[str, Any]]]:
    """Return the event if another user is first, or the first one of a season."""
    if not change.top10:
        return []
    leader, previous = _named(change.top10[0]), None
    if before and before[0] == change.season:
        previous = _named(before[1])
        if previous["user_id"] == leader["user_id"]:
            return []
    return [("new_leader", {"season": change.season, **leader, "previous": previous})]


def _named(entry: Entry) -> Entry:
    return {name: entry[name] for name in ("user_id", "username", "score")}
