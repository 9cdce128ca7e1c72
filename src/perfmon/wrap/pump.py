"""Pass bytes from one descriptor to another, verbatim and at once, until one of the two ends.

Blocking reads and writes in a thread of its own: no buffer beyond one read, so back-pressure reaches the writer as if the two
were connected. A descriptor that someone else made non-blocking is waited for; its flags are left as they are, because
others may share them.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

from perfmon.wrap.frames import FrameKind
from perfmon.wrap.tap import Tap

#: Bytes of one read: what a pipe holds.
READ_BYTES: Final = 65_536


class Pump(threading.Thread):
    """`source` to `sink`. When it ends, `on_source_end` or `on_sink_end` passes the end on; whichever side is still open."""

    def __init__(
        self,
        kind: FrameKind,
        source: int,
        sink: int,
        tap: Tap,
        *,
        on_source_end: Callable[[], None],
        on_sink_end: Callable[[], None],
    ) -> None:
        super().__init__(name=kind.name.lower(), daemon=True)
        self._kind = kind
        self._source = source
        self._sink = sink
        self._tap = tap
        self._on_source_end = on_source_end
        self._on_sink_end = on_sink_end
        #: Whether bytes that were read are not yet all written.
        self.writing = False
        self.moved_bytes = 0

    def run(self) -> None:
        """Until the end of either side."""
        while chunk := read_some(self._source):
            self.writing = True
            self._tap.add(self._kind, time.monotonic_ns(), chunk)
            try:
                write_all(self._sink, chunk)
            except OSError:
                # Whoever read from the sink is gone; so its writer must learn it.
                self._tap.wake()
                self._on_sink_end()
                return
            self._tap.wake()
            self.moved_bytes += len(chunk)
            self.writing = False
        self._on_source_end()


def read_some(fd: int) -> bytes:
    """What is there, waiting for at least a byte; nothing at the end (which a terminal that hung up reports as an error)."""
    while True:
        try:
            return os.read(fd, READ_BYTES)
        except BlockingIOError:
            _wait(fd, select.POLLIN)
        except OSError:
            return b""


def write_all(fd: int, chunk: bytes) -> None:
    """Write every byte, however few are taken at once.

    Raises: OSError when the reader is gone.
    """
    try:
        written = os.write(fd, chunk)
    except BlockingIOError:
        written = 0
    if written == len(chunk):
        return
    left = memoryview(chunk)[written:]
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            _wait(fd, select.POLLOUT)


def _wait(fd: int, event: int) -> None:
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()
