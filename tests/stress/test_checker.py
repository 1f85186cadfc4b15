"""The history checker finds every falsification of a correct history and its logs."""

import contextlib
import json
import sqlite3
import subprocess
import sys

import pytest

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts, tokens
from scoreboard.extensions import db
from stress import checker
from stress.history import boards, read_history
from stress.workload import Log
from tests.support import databases
from tests.support.servers import ROOT, SECRETS, SignedInUser

POLICIES = ("latest", "best", "total")


class RecordedRun:
    """A short correct history, with the logs of a client and of two subscribers."""

    def __init__(self, folder, policy):
        self.folder, self.policy = folder, policy
        self.database = databases.copied_sqlite(folder)
        settings = {"DATABASE_URL": self.database, "SCORE_POLICY": policy, **SECRETS}
        app = create_app(Config.from_environment(settings))
        with app.app_context():
            self._submit(app.test_client())
            db.engine.dispose()
        self._record_messages()

    def _submit(self, client):
        scorer, *players = (
            SignedInUser(account.user_id, tokens.issue_access(account.user_id, account.role))
            for account in (
                accounts.create("scorer", "scorer@example.com", None, "scorer"),
                *(accounts.create(f"p{n}", f"p{n}@example.com", None, "player") for n in range(3)),
            )
        )
        log = Log(self.folder / "client-0.jsonl", scorer.user_id)
        minutes = [5, 6, 1, 7, 8, 9]
        values = [10, 40, 30, 20, 40, 5]
        for number, (minute, value) in enumerate(zip(minutes, values, strict=True)):
            nonce = {"nonce": f"a-nonce-{number}"} if number % 2 else {}
            update = players[number % 3].update(value, f"2026-01-01T00:0{minute}:00Z", **nonce)
            for _ in range(2):  # the second is a repeat
                self._post(client, log, scorer, update)
        refused = players[0].update("x", "2026-01-01T00:00:00Z", nonce="refused-1")
        self._post(client, log, scorer, refused)
        log.close()

    def _post(self, client, log, scorer, update):
        number = log.sent(update)
        response = client.post("/api/score/update", json=update, headers=scorer.bearer)
        log.answered(number, response.status_code, response.json)

    def _record_messages(self):
        """Log a subscriber from the start to the end, and one that left after an update."""
        rows = read_history(self.database).rows
        all_boards = boards(rows, self.policy)
        messages = [{"type": "top_10_update", "data": {"top_10_scores": all_boards[0]}}]
        for row, before, board in zip(rows, all_boards, all_boards[1:], strict=False):
            data = {"user_id": row.user_id, "new_score": row.score}
            messages.append({"type": "score_update", "data": data})
            if board != before:
                messages.append({"type": "top_10_update", "data": {"top_10_scores": board}})
        self.connections = [
            {"open": False, "messages": messages[:3]},
            {"open": True, "messages": messages},
        ]
        self.write_connections()

    def write_connections(self):
        lines = (json.dumps(connection) + "\n" for connection in self.connections)
        (self.folder / "subscribers.jsonl").write_text("".join(lines))

    def tamper(self, *statements):
        path = self.database.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                assert connection.execute(statement).rowcount, statement

    def tamper_with_log(self, change):
        log = self.folder / "client-0.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        change(lines)
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def problems(self):
        return checker.check(self.folder, self.database, self.policy)[0]


@pytest.fixture
def recorded(tmp_path):
    return RecordedRun(tmp_path, "latest")


def run(recorded):
    command = [
        sys.executable,
        "-m",
        "stress.checker",
        "--database",
        recorded.database,
        recorded.folder,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_correct_history_has_no_problems(tmp_path, policy):
    recorded = RecordedRun(tmp_path, policy)

    assert recorded.problems() == []
    assert len(recorded.connections[1]["messages"]) > 8


def test_the_program_prints_what_it_checked(recorded):
    done = run(recorded)

    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "7 updates sent, 6 acknowledged, 6 responses of 200, 7 repeats and refusals" in done.stdout
    )


def test_the_program_fails_for_a_falsified_history(recorded):
    recorded.tamper(
        "DELETE FROM standings WHERE score = 40", "DELETE FROM scores WHERE score_id = 5"
    )

    done = run(recorded)

    assert done.returncode == 1
    assert "acknowledged but is not recorded" in done.stdout


