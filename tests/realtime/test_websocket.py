"""The server side of one WebSocket, over a socket pair with a small buffer.

`test_on_eventlet.py` runs all of this on eventlet as well.
"""

import contextlib
import socket
import sys
import threading

import pytest

from scoreboard.concurrency import runtime
from scoreboard.realtime import useless_traffic
from scoreboard.realtime.useless_traffic import MAX_FRAMES
from scoreboard.realtime.websocket import connection as websocket
from scoreboard.realtime.websocket.connection import text_frame
from tests.support.waiting import wait_until
from tests.support.websocket_pairs import Pair

# Larger than the buffer of the socket: the kernel accepts a part of it.
TEXT = b"x" * 10_000
FRAME = text_frame(TEXT.decode())
PONG = bytes([0x8A, 0])
TOO_MANY = websocket.MAX_BACKLOG_BYTES // len(FRAME) + 100
MESSAGES = [f"{number:04}" * 2500 for number in range(TOO_MANY)]


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


def fill(pair):
    """Push frames until a part of one waits for the client; return the number of frames."""
    count = 0
    while pair.websocket._backlog is None:
        pair.websocket.push(FRAME)
        count += 1
    assert 0 < len(pair.websocket._backlog[0]) < len(FRAME)
    return count


def is_released(pair):
    assert pair.wait() is None
    wait_until(lambda: pair.server.fileno() == -1)
    return True


class TestSlowClient:
    def test_does_not_block_the_sender_and_gets_every_message_in_order(self, pair):
        for message in MESSAGES[:80]:
            pair.websocket.push(text_frame(message))

        assert [payload.decode() for _, payload in pair.take_frames(80)] == MESSAGES[:80]
        wait_until(lambda: pair.websocket._backlog is None)
        assert pair.websocket._backlog_bytes == 0

    def test_is_closed_with_4408_after_whole_messages(self, pair):
        for message in MESSAGES:
            pair.websocket.push(text_frame(message))

        received, code = pair.frames_until_close()

        assert code == 4408
        assert 0 < len(received) < TOO_MANY
        assert [text.decode() for text in received] == MESSAGES[: len(received)]
        assert pair.wait() is None

    def test_is_aborted_if_it_never_reads_again(self, pair, monkeypatch):
        monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.1)
        for _ in range(TOO_MANY):
            pair.websocket.push(FRAME)

        assert is_released(pair)

    @pytest.mark.parametrize("frame", [FRAME, PONG], ids=["large frames", "small frames"])
    def test_holds_a_bounded_amount_of_memory(self, pair, frame):
        fill(pair)
        held = 0
        while not pair.websocket._closing:
            first, waiting = pair.websocket._backlog[0], len(pair.websocket._backlog) - 1
            held = sys.getsizeof(first) + waiting * sys.getsizeof(frame)
            pair.websocket.push(frame)

        assert 0.9 < held / websocket.MAX_BACKLOG_BYTES <= 1

    def test_gets_the_close_after_the_frame_that_is_half_sent(self, pair):
        count = fill(pair)
        pair.websocket.push(text_frame("never sent"))
        pair.websocket.close(4401, "token_expired")

        assert pair.frames_until_close() == ([TEXT] * count, 4401)
        assert pair.wait() is None

    @pytest.mark.parametrize(
        "end",
        [
            lambda pair: pair.client.close(),
            lambda pair: pair.send(8, (1000).to_bytes(2, "big")),
            lambda pair: pair.websocket.ping(),
        ],
        ids=["disconnected", "sends a close", "silent"],
    )
    def test_is_released_when_it_ends(self, pair, monkeypatch, end):
        monkeypatch.setattr(websocket, "SILENCE_TIMEOUT", 0)
        fill(pair)

        end(pair)

        assert is_released(pair)
        assert not runtime.watched


def test_pongs_for_a_client_that_never_reads_are_bounded(pair, monkeypatch):
    monkeypatch.setattr(websocket, "MAX_BACKLOG_BYTES", 10_000)
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 0.1)

    def ping():
        with contextlib.suppress(OSError):
            for _ in range(5_000):
                pair.send(9, b"x" * 100)

    threading.Thread(target=ping, daemon=True).start()

    assert pair.wait() is None
    assert pair.websocket._backlog_bytes <= 10_000


