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

CROWD = 200
A_WHILE = turns.TURN_SECONDS * 0.4


class Loop:
    """A loop with a clock, on which requests arrive and take some time each."""

    def __init__(self):
        self.now = 1000.0
        self.served = []
        self.turns = turns.Turns()
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
        self.turns.take(request[0])
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

    def test_one_is_served_in_a_turn_however_long_that_takes_and_then_the_next_line(self, loop):
        loop.arrive("a1", "b1", "a2", "b2", "a3", seconds=1)

        assert [loop.turn(), loop.turn(), loop.turn()] == [["a2"], ["b2"], ["a3"]]

    def test_as_many_are_served_by_turns_as_there_is_time_for(self, loop):
        loop.arrive("a1", "b1", seconds=1)
        loop.arrive("a2", "a3", "a4", "a5", "b2")

        assert [loop.turn(), loop.turn()] == [["a2", "b2", "a3"], ["a4", "a5"]]

    def test_everybody_is_served_in_the_end_and_nothing_is_left_to_do(self, loop):
        loop.arrive(*"aaaaaaaabbbc")

        for _ in range(10):
            loop.turn()

        assert sorted(loop.served) == sorted("aaaaaaaabbbc")
        assert loop.is_idle

    def test_somebody_waits_until_it_is_their_turn(self, loop):
        loop.arrive("a1", seconds=1)
        assert not loop.turns.somebody_waits

        loop.arrive("a2")
        assert loop.turns.somebody_waits

        loop.turn()
        assert not loop.turns.somebody_waits

    def test_a_new_turn_is_as_long_as_the_first(self, loop):
        loop.arrive(*"aaa")
        loop.turn()
        loop.served.clear()

        loop.arrive(*"aaaa")

        assert loop.served == ["a", "a", "a"]


class TestWhoIsInWhichLine:
    @pytest.fixture
    def taken(self, monkeypatch):
        taken = []
        monkeypatch.setattr(turns.Turns, "take", lambda self, line: taken.append(line))
        return taken

    def ask(self, proxies, address, path, peer="127.0.0.9"):
        app = SimpleNamespace(
            wsgi_app=lambda environ, start_response: [b"answer"],
            config={"TRUSTED_PROXIES": proxies},
        )
        in_turn = turns.InTurn(app)
        in_turn.take_head(peer)
        environ = {"REMOTE_ADDR": address, "PATH_INFO": path}
        assert in_turn(environ, None) == [b"answer"]

    def test_all_of_one_address_before_they_are_read(self, taken):
        self.ask(0, "127.0.0.1", "/api/score/update", peer="127.0.0.1")
        self.ask(0, "127.0.0.2", "/healthz", peer="127.0.0.2")

        assert taken == ["127.0.0.1", "127.0.0.2"]

    def test_all_of_one_address_that_come_by_a_proxy_once_they_are(self, taken):
        self.ask(1, "127.0.0.1", "/api/score/update")
        self.ask(1, "127.0.0.2", "/healthz")

        assert taken == ["127.0.0.1", "127.0.0.2"]

    def test_all_who_sign_in_wherever_they_come_from(self, taken):
        self.ask(1, "127.0.0.1", "/api/auth/login")
        self.ask(1, "127.0.0.2", "/api/auth/register")

        assert taken[0::2] == ["127.0.0.1", "127.0.0.2"]
        assert taken[1] == taken[3]

    def test_all_who_sign_in_without_a_proxy_as_well_as_all_of_one_address(self, taken):
        self.ask(0, "127.0.0.1", "/api/auth/login", peer="127.0.0.1")
        self.ask(0, "127.0.0.2", "/api/auth/register", peer="127.0.0.2")

        assert taken[0::2] == ["127.0.0.1", "127.0.0.2"]
        assert taken[1] == taken[3]

    def test_nobody_else_at_the_doors_of_those_who_sign_in(self, taken):
        self.ask(1, "127.0.0.1", "/api/auth/me")

        assert taken == ["127.0.0.1"]


@pytest.fixture(params=["as it is", "behind a proxy"])
def proxies(request):
    return {"as it is": 0, "behind a proxy": 1}[request.param]


def test_an_update_does_not_wait_for_a_crowd_that_came_at_the_same_moment_before_it(
    tmp_path, proxies
):
    server = Server(tmp_path, TRUSTED_PROXIES=str(proxies))
    body = b'{"user_id": "x", "score_value": 1, "timestamp": "2026-01-01T00:00:00Z"}'
    head = "POST /api/score/update HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer none\r\n"
    head += f"Content-Length: {len(body)}\r\n"

    def answered():
        lines = [line for line in server.log().splitlines() if '"score_update"' in line]
        return [json.loads(line)["address"] for line in lines]

    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        server.process.send_signal(signal.SIGSTOP)
        for address in ["127.0.9.1"] * CROWD + ["127.0.9.2"]:
            itself = ("127.0.0.1" if proxies else address, 0)
            client = socket.create_connection(("127.0.0.1", server.port), source_address=itself)
            stack.callback(client.close)
            client.sendall(f"{head}X-Forwarded-For: {address}\r\n\r\n".encode() + body)
        server.process.send_signal(signal.SIGCONT)
        wait_until(lambda: len(answered()) == CROWD + 1)

    assert answered().index("127.0.9.2") < CROWD / 2
