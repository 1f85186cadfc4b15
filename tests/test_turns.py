"""Fair turns: a crowd of one address is served one after the other, others in between."""

import contextlib
import json
import resource
import signal
import socket
from types import SimpleNamespace

import pytest
from greenlet import getcurrent, greenlet
from serving import Server
from viewers import wait_until

from scoreboard import database, turns
from scoreboard.activity import pace

CROWD = 200
MOST = 6  # of those who come last
A_WHILE = turns.TURN_SECONDS * 0.4


class Loop:
    """A loop with a clock, on which requests arrive and take some time each."""

    def __init__(self):
        self.now = 1000.0
        self.served = []
        self.working = False
        self.turns = turns.Turns()
        self._scheduled = []

    def monotonic(self):
        return self.now

    def at_next_turn(self, work, seconds=0):
        self._scheduled.append(work)
        self.pause = seconds

    def threads_work(self):
        return self.working

    def suspend(self, tell):
        tell(getcurrent().switch)
        getcurrent().parent.switch()

    def arrive(self, *requests, seconds=A_WHILE):
        """Have these requests arrive; the first letter of each is its line."""
        for request in requests:
            greenlet(self._request).switch(request, seconds)

    def arrive_last(self, *requests):
        """Have these arrive, of those who come last."""
        for request in requests:
            greenlet(self._last).switch(request)

    def _last(self, request):
        self.served.append(request if self.turns.take_last(request[0], MOST) else f"not {request}")

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
    monkeypatch.setattr(turns, "database", loop)
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


class TestThoseWhoComeLast:
    def test_wait_though_nobody_else_is_there(self, loop):
        loop.arrive_last("x")

        assert loop.served == []
        assert loop.turn() == ["x"]

    def test_are_served_one_in_a_turn_by_turns_however_much_time_there_is(self, loop):
        loop.arrive_last("x1", "x2", "y1")

        assert [loop.turn(), loop.turn(), loop.turn()] == [["x1"], ["y1"], ["x2"]]
        assert loop.turn() == []
        assert loop.is_idle

    def test_keep_nobody_else_waiting(self, loop):
        loop.arrive_last(*"xxxxx")

        loop.arrive("a", "b")

        assert loop.served == ["a", "b"]

    def test_are_not_kept_waiting_by_others_who_never_end(self, loop):
        loop.arrive_last("x")
        loop.arrive("a1", "a2", "a3", seconds=1)

        assert "x" in loop.turn()

    def test_let_a_thread_work_for_a_while_but_not_for_ever(self, loop):
        loop.working = True
        loop.arrive_last("x", "y")

        turns_ = [loop.turn() for _ in range(2 * (turns.MOST_RESTS + 1))]

        rests = [[]] * turns.MOST_RESTS
        assert turns_ == [*rests, ["x"], *rests, ["y"]]

    def test_leave_the_loop_idle_meanwhile(self, loop):
        loop.working = True
        loop.arrive_last("x")

        loop.turn()

        assert loop.pause == turns.REST_SECONDS

    def test_do_not_have_others_rest(self, loop):
        loop.working = True
        loop.arrive_last("x")
        loop.arrive("a1", "a2", seconds=1)

        assert loop.turn() == ["x", "a2"]
        assert loop.pause == 0

    def test_are_so_many_at_most_and_the_next_is_told_so_at_once(self, loop):
        loop.arrive_last(*"x" * MOST, "x-late")

        assert loop.served == ["not x-late"]

    def test_are_not_too_many_for_one_whose_line_is_shorter_than_others(self, loop):
        loop.arrive_last(*"x" * (MOST - 1), "y")

        loop.arrive_last("x-late", "y2", "z")

        assert loop.served == ["not x-late"]
        assert [loop.turn() for _ in range(3)] == [["x"], ["y"], ["z"]]

    def test_are_one_fewer_once_one_is_served(self, loop):
        loop.arrive_last(*"x" * MOST)
        loop.turn()

        loop.arrive_last("x-in", "x-late")

        assert loop.served == ["x", "not x-late"]

    def test_are_connections_too(self, loop):
        begun = []

        taken = [loop.turns.call_last("x", lambda: begun.append("x"), 2) for _ in range(3)]
        for _ in range(3):
            loop.turn()

        assert taken == [True, True, False]
        assert begun == ["x", "x"]

    def test_have_all_their_rests_left_if_others_came_before(self, loop):
        loop.working = True
        loop.arrive("a")
        loop.turn()

        loop.arrive_last("x")

        assert [loop.turn() for _ in range(turns.MOST_RESTS)] == [[]] * turns.MOST_RESTS

    def test_are_waited_for(self, loop):
        loop.arrive_last("x")

        assert loop.turns.somebody_waits


