"""Check the logs of submitting clients and subscribers against the history in the database.

    python -m stress.checker --database URL --policy latest FOLDER

FOLDER has `client-*.jsonl` and `subscribers.jsonl`. Exits with 1 if there are problems, else 0.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from .history import counts, fold, read_history, shown

Key = tuple[str, str, str]  # ledger, user id, and identity of the update


@dataclass
class Submission:
    """An update, and the responses to it: several, if it was sent several times."""

    update: dict[str, Any]
    submitted_by: str
    responses: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def receipts(self):
        """Return the receipts in the responses, including those in `replayed` errors."""
        accepted = [body for status, body in self.responses if status == 200]
        return accepted + [error["receipt"] for error in self._replays() if "receipt" in error]

    def _replays(self):
        """Return the `replayed` errors."""
        errors = [body["error"] for _, body in self.responses if "error" in body]
        return [error for error in errors if error["code"] == "replayed"]

    def problems(self, row):
        """Yield contradictions between the responses and the recorded row (None: not recorded)."""
        if [status for status, _ in self.responses].count(200) > 1:
            yield "was accepted twice"
        if any("receipt" not in error for error in self._replays()):
            yield "was repeated by the same caller and the response has no receipt"
        receipts = self.receipts()
        if receipts and row is None:
            yield "was acknowledged but is not recorded"
        is_refused = any(status in (400, 401, 429) for status, _ in self.responses)
        if row and is_refused and not receipts:
            yield "was refused but is recorded"
        names_board = "board" in self.update
        if row and any(receipt != _receipt_of(row, names_board) for receipt in receipts):
            yield f"has a wrong receipt: {receipts}, recorded: {_receipt_of(row, names_board)}"
        if row and row.submitted_by != self.submitted_by:
            yield f"is recorded with the submitter {row.submitted_by}"


def _receipt_of(row, names_board):
    """Return the receipt of a row, as the API defines it."""
    receipt = {
        "user_id": row.user_id,
        "score": row.score,
        "score_id": row.score_id,
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "applied": row.applied,
    }
    return receipt | ({"board": row.board_id, "season": row.season} if names_board else {})


def read_submissions(logs):
    """Return the updates in the logs with their responses, by user and identity."""
    submissions = {}
    for log in logs:
        by_number = {}
        for line in map(json.loads, log.read_text().splitlines()):
            if "sent" in line:
                new = Submission(line["sent"], line["by"])
                by_number[line["number"]] = submissions.setdefault(_key(line["sent"]), new)
            elif "status" in line:
                by_number[line["number"]].responses.append((line["status"], line["body"]))
    return submissions


def _key(update):
    """Return ledger, user id and identity: the nonce or, without one, timestamp and value."""
    timestamp = datetime.fromisoformat(update["timestamp"]).astimezone(UTC)
    identity = update.get("nonce") or f"{timestamp} {update['score_value']}"
    return update.get("board", "main"), update["user_id"], identity


def check_updates(submissions, history):
    """Yield updates that are lost, recorded twice, invented, or contradict their responses."""
    nonces = {submission.update.get("nonce") for submission in submissions.values()}
    rows = {}
    for row in history.rows:
        without_nonce = f"{row.achieved_at} {int(row.score_value)}"
        identity = row.identity if row.identity in nonces else without_nonce
        key = row.board_id, row.user_id, identity
        if key in rows:
            yield f"{key} is recorded twice"
        if key not in submissions:
            yield f"{key} is recorded but was never sent"
        rows[key] = row
    for key, submission in submissions.items():
        for problem in submission.problems(rows.get(key)):
            yield f"{key} {problem}"


def check_standings(history):
    """Yield rows and standings that differ from the results of the boards' policies and seasons."""
    expected = {}
    for board_id, board in history.boards.items():
        for row, season, applied, standings in fold(history.rows, board):
            expected[board_id, season] = standings
            score = standings[row.user_id].score
            right, found = [season, score], row.derived.get(board_id)
            if board_id == row.board_id:
                right, found = [season, score, applied], [row.season, row.score, row.applied]
            if right != found:
                yield f"score {row.score_id} on {board_id}: expected {right}, recorded {row}"
    for row in history.rows:
        boards = (board for board in history.boards.values() if counts(board, row))
        if {row.board_id, *row.derived} != {board.board_id for board in boards}:
            yield f"score {row.score_id} counts on other boards than {[*row.derived]}"
    for season in expected.keys() | history.standings.keys():
        right, found = expected.get(season, {}), history.standings.get(season, {})
        for user in right.keys() | found.keys():
            if right.get(user) != found.get(user):
                yield (
                    f"standing of {user} in {season}: expected {right.get(user)}, "
                    f"recorded {found.get(user)}"
                )
    for board_id in history.boards:
        for earlier, later in pairwise(row for row in history.rows if row.board_id == board_id):
            if earlier.created_at >= later.created_at:
                yield f"score {later.score_id} is not later than {earlier.score_id}, before it"


