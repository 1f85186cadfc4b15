"""Check the logs of submitting clients and subscribers against the history in the database.

    python -m stress.checker --database URL --policy latest FOLDER

FOLDER has `client-*.jsonl` and `subscribers.jsonl`. Exits with 1 if there are problems, else 0.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from .history import board, boards, fold, read_history

Key = tuple[str, str]  # user id, and identity of the update


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
        if row and any(receipt != _receipt_of(row) for receipt in receipts):
            yield f"has a wrong receipt: {receipts}, recorded: {_receipt_of(row)}"
        if row and row.submitted_by != self.submitted_by:
            yield f"is recorded with the submitter {row.submitted_by}"


def _receipt_of(row):
    """Return the receipt of a row, as the API defines it."""
    return {
        "user_id": row.user_id,
        "score": row.score,
        "score_id": row.score_id,
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "applied": row.applied,
    }


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
    """Return user id and identity: the nonce or, without one, timestamp and value."""
    timestamp = datetime.fromisoformat(update["timestamp"]).astimezone(UTC)
    return update["user_id"], update.get("nonce") or f"{timestamp} {update['score_value']}"


def check_updates(submissions, history):
    """Yield updates that are lost, recorded twice, invented, or contradict their responses."""
    nonces = {submission.update.get("nonce") for submission in submissions.values()}
    rows = {}
    for row in history.rows:
        without_nonce = f"{row.achieved_at} {int(row.score_value)}"
        key = row.user_id, row.identity if row.identity in nonces else without_nonce
        if key in rows:
            yield f"{key} is recorded twice"
        if key not in submissions:
            yield f"{key} is recorded but was never sent"
        rows[key] = row
    for key, submission in submissions.items():
        for problem in submission.problems(rows.get(key)):
            yield f"{key} {problem}"


def check_standings(history, policy):
    """Yield rows and standings that differ from the policy's result for the history."""
    standings = {}
    for row, applied, standings in fold(history.rows, policy):
        score = standings[row.user_id].score
        if (row.score, row.applied) != (score, applied):
            yield f"score {row.score_id}: expected {score}, applied {applied}; recorded {row}"
    for user in standings.keys() | history.standings.keys():
        expected, recorded = standings.get(user), history.standings.get(user)
        if expected != recorded:
            yield f"standing of {user}: expected {expected}, recorded {recorded}"
    for earlier, later in pairwise(history.rows):
        if earlier.created_at >= later.created_at:
            yield f"score {later.score_id} is not later than {earlier.score_id}, committed before"


def check_subscribers(connections, history, policy):
    """Yield connections whose messages are not a gapless part of the history, in order."""
    expected_boards = boards(history.rows, policy)
    expected_updates = [(row.user_id, row.score) for row in history.rows]
    positions = defaultdict(list)
    for position, update in enumerate(expected_updates):
        positions[update].append(position)
    for number, connection in enumerate(connections):
        messages = connection["messages"]
        received = [_update(each) for each in messages if each["type"] == "score_update"]
        starts = positions[received[0]] if received else range(len(expected_boards))
        problems = [
            _compare(messages, expected_updates, expected_boards, start, connection["open"])
            for start in starts
        ]
        if all(problems):  # also if the first update is not in the history at all
            problem = problems[-1] if problems else f"received the invented update {received[0]}"
            yield f"connection {number} of {len(connections)} {problem}"


def is_up_to_date(messages, history):
    """Whether these messages end with the last update, if they have any, and the current board."""
    updates = [_update(each) for each in messages if each["type"] == "score_update"]
    top10s = [each["data"] for each in messages if each["type"] == "top_10_update"]
    last = history.rows[-1]
    return (not updates or updates[-1] == (last.user_id, last.score)) and (
        bool(top10s) and top10s[-1]["top_10_scores"] == board(history.standings)
    )


def _update(message):
    return message["data"]["user_id"], message["data"]["new_score"]


def _compare(messages, expected_updates, expected_boards, position, is_open):
    """Return the problem with the messages of a connection opened after `position` updates."""
    current = None
    for number, message in enumerate(messages):
        if message["type"] == "score_update":
            if number == 0:
                return "received an update before any board"
            expected = expected_updates[position : position + 1]
            if expected != [_update(message)]:
                return f"message {number} is {_update(message)}, not {expected}"
            position += 1
        else:
            received = message["data"]["top_10_scores"]
            if received == current:
                return f"message {number} repeats an unchanged board"
            if received != expected_boards[position]:
                return f"message {number} is another board than the one after {position} updates"
            current = received
    if is_open and (position, current) != (len(expected_updates), expected_boards[-1]):
        return (
            f"is open and received {position} of {len(expected_updates)} updates, "
            "or not the current board"
        )
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
    history = read_history(database)
    log = folder / "subscribers.jsonl"
    connections = [json.loads(line) for line in log.read_text().splitlines()]
    problems = [
        *check_updates(submissions, history),
        *check_standings(history, policy),
        *check_subscribers(connections, history, policy),
    ]
    statuses = Counter(status for each in submissions.values() for status, _ in each.responses)
    return problems, {
        "updates sent": len(submissions),
        "acknowledged": sum(bool(each.receipts()) for each in submissions.values()),
        "responses of 200": statuses[200],
        "repeats and refusals": sum(statuses[status] for status in (400, 401, 429)),
        "rows": len(history.rows),
        "users": len(history.standings),
        "connections of subscribers": len(connections),
        "messages received": sum(len(each["messages"]) for each in connections),
    }


if __name__ == "__main__":
    sys.exit(main())