ANOTHER = "INSERT INTO scores SELECT 99, user_id, {}, '2027-01-01 00:00:00.000000', achieved_at, {}"
ANOTHER += ", submitted_by, score, applied, version + 1, NULL, NULL, NULL, NULL FROM scores"


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM scores WHERE score_id = 3", "was acknowledged but is not recorded"),
        (ANOTHER.format("7", "'made-up-1'") + " WHERE score_id = 1", "was never sent"),
        (
            ANOTHER.format("score_value", "'again'") + " WHERE score_id = 1",
            "is recorded twice",
        ),
        ("UPDATE scores SET score = 41 WHERE score_id = 2", "wrong receipt"),
        ("UPDATE scores SET score = 41 WHERE score_id = 2", "expected 40"),
        ("UPDATE scores SET applied = 1 - applied WHERE score_id = 2", "wrong receipt"),
        ("UPDATE scores SET applied = 1 - applied WHERE score_id = 2", "expected"),
        (
            "UPDATE scores SET created_at = '2026-01-01 00:00:00.000001' WHERE score_id = 2",
            "wrong receipt",
        ),
        (
            "UPDATE scores SET created_at = '2000-01-01 00:00:00.000001' WHERE score_id = 6",
            "is not later than",
        ),
        ("UPDATE scores SET submitted_by = user_id WHERE score_id = 1", "with the submitter"),
        (
            "UPDATE scores SET identity = 'refused-1' WHERE score_id = 1",
            "was refused but is recorded",
        ),
        ("UPDATE standings SET score = 1 WHERE score_id = 6", "standing of"),
        ("UPDATE standings SET score_id = 1 WHERE score_id = 6", "standing of"),
        ("UPDATE standings SET remainder = 1 WHERE score_id = 6", "standing of"),
        (
            "UPDATE standings SET reached_at = '2026-01-01 00:00:00.000001' WHERE score_id = 6",
            "standing of",
        ),
        ("DELETE FROM standings WHERE score_id = 6", "standing of"),
    ],
)
def test_a_falsified_table_is_found(recorded, statement, finding):
    recorded.tamper(statement)

    assert any(finding in each for each in recorded.problems()), recorded.problems()


def accept_twice(lines):
    first = next(line for line in lines if line.get("status") == 200)
    lines.append(first)


def acknowledge_an_unrecorded_update(lines):
    sent = {**lines[0]["sent"], "nonce": "unrecorded"}
    lines += [{**lines[0], "sent": sent, "number": 99}, {**lines[1], "number": 99}]


def drop_the_receipt_of_a_repeat(lines):
    del next(line for line in lines if line.get("status") == 400)["body"]["error"]["receipt"]


def change_the_receipt_of_a_repeat(lines):
    body = next(line for line in lines if line.get("status") == 400)["body"]
    body["error"]["receipt"]["score"] += 1


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (accept_twice, "was accepted twice"),
        (acknowledge_an_unrecorded_update, "was acknowledged but is not recorded"),
        (drop_the_receipt_of_a_repeat, "has no receipt"),
        (change_the_receipt_of_a_repeat, "wrong receipt"),
    ],
)
def test_a_falsified_response_is_found(recorded, change, finding):
    recorded.tamper_with_log(change)

    assert any(finding in each for each in recorded.problems()), recorded.problems()


def drop_an_update(messages):
    del messages[3]


def repeat_an_update(messages):
    messages.insert(4, messages[3])


def repeat_an_older_board(messages):
    messages.insert(5, messages[2])


def move_a_board_before_its_update(messages):
    messages[1], messages[2] = messages[2], messages[1]


def repeat_a_board(messages):
    messages.insert(3, messages[2])


def change_an_update(messages):
    messages[1] = {"type": "score_update", "data": {"user_id": "x", "new_score": 1}}


def drop_the_first_board(messages):
    del messages[0]


def drop_the_last_messages(messages):
    del messages[-2:]


def drop_all_messages(messages):
    messages.clear()


@pytest.mark.parametrize(
    "change",
    [
        drop_an_update,
        repeat_an_update,
        repeat_an_older_board,
        move_a_board_before_its_update,
        repeat_a_board,
        change_an_update,
        drop_the_first_board,
        drop_the_last_messages,
        drop_all_messages,
    ],
)
def test_falsified_messages_are_found(recorded, change):
    change(recorded.connections[1]["messages"])
    recorded.write_connections()

    problems = recorded.problems()

    assert len(problems) == 1
    assert "connection 1 of 2" in problems[0]


def test_a_closed_connection_may_lack_the_last_messages(recorded):
    recorded.connections[1]["open"] = False
    del recorded.connections[1]["messages"][-2:]
    recorded.write_connections()

    assert recorded.problems() == []
