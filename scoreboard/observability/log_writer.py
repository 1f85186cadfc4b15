"""Write log records from a native thread, so that a stalled log reader never blocks the loop.

A pipe whose reader stalls blocks its writer. The buffer in front of the thread is bounded; lines
that do not fit are dropped and counted.
"""

import io
import logging
import os
import stat
import time
from collections.abc import Callable
from typing import Any, TextIO

from ..concurrency.runtime import queues, threads

# Buffered bytes per stream: about 12,000 audit lines.
MAX_QUEUED = 4 * 1024 * 1024
# Bytes per write, unless one line is longer: a pipe takes PIPE_BUF bytes atomically, so the lines
# of several processes or streams on one pipe are not interleaved.
MAX_WRITE = 4096
# Seconds that the thread waits for more lines before it writes: waking it for each line would cost
# the event loop as much as writing the line.
GATHER_INTERVAL = 0.01
# Seconds between two attempts to write to a full non-blocking stream.
RETRY_INTERVAL = 0.05

Render = Callable[[logging.LogRecord], str | None]


class Writer(logging.Handler):
    """Writes log records to one stream, in order. Logging never blocks.

    `dropped` is the number of lines dropped since the start, because the buffer was full or the
    write failed (closed pipe, full disk).
    """

    def __init__(self, render: Render, notice: Callable[[int], str]) -> None:
        """Create a writer. `notice(count)` is the line that announces dropped lines.

        `render(record)` returns one or more lines, or None to write nothing.
        """
        super().__init__()
        self.dropped = 0
        self._render, self._notice = render, notice
        self._stream: TextIO | None = None
        self._is_direct = True
        if hasattr(os, "register_at_fork"):
            # The thread does not exist in the child, and the parent writes the buffered lines.
            os.register_at_fork(after_in_child=self.createLock)

    def createLock(self) -> None:  # noqa: N802 - named by the library
        """Create the lock and the state that it protects: an empty buffer and no thread."""
        # The lock is native because the thread must not use a green one. It and the queue are
        # reentrant because the garbage collector may log at any time.
        self.lock: Any = threads.RLock()
        self._wakeups = queues.SimpleQueue()
        self._has_thread = self._is_busy = False
        self._buffer, self._pending = bytearray(), bytearray()
        self._unannounced = 0

    def use(self, stream: TextIO) -> None:
        """Write to this stream: directly if that cannot block, else from a thread.

        Writes to a regular file, or an object without a file descriptor, do not block. Blocks for
        up to 2 s until the lines for the previous stream are written.
        """
        if stream is self._stream:
            return
        self.drain(time.monotonic() + 2)
        self._stream = stream
        try:
            self._is_direct = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
        except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
            self._is_direct = True

    def handle(self, record: logging.LogRecord) -> bool:
        """Write or buffer the record, or drop it if the buffer is full.

        Returns whether the record has text. Holds the lock briefly.
        """
        text = None
        try:
            text = self._render(record)
            if text is not None:
                with self.lock:
                    self._put(f"{text}\n".encode(errors="backslashreplace"))
        except (TypeError, ValueError, RuntimeError):
            # The arguments do not match the message, or the interpreter can start no more threads.
            self.handleError(record)
        return text is not None

    def drain(self, deadline: float) -> None:
        """Block until all lines are written or the deadline (`time.monotonic`) has passed."""
        while self._is_busy and time.monotonic() < deadline:
            threads.Event().wait(0.001)

    def _put(self, data: bytes) -> None:
        if self._is_direct:
            if not self._write(data):
                self._drop(data)
            return
        if len(self._buffer) + len(self._pending) + len(data) > MAX_QUEUED:
            self._unannounced += self._drop(data)
        else:
            self._buffer += data
        if not self._has_thread:
            self._has_thread = True
            threads.Thread(target=self._run, name="log writer", daemon=True).start()
        if not self._is_busy:
            self._is_busy = True
            self._wakeups.put(None)

    def _drop(self, data: bytes | bytearray) -> int:
        """Count the lines as dropped, and return their number."""
        count = data.count(b"\n")
        self.dropped += count
        return count

    def _run(self) -> None:
        """Loop: write the buffered lines, then announce the number of dropped lines.

        Lines lost to a failing stream are announced after the next ones, because an announcement
        now would fail as well.
        """
        while True:
            if not self._is_busy:
                self._wakeups.get()
            threads.Event().wait(GATHER_INTERVAL)
            with self.lock:
                data = self._pending = self._buffer
                self._buffer = bytearray()
                dropped, self._unannounced = self._unannounced, 0
            lost = 0
            while data:
                end = data.rfind(b"\n", 0, MAX_WRITE) + 1 or data.index(b"\n") + 1
                lines = data[:end]
                is_written = self._write(lines)
                with self.lock:
                    lost += 0 if is_written else self._drop(lines)
                    del data[:end]
            if dropped and not self._write(f"{self._notice(dropped)}\n".encode()):
                lost += dropped
            with self.lock:
                self._is_busy = bool(self._buffer or self._unannounced)
                self._unannounced += lost

    def _write(self, data: bytes | bytearray) -> bool:
        """Write the data; return whether all of it was written. Blocks while the reader stalls."""
        try:
            if self._stream and self._is_direct:
                self._stream.write(data.decode())
                self._stream.flush()
            elif self._stream:
                # Not the text stream: its lock would block `print` and the exit of the process.
                with io.FileIO(self._stream.fileno(), "wb", closefd=False) as file:
                    rest = memoryview(data)
                    while rest:
                        written = file.write(rest)
                        if written is None:
                            threads.Event().wait(RETRY_INTERVAL)
                        rest = rest[written or 0 :]
        except (OSError, ValueError):  # ValueError: the stream is closed
            return False
        return True
