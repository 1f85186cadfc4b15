"""One WebSocket on the server's side, with a small socket pair: nothing here is timed.

`test_on_eventlet.py` runs all of this on eventlet as well.
"""

import contextlib
import socket
import sys
import threading
import weakref
from collections import deque

import pytest

from scoreboard.concurrency import runtime
from scoreboard.realtime import useless_traffic
from scoreboard.realtime.useless_traffic import MAX_FRAMES
from scoreboard.realtime.websocket import connection as websocket
from scoreboard.realtime.websocket.framing import text_frame
from tests.support.waiting import wait_until
from tests.support.websocket_pairs import Pair


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


# More than the kernel takes at once of it: it is cut in the middle.
TEXT = b"x" * 10_000
FRAME = text_frame(TEXT.decode())
TOO_MANY = websocket.MAX_BACKLOG_BYTES // len(FRAME) + 100


def fill(pair):
    """Push until part of a frame waits for the viewer; return how many frames that took."""
    count = 0
    while pair.websocket._behind is None:
        pair.websocket.push(FRAME)
        count += 1
    assert 0 < len(pair.websocket._behind[0]) < len(FRAME)
    return count


def most_held(pair, frame):
    """Push until the viewer is closed; return the bytes of memory that waited for it before."""
    fill(pair)
    held = 0
    while not pair.websocket._closing:
        waiting = len(pair.websocket._behind) - 1
        held = sys.getsizeof(pair.websocket._behind[0]) + waiting * sys.getsizeof(frame)
        pair.websocket.push(frame)
    return held


class TestOneWhoDoesNotRead:
    def test_never_makes_the_sender_wait(self, pair):
        for _ in range(100):
            pair.websocket.push(FRAME)

        assert pair.take_frames(100) == [(1, TEXT)] * 100

    def test_gets_what_was_cut_in_the_middle_whole_and_in_order_once_it_reads(self, pair):
        messages = [f"{number:04}" * 2500 for number in range(80)]
        for message in messages:
            pair.websocket.push(text_frame(message))
        cut = len(pair.websocket._behind[0])

        received = [payload.decode() for _, payload in pair.take_frames(80)]

        assert 0 < cut < len(FRAME)
        assert received == messages
        wait_until(lambda: pair.websocket._behind is None)
        assert pair.websocket._bytes_behind == 0

    def test_gets_what_follows_directly_again_once_it_has_caught_up(self, pair):
        pair.take_frames(fill(pair))
        wait_until(lambda: pair.websocket._behind is None)

        pair.websocket.push(text_frame("at once"))

        assert pair.websocket._behind is None
        assert pair.take_frames(1) == [(1, b"at once")]

    def test_is_closed_with_4408_when_too_far_behind_and_what_it_got_is_whole(self, pair):
        sent = [f"{number:04}" * 2500 for number in range(TOO_MANY)]
        for text in sent:
            pair.websocket.push(text_frame(text))

        texts, code = pair.frames_until_close()

        assert code == 4408
        assert [text.decode() for text in texts] == sent[: len(texts)]
        assert 0 < len(texts) < TOO_MANY
        assert pair.wait() is None

    def test_is_cut_off_if_it_never_reads_again(self, pair, monkeypatch):
        monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.1)
        for _ in range(TOO_MANY):
            pair.websocket.push(FRAME)

        assert pair.wait() is None
        wait_until(lambda: pair.server.fileno() == -1)

    def test_holds_no_more_memory_than_it_may(self, pair):
        assert 0.9 < most_held(pair, FRAME) / websocket.MAX_BACKLOG_BYTES <= 1

    def test_holds_no_more_memory_in_many_small_frames(self, pair):
        assert 0.9 < most_held(pair, bytes([0x8A, 0])) / websocket.MAX_BACKLOG_BYTES <= 1

    def test_is_sent_the_frame_that_is_half_sent_and_then_the_close(self, pair):
        count = fill(pair)
        pair.websocket.push(text_frame("never sent"))
        pair.websocket.close(4401, "token_expired")

        texts, code = pair.frames_until_close()

        assert texts == [TEXT] * count
        assert code == 4401
        assert pair.wait() is None

    def test_is_let_go_of_when_it_leaves(self, pair):
        fill(pair)

        pair.client.close()

        assert pair.wait() is None
        wait_until(lambda: pair.server.fileno() == -1)

    def test_is_let_go_of_when_it_says_goodbye(self, pair):
        fill(pair)

        pair.send(8, (1000).to_bytes(2, "big"))

        assert pair.wait() is None
        wait_until(lambda: pair.server.fileno() == -1)
        assert not runtime.watched

    def test_what_waits_is_dropped_while_nobody_else_looks_at_it(self, pair, monkeypatch):
        alone = []

        class Behind(deque):
            def clear(self):
                alone.append(runtime.ON_EVENTLET or pair.websocket._lock.locked())
                super().clear()

        monkeypatch.setattr(websocket, "deque", Behind)
        fill(pair)

        pair.client.close()

        wait_until(lambda: alone == [True])


def test_pongs_are_bounded_like_everything_else(pair, monkeypatch):
    monkeypatch.setattr(websocket, "MAX_BACKLOG_BYTES", 10_000)
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.1)

    def ping():
        with contextlib.suppress(OSError):
            for _ in range(5_000):
                pair.send(9, b"x" * 100)

    threading.Thread(target=ping, daemon=True).start()

    assert pair.wait() is None
    assert pair.websocket._bytes_behind <= 10_000


def test_one_of_whom_nothing_is_heard_is_let_go_of(pair, monkeypatch):
    monkeypatch.setattr(websocket, "SILENCE_TIMEOUT", 0)

    pair.websocket.ping()

    assert pair.wait() is None
    assert pair.take_frames(1) == []