class TestWhoComesLast:
    """By what is known of an address when it asks."""

    ADDRESS = "127.0.0.1"

    @pytest.fixture
    def ways(self, monkeypatch):
        """Return by which way who asks is let in, as they come."""
        ways = []

        def take(way, *args):
            ways.append((way, *args))
            return True

        for way in ("take", "take_last"):
            monkeypatch.setattr(turns.Turns, way, lambda self, *_, way=way: take(way, *_))
        return ways

    def ask(self, *paths, **what):
        asked = in_turn(**what)
        for path in paths or ("/healthz",):
            assert asked.take_head(self.ADDRESS)
            assert asked({"REMOTE_ADDR": self.ADDRESS, "PATH_INFO": path}, None) == [b"answer"]

    @pytest.mark.parametrize("proxies", [0, 1])
    def test_who_is_refused_too_often(self, ways, proxies):
        self.ask(proxies=proxies, slowed=[self.ADDRESS])

        assert ways == [("take_last", self.ADDRESS, turns.MOST_WAITING)]

    def test_who_has_too_many_connections_that_have_yet_to_authenticate(self, ways):
        self.ask(strangers=turns.MOST_STRANGERS)
        self.ask(strangers=turns.MOST_STRANGERS + 1)

        few, many = ways
        assert few == ("take", self.ADDRESS)
        assert many == ("take_last", self.ADDRESS, turns.MOST_STRANGERS_WAITING)

    def test_who_signs_in_while_too_many_are_refused_that_in_a_line_for_each_address(self, ways):
        self.ask("/api/auth/login", slowed=[turns.ALL_SIGN_INS])

        first, then = ways
        assert first == ("take", self.ADDRESS)
        assert then == ("take_last", f"sign-in from {self.ADDRESS}", turns.MOST_WAITING)

    @pytest.mark.parametrize("proxies", [0, 1])
    def test_who_is_too_many_is_told_so_at_once(self, monkeypatch, proxies):
        monkeypatch.setattr(turns.Turns, "take_last", lambda self, line, most: False)
        asked = in_turn(proxies, slowed=[self.ADDRESS, turns.ALL_SIGN_INS])
        told = []

        environ = {"REMOTE_ADDR": self.ADDRESS, "PATH_INFO": "/api/auth/login"}
        body = asked(environ, lambda status, headers: told.append((status, dict(headers))))

        assert json.loads(body[0])["error"]["code"] == "rate_limited"
        [(status, headers)] = told
        assert (status[:3], headers["Retry-After"]) == ("429", str(turns.RETRY_SECONDS))

    def test_no_head_is_read_of_who_is_too_many(self, loop, monkeypatch):
        monkeypatch.setattr(turns.Turns, "take_last", lambda self, line, most: False)

        assert not in_turn(slowed=[self.ADDRESS]).take_head(self.ADDRESS)
        assert in_turn().take_head(self.ADDRESS)
        assert in_turn(1, slowed=[self.ADDRESS]).take_head(self.ADDRESS)

    def test_a_new_connection_begins_at_once(self):
        begun = []

        assert in_turn(slowed=["127.0.0.9"]).begin(self.ADDRESS, begun.append, "one")

        assert begun == ["one"]

    def test_one_of_an_address_that_is_refused_too_often_begins_in_its_turn(self, loop):
        begun = []

        assert in_turn(slowed=[self.ADDRESS]).begin(self.ADDRESS, begun.append, "one")

        assert begun == []
        loop.turn()
        assert begun == ["one"]

    def begin_two(self, loop, crowd):
        """Have two connections begin; return which do in the end, and which are said to."""
        begun = []
        said = [crowd.begin(self.ADDRESS, begun.append, number) for number in (1, 2)]
        loop.turn()
        loop.turn()
        return begun, said

    def test_one_of_too_many_never_does(self, loop, monkeypatch):
        monkeypatch.setattr(turns, "MOST_WAITING", 1)

        assert self.begin_two(loop, in_turn(slowed=[self.ADDRESS])) == ([1], [True, False])

    def test_all_do_of_viewers_who_all_come_back(self, loop, monkeypatch):
        monkeypatch.setattr(turns, "MOST_WAITING", 1)
        viewers = in_turn(strangers=turns.MOST_STRANGERS + 1)  # who may be more

        assert self.begin_two(loop, viewers) == ([1, 2], [True, True])

    def test_one_of_a_proxy_begins_at_once_for_it_is_not_said_yet_whose_it_is(self):
        begun = []

        assert in_turn(1, slowed=[self.ADDRESS]).begin(self.ADDRESS, begun.append, "one")

        assert begun == ["one"]


