"""One WebSocket on the server's side, with a small socket pair: nothing here is timed."""

import contextlib
import socket
import threading

import pytest
from viewers import wait_until

from scoreboard.realtime import websocket
from scoreboard.realtime.websocket import WebSocket, text_frame


class Pair:
    """A server's WebSocket, and the bare socket of a client at its other end."""

    def __init__(self):
        server, self.client = socket.socketpair()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server.settimeout(30)
        self.client.settimeout(10)
        self.server = server
        self.websocket = WebSocket(server, longest_message=100)
        self.received = []
        self.websocket.received = self.received.append

    def wait(self):
        """Return the next message, or None when there will be no more."""
        while not self.received and self.websocket.take():
            pass
        return self.received.pop(0) if self.received else None

    def send(self, opcode, payload=b"", final=True):
        """Send a masked frame, with a mask of zeros."""
        head = bytes([opcode | (0x80 if final else 0), 0x80 | len(payload)])
        self.client.sendall(head + bytes(4) + payload)

    def frames(self):
        """Yield opcode and payload of every frame until the end."""
        with self.client.makefile("rb") as stream:
            while head := stream.read(2):
                length = head[1]
                if length == 126:
                    length = int.from_bytes(stream.read(2), "big")
                yield head[0] & 0x0F, stream.read(length)

    def frames_until_close(self):
        """Return the frames up to the one that closes."""
        found = []
        for opcode, payload in self.frames():
            found.append((opcode, payload))
            if opcode == 8:
                break
        return found


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.server.close()
    pair.client.close()


FRAME = text_frame("x" * 1000)


def test_a_viewer_that_does_not_read_never_makes_the_sender_wait(pair):
    for _ in range(100):
        pair.websocket.push(FRAME)

    received = [payload for _, (_, payload) in zip(range(100), pair.frames(), strict=False)]
    assert received == [b"x" * 1000] * 100


def test_what_was_cut_in_the_middle_arrives_whole_and_in_order(pair):
    messages = [f"{number:04}" * 200 for number in range(300)]
    for message in messages:
        pair.websocket.push(text_frame(message))

    received = [payload.decode() for _, (_, payload) in zip(messages, pair.frames(), strict=False)]

    assert received == messages


def test_a_viewer_too_far_behind_is_closed_with_4408(pair):
    for _ in range(websocket.MOST_BEHIND // len(FRAME) + 100):
        pair.websocket.push(FRAME)

    *texts, close = pair.frames_until_close()

    assert all(opcode == 1 for opcode, _ in texts)
    assert int.from_bytes(close[1][:2], "big") == 4408


def test_a_viewer_that_never_reads_again_is_cut_off(pair, monkeypatch):
    monkeypatch.setattr(websocket, "CLOSE_SECONDS", 0.1)
    for _ in range(websocket.MOST_BEHIND // len(FRAME) + 100):
        pair.websocket.push(FRAME)

    assert pair.wait() is None


def test_memory_held_for_a_slow_viewer_is_bounded(pair):
    for _ in range(10 * websocket.MOST_BEHIND // len(FRAME)):
        pair.websocket.push(FRAME)

    assert pair.websocket._bytes_behind <= websocket.MOST_BEHIND


def test_pongs_are_bounded_like_everything_else(pair, monkeypatch):
    monkeypatch.setattr(websocket, "MOST_BEHIND", 10_000)
    monkeypatch.setattr(websocket, "CLOSE_SECONDS", 0.1)

    def ping():
        with contextlib.suppress(OSError):
            for _ in range(5_000):
                pair.send(9, b"x" * 100)

    threading.Thread(target=ping, daemon=True).start()

    assert pair.wait() is None
    assert pair.websocket._bytes_behind <= 10_000


def test_a_message_in_parts_is_put_together(pair):
    pair.send(1, b"one ", final=False)
    pair.send(9, b"ping")
    pair.send(0, b"message")

    assert pair.wait() == "one message"
    assert next(pair.frames()) == (10, b"ping")


def test_two_messages_at_once_are_two_messages(pair):
    pair.send(1, b"one")
    pair.send(2, b"two")

    assert (pair.wait(), pair.wait()) == ("one", b"two")


@pytest.mark.parametrize("parts", [1, 3])
def test_too_long_a_message_is_refused_however_it_is_cut(pair, parts):
    for number in range(parts):
        pair.send(1 if number == 0 else 0, b"x" * (120 // parts), final=number == parts - 1)
    pair.send(8, b"\x03\xf1")

    assert pair.wait() is None
    assert next(pair.frames())[1][:2] == (1009).to_bytes(2, "big")


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
        for _ in range(50):
            pair.websocket.push(text_frame(str(number) * 500))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    received = [payload for _, (_, payload) in zip(range(400), pair.frames(), strict=False)]
    for thread in threads:
        thread.join()

    assert all(len(payload) == 500 and len(set(payload)) == 1 for payload in received)
    wait_until(lambda: pair.websocket._bytes_behind == 0)
