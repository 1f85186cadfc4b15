"""Write log records from a native thread, so that a stalled log reader never blocks the loop.

A pipe whose reader stalls blocks its writer. The queue in front of the thread is bounded; lines
that do not fit are dropped and counted. `logging.handlers.QueueHandler` is not used: it copies each
record, wakes its thread for each, and its queue and thread would be those of the event loop.
"""

import contextlib
import io
import logging
import os
import stat
import time
from collections.abc import Callable
from typing import Any, TextIO

from ..concurrency.runtime import queues, threads

# Queued bytes per stream: about 12,000 audit lines.
MAX_QUEUED = 4 * 1024 * 1024
# Bytes per write, unless one line is longer: a pipe takes PIPE_BUF bytes atomically, so the lines
# of several processes or streams on one pipe are not interleaved.
MAX_WRITE = 4096
# Seconds that the thread waits for more lines before it writes: waking it for each line would cost
# the event loop as much as writing the line.
GATHER_INTERVAL = 0.01
# Seconds between two attempts to write to a full non-blocking stream.
RETRY_INTERVAL = 0.05


class LogWriter(logging.Handler):
    """Writes log records to one stream, in order. Logging never blocks.

    `dropped` is the number of lines dropped since the start, because the queue was full or the
    write failed (closed pipe, full disk). `notice(count)` is the line that announces dropped lines.
    """

    def __init__(self, notice: Callable[[int], str]) -> None:
        super().__init__()
        self.dropped = 0
        self._notice = notice
        self.stream: Any = None
        self._is_direct = True
        if hasattr(os, "register_at_fork"):
            # The thread does not exist in the child, and the parent writes the queued lines.
            os.register_at_fork(after_in_child=self.createLock)

    def createLock(self) -> None:  # noqa: N802 - named by the library
        """Create the lock and the state that it protects: an empty queue and no thread."""
        # The lock is native because the thread must not use a green one. It and the queue are
        # reentrant because the garbage collector may log at any time.
        self.lock: Any = threads.RLock()
        self._queue = queues.SimpleQueue()
        self._has_thread = self._is_busy = False
        self._queued = self._unannounced = 0

    def use(self, stream: TextIO) -> None:
        """Write to this stream: directly if that cannot block (a regular file), else from a thread.

        Blocks for up to 2 s until the lines for the previous stream are written.
        """
        if stream is self.stream:
            return
        self.drain(time.monotonic() + 2)
        self.stream = stream
        self._is_direct = True
        with contextlib.suppress(AttributeError, OSError):  # the stream has no file descriptor
            self._is_direct = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)

    def emit(self, record: logging.LogRecord) -> None:
        """Write or queue the record, or drop it if the queue is full. Called with the lock held."""
        try:
            data = f"{self.format(record)}\n".encode(errors="backslashreplace")
            if self._is_direct:
                self._write(data)
            elif self._queued + len(data) > MAX_QUEUED:
                self._drop(data)
            else:
                self._queued += len(data)
                self._is_busy = True
                self._queue.put(data)
                if not self._has_thread:
                    self._has_thread = True
                    threads.Thread(target=self._run, name="log writer", daemon=True).start()
        except (TypeError, ValueError, RuntimeError):
            # The arguments do not match the message, or the interpreter can start no more threads.
            self.handleError(record)

    def drain(self, deadline: float) -> None:
        """Block until all lines are written or the deadline (`time.monotonic`) has passed."""
        while self._is_busy and time.monotonic() < deadline:
            threads.Event().wait(0.001)

    def _drop(self, data: bytes) -> None:
        count = data.count(b"\n")
        self.dropped += count
        self._unannounced += count

    def _run(self) -> None:
        """Loop: write the queued lines, then announce the number of dropped lines."""
        while True:
            lines = [self._queue.get()]
            threads.Event().wait(GATHER_INTERVAL)
            with self.lock:
                lines += [self._queue.get() for _ in range(self._queue.qsize())]
                count, self._unannounced = self._unannounced, 0
            data, start = b"".join(lines), 0
            while start < len(data):
                end = data.rfind(b"\n", start, start + MAX_WRITE) + 1
                end = end or data.index(b"\n", start) + 1
                self._write(data[start:end])
                with self.lock:
                    self._queued -= end - start
                start = end
            is_announced = not count or self._write(f"{self._notice(count)}\n".encode(), True)
            with self.lock:
                self._unannounced += 0 if is_announced else count
                announces = self._unannounced > 0 and is_announced
                if announces:
                    self._queue.put(b"")  # without waiting for the next line
                self._is_busy = self._queued > 0 or announces

    def _write(self, data: bytes, is_notice: bool = False) -> bool:
        """Write the data; return whether all of it was written. Blocks while the reader stalls."""
        try:
            if self.stream and self._is_direct:
                self.stream.write(data.decode())
                self.stream.flush()
            elif self.stream:
                # Not the text stream: its lock would block `print` and the exit of the process.
                with io.FileIO(self.stream.fileno(), "wb", closefd=False) as file:
                    rest = memoryview(data)
                    while rest:
                        written = file.write(rest)
                        if written is None:
                            threads.Event().wait(RETRY_INTERVAL)
                        rest = rest[written or 0 :]
        except (OSError, ValueError):  # ValueError: the stream is closed
            if not is_notice:
                with self.lock:
                    self._drop(data)
            return False
        return True
