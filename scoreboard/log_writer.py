"""Bounded, non-blocking output of log lines.

A pipe whose reader stalls blocks its writer. Here the writer is a native thread behind a bounded
buffer, so the event loop never waits. Lines that do not fit into the buffer are dropped and
counted.
"""

import io
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from .realtime.transport import queues, threads

# Bytes that wait to be written to one stream: about 12,000 audit lines.
MAX_QUEUED = 4 * 1024 * 1024
# Bytes per write, unless one line is longer: a pipe takes PIPE_BUF bytes atomically, so the lines
# of several processes or streams on one pipe are not interleaved.
MAX_WRITE = 4096
# Seconds that the thread waits for more lines before it writes: waking it for each line would cost
# the event loop as much as writing the line.
GATHER_INTERVAL = 0.01
# Seconds between two attempts to write to a full stream that does not block.
RETRY_INTERVAL = 0.05
# Seconds that the end of the process waits for the readers of the logs.
FLUSH_TIMEOUT = 2


class Writer:
    """Writes lines to one stream in order, from a thread that starts with the first line.

    `dropped` is the number of lines dropped since the start: the buffer was full, or the write
    failed (the reader has closed the pipe, the disk is full).
    """

    def __init__(self, notice: Callable[[int], str]) -> None:
        """Create a writer; `notice(count)` is the line that announces dropped lines."""
        self.dropped = 0
        self._stream: TextIO | None = None
        self._may_block = False
        self._notice = notice
        self._reset()
        if hasattr(os, "register_at_fork"):
            # The thread does not exist in the child, and the parent writes what is buffered.
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Native. This lock and the queue are reentrant: the garbage collector may log at any time.
        self._lock = threads.RLock()
        self._wakeups = queues.SimpleQueue()
        self._exiting = threads.Event()
        self._has_thread = self._is_busy = False
        self._buffer = bytearray()
        self._writing = 0  # bytes taken from the buffer that are not written yet
        self._unannounced = 0

    def use(self, stream: TextIO) -> None:
        """Write to this stream from now on.

        Lines are written directly, without the thread, if that cannot block: to a regular file or
        an object without a file. Blocks until earlier lines are written, at most FLUSH_TIMEOUT.
        """
        if stream is self._stream:
            return
        self.flush(time.monotonic() + FLUSH_TIMEOUT)
        self._stream = stream
        try:
            self._may_block = not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
            self._may_block = False

    def put(self, text: str) -> None:
        """Buffer one or more lines, or drop them if the buffer is full.

        Holds a native lock for an instant. Never blocks.
        """
        if not self._may_block:
            self._write_now(text)
            return
        data = f"{text}\n".encode(errors="backslashreplace")
        with self._lock:
            if len(self._buffer) + self._writing + len(data) > MAX_QUEUED:
                self._unannounced += self._drop(data)
            else:
                self._buffer += data
            if not self._has_thread:
                self._has_thread = True
                threads.Thread(target=self._run, name="log writer", daemon=True).start()
            if not self._is_busy:
                self._is_busy = True
                self._wakeups.put(None)

    def flush(self, deadline: float) -> None:
        """Block until all lines are written, or until the deadline (time.monotonic).

        For the end of a process, and where no event loop runs.
        """
        if self._is_busy:
            self._exiting.set()
        while self._is_busy and time.monotonic() < deadline:
            threads.Event().wait(0.001)

    def _write_now(self, text: str) -> None:
        try:
            if self._stream:
                self._stream.write(f"{text}\n")
                self._stream.flush()
        except (OSError, ValueError):  # a full disk; a closed stream
            self._drop(f"{text}\n".encode(errors="replace"))

    def _drop(self, data: bytes | bytearray) -> int:
        """Count the lines as dropped, and return their number."""
        count = data.count(b"\n")
        self.dropped += count
        return count

    def _run(self) -> None:
        while True:
            self._wakeups.get()
            while self._is_busy:
                self._exiting.wait(GATHER_INTERVAL)
                self._write_buffered()

    def _write_buffered(self) -> None:
        """Write what is buffered, then announce what was dropped. Blocks while the reader stalls.

        Lines lost here are announced after the next ones: the stream just failed.
        """
        with self._lock:
            data, self._buffer = self._buffer, bytearray()
            self._writing = len(data)
            unannounced, self._unannounced = self._unannounced, 0
        lost = 0
        for lines in _portions(data):
            is_written = self._write(lines)
            with self._lock:
                self._writing -= len(lines)
                lost += 0 if is_written else self._drop(lines)
        if unannounced and not self._write(f"{self._notice(unannounced)}\n".encode()):
            lost += unannounced
        with self._lock:
            self._is_busy = bool(self._buffer or self._unannounced)
            self._unannounced += lost

    def _write(self, data: bytes | bytearray) -> bool:
        """Return whether all of it was written. Blocks while the reader stalls."""
        view = memoryview(data)
        try:
            # Not the text stream: its lock would stop everything that prints, and the exit.
            with io.FileIO(self._stream.fileno(), "wb", closefd=False) as file:  # type: ignore[union-attr]
                while view:
                    written = file.write(view)
                    if written is None:
                        threads.Event().wait(RETRY_INTERVAL)
                    view = view[written or 0 :]
        except (OSError, ValueError):  # ValueError: the stream is closed
            return False
        return True


class Handler(logging.Handler):
    """Renders records and hands them to a writer. Needs no lock of its own and never blocks."""

    def __init__(self, writer: Writer, render: Callable[[logging.LogRecord], str | None]) -> None:
        """Create a handler; `render(record)` returns the text to write, or None for nothing."""
        super().__init__()
        self._writer = writer
        self._render = render

    def createLock(self) -> None:  # noqa: N802 - named by the library
        """Create no lock: the writer has one, and native threads must not use a green lock."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the record; return whether there was anything to write."""
        try:
            text = self._render(record)
            if text is None:
                return False
            self._writer.put(text)
        except (TypeError, ValueError, RuntimeError):
            # The arguments do not match the message, or it is too late to start a thread.
            self.handleError(record)
        return True


def _portions(data: bytearray) -> Iterator[bytearray]:
    """Yield whole lines of at most MAX_WRITE bytes at a time; a longer line comes alone."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + MAX_WRITE) + 1 or data.index(b"\n", start) + 1
        yield data[start:end]
        start = end
