"""The history checker finds every falsification of a correct history and its logs."""

import contextlib
import json
import operator
import sqlite3
import subprocess
import sys

import pytest

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts, tokens
from scoreboard.boards import service
from scoreboard.extensions import db
from stress import checker
from stress.history import read_history
from stress.workload import Log
from tests.support import databases
from tests.support.servers import ROOT, SECRETS, SignedInUser

POLICIES = ("latest", "best", "total")


class RecordedRun:
    """A short correct history, with the logs of a client and of three subscribers.

    Two name no board. The third names the derived board `low`, a season of which ends in between.
    """

    def __init__(self, folder, policy):
        self.folder, self.policy = folder, policy
        self.database = databases.copied_sqlite(folder)
        settings = {"DATABASE_URL": self.database, "SCORE_POLICY": policy, **SECRETS}
        app = create_app(Config.from_environment(settings))
        with app.app_context():
            board = {"board_id": "low", "title": "Low", "source": "main", "policy": "best"}
            service.create({**board, "order": "asc", "max_score": 39})
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
            if number == 3:
                service.end_season("low")
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
        """Log subscribers of the whole run, and one that was closed after an update."""
        views = checker.Views(read_history(self.database, self.policy))
        messages = self._messages(views, "main", named=False)
        self.connections = [
            {"open": False, "boards": None, "messages": messages[:3]},
            {"open": True, "boards": None, "messages": messages},
            {"open": True, "boards": ["low"], "messages": self._messages(views, "low", True)},
        ]
        self.write_connections()

    def _messages(self, views, board_id, named):
        season, messages, shown = 1, [], None
        envelope = {"board": board_id, "season": 1} if named else {}
        for position in range(len(views.shown[board_id].updates) + 1):
            if position:
                of_season, data = views.update(board_id, position - 1, named)
                if named and of_season != season:
                    season, shown = of_season, []
                    envelope["season"] = season
                    messages += [
                        {"type": "board_update", **envelope, "data": {}},
                        {"type": "top_10_update", **envelope, "data": {"top_10_scores": []}},
                    ]
                messages.append({"type": "score_update", **envelope, "data": data})
            lines = views.lists(board_id, position, named)[season]
            if lines != shown:
                shown, data = lines, {"top_10_scores": lines}
                messages.append({"type": "top_10_update", **envelope, "data": data})
        return messages

    def write_connections(self):
        lines = (json.dumps(connection) + "\n" for connection in self.connections)
        (self.folder / "subscribers.jsonl").write_text("".join(lines))

    def tamper(self, statement):
        path = self.database.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
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
    command = ["-m", "stress.checker", "--database", recorded.database, recorded.folder]
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_a_correct_history_has_no_problems(tmp_path, policy):
    recorded = RecordedRun(tmp_path, policy)

    assert recorded.problems() == []
    assert len(recorded.connections[1]["messages"]) > 8


def test_the_program_prints_what_it_checked(recorded):
    done = run(recorded)

    assert (done.returncode, done.stderr) == (0, "")
    counts = "7 updates sent, 6 acknowledged, 6 responses of 200, 7 repeats and refusals"
    assert counts in done.stdout


def test_the_program_fails_for_a_falsified_history(recorded):
    recorded.tamper("DELETE FROM scores WHERE score_id = 5")

    done = run(recorded)

    assert done.returncode == 1
    assert "acknowledged but is not recorded" in done.stdout


ANOTHER = "INSERT INTO scores SELECT 99, user_id, {}, '2027-01-01 00:00:00.000000', achieved_at, {}"
ANOTHER += ", submitted_by, score, applied, version + 1, NULL, NULL, NULL, NULL, board_id, season"
ANOTHER += ", derived FROM scores WHERE score_id = 1"


