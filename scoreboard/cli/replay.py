"""`flask replay`: post a file of past scores to the API, as a game server would."""

import csv
import hashlib
import io
import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import requests
from marshmallow import ValidationError

from ..auth import accounts, tokens
from ..auth.names import check_username, name_key
from . import client, database

COLUMNS = ["timestamp", "username", "score"]
SCORER = "replay"
BATCH_SIZE = 500


class Row(NamedTuple):
    """A row of the file and the number of its line."""

    line: int
    timestamp: str
    username: str
    score: float


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@client.board_option
@client.url_option
def replay(file: Path, board: str | None, url: str) -> None:
    """Post every row of FILE, a CSV of timestamp,username,score, in file order.

    Rows are posted in batches; an error stops the command at the end of its batch.

    Missing users, and the scorer `replay` that posts, are created without a password in this
    installation's database. Rows that were posted before are counted and change nothing.
    """
    database.announce()
    rows = _read(file)
    scorer = _account(SCORER, role="scorer")
    token = tokens.issue_access(scorer.user_id, scorer.role, timedelta(days=1))
    names = dict.fromkeys(row.username for row in rows)
    user_ids = {name: _account(name, role="player").user_id for name in names}
    counts = {"accepted": 0, "already posted": 0}
    with requests.Session() as session, click.progressbar(length=len(rows)) as progress:
        while rows:
            batch, rows = rows[:BATCH_SIZE], rows[BATCH_SIZE:]
            updates = [_update(row, user_ids[row.username], board) for row in batch]
            response = client.post(session, url, "/api/score/batch", token, {"updates": updates})
            limited = _count(batch, response, counts)
            progress.update(len(batch) - len(limited))
            # The server accepts the rows of a rate-limited user only in order: post these first.
            rows = limited + rows
    for outcome, count in counts.items():
        click.echo(f"{outcome}: {count}")


def _read(file: Path) -> list[Row]:
    """Return the rows. Raises ClickException, naming the line, for an invalid one."""
    try:
        # Excel's "CSV UTF-8" starts with a byte order mark, which is not part of the first column.
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise click.ClickException(f"{file}: is not UTF-8: save it as CSV UTF-8") from None
    reader = csv.DictReader(io.StringIO(text))
    if reader.fieldnames is None or list(reader.fieldnames) != COLUMNS:
        raise click.ClickException(f"{file}: the first line must be {','.join(COLUMNS)}")
    rows = []
    for row in reader:
        try:
            score = float(row["score"])
            if not math.isfinite(score):
                raise ValueError(f"{score} is not a score")
            check_username(row["username"])
        except (TypeError, ValueError, ValidationError) as error:
            raise click.ClickException(f"{file}, line {reader.line_num}: {error}") from None
        rows.append(Row(reader.line_num, row["timestamp"], row["username"], score))
    return rows


def _account(username: str, role: str) -> accounts.Account:
    """Return the user with this name, created if missing."""
    if account := accounts.by_name(username):
        return account
    digest = hashlib.sha256(name_key(username).encode()).hexdigest()[:40]
    return accounts.create(username, f"{digest}@replay.invalid", None, role)


def _update(row: Row, user_id: str, board: str | None) -> dict[str, Any]:
    update = {"user_id": user_id, "score_value": row.score, "timestamp": row.timestamp}
    return {**update, "board": board} if board else update


def _count(rows: list[Row], response: requests.Response, counts: dict[str, int]) -> list[Row]:
    """Add the outcomes of a batch to `counts` and return its rate-limited rows.

    Sleeps first as long as the server requests. Raises ClickException, naming the line, for any
    other error.
    """
    if response.status_code != 200:
        raise click.ClickException(f"line {rows[0].line}: {response.json()['error']['message']}")
    results = list(zip(rows, response.json()["results"], strict=True))
    for row, result in results:
        error = result["body"].get("error", {})
        if result["status"] == 200:
            counts["accepted"] += 1
        elif error["code"] == "replayed":
            counts["already posted"] += 1
        elif result["status"] != 429:
            problem = f"{error['message']} {error.get('fields', '')}"
            raise click.ClickException(f"line {row.line}: {problem}")
    time.sleep(max(result.get("retry_after", 0) for _, result in results))
    return [row for row, result in results if result["status"] == 429]
