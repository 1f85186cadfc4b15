"""The history checker is believed because it finds every lie that is put into a true history."""

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
from stress import checker, history
from stress.workload import Log
from tests.support import databases
from tests.support.servers import ROOT, SECRETS, Person

POLICIES = ("latest", "best", "total")


class CacheableBody:
    """A short history, with the logs of who made it and of two who watched, all of it true."""

    def __init__(self, folder, policy):
        self.folder, self.policy = folder, policy
        self.database = databases.copied_sqlite(folder)
        settings = {"DATABASE_URL": self.database, "SCORE_POLICY": policy, **SECRETS}
        app = create_app(Config.from_environment(settings))
        with app.app_context():
            self._play(app.test_client())
            db.engine.dispose()
        self._watch()

    def _play(self, client):
        scorer, *players = (
            Person(account.user_id, tokens.issue_access(account.user_id, account.role))
            for account in (
                accounts.create("scorer", "scorer@example.com", None, "scorer"),
                *(accounts.create(f"p{n}", f"p{n}@example.com", None, "player") for n in range(3)),
            )
        )
        log = Log(self.folder / "client-0.jsonl", scorer.user_id)
        minutes = [5, 6, 1, 7, 8, 9]
        values = [10, 40, 30, 20, 40, 5]
        for turn, (minute, value) in enumerate(zip(minutes, values, strict=True)):
            named = {"nonce": f"a-nonce-{turn}"} if turn % 2 else {}
            update = players[turn % 3].update(value, f"2026-01-01T00:0{minute}:00Z", **named)
            for _ in range(2):  # the second is a repeat
                number = log.sent(update)
                answer = client.post("/api/score/update", json=update, headers=scorer.bearer)
                log.answered(number, answer.status_code, answer.json)
        refused = players[0].update("x", "2026-01-01T00:00:00Z", nonce="refused-1")
        number = log.sent(refused)
        answer = client.post("/api/score/update", json=refused, headers=scorer.bearer)
        log.answered(number, answer.status_code, answer.json)
        log.close()

    def _watch(self):
        """Write down what one sees who watched from the start, and one who left after an update."""
        rows = history.read(self.database).rows
        boards = history.boards(rows, self.policy)
        messages = [{"type": "top_10_update", "data": {"top_10_scores": boards[0]}}]
        for row, before, board in zip(rows, boards, boards[1:], strict=False):
            data = {"user_id": row.user_id, "new_score": row.score}
            messages.append({"type": "score_update", "data": data})
            if board != before:
                messages.append({"type": "top_10_update", "data": {"top_10_scores": board}})
        self.seen = [
            {"open": False, "messages": messages[:3]},
            {"open": True, "messages": messages},
        ]
        self.write_seen()

    def write_seen(self):
        lines = (json.dumps(connection) + "\n" for connection in self.seen)
        (self.folder / "viewers.jsonl").write_text("".join(lines))

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

    def found(self):
        return checker.check(self.folder, self.database, self.policy)[0]


@pytest.fixture
def told(tmp_path):
    return CacheableBody(tmp_path, "latest")


def run(told):
    command = [sys.executable, "-m", "stress.checker", "--database", told.database, told.folder]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_true_history_is_found_true(tmp_path, policy):
    told = CacheableBody(tmp_path, policy)

    assert told.found() == []
    assert len(told.seen[1]["messages"]) > 8


def test_the_program_tells_what_it_looked_at(told):
    done = run(told)

    assert (done.returncode, done.stderr) == (0, "")
    assert "7 requests, 6 acknowledged, 6 answers of 200, 7 repeats and refusals" in done.stdout


def test_the_program_fails_for_a_history_that_is_not_true(told):
    told.tamper("DELETE FROM standings WHERE score = 40", "DELETE FROM scores WHERE score_id = 5")

    done = run(told)

    assert done.returncode == 1
    assert "acknowledged and is lost" in done.stdout


