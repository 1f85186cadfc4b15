"""Fair turns: a crowd of one address is served one after the other, others in between."""

import contextlib
import json
import signal
import socket
from types import SimpleNamespace

import pytest
from greenlet import getcurrent, greenlet
from serving import Server
from viewers import wait_until

from scoreboard import turns

CROWD = 40
A_WHILE = turns.TURN_SECONDS * 0.4


class Loop:
    """A loop with a clock, on which requests arrive and take some time each."""

    def __init__(self):
        self.now = 1000.0
        self.served = []
        self._turns = turns.Turns()
        self._scheduled = []

    def monotonic(self):
        return self.now

    def at_next_turn(self, work):
        self._scheduled.append(work)

    def suspend(self, tell):
        tell(getcurrent().switch)
        getcurrent().parent.switch()

    def arrive(self, *requests, seconds=A_WHILE):
        """Have these requests arrive; the first letter of each is its line."""
        for request in requests:
            greenlet(self._request).switch(request, seconds)

    def _request(self, request, seconds):
        self._turns.take(request[0])
        self.served.append(request)
        self.now += seconds

    def turn(self):
        """Let the next turn begin, and return who is served in it of those who waited."""
        before = len(self.served)
        scheduled, self._scheduled = self._scheduled, []
        for work in scheduled:
            work()
        return self.served[before:]

    @property
    def is_idle(self):
        return not self._scheduled


@pytest.fixture
def loop(monkeypatch):
    loop = Loop()
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=loop.monotonic))
    monkeypatch.setattr(turns, "transport", loop)
    return loop


class TestTurns:
    def test_what_there_is_time_for_is_served_at_once(self, loop):
        loop.arrive("a", "a", "a")

        assert loop.served == ["a", "a", "a"]

    def test_who_had_a_turn_waits_once_it_is_over(self, loop):
        loop.arrive("a", "a", "a", "a")

        assert loop.served == ["a", "a", "a"]
        assert loop.turn() == ["a"]

    def test_who_had_none_is_served_at_once_however_many_of_others_wait(self, loop):
        loop.arrive("a", "a", "a", "a", "b")

        assert loop.served[-1] == "b"

    def test_nobody_overtakes_those_who_wait_in_the_same_line(self, loop):
        loop.arrive("a1", "a2", "a3", seconds=1)
        loop.turn()

        loop.arrive("a4")

        assert loop.served == ["a1", "a2"]
        assert loop.turn() + loop.turn() == ["a3", "a4"]

    def test_one_of_every_line_is_served_in_a_turn_however_long_that_takes(self, loop):
        loop.arrive("a", "b", "c", "a", "b", "c", "a", "b", "c", seconds=1)

        assert loop.turn() == ["a", "b", "c"]

    def test_as_many_more_are_served_by_turns_as_there_is_time_for(self, loop):
        loop.arrive("a", "b", seconds=1)
        loop.arrive(*"aaaabb")

        assert loop.turn() == ["a", "b", "a", "b"]
        assert loop.turn() == ["a", "a"]

    def test_everybody_is_served_in_the_end_and_nothing_is_left_to_do(self, loop):
        loop.arrive(*"aaaaaaaabbbc")

        for _ in range(10):
            loop.turn()

        assert sorted(loop.served) == sorted("aaaaaaaabbbc")
        assert loop.is_idle

    def test_a_new_turn_is_as_long_as_the_first(self, loop):
        loop.arrive(*"aaa")
        loop.turn()
        loop.served.clear()

        loop.arrive(*"aaaa")

        assert loop.served == ["a", "a", "a"]


class TestWhoIsInALine:
    @pytest.fixture
    def taken(self, monkeypatch):
        taken = []
        monkeypatch.setattr(turns.Turns, "take", lambda self, line: taken.append(line))
        return taken

    @pytest.fixture
    def ask(self):
        in_turn = turns._InTurn(lambda environ, start_response: [b"answer"])
        return lambda **environ: in_turn(environ, None)

    def test_all_of_one_address(self, ask, taken):
        assert ask(REMOTE_ADDR="127.0.0.1", PATH_INFO="/healthz") == [b"answer"]
        ask(REMOTE_ADDR="127.0.0.1", PATH_INFO="/api/score/update")
        ask(REMOTE_ADDR="127.0.0.2", PATH_INFO="/healthz")

        assert taken == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]

    def test_all_who_sign_in_wherever_they_come_from(self, ask, taken):
        ask(REMOTE_ADDR="127.0.0.1", PATH_INFO="/api/auth/login")
        ask(REMOTE_ADDR="127.0.0.2", PATH_INFO="/api/auth/register")

        assert len(set(taken)) == 1


def test_an_update_does_not_wait_for_a_crowd_that_came_at_the_same_moment_before_it(tmp_path):
    server = Server(tmp_path)
    body = b'{"user_id": "x", "score_value": 1, "timestamp": "2026-01-01T00:00:00Z"}'
    head = "POST /api/score/update HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer none\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def answered():
        lines = [line for line in server.log().splitlines() if '"score_update"' in line]
        return [json.loads(line)["address"] for line in lines]

    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        server.process.send_signal(signal.SIGSTOP)
        for address in ["127.0.9.1"] * CROWD + ["127.0.9.2"]:
            client = socket.create_connection(
                ("127.0.0.1", server.port), source_address=(address, 0)
            )
            stack.callback(client.close)
            client.sendall(request)
        server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(answered()) == CROWD + 1)

    assert answered().index("127.0.9.2") < CROWD / 2
