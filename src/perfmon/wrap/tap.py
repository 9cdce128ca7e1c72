"""Copies of the traffic for the observer: queued in memory by the pumps, written to its pipe by a thread of their own.

A pump never waits here. What the observer does not take in time is dropped beyond a limit, and the observer is told that there
is a gap; what was forwarded stays forwarded. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections import deque
from typing import Final

from perfmon.wrap.frames import FrameKind, encode_header

#: What the pipe to the observer holds where its size can be set, so that a server that ends seldom waits for the observer.
PIPE_BYTES: Final = 1024 * 1024
#: How long copies are held back, so that a quick call is answered before the observer asks for a core. Well below the 10 ms
#: from which on calls have a CPU figure.
LET_PASS_S: Final = 0.001
#: Bytes that may wait for the observer.
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024

_GAP_OF: Final = {FrameKind.TO_SERVER: FrameKind.GAP_TO_SERVER, FrameKind.TO_CLIENT: FrameKind.GAP_TO_CLIENT}


class Tap:
    """The queue and its thread. `add` then `wake`; a request is added before it is forwarded, so that it is always seen
    before its answer.
    """

    def __init__(self, fd: int, *, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        self._fd = fd
        self._max_waiting_bytes = max_waiting_bytes
        self._frames: deque[tuple[FrameKind, int, bytes]] = deque()
        self._waiting_bytes = 0
        self._arrived = threading.Event()
        self._lock = threading.Lock()
        self._gaps: set[FrameKind] = set()
        self._ended = False
        #: The observer is gone.
        self.broken = False
        self._thread = threading.Thread(target=self._write_all, name="tap", daemon=True)
        _enlarge(fd)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def add(self, kind: FrameKind, stamp_ns: int, data: bytes) -> None:
        """Queue a copy; no system call."""
        with self._lock:
            if self.broken:
                return
            if self._waiting_bytes + len(data) > self._max_waiting_bytes:
                self._gaps.add(_GAP_OF[kind])
                return
            if self._gaps:
                self._frames.extend((gap, stamp_ns, b"") for gap in sorted(self._gaps))
                self._gaps.clear()
            self._waiting_bytes += len(data)
            self._frames.append((kind, stamp_ns, data))

    def wake(self) -> None:
        """Have the thread write what was added."""
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self, timeout_s: float) -> bool:
        """The server ended: write what waits within the time, then the end; whether all was written."""
        stamp_ns = time.monotonic_ns()
        with self._lock:
            self._frames.extend((gap, stamp_ns, b"") for gap in sorted(self._gaps))
            self._frames.append((FrameKind.EXIT, stamp_ns, b""))
            self._ended = True
        self._arrived.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self.broken

    def _write_all(self) -> None:
        try:
            while True:
                self._arrived.wait()
                if not self._ended:
                    time.sleep(LET_PASS_S)
                self._arrived.clear()
                while self._frames:
                    self._write(*self._frames.popleft())
                if self._ended and not self._frames:
                    return
        except OSError:
            # The observer is gone; the traffic goes on without it.
            with self._lock:
                self.broken = True
                self._frames.clear()
        finally:
            os.close(self._fd)

    def _write(self, kind: FrameKind, stamp_ns: int, data: bytes) -> None:
        left = memoryview(encode_header(kind, stamp_ns, len(data)) + data)
        while left:
            left = left[os.write(self._fd, left) :]
        with self._lock:
            self._waiting_bytes -= len(data)


def _enlarge(fd: int) -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