def test_a_ping_after_the_clients_close_is_not_sent(pair):
    protocol = pair.websocket._protocol
    protocol.receive_data(bytes([0x88, 0x80, 0, 0, 0, 0]))
    list(protocol.events())

    pair.websocket.ping()


def test_empty_fragments_are_not_kept(pair):
    pair.send(1, final=False)
    for _ in range(MAX_FRAMES // 2):
        pair.send(0, final=False)
    pair.send(9)

    assert pair.take_frames(1) == [(10, b"")]
    assert len(pair.websocket._fragments) <= 1
    pair.send(0, b"an end")
    assert pair.wait() == "an end"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(1, b"x" * 120)], 1009),
        ([(1, b"x" * 40, False), (0, b"x" * 40, False), (0, b"x" * 40)], 1009),
        ([(1, b"a", False), *[(0, b"a", False)] * 2 * MAX_FRAMES], 1008),
    ],
    ids=["long message", "long fragments", "many fragments"],
)
def test_a_message_that_is_too_long_closes_the_connection(pair, frames, code):
    for frame in frames:
        pair.send(*frame)

    assert pair.frames_until_close() == ([], code)
    assert pair.wait() is None


@pytest.mark.parametrize(
    ("opcode", "payload", "code"), [(1, b"\xff", 1007), (3, b"", 1002), (0, b"x", 1002)]
)
def test_a_malformed_frame_closes_the_connection(pair, opcode, payload, code):
    pair.send(opcode, payload)

    assert pair.wait() is None
    assert next(pair.frames())[1][:2] == code.to_bytes(2, "big")


@pytest.mark.parametrize("opcode", [9, 10], ids=["ping", "pong"])
def test_too_many_control_frames_close_the_connection(pair, opcode):
    for _ in range(MAX_FRAMES + 1):
        pair.send(opcode)

    assert list(pair.frames())[-1][1][:2] == (1008).to_bytes(2, "big")


def test_a_large_useless_frame_counts_as_several():
    traffic = useless_traffic.UselessTraffic()

    exceeded = [traffic.exceeds_limit(9 * useless_traffic.FRAME_SIZE) for _ in range(6)]

    assert exceeded == [False] * 5 + [True]


def test_a_fragmented_message_is_joined(pair):
    pair.send(1, b"one ", final=False)
    pair.send(9, b"ping")
    pair.send(0, b"message")

    assert pair.wait() == "one message"
    assert pair.take_frames(1) == [(10, b"ping")]


def test_text_and_binary_messages_are_received_in_order(pair):
    pair.send(1, b"one")
    pair.send(2, b"two")

    assert (pair.wait(), pair.wait()) == ("one", b"two")


def test_a_close_is_answered_with_its_code(pair):
    pair.send(8, (1001).to_bytes(2, "big"))

    assert pair.wait() is None
    assert next(pair.frames()) == (8, (1001).to_bytes(2, "big"))


class TestAfterOurClose:
    @pytest.fixture(autouse=True)
    def no_abort(self, monkeypatch):
        monkeypatch.setattr(websocket, "CLOSE_TIMEOUT", 60)

    def test_a_client_reads_the_end_without_answering(self, pair):
        pair.websocket.close(4401, "token_expired")

        assert next(pair.frames()) == (8, (4401).to_bytes(2, "big") + b"token_expired")
        assert pair.client.recv(1) == b""

    def test_frames_of_the_client_are_ignored(self, pair):
        pair.websocket.close()

        for _ in range(10):
            pair.send(1, b"a message")
            pair.send(9, b"a ping")
        pair.client.shutdown(socket.SHUT_WR)

        assert pair.wait() is None
        assert [opcode for opcode, _ in pair.frames()] == [8]

    def test_a_client_that_never_stops_sending_is_released(self, pair, monkeypatch):
        monkeypatch.setattr(websocket, "MAX_DISCARDED_BYTES", 1000)
        pair.websocket.close()

        for _ in range(50):
            with contextlib.suppress(OSError):
                pair.send(9, b"x" * 100)

        assert is_released(pair)


def test_sending_to_a_client_that_has_disconnected_is_no_error(pair):
    pair.client.close()
    assert pair.wait() is None

    pair.websocket.push(FRAME)
    pair.websocket.ping()
    pair.websocket.close()


def test_frames_of_many_threads_are_not_mixed(pair):
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
    wait_until(lambda: pair.websocket._backlog_bytes == 0)
