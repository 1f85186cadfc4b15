"""Log lines delay nobody: a reader that stalls or goes away costs lines, which are counted."""

import fcntl
import json
import os
import subprocess
import sys
import threading

import pytest
import requests

from scoreboard.observability.log_writer import MAX_QUEUED
from tests.support.metrics import series
from tests.support.servers import ROOT, RUN_MODES, SECRETS, Server
from tests.support.waiting import wait_until

# From `fcntl.h`.
F_SETPIPE_SZ = 1031
# An audit line has more characters than this.
SHORTEST_LINE = 200
BATCH = 1000


class Reader:
    """The reader of a pipe, which does not read until it is asked to."""

    def __init__(self, path):
        os.mkfifo(path)
        # Opened for both: to open it for reading alone would wait for the server.
        self._file = os.open(path, os.O_RDWR)
        self._text = b""
        fcntl.fcntl(self._file, F_SETPIPE_SZ, 4096)

    def read_on(self):
        """Read from now on, beside the test."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while data := os.read(self._file, 65536):
            self._text += data

    def close(self):
        os.close(self._file)

    def lines(self):
        """Return the lines of the audit log so far, whole ones only."""
        whole = self._text.rpartition(b"\n")[0].decode().splitlines()
        return [json.loads(line) for line in whole if line.startswith("{")]


@pytest.fixture
def reader(tmp_path):
    # Where the server writes both its standard output and its standard error.
    return Reader(tmp_path / "server.log")


@pytest.fixture(params=RUN_MODES)
def server(request, tmp_path, reader):
    server = Server(tmp_path, request.param, ACTIVITY_REFUSALS="0")
    yield server
    server.kill()


def send_invalid(server, scorer, count=BATCH):
    """Send a batch of so many updates that are refused: each is a line of the audit log."""
    body = {"updates": ["no update"] * count}
    answer = requests.post(
        f"{server.url}/api/score/batch", json=body, headers=scorer.bearer, timeout=30
    )
    assert answer.status_code == 200


def dropped(server):
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    return series(text)["scoreboard_log_lines_dropped_total", "stdout"]


def test_a_reader_that_stalls_delays_nobody_and_lines_that_do_not_fit_are_counted(server, reader):
    scorer = server.user("Ann", "scorer")
    batches = MAX_QUEUED // (SHORTEST_LINE * BATCH) + 2
    for _ in range(batches):
        send_invalid(server, scorer)

    assert requests.get(f"{server.url}/healthz", timeout=10).ok
    assert server.post(scorer.token, scorer.update(1)).status_code == 200
    lost = dropped(server)
    assert lost > 0

    reader.read_on()

    def announced():
        return sum(line["lines"] for line in reader.lines() if line["event"] == "log_lines_dropped")

    wait_until(lambda: announced() == lost, seconds=20)
    written = [line for line in reader.lines() if line["event"] == "score_update"]
    assert len(written) + lost == batches * BATCH + 1
    server.post(scorer.token, scorer.update(2))
    wait_until(lambda: reader.lines()[-1].get("score_value") == 2)


# SIGTERM ends the development server at once.
@pytest.mark.parametrize("server", ["python wsgi.py"], indirect=True)
def test_lines_come_out_in_order_and_all_of_them_before_the_end(server, reader):
    player = server.user("Ann")
    reader.read_on()
    for number in range(300):
        server.send(player.token, player.update(number, nonce=f"number-{number:04}"))

    server.process.terminate()
    server.process_wait(10)

    def values():
        return [line["score_value"] for line in reader.lines() if line["event"] == "score_update"]

    wait_until(lambda: len(values()) >= 300)
    assert values() == list(range(300))


def test_a_reader_that_stalls_does_not_keep_the_process_from_ending(server, reader):
    scorer = server.user("Ann", "scorer")
    send_invalid(server, scorer)

    server.process.terminate()
    server.process_wait(10)

    assert server.process.poll() is not None


def test_a_reader_that_goes_away_ends_nothing(server, reader):
    player = server.user("Ann")
    reader.close()

    statuses = [server.post(player.token, player.update(number)).status_code for number in range(3)]

    assert statuses == [200] * 3
    wait_until(lambda: dropped(server) >= 3)
    assert server.process.poll() is None


def test_the_audit_lines_of_a_command_are_out_when_it_ends(tmp_path):
    server = Server(tmp_path)
    try:
        player = server.user("Ann")

        command = [sys.executable, "-m", "flask", "--app", "scoreboard", "users", "hide", "Ann"]
        done = subprocess.run(
            command, env=server.environment, cwd=ROOT, capture_output=True, text=True, timeout=60
        )
    finally:
        server.stop()

    (line,) = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert (line["event"], line["act"], line["user_id"]) == ("moderation", "hide", player.user_id)


def run(tmp_path, script):
    """Run a script that has an application, and return its finished process."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": f"sqlite:///{tmp_path}/scoreboard.db",
        **SECRETS,
    }
    begin = "import logging, os\nfrom scoreboard import create_app\napp = create_app()\n"
    return subprocess.run(
        [sys.executable, "-c", begin + script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_failures_of_the_database_are_one_line_a_second_without_traceback_or_values(tmp_path):
    script = """
from sqlalchemy.exc import OperationalError
from scoreboard.errors import translate
for place in range(50):
    try:
        raise OperationalError("SELECT secret-statement", {"a": "secret-value"}, OSError("refused"))
    except OperationalError as error:
        translate(error)
        logging.getLogger("scoreboard.elsewhere").exception("background work failed")
"""
    errors = run(tmp_path, script).stderr

    assert errors.count("OperationalError: refused") == errors.count("\n") == 1
    assert "Traceback" not in errors
    assert "secret" not in errors


def test_another_error_is_logged_with_its_traceback_once_a_second_for_each_place(tmp_path):
    script = """
from scoreboard.errors import translate
def fail(error):
    raise error
for number in range(50):
    for raising in (lambda: fail(KeyError(number)), lambda: 1 / 0):
        try:
            raising()
        except Exception as error:
            translate(error)
"""
    errors = run(tmp_path, script).stderr

    assert errors.count("Traceback") == 2
    assert errors.count("KeyError: 0") == errors.count("ZeroDivisionError") == 1


def test_what_was_not_logged_is_told_with_the_next_line_of_its_kind(tmp_path):
    script = """
from scoreboard.observability import logging as logs
log = logging.getLogger("scoreboard.test")
for number in range(12):
    if number == 11:
        logs.REPEAT_INTERVAL = 0
    log.warning("number %s", number)
"""
    errors = run(tmp_path, script).stderr

    assert [line.partition(": ")[2] for line in errors.splitlines()] == [
        "number 0",
        "number 11 (10 more since the last line about it)",
    ]


def test_no_line_of_standard_error_has_a_token(tmp_path):
    errors = run(
        tmp_path, 'logging.getLogger("werkzeug").warning("GET /ws?token=secret-token HTTP/1.1")'
    ).stderr

    assert "token=[hidden]" in errors
    assert "secret" not in errors


def test_a_forked_process_writes_its_own_lines_and_no_others(tmp_path):
    script = """
log = logging.getLogger("scoreboard.audit")
log.info("before")
child = os.fork()
log.info("parent" if child else "child")
if child:
    os.waitpid(child, 0)
"""
    printed = run(tmp_path, script).stdout

    assert sorted(printed.split()) == ["before", "child", "parent"]
