"""Check the logs of clients and viewers against the history in the database.

    python -m stress.checker --database URL --policy latest FOLDER

FOLDER has the logs of a workload, `client-*.jsonl`, and of an audience, `viewers.jsonl`. Prints
the numbers of checked items and any problems. Exits with 1 if there are problems, else with 0.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import history as histories
from .history import History, Row

Key = tuple[str, str]  # user id, and identity of the update


@dataclass
class Asked:
    """An update, and all responses to it: it may have been sent several times."""

    update: dict[str, Any]
    by: str
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def receipts(self) -> list[dict[str, Any]]:
        """Return the receipts in the responses, including those in `replayed` errors."""
        told = [body for status, body in self.answers if status == 200]
        return told + [body["error"]["receipt"] for body in self._replays() if _receipt(body)]

    def _replays(self) -> list[dict[str, Any]]:
        return [body for _, body in self.answers if _code(body) == "replayed"]

    def problems(self, row: Row | None) -> Iterator[str]:
        """Yield contradictions between the responses and the recorded row (None: not recorded)."""
        if [status for status, _ in self.answers].count(200) > 1:
            yield "was accepted twice"
        if any(not _receipt(body) for body in self._replays()):
            yield "a repeat by the same caller was told no receipt"
        receipts = self.receipts()
        if receipts and row is None:
            yield "was acknowledged and is lost"
        if row and not self._may_be_in():
            yield "was refused and is in the history all the same"
        if row and any(receipt != _of(row) for receipt in receipts):
            yield f"was told a receipt that is not true: {receipts} of {_of(row)}"

    def _may_be_in(self) -> bool:
        """Whether it was acknowledged or never refused, so that it may be recorded."""
        refused = [_code(body) for status, body in self.answers if status in (400, 401, 429)]
        return bool(self.receipts()) or not refused


def _code(body: dict[str, Any]) -> str:
    return str(body.get("error", {}).get("code", ""))


def _receipt(body: dict[str, Any]) -> Any:
    return body.get("error", {}).get("receipt")


def _of(row: Row) -> dict[str, Any]:
    """Return the receipt of a row, as the API defines it."""
    return {
        "user_id": row.user_id,
        "score": row.score,
        "score_id": row.score_id,
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "applied": row.applied,
    }


def requests(logs: list[Path]) -> dict[Key, Asked]:
    """Return the updates in the logs and their responses, by user and identity."""
    asked: dict[Key, Asked] = {}
    for log in logs:
        sent: dict[int, Asked] = {}
        for line in map(json.loads, log.read_text().splitlines()):
            if "sent" in line:
                key = _key(line["sent"])
                sent[line["number"]] = asked.setdefault(key, Asked(line["sent"], line["by"]))
            elif "status" in line:
                sent[line["number"]].answers.append((line["status"], line["body"]))
    return asked


def _key(update: dict[str, Any]) -> Key:
    """Return user id and identity: the nonce or, without one, timestamp and value."""
    moment = datetime.fromisoformat(update["timestamp"]).astimezone(UTC)
    return update["user_id"], update.get("nonce") or f"{moment} {update['score_value']}"


def check_updates(asked: dict[Key, Asked], history: History) -> Iterator[str]:
    """Yield updates that are lost, recorded twice, invented, or contradict their responses."""
    nonces = {request.update.get("nonce") for request in asked.values()}
    rows: dict[Key, Row] = {}
    for row in history.rows:
        unnamed = f"{row.achieved_at} {int(row.score_value)}"
        key = row.user_id, row.identity if row.identity in nonces else unnamed
        if key in rows:
            yield f"{key} is in the history twice"
        if key not in asked:
            yield f"{key} is in the history and nobody sent it"
        rows[key] = row
    for key, request in asked.items():
        row = rows.get(key)
        for problem in request.problems(row):
            yield f"{key} {problem}"
        if row and row.submitted_by != request.by:
            yield f"{key} is said to be submitted by somebody else"


def check_standings(history: History, policy: str) -> Iterator[str]:
    """Yield rows and standings that differ from the policy's result for the history."""
    standings: dict[str, histories.Standing] = {}
    for row, applied, standings in histories.fold(history.rows, policy):
        score = standings[row.user_id].score
        if (row.score, row.applied) != (score, applied):
            yield f"score {row.score_id} should have led to {score}, applied {applied}: {row}"
    for user in standings.keys() | history.standings.keys():
        if standings.get(user) != history.standings.get(user):
            yield f"{user} should stand at {standings.get(user)}, not {history.standings.get(user)}"
    for earlier, later in pairwise(history.rows):
        if earlier.created_at >= later.created_at:
            yield f"score {later.score_id} is not later than {earlier.score_id}, committed before"