ANOTHER = "INSERT INTO scores SELECT 99, user_id, {}, '2027-01-01 00:00:00.000000', achieved_at, {}"
ANOTHER += ", submitted_by, score, applied, version + 1, NULL, NULL, NULL, NULL FROM scores"


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM scores WHERE score_id = 3", "was acknowledged and is lost"),
        (ANOTHER.format("7", "'made-up-1'") + " WHERE score_id = 1", "nobody sent it"),
        (
            ANOTHER.format("score_value", "'again'") + " WHERE score_id = 1",
            "is in the history twice",
        ),
        ("UPDATE scores SET score = 41 WHERE score_id = 2", "receipt that is not true"),
        ("UPDATE scores SET score = 41 WHERE score_id = 2", "should have led to 40"),
        ("UPDATE scores SET applied = 1 - applied WHERE score_id = 2", "receipt that is not true"),
        ("UPDATE scores SET applied = 1 - applied WHERE score_id = 2", "should have led to"),
        (
            "UPDATE scores SET created_at = '2026-01-01 00:00:00.000001' WHERE score_id = 2",
            "receipt that is not true",
        ),
        (
            "UPDATE scores SET created_at = '2000-01-01 00:00:00.000001' WHERE score_id = 6",
            "is not later than",
        ),
        ("UPDATE scores SET submitted_by = user_id WHERE score_id = 1", "by somebody else"),
        ("UPDATE scores SET identity = 'refused-1' WHERE score_id = 1", "was refused and is in"),
        ("UPDATE standings SET score = 1 WHERE score_id = 6", "should stand at"),
        ("UPDATE standings SET score_id = 1 WHERE score_id = 6", "should stand at"),
        ("UPDATE standings SET remainder = 1 WHERE score_id = 6", "should stand at"),
        (
            "UPDATE standings SET reached_at = '2026-01-01 00:00:00.000001' WHERE score_id = 6",
            "should stand at",
        ),
        ("DELETE FROM standings WHERE score_id = 6", "should stand at"),
    ],
)
def test_a_table_that_was_tampered_with_is_found_out(told, statement, finding):
    told.tamper(statement)

    assert any(finding in each for each in told.found()), told.found()


def accept_once_more(lines):
    first = next(line for line in lines if line.get("status") == 200)
    lines.append(first)


def acknowledge_what_never_came(lines):
    sent = {**lines[0]["sent"], "nonce": "never-came"}
    lines += [{**lines[0], "sent": sent, "number": 99}, {**lines[1], "number": 99}]


def tell_a_repeat_nothing(lines):
    del next(line for line in lines if line.get("status") == 400)["body"]["error"]["receipt"]


def tell_a_repeat_another_score(lines):
    body = next(line for line in lines if line.get("status") == 400)["body"]
    body["error"]["receipt"]["score"] += 1


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (accept_once_more, "was accepted twice"),
        (acknowledge_what_never_came, "was acknowledged and is lost"),
        (tell_a_repeat_nothing, "was told no receipt"),
        (tell_a_repeat_another_score, "receipt that is not true"),
    ],
)
def test_a_client_that_was_told_otherwise_is_found(told, change, finding):
    told.tamper_with_log(change)

    assert any(finding in each for each in told.found()), told.found()


def miss_an_update(messages):
    del messages[3]


def see_an_update_twice(messages):
    messages.insert(4, messages[3])


def see_the_board_go_back(messages):
    messages.insert(5, messages[2])


def see_a_board_too_early(messages):
    messages[1], messages[2] = messages[2], messages[1]


def see_the_same_board_again(messages):
    messages.insert(3, messages[2])


def see_what_never_was(messages):
    messages[1] = {"type": "score_update", "data": {"user_id": "x", "new_score": 1}}


def see_no_board_at_first(messages):
    del messages[0]


def see_the_end_never(messages):
    del messages[-2:]


def see_nothing(messages):
    messages.clear()


@pytest.mark.parametrize(
    "change",
    [
        miss_an_update,
        see_an_update_twice,
        see_the_board_go_back,
        see_a_board_too_early,
        see_the_same_board_again,
        see_what_never_was,
        see_no_board_at_first,
        see_the_end_never,
        see_nothing,
    ],
)
def test_a_viewer_who_saw_otherwise_is_found(told, change):
    change(told.seen[1]["messages"])
    told.write_seen()

    found = told.found()

    assert len(found) == 1
    assert "connection 1 of 2" in found[0]


def test_who_left_early_need_not_have_seen_the_end(told):
    told.seen[1]["open"] = False
    del told.seen[1]["messages"][-2:]
    told.write_seen()

    assert told.found() == []