def change(table, assignment, score_id):
    return f"UPDATE {table} SET {assignment} WHERE score_id = {score_id}"


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM scores WHERE score_id = 3", "was acknowledged but is not recorded"),
        (ANOTHER.format("7", "'made-up-1'"), "was never sent"),
        (ANOTHER.format("score_value", "'again'"), "is recorded twice"),
        (change("scores", "score = 41", 2), "wrong receipt"),
        (change("scores", "score = 41", 2), "on main: expected [1, 40.0, True]"),
        (change("scores", "applied = 1 - applied", 2), "wrong receipt"),
        (change("scores", "applied = 1 - applied", 2), "expected"),
        (change("scores", "created_at = '2026-01-01 00:00:00.000001'", 2), "wrong receipt"),
        (change("scores", "created_at = '2000-01-01 00:00:00.000001'", 6), "is not later than"),
        (change("scores", "submitted_by = user_id", 1), "with the submitter"),
        (change("scores", "identity = 'refused-1'", 1), "was refused but is recorded"),
        (change("scores", "season = 2", 2), "on main: expected [1, 40.0, True]"),
        (change("scores", "derived = NULL", 1), "on low: expected [1, 10.0]"),
        (change("scores", """derived = '{"low":[2,10]}'""", 1), "on low: expected [1, 10.0]"),
        (change("scores", """derived = '{"low":[1,40]}'""", 2), "counts on other boards"),
        (change("standings", "rank_key = 1", 6), "standing of"),
        (change("standings", "score_id = 1", 6), "standing of"),
        (change("standings", "remainder = 1", 6), "standing of"),
        (change("standings", "reached_at = '2026-01-01 00:00:00.000001'", 6), "standing of"),
        ("DELETE FROM standings WHERE score_id = 6", "standing of"),
    ],
)
def test_a_falsified_table_is_found(recorded, statement, finding):
    recorded.tamper(statement)

    assert any(finding in each for each in recorded.problems()), recorded.problems()


def accept_twice(lines):
    lines.append(next(line for line in lines if line.get("status") == 200))


def acknowledge_an_unrecorded_update(lines):
    sent = {**lines[0]["sent"], "nonce": "unrecorded"}
    lines += [{**lines[0], "sent": sent, "number": 99}, {**lines[1], "number": 99}]


def error_of_a_repeat(lines):
    return next(line for line in lines if line.get("status") == 400)["body"]["error"]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (accept_twice, "was accepted twice"),
        (acknowledge_an_unrecorded_update, "was acknowledged but is not recorded"),
        (lambda lines: error_of_a_repeat(lines).pop("receipt"), "has no receipt"),
        (lambda lines: error_of_a_repeat(lines)["receipt"].update(score=41), "wrong receipt"),
    ],
)
def test_a_falsified_response_is_found(recorded, change, finding):
    recorded.tamper_with_log(change)

    assert any(finding in each for each in recorded.problems()), recorded.problems()


INVENTED = {"type": "score_update", "data": {"user_id": "x", "new_score": 1}}
FALSIFICATIONS = {
    "an update is missing": lambda messages: messages.pop(3),
    "an update is repeated": lambda messages: messages.insert(4, messages[3]),
    "an update is invented": lambda messages: operator.setitem(messages, 1, INVENTED),
    "a board is before its update": lambda messages: messages.insert(1, messages.pop(2)),
    "a board is repeated": lambda messages: messages.insert(3, messages[2]),
    "an older board is repeated": lambda messages: messages.insert(5, messages[2]),
    "the first board is missing": lambda messages: messages.pop(0),
    "the last messages are missing": lambda messages: operator.delitem(messages, slice(-2, None)),
    "all messages are missing": list.clear,
}


@pytest.mark.parametrize("name", FALSIFICATIONS)
def test_falsified_messages_are_found(recorded, name):
    FALSIFICATIONS[name](recorded.connections[1]["messages"])
    recorded.write_connections()

    [problem] = recorded.problems()

    assert "connection 1 of 3" in problem


def set_line(messages, number, **fields):
    messages[number]["data"]["top_10_scores"][0].update(fields)


NEW_SEASON = 5  # the message that opens the second season
NAMED_FALSIFICATIONS = {
    "the new season is not announced": lambda messages: messages.pop(NEW_SEASON),
    "the new season has no empty list": lambda messages: messages.pop(NEW_SEASON + 1),
    "the new season is announced early": lambda messages: messages.insert(
        4, messages.pop(NEW_SEASON)
    ),
    "an update is of another season": lambda messages: messages[1].update(season=2),
    "a list is of another season": lambda messages: messages[2].update(season=2),
    "an update has another name": lambda messages: messages[1]["data"].update(username="x"),
    "a line has another name": lambda messages: set_line(messages, 2, username="x"),
    "a line has another rank": lambda messages: set_line(messages, 2, rank=2),
    "a message is of another board": lambda messages: messages[1].update(board="main"),
    "the last messages are missing": lambda messages: operator.delitem(messages, slice(-2, None)),
}


@pytest.mark.parametrize("name", NAMED_FALSIFICATIONS)
def test_falsified_messages_of_a_named_board_are_found(recorded, name):
    NAMED_FALSIFICATIONS[name](recorded.connections[2]["messages"])
    recorded.write_connections()

    assert any("connection 2 of 3" in problem for problem in recorded.problems())


def test_a_closed_connection_may_lack_the_last_messages(recorded):
    recorded.connections[1]["open"] = False
    del recorded.connections[1]["messages"][-2:]
    recorded.write_connections()

    assert recorded.problems() == []
