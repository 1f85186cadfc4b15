"""Export a season of a board: as CSV for spreadsheets, and as the scoreboard feed of CTFtime."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from ..boards import service as boards
from ..http.json import dumps
from ..leaderboard import ranking
from ..leaderboard.ranking import Entry, PageEnd, Snapshot
from ..leaderboard.service import Scope
from ..services import services
from . import schemas

COLUMNS = ("rank", "position", "username", "score", "reached_at")
# Entries per read: this many block the loop, or the interpreter, for some milliseconds.
PAGE_SIZE = 1000
# Spreadsheets read a file with this mark as UTF-8.
BYTE_ORDER_MARK = "\ufeff"
# Where a name may be run as a formula: at its start, and after a semicolon, at which spreadsheets
# in many languages split a line, also within these quotes. Some accept full-width signs as well:
# https://owasp.org/www-community/attacks/CSV_Injection
FORMULA_START = re.compile(r"""(^|;)(?=[\s"]*[=+\-@\uff1d\uff0b\uff0d\uff20])""")


def as_csv(board_id: str, query: dict[str, str], token: str | None) -> Iterator[bytes]:
    """Return the lines of a CSV file, a page at a time; see `_pages`.

    An apostrophe precedes what a spreadsheet might run as a formula in a name.
    """
    pages = _pages(board_id, schemas.export_query_schema.load(query)["season"], token)

    def lines() -> Iterator[bytes]:
        yield _csv([COLUMNS], BYTE_ORDER_MARK)
        for entries in pages:
            rows = ({**entry, "username": _text(entry["username"])} for entry in entries)
            yield _csv([[row[name] for name in COLUMNS] for row in rows])

    return lines()


def as_ctftime(board_id: str, query: dict[str, str], token: str | None) -> Iterator[bytes]:
    """Return the minimal feed of https://ctftime.org/json-scoreboard-feed, a page at a time."""
    pages = _pages(board_id, schemas.feed_query_schema.load(query)["season"], token)

    def parts() -> Iterator[bytes]:
        separator = b'{"standings": ['
        for entries in pages:
            for entry in entries:
                team = {"pos": entry["position"], "team": entry["username"]}
                yield separator + dumps({**team, "score": entry["score"]})
                separator = b", "
        yield b"]}" if separator == b", " else separator + b"]}"

    return parts()


def _pages(board_id: str, season: int | None, token: str | None) -> Iterator[list[Entry]]:
    """Return the entries of a season, the current one for None, in pages.

    A frozen board is read as it is now. The first page is read at once. Raises UnknownBoard, or
    InvalidInput for a later season. Each page is a read of its own, and yields to the loop: an
    update in between may move an entry from one to the other.
    """
    scope = Scope(boards.readable(board_id, token).board_id, season, live=True)

    def read(after: PageEnd | None) -> dict[str, Any]:
        def read_page(snapshot: Snapshot) -> dict[str, Any]:
            entries, end = ranking.page(snapshot, PAGE_SIZE, after)
            return {"entries": entries, "end": end, "season": snapshot.season}

        return services().leaderboard_reads.run(scope, read_page)[1]

    first = read(None)

    def pages() -> Iterator[list[Entry]]:
        nonlocal scope
        scope, page = scope._replace(season=first["season"]), first
        yield page["entries"]
        while page["end"] is not None:
            page = read(page["end"])
            yield page["entries"]

    return pages()


def _csv(rows: list[Any], start: str = "") -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return (start + file.getvalue()).encode()


def _text(name: str) -> str:
    return FORMULA_START.sub(r"\1'", name)
