"""Log lines leave through a bounded queue and a native thread, so that logging never blocks.

A pipe whose reader stalls blocks its writer. Here that is a thread, which the event loop
does not wait for. What does not fit into the queue is dropped and counted.
"""

import io
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from .realtime.transport import queues, threads

# Characters that wait to be written to one stream, at most: about 12,000 audit lines.
MAX_QUEUED = 4 * 1024 * 1024
# Characters of one write, unless a line has more: a pipe takes this many bytes as a whole
# (PIPE_BUF), so that the lines of several processes or streams on one pipe are not mixed.
MAX_WRITE = 4096
# Seconds that the thread waits for more lines before it writes: waking it for each line would cost
# the event loop as much as writing the line.
GATHER_INTERVAL = 0.01
# Seconds between two attempts to write to a full stream that does not block.
RETRY_INTERVAL = 0.05
# Seconds that the end of the process waits for readers of the log.
FLUSH_TIMEOUT = 2
# What a notice of dropped lines counts in the queue.
NOTICE_SIZE = 100

# Text to write, or the number of lines dropped at this point of the stream.
Entry = str | int
Limit = Callable[[logging.LogRecord], logging.LogRecord | None]


class Writer:
    """Writes lines to one stream in order, from a thread that starts with the first line.

    `dropped` is how many lines were dropped since the start: the queue was full, or the stream
    refused them (the reader has closed the pipe, the disk is full).
    """

    def __init__(self, notice: Callable[[int], str]) -> None:
        """Make a writer; `notice(count)` is the line that says how many lines were dropped."""
        self.dropped = 0
        self._stream: TextIO | None = None
        self._may_block = False
        self._notice = notice
        self._reset()
        if hasattr(os, "register_at_fork"):
            # The thread is not in the child, and what is queued is written by the parent.
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Native and reentrant: held for an instant, also while the garbage collector logs.
        self._lock = threads.RLock()
        self._exiting = threads.Event()
        self._queue = queues.SimpleQueue()
        self._queued = 0
        self._unannounced = 0
        self._thread: Any = None

    def use(self, stream: TextIO) -> None:
        """Write to this stream from now on.

        At once, without the thread, if that cannot block: to a regular file, or to what is no file
        at all. Blocks until what is queued before is written, for FLUSH_TIMEOUT at most.
        """
        if stream is self._stream:
            return
        self.flush(time.monotonic() + FLUSH_TIMEOUT)
        self._stream = stream
        try:
            mode = os.fstat(stream.fileno()).st_mode
        except (AttributeError, OSError):  # io.UnsupportedOperation is one of these
            self._may_block = False
        else:
            self._may_block = not stat.S_ISREG(mode)

    def put(self, text: str) -> None:
        """Queue text of one or more lines, or drop it if the queue is full. Never blocks."""
        if not self._may_block:
            self._write_now(text)
            return
        with self._lock:
            if self._queued + _size(text) > MAX_QUEUED:
                self._drop(text.count("\n") + 1)
                return
            self._enqueue(text)
            if self._thread is None:
                self._thread = threads.Thread(target=self._run, name="log writer", daemon=True)
                self._thread.start()

    def _write_now(self, text: str) -> None:
        try:
            if self._stream:
                self._stream.write(f"{text}\n")
                self._stream.flush()
        except (OSError, ValueError):  # a full disk; a closed stream
            self._drop(text.count("\n") + 1)

    def flush(self, deadline: float) -> None:
        """Block until everything queued is written, or until the deadline (time.monotonic).

        For the end of a process, and where no event loop runs.
        """
        if not self._queued:
            return
        self._exiting.set()
        while self._queued and time.monotonic() < deadline:
            threads.Event().wait(0.001)

    def _enqueue(self, entry: Entry) -> None:
        self._queued += _size(entry)
        self._queue.put(entry)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._unannounced += count

    def _run(self) -> None:
        while True:
            entries = [self._queue.get()]
            self._exiting.wait(GATHER_INTERVAL)
            entries += [self._queue.get() for _ in range(self._queue.qsize())]
            for portion in _portions(_lines(entries)):
                is_written = self._write(portion)
                with self._lock:
                    self._settle(portion, is_written)

    def _write(self, portion: list[Entry]) -> bool:
        """Return whether all of it could be written. Blocks while the reader stalls."""
        lines = [each if isinstance(each, str) else self._notice(each) for each in portion]
        data = memoryview("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
        try:
            # Not the text stream: its lock would stop all others who print, and the exit.
            with io.FileIO(self._stream.fileno(), "wb", closefd=False) as file:  # type: ignore[union-attr]
                while data:
                    written = file.write(data)
                    if written is None:
                        threads.Event().wait(RETRY_INTERVAL)
                    data = data[written or 0 :]
        except (OSError, ValueError):  # ValueError: the stream is closed
            return False
        return True

    def _settle(self, portion: list[Entry], is_written: bool) -> None:
        """Make room in the queue; count what was lost, or announce what was dropped before."""
        self._queued -= sum(map(_size, portion))
        if not is_written:
            self._drop(sum(isinstance(each, str) for each in portion))
            self._unannounced += sum(each for each in portion if isinstance(each, int))
        elif self._unannounced:
            self._enqueue(self._unannounced)
            self._unannounced = 0


class Handler(logging.Handler):
    """Formats records and queues them. Needs no lock of its own, and never blocks."""

    def __init__(
        self, writer: Writer, formatter: logging.Formatter, limit: Limit = lambda record: record
    ) -> None:
        """Make a handler; `limit(record)` returns what to write, None for nothing."""
        super().__init__()
        self.setFormatter(formatter)
        self._writer = writer
        self._limit = limit

    def createLock(self) -> None:  # noqa: N802 - named by the library
        """Make no lock: the writer has one, and a lock of the loop is not for native threads."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue the record as text; return whether it was to be written."""
        limited = self._limit(record) if self.filter(record) else None
        if limited is None:
            return False
        try:
            self._writer.put(self.format(limited))
        except (TypeError, ValueError, RuntimeError):
            # A message that does not go with its arguments, or too late to start a thread.
            self.handleError(limited)
        return True


def _lines(entries: list[Entry]) -> Iterator[Entry]:
    """Yield the entries in order, each line of a text as one of its own."""
    for entry in entries:
        if isinstance(entry, str):
            yield from entry.split("\n")
        else:
            yield entry


def _portions(lines: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield the lines in order, grouped into writes of at most MAX_WRITE characters."""
    portion: list[Entry] = []
    size = 0
    for line in lines:
        if portion and size + _size(line) > MAX_WRITE:
            yield portion
            portion, size = [], 0
        portion.append(line)
        size += _size(line)
    yield portion


def _size(entry: Entry) -> int:
    """Return the characters of a text with the end of its last line."""
    return len(entry) + 1 if isinstance(entry, str) else NOTICE_SIZE