class Views:
    """What clients see of each board in the course of a history.

    A client that names no board sees `main` without seasons, and users without names.
    """

    def __init__(self, history):
        self._names = history.names
        self.shown = {board_id: shown(history, board_id) for board_id in history.boards}

    def streams(self, connection):
        """Yield each board of a connection, whether it is named, and the messages of the board."""
        messages, boards = connection["messages"], connection["boards"]
        if boards is None:
            yield "main", False, messages
        for board_id in boards or ():
            yield board_id, True, [each for each in messages if each.get("board") == board_id]

    def update(self, board_id, position, named):
        """Return the data of the update after this number of others, with its season; or None."""
        updates = self.shown[board_id].updates
        if position >= len(updates):
            return None
        season, user, score = updates[position]
        data = {"user_id": user, "new_score": score}
        return season if named else None, data | ({"username": self._names[user]} if named else {})

    def lists(self, board_id, position, named):
        """Return the lists that may be shown after this number of updates, by season, in order.

        After the season of the last one, others may have begun without an update.
        """
        view = self.shown[board_id]
        season, lines = view.states[position]
        last = view.updates[position][0] if position < len(view.updates) else view.season
        return {
            number: self._lines(lines if number == season else [], named)
            for number in range(season, last + 1)
        }

    def end(self, board_id, named):
        """Return the last season, None if no board is named, and its list."""
        season, lines = self.lists(board_id, len(self.shown[board_id].updates), named).popitem()
        return season if named else None, lines

    def _lines(self, pairs, named):
        if not named:
            return [{"user_id": user, "score": score} for user, score in pairs]
        scores = [score for _, score in pairs]
        return [
            {
                "user_id": user,
                "username": self._names[user],
                "score": score,
                "rank": scores.index(score) + 1,
            }
            for user, score in pairs
        ]

    def is_up_to_date(self, connection):
        """Whether the messages of each board end with its last update, if any, and its list."""
        for board_id, named, messages in self.streams(connection):
            lists = [each for each in messages if each["type"] == "top_10_update"]
            updates = [_update(each) for each in messages if each["type"] == "score_update"]
            last = self.update(board_id, len(self.shown[board_id].updates) - 1, named)
            if not lists or _list(lists[-1]) != self.end(board_id, named):
                return False
            if updates and updates[-1] != last:
                return False
        return True


def _update(message):
    return message.get("season"), message["data"]


def _list(message):
    return message.get("season"), message["data"]["top_10_scores"]


def check_subscribers(connections, history):
    """Yield connections whose messages are not a gapless part of the history, in order."""
    views = Views(history)
    for number, connection in enumerate(connections):
        name = f"connection {number} of {len(connections)}"
        known = connection["boards"] or [None]
        if strange := {each.get("board") for each in connection["messages"]} - {*known}:
            yield f"{name} received messages of {strange}"
        for board_id, named, messages in views.streams(connection):
            problem = _stream_problem(views, board_id, named, messages, connection["open"])
            if problem:
                yield f"{name} {problem} ({board_id})"


def _stream_problem(views, board_id, named, messages, is_open):
    count = len(views.shown[board_id].updates)
    received = [_update(each) for each in messages if each["type"] == "score_update"]
    starts = [
        position
        for position in range(count + 1)
        if not received or views.update(board_id, position, named) == received[0]
    ]
    problem = f"received the invented update {received[0]}" if received else None
    for start in starts:
        problem = _compare(views, board_id, named, messages, start, is_open)
        if not problem:
            return None
    return problem


def _compare(views, board_id, named, messages, position, is_open):
    """Return the problem with the messages of a board watched after `position` updates."""
    season, current, is_new = None, None, False
    for number, message in enumerate(messages):
        kind = message["type"]
        if number == 0 and kind != "top_10_update":
            return f"received a {kind} before any board"
        if is_new and (kind != "top_10_update" or message["data"]["top_10_scores"]):
            return f"message {number} is not the empty list of the new season {season}"
        is_new = False
        if kind == "score_update":
            expected = views.update(board_id, position, named)
            if expected != _update(message):
                return f"message {number} is {_update(message)}, not {expected}"
            position += 1
        elif kind == "board_update":
            is_new = message["season"] != season
            if message["season"] < season:
                return f"message {number} goes back from season {season}"
            season = message["season"]
        else:
            received = _list(message)
            if received == current:
                return f"message {number} repeats an unchanged board"
            allowed = views.lists(board_id, position, named)
            if received[1] not in ([allowed.get(received[0])] if named else allowed.values()):
                return f"message {number} is another board than the one after {position} updates"
            if named and season not in (None, received[0]):
                return f"message {number} is of season {received[0]}, before it was announced"
            season, current = received[0], received
    if is_open:
        end = views.end(board_id, named)
        count = len(views.shown[board_id].updates)
        if (position, current) != (count, end):
            return f"is open and received {position} of {count} updates, or not the current board"
    return None


def main():
    """Check the logs in a folder; return the exit status."""
    parser = argparse.ArgumentParser("python -m stress.checker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database", required=True)
    parser.add_argument("--policy", choices=("latest", "best", "total"), default="latest")
    options = parser.parse_args()
    return report(*check(options.folder, options.database, options.policy))


def report(problems, counts):
    """Print the counts and the first problems; return the exit status."""
    print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    for problem in problems[:20]:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


def check(folder, database, policy):
    """Return the problems, and the numbers of checked items by kind."""
    submissions = read_submissions(sorted(folder.glob("client-*.jsonl")))
    history = read_history(database, policy)
    log = folder / "subscribers.jsonl"
    connections = [json.loads(line) for line in log.read_text().splitlines()]
    problems = [
        *check_updates(submissions, history),
        *check_standings(history),
        *check_subscribers(connections, history),
    ]
    statuses = Counter(status for each in submissions.values() for status, _ in each.responses)
    return problems, {
        "updates sent": len(submissions),
        "acknowledged": sum(bool(each.receipts()) for each in submissions.values()),
        "responses of 200": statuses[200],
        "repeats and refusals": sum(statuses[status] for status in (400, 401, 429)),
        "rows": len(history.rows),
        "seasons": sum(len(board.seasons) for board in history.boards.values()),
        "standings": sum(map(len, history.standings.values())),
        "connections of subscribers": len(connections),
        "messages received": sum(len(each["messages"]) for each in connections),
    }


if __name__ == "__main__":
    sys.exit(main())
