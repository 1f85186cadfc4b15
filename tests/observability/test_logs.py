"""Log lines delay no request: with a stalled or closed reader they are dropped and counted."""

import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import threading

import pytest
import requests

from scoreboard.observability import log_writer
from scoreboard.observability.log_writer import MAX_QUEUED, LogWriter
from tests.support.metrics import series
from tests.support.servers import ROOT, RUN_MODES, SECRETS, Server
from tests.support.waiting import wait_until

F_SETPIPE_SZ = 1031  # from `fcntl.h`
MIN_LINE_LENGTH = 200  # of an audit line
BATCH = 1000


class Reader:
    """The reader of a pipe; it does not read before `start`."""

    def __init__(self, path):
        os.mkfifo(path)
        # Opening it only for reading would block until the server opens it.
        self._file = os.open(path, os.O_RDWR)
        self._text = b""
        fcntl.fcntl(self._file, F_SETPIPE_SZ, 4096)

    def start(self):
        """Read in a thread."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while data := os.read(self._file, 65536):
            self._text += data

    def close(self):
        os.close(self._file)

    def lines(self, event="score_update"):
        """Return the audit lines of this event so far."""
        complete = self._text.rpartition(b"\n")[0].decode().splitlines()
        parsed = [json.loads(line) for line in complete if line.startswith("{")]
        return [line for line in parsed if line["event"] == event]


@pytest.fixture
def reader(tmp_path):
    """Return the reader of the server's standard output and standard error."""
    return Reader(tmp_path / "server.log")


@pytest.fixture(params=RUN_MODES)
def server(request, tmp_path, reader):
    server = Server(tmp_path, request.param, ACTIVITY_REFUSALS="0")
    yield server
    server.kill()


def send_invalid_batch(server, scorer):
    """Send BATCH invalid updates, each of which leaves an audit line."""
    body = {"updates": ["no update"] * BATCH}
    url = f"{server.url}/api/score/batch"
    assert requests.post(url, json=body, headers=scorer.bearer, timeout=30).status_code == 200


def dropped(server):
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    return series(text)["scoreboard_log_lines_dropped_total", "stdout"]


def test_a_stalled_reader_delays_no_request_and_dropped_lines_are_reported(server, reader):
    scorer = server.user("Ann", "scorer")
    batches = MAX_QUEUED // (MIN_LINE_LENGTH * BATCH) + 2
    for _ in range(batches):
        send_invalid_batch(server, scorer)

    assert requests.get(f"{server.url}/healthz", timeout=10).ok
    assert server.post(scorer.token, scorer.update(1)).status_code == 200
    count = dropped(server)
    assert count > 0

    reader.start()

    def reported():
        return sum(line["lines"] for line in reader.lines("log_lines_dropped"))

    wait_until(lambda: reported() == count, seconds=20)
    assert len(reader.lines()) + count == batches * BATCH + 1
    server.post(scorer.token, scorer.update(2))
    wait_until(lambda: reader.lines()[-1]["score_value"] == 2)


# SIGTERM ends `flask run` at once.
@pytest.mark.parametrize("server", ["python wsgi.py"], indirect=True)
def test_all_lines_are_written_in_order_before_the_process_ends(server, reader):
    player = server.user("Ann")
    reader.start()
    for number in range(300):
        server.send(player.token, player.update(number, nonce=f"number-{number:04}"))

    server.process.terminate()
    server.process_wait(10)

    wait_until(lambda: len(reader.lines()) >= 300)
    assert [line["score_value"] for line in reader.lines()] == list(range(300))


def test_a_stalled_reader_does_not_block_the_shutdown(server, reader):
    send_invalid_batch(server, server.user("Ann", "scorer"))

    server.process.terminate()
    server.process_wait(10)

    assert server.process.poll() is not None


def test_a_closed_reader_does_not_end_the_process(server, reader):
    player = server.user("Ann")
    reader.close()

    statuses = [server.post(player.token, player.update(number)).status_code for number in range(3)]

    assert statuses == [200] * 3
    wait_until(lambda: dropped(server) >= 3)
    assert server.process.poll() is None


def run(tmp_path, arguments):
    """Run Python with these arguments; return its output."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": f"sqlite:///{tmp_path}/scoreboard.db",
        **SECRETS,
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def run_script(tmp_path, script):
    """Run a script in a process that has an application; return its output."""
    setup = "import logging, os\nfrom scoreboard import create_app\napp = create_app()\n"
    return run(tmp_path, ["-c", setup + script])


def test_a_command_writes_its_audit_lines_to_standard_error(tmp_path):
    users = ["-m", "flask", "--app", "scoreboard", "users"]
    created = run(tmp_path, [*users, "create", "Ann", "ann@example.com", "--password", "password"])
    hidden = run(tmp_path, [*users, "hide", "Ann"])

    (line,) = [json.loads(line) for line in hidden.stderr.splitlines() if line.startswith("{")]
    assert (line["event"], line["act"]) == ("moderation", "hide")
    assert line["user_id"] == created.stdout.strip()


def test_database_failures_are_one_line_a_second_without_traceback_or_values(tmp_path):
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
    errors = run_script(tmp_path, script).stderr

    assert errors.count("OperationalError: refused") == errors.count("\n") == 1
    assert "Traceback" not in errors
    assert "secret" not in errors


def test_other_errors_are_logged_with_traceback_once_a_second_and_place(tmp_path):
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
    errors = run_script(tmp_path, script).stderr

    assert errors.count("Traceback") == 2
    assert errors.count("KeyError: 0") == errors.count("ZeroDivisionError") == 1


def test_the_next_line_of_a_kind_states_the_number_suppressed(tmp_path):
    script = """
from scoreboard import observability
log = logging.getLogger("scoreboard.test")
for number in range(12):
    if number == 11:
        observability.logging.REPEAT_INTERVAL = 0
    log.warning("number %s", number)
"""
    errors = run_script(tmp_path, script).stderr

    assert [line.partition(": ")[2] for line in errors.splitlines()] == [
        "number 0",
        "number 11 (10 more since the last line about it)",
    ]


def test_a_forked_process_writes_only_its_own_lines(tmp_path):
    script = """
log = logging.getLogger("scoreboard.audit")
log.info("before")
child = os.fork()
log.info("parent" if child else "child")
if child:
    os.waitpid(child, 0)
"""
    output = run_script(tmp_path, script).stdout

    assert sorted(output.split()) == ["before", "child", "parent"]


def test_lines_dropped_during_a_write_are_announced_without_another_line(monkeypatch):
    monkeypatch.setattr(log_writer, "MAX_QUEUED", 100_000)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        writer = LogWriter(notice=lambda count: f"{count} dropped")
        writer.use(stream)
        received = bytearray()

        writer.handle(logging.makeLogRecord({"msg": "x" * 90_000}))
        received += os.read(reading, 1)  # the thread now waits for the reader of the pipe
        writer.handle(logging.makeLogRecord({"msg": "y" * 20_000}))
        os.set_blocking(reading, False)

        def is_announced():
            with contextlib.suppress(BlockingIOError):
                received.extend(os.read(reading, 65536))
            return received.endswith(b"1 dropped\n")

        wait_until(is_announced)
    os.close(reading)
