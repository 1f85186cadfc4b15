"""`flask replay`: post a file of past scores to the API, as a game server would."""

import csv
import hashlib
import math
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from marshmallow import ValidationError

from ..auth import accounts, tokens
from ..auth.names import check_username, name_key
from . import client

COLUMNS = ["timestamp", "username", "score"]
SCORER = "replay"
TOGETHER = 500

Rows = list[tuple[int, dict[str, Any]]]  # line numbers and updates


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--url", default=client.DEFAULT_URL, show_default=True)
def replay(file: Path, url: str) -> None:
    """Post every row of FILE, a CSV of timestamp,username,score, in file order.

    Rows are posted in batches; an error stops the command at the end of its batch.

    Missing users, and the scorer `replay` that posts, are created without a password in this
    installation's database. Rows that were posted before are counted and change nothing.
    """
    scorer = _account(SCORER, role="scorer")
    token = tokens.issue_access(scorer.user_id, scorer.role, timedelta(days=1))
    rows = list(_rows(file))
    poster = client.Poster(url)
    counts = {"accepted": 0, "there already": 0}
    user_ids: dict[str, str] = {}
    waiting: Rows = []
    with click.progressbar(rows) as progress:
        for line, row in progress:
            name = row["username"]
            if name not in user_ids:
                user_ids[name] = _account(name, role="player").user_id
            waiting.append((line, _update(row, user_ids[name])))
            while len(waiting) >= TOGETHER:
                waiting = _post(poster, token, waiting, counts)
        while waiting:
            waiting = _post(poster, token, waiting, counts)
    for outcome, count in counts.items():
        click.echo(f"{outcome}: {count}")


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and row. Raises ClickException, naming the line, for an invalid row."""
    # Excel's "CSV UTF-8" starts with a byte order mark, which is not part of the first column.
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(_readable(file, lines))
        if reader.fieldnames is None or list(reader.fieldnames) != COLUMNS:
            raise click.ClickException(f"{file}: the first line must be {','.join(COLUMNS)}")
        for row in reader:
            try:
                score = float(row["score"])
                if not math.isfinite(score):
                    raise ValueError(f"{score} is no score")
                row["score"] = score
                check_username(row["username"])
            except (TypeError, ValueError, ValidationError) as error:
                problem = f"{file}, line {reader.line_num}: {error}"
                raise click.ClickException(problem) from None
            yield reader.line_num, row


def _readable(file: Path, lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines. Raises ClickException if the file is not UTF-8."""
    try:
        yield from lines
    except UnicodeDecodeError:
        raise click.ClickException(f"{file}: is not UTF-8: save it as CSV UTF-8") from None


def _account(username: str, role: str) -> accounts.Account:
    found = accounts.by_name(username)
    if found:
        return found
    digest = hashlib.sha256(name_key(username).encode()).hexdigest()[:40]
    address = f"{digest}@replay.invalid"
    return accounts.create(username, address, None, role)


def _update(row: dict[str, Any], user_id: str) -> dict[str, Any]:
    return {"user_id": user_id, "score_value": row["score"], "timestamp": row["timestamp"]}


def _post(poster: client.Poster, token: str, rows: Rows, counts: dict[str, int]) -> Rows:
    """Post the rows as one batch and add their outcomes to `counts`.

    Return the rate-limited rows, after sleeping as long as the server asks. They must go first in
    the next batch: the server accepts a rate-limited user's rows only in order.
    """
    answer = poster.post_all(token, [update for _, update in rows])
    if answer.status_code != 200:
        raise click.ClickException(f"line {rows[0][0]}: {answer.json()['error']['message']}")
    again, seconds = [], 0
    for row, result in zip(rows, answer.json()["results"], strict=True):
        if result["status"] == 429:
            again.append(row)
            seconds = max(seconds, result["retry_after"])
        else:
            counts[_outcome(row[0], result)] += 1
    time.sleep(seconds)
    return again


def _outcome(line: int, result: dict[str, Any]) -> str:
    """Return the row's outcome. Raises ClickException, naming the line, for an error."""
    if result["status"] == 200:
        return "accepted"
    error = result["body"]["error"]
    if error["code"] == "replayed":
        return "there already"
    raise click.ClickException(f"line {line}: {error['message']} {error.get('fields', '')}")