@pytest.mark.parametrize("work", [database.transaction, database.long_read])
def test_a_thread_works_while_sqlite_is_written_or_read_at_length_and_then_no_longer(app, work):
    def fail(connection):
        seen.append(database.threads_work())
        raise ValueError("no")

    seen = [database.threads_work()]
    work(lambda connection: seen.append(database.threads_work()))
    seen.append(database.threads_work())
    with pytest.raises(ValueError, match="no"):
        work(fail)
    seen.append(database.threads_work())

    is_sqlite = database.db.engine.dialect.name == "sqlite"
    assert seen == [False, is_sqlite, False, is_sqlite, False]


def in_turn(proxies=0, slowed=(), strangers=0):
    """Return turns where these addresses are slowed, and all have so many strangers."""
    return turns.InTurn(
        SimpleNamespace(
            wsgi_app=lambda environ, start_response: [b"answer"],
            config={"TRUSTED_PROXIES": proxies},
            extensions={
                "pace": SimpleNamespace(is_slowed=lambda line: line in slowed),
                "connections": SimpleNamespace(waiting=lambda line: strangers),
            },
        )
    )


class TestWhoIsInWhichLine:
    @pytest.fixture
    def taken(self, monkeypatch):
        taken = []
        monkeypatch.setattr(turns.Turns, "take", lambda self, line: taken.append(line))
        return taken

    def ask(self, proxies, address, path, peer="127.0.0.9"):
        asked = in_turn(proxies)
        asked.take_head(peer)
        environ = {"REMOTE_ADDR": address, "PATH_INFO": path}
        assert asked(environ, None) == [b"answer"]

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


def test_of_an_address_that_is_refused_too_often_so_many_connections_wait_and_no_more(tmp_path):
    total = turns.MOST_WAITING + 100
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = b"GET /api/auth/me HTTP/1.1\r\nHost: x\r\n\r\n"

    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files[1], most_files[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, most_files)
        server = Server(tmp_path)
        stack.callback(server.stop)

        def ask():
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.settimeout(20)  # less than the server waits for a head
            client.sendall(refused)
            return client

        def is_answered(client):
            with contextlib.suppress(ConnectionResetError):
                return client.recv(1) == b"H"
            return False

        # As many as have to wait for seconds: meanwhile the address is refused too often.
        first = [ask() for _ in range(pace.FREE_A_SECOND * 4)]
        assert is_answered(first[pace.FREE_A_SECOND + 25])
        server.process.send_signal(signal.SIGSTOP)
        crowd = [ask() for _ in range(total)]
        server.process.send_signal(signal.SIGCONT)
        answered = sum(map(is_answered, crowd))

    assert turns.MOST_WAITING <= answered < total