def check_viewers(seen: list[dict[str, Any]], history: History, policy: str) -> Iterator[str]:
    """Yield connections whose messages are not a gapless part of the history, in order."""
    boards = histories.boards(history.rows, policy)
    told = [(row.user_id, row.score) for row in history.rows]
    places = defaultdict(list)
    for place, update in enumerate(told):
        places[update].append(place)
    for number, connection in enumerate(seen):
        messages = connection["messages"]
        updates = [_update(each) for each in messages if each["type"] == "score_update"]
        starts = places[updates[0]] if updates else range(len(boards))
        problems: list[str | None] = [
            _walk(messages, told, boards, start, must_end=connection["open"]) for start in starts
        ]
        if all(problems):
            told_wrong = problems[-1] if problems else f"saw {updates[0]}, which never was"
            yield f"connection {number} of {len(seen)} {told_wrong}"


def has_seen_all(messages: list[dict[str, Any]], history: History) -> bool:
    """Whether these messages end with the last update, if they have any, and the current board."""
    seen = [_update(each) for each in messages if each["type"] == "score_update"]
    shown = [each["data"] for each in messages if each["type"] == "top_10_update"]
    last = history.rows[-1]
    return (not seen or seen[-1] == (last.user_id, last.score)) and (
        bool(shown) and shown[-1]["top_10_scores"] == histories.board(history.standings)
    )


def _update(message: dict[str, Any]) -> tuple[str, float]:
    return message["data"]["user_id"], message["data"]["new_score"]


def _walk(
    messages: list[dict[str, Any]],
    told: list[tuple[str, float]],
    boards: list[list[dict[str, Any]]],
    place: int,
    must_end: bool,
) -> str | None:
    """Return the problem with the messages if the first was sent after `place` updates, or None."""
    shown: Any = None
    for number, message in enumerate(messages):
        if message["type"] == "score_update":
            if number == 0:
                return "saw an update before any board"
            if told[place : place + 1] != [_update(message)]:
                return f"message {number} is {_update(message)}, not {told[place : place + 1]}"
            place += 1
        else:
            board = message["data"]["top_10_scores"]
            if board == shown:
                return f"message {number} shows the board again, though it is the same"
            if board != boards[place]:
                return f"message {number} shows another board than the one after {place} updates"
            shown = board
    if must_end and (place, shown) != (len(told), boards[-1]):
        return f"is open and has seen {place} of {len(told)} updates, and not the present board"
    return None


def main() -> int:
    """Check the logs in a folder; return the exit status."""
    parser = argparse.ArgumentParser("python -m stress.checker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--database", required=True)
    parser.add_argument("--policy", choices=("latest", "best", "total"), default="latest")
    options = parser.parse_args()
    found, counts = check(options.folder, options.database, options.policy)
    print(", ".join(f"{count:,} {what}" for what, count in counts.items()))
    for problem in found[:20]:
        print(f"WRONG: {problem}")
    return 1 if found else 0


def check(folder: Path, database: str, policy: str) -> tuple[list[str], dict[str, int]]:
    """Return the problems, and the numbers of checked items by kind."""
    asked = requests(sorted(folder.glob("client-*.jsonl")))
    history = histories.read(database)
    viewers = folder / "viewers.jsonl"
    lines = viewers.read_text().splitlines() if viewers.exists() else []
    seen = [json.loads(line) for line in lines]
    found = [
        *check_updates(asked, history),
        *check_standings(history, policy),
        *check_viewers(seen, history, policy),
    ]
    answers = Counter(status for request in asked.values() for status, _ in request.answers)
    return found, {
        "requests": len(asked),
        "acknowledged": sum(bool(request.receipts()) for request in asked.values()),
        "answers of 200": answers[200],
        "repeats and refusals": sum(answers[status] for status in (400, 401, 429)),
        "rows": len(history.rows),
        "users": len(history.standings),
        "connections of viewers": len(seen),
        "messages seen": sum(len(connection["messages"]) for connection in seen),
    }


if __name__ == "__main__":
    sys.exit(main())
