"""Many connections in one loop, as cheap as can be: what every flood is made of."""

import contextlib
import ctypes
import select
import socket
import struct
import time
from collections import Counter, deque
from dataclasses import dataclass

CHUNK = 1 << 16
OPENING_SECONDS = 10  # after which a flood is up, whatever the server has let in
IP_BIND_ADDRESS_NO_PORT = 24  # of Linux; Python has no name for it
SO_ATTACH_FILTER = 26
_GONE = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


@dataclass(frozen=True)
class Target:
    """Where a flood goes, and the tokens that it has."""

    port: int
    viewer_token: str
    player_token: str
    player_id: str


class Connection:
    """One connection of a flood; `step` is how far it has come, for the flood's own use."""

    __slots__ = ("buffer", "deaf", "number", "out", "socket", "step", "vanished")

    def __init__(self, opened, number):
        self.socket = opened
        self.number = number
        self.out = b""
        self.buffer = bytearray()
        self.step = 0
        self.deaf = False
        self.vanished = False


class Flood:
    """So many connections, each with something to say. A subclass says what.

    `count` connections are kept open, new ones in the place of those that the server ends,
    `opening` a second at most. Each says `hello` first, `words` every `every` seconds, and `more`
    whenever the server has taken all of the rest; `act` is called `rate` times a second. Told to
    hold, the flood opens nothing and acts no more: what it has stays, and goes on with its words.
    """

    count = 500
    opening = 500
    addresses = 8
    every = 0.0
    rate = 0
    receive_buffer = 0
    # What the server is told to start with, where its defaults would not let this flood in.
    settings: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, target, network, count=None, rate=None):
        self.target = target
        self.counts = Counter()
        self.count = count or self.count
        self.rate = rate or self.rate
        self.holding = False
        self._network = network
        self._poll = select.epoll()
        self._open = {}
        self._due = deque()
        self._made = 0

    def prepare(self):
        """Do what comes before the first connection."""

    def hello(self, one):
        """Return what a new connection says first."""
        return b""

    def words(self, one):
        """Return what a connection says every so often."""
        return b""

    def more(self, one):
        """Return what to say next by a connection that has nothing left to send."""
        return b""

    def hear(self, one, data):
        """Take what has arrived."""

    def act(self):
        """Do one of what is done `rate` times a second."""

    @property
    def connections(self):
        """The connections that are open."""
        return list(self._open.values())

    def say(self, one, data):
        """Send as soon as the server takes it. Return False if what was said before still waits."""
        if one.out:
            return False
        one.out = data
        self._send(one)
        return True

    def talk(self, one):
        """Begin to say `more`."""
        self._send(one)

    def stop_reading(self, one):
        """Read nothing that arrives from now on."""
        one.deaf = True

    def vanish(self, one):
        """Be gone without a word: the kernel drops whatever arrives for it, before TCP sees it."""
        program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        filter_ = struct.pack("HP", 1, ctypes.addressof(program))
        one.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
        self._poll.unregister(one.socket)
        one.vanished = True
        self.counts["vanished"] += 1

    def run(self, up, ended):
        """Flood until `ended()`; call `up()` once everything is under way."""
        self.prepare()
        began = self._opened_at = self._acted_at = time.monotonic()
        while not ended():
            now = time.monotonic()
            if not self.holding:
                self._open_what_is_missing(now)
                self._act(now)
            if up and (self.counts["opened"] >= self.count or now > began + OPENING_SECONDS):
                up()
                up = None
            self._speak(now)
            self._turn()
        self.counts["open"] = sum(not one.vanished for one in self._open.values())
        for one in self.connections:
            one.socket.close()

    def _open_what_is_missing(self, now):
        while len(self._open) < self.count and self._opened_at <= now:
            self._opened_at = max(self._opened_at, now - 0.1) + 1 / self.opening
            self._connect()

    def _connect(self):
        opened = socket.socket()
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        if self.receive_buffer:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self._made += 1
        opened.bind((f"127.{self._network}.0.{1 + self._made % self.addresses}", 0))
        with contextlib.suppress(BlockingIOError):
            opened.connect(("127.0.0.1", self.target.port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one = Connection(opened, self._made)
        one.out = self.hello(one)
        self._open[opened.fileno()] = one
        self._poll.register(opened, self._interest(one, writing=True))
        self.counts["opened"] += 1
        if self.every:
            self._due.append((time.monotonic() + self.every, one))

    def _interest(self, one, writing):
        interest = select.EPOLLRDHUP | (0 if one.deaf else select.EPOLLIN)
        return interest | (select.EPOLLOUT if writing else 0)

    def _act(self, now):
        if self.rate and self._acted_at + 1 < now:
            self._acted_at = now - 1  # what was not done in time is not made up for
        while self.rate and self._acted_at <= now:
            self._acted_at += 1 / self.rate
            self.act()

    def _speak(self, now):
        while self._due and self._due[0][0] <= now:
            _, one = self._due.popleft()
            if one.socket.fileno() < 0:
                continue
            self._due.append((now + self.every, one))
            if not one.vanished:
                self.say(one, self.words(one))

    def _turn(self):
        for number, events in self._poll.poll(0.005):
            one = self._open.get(number)
            if one and events & select.EPOLLOUT:
                self._send(one)
            if one and events & select.EPOLLIN and not one.deaf:
                self._receive(one)
            elif one and events & _GONE:
                self._lose(one)

    def _send(self, one):
        """Send what there is to say; wait until there is room if it is too much at once."""
        talking = not one.out and not self.holding
        if talking:
            one.out = self.more(one)
        try:
            sent = one.socket.send(one.out) if one.out else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose(one)
            return
        self.counts["bytes sent"] += sent
        one.out = one.out[sent:]
        if not one.vanished:
            # After the last of what was to be said, look once whether there is more.
            self._poll.modify(one.socket, self._interest(one, bool(one.out or sent)))

    def _receive(self, one):
        try:
            data = one.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(one)
            return
        self.counts["bytes received"] += len(data)
        self.hear(one, data)

    def _lose(self, one):
        """Take note that the server has ended a connection."""
        if self._open.pop(one.socket.fileno(), None):
            self.counts["ended by the server"] += 1
            one.socket.close()