def test_one_of_whom_nothing_is_heard_is_let_go_of_though_much_waits_for_it(pair, monkeypatch):
    fill(pair)
    monkeypatch.setattr(websocket, "SILENCE_TIMEOUT", 0)

    pair.websocket.ping()

    assert pair.wait() is None
    wait_until(lambda: pair.server.fileno() == -1)


def test_a_ping_at_the_moment_of_a_goodbye_harms_nobody(pair):
    protocol = pair.websocket._protocol
    protocol.receive_data(bytes([0x88, 0x80, 0, 0, 0, 0]))
    list(protocol.events())

    pair.websocket.ping()


def test_parts_of_nothing_are_not_kept(pair):
    pair.send(1, final=False)
    for _ in range(MAX_FRAMES // 2):
        pair.send(0, final=False)
    pair.send(9)

    assert pair.take_frames(1) == [(10, b"")]
    assert len(pair.websocket._parts) <= 1
    pair.send(0, b"an end")
    assert pair.wait() == "an end"


def test_who_sends_parts_without_end_is_closed(pair):
    pair.send(1, b"a", final=False)
    for _ in range(2 * MAX_FRAMES):
        pair.send(0, b"a", final=False)

    assert pair.frames_until_close() == ([], 1008)


def test_who_was_told_of_messages_is_let_go_of_at_the_end():
    class Viewer:
        def take(self, message):
            pass

    ours, theirs = socket.socketpair()
    viewer, opened = Viewer(), websocket.WebSocket(ours, 100)
    opened.received = viewer.take
    there = weakref.ref(viewer)
    del viewer

    opened.end()

    assert there() is None
    ours.close()
    theirs.close()


def test_a_message_in_parts_is_put_together(pair):
    pair.send(1, b"one ", final=False)
    pair.send(9, b"ping")
    pair.send(0, b"message")

    assert pair.wait() == "one message"
    assert pair.take_frames(1) == [(10, b"ping")]


def test_two_messages_at_once_are_two_messages(pair):
    pair.send(1, b"one")
    pair.send(2, b"two")

    assert (pair.wait(), pair.wait()) == ("one", b"two")


@pytest.mark.parametrize("parts", [1, 3])
def test_too_long_a_message_is_refused_however_it_is_cut(pair, parts):
    for number in range(parts):
        pair.send(1 if number == 0 else 0, b"x" * (120 // parts), final=number == parts - 1)

    assert pair.frames_until_close() == ([], 1009)
    assert pair.wait() is None


def test_a_close_is_answered_with_its_code(pair):
    pair.send(8, (1001).to_bytes(2, "big"))

    assert pair.wait() is None
    assert next(pair.frames()) == (8, (1001).to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("opcode", "payload", "code"), [(1, b"\xff", 1007), (3, b"", 1002), (0, b"x", 1002)]
)
def test_a_broken_frame_is_refused_with_the_code_of_the_standard(pair, opcode, payload, code):
    pair.send(opcode, payload)

    assert pair.wait() is None
    assert next(pair.frames())[1][:2] == code.to_bytes(2, "big")


@pytest.fixture
def patient(monkeypatch):
    """Let nobody be cut off for their silence as long as a test takes."""
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 60)


def test_who_is_closed_reads_the_end_without_having_to_answer(pair, patient):
    pair.websocket.close(4401, "token_expired")

    assert next(pair.frames()) == (8, (4401).to_bytes(2, "big") + b"token_expired")
    assert pair.client.recv(1) == b""


def test_what_comes_after_our_close_is_not_so_much_as_looked_at(pair, patient, monkeypatch):
    looked_at = []
    monkeypatch.setattr(pair.websocket._protocol, "receive_data", looked_at.append)
    pair.websocket.close()

    for _ in range(10):
        pair.send(1, b"a message")
        pair.send(9, b"a ping")
    pair.client.shutdown(socket.SHUT_WR)

    assert pair.wait() is None
    assert [opcode for opcode, _ in pair.frames()] == [8]
    assert looked_at == []


def test_who_never_stops_sending_is_hung_up_on(pair, patient, monkeypatch):
    monkeypatch.setattr(websocket, "MOST_LEFT", 1000)
    pair.websocket._left = 1000
    pair.websocket.close()

    for _ in range(50):
        with contextlib.suppress(OSError):
            pair.send(9, b"x" * 100)

    assert pair.wait() is None
    wait_until(lambda: pair.server.fileno() == -1)


@pytest.mark.parametrize("opcode", [9, 10], ids=["ping", "pong"])
def test_too_many_control_frames_close_the_connection(pair, opcode):
    for _ in range(MAX_FRAMES + 1):
        pair.send(opcode)

    answers = list(pair.frames())

    assert answers[-1][1][:2] == (1008).to_bytes(2, "big")


def test_a_long_useless_frame_counts_as_several():
    traffic = useless_traffic.UselessTraffic()

    exceeded = [traffic.exceeds_limit(9 * useless_traffic.FRAME_SIZE) for _ in range(6)]

    assert exceeded == [False] * 5 + [True]


def test_an_end_without_a_close_is_an_end(pair):
    pair.client.close()

    assert pair.wait() is None


def test_after_the_end_nothing_is_sent(pair):
    pair.client.close()
    pair.wait()

    pair.websocket.push(FRAME)
    pair.websocket.ping()
    pair.websocket.close()


def test_many_threads_may_send_at_once(pair):
    def send(number):
        for _ in range(10):
            pair.websocket.push(text_frame(str(number) * 5000))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    received = [payload for _, payload in pair.take_frames(80)]
    for thread in threads:
        thread.join()

    assert all(len(payload) == 5000 and len(set(payload)) == 1 for payload in received)
    wait_until(lambda: pair.websocket._bytes_behind == 0)
