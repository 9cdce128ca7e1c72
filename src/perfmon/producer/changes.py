"""Who waits for the buffer to change: threads, each at a lock of its own, and listeners that are called.

Not a `threading.Condition`: one that a signal handler's exception leaves may have given up its lock for good. Here nobody waits
while holding a lock, and a waiter that was interrupted costs one lock until the next change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Changes:
    """All but `wait` is called with the buffer's lock held."""

    def __init__(self) -> None:
        self._waiters: list[threading.Lock] = []  # each held until something changes
        self._listeners: list[Callable[[], None]] = []

    def waiter(self) -> threading.Lock:
        """A lock that is free once something changed."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        return waiter

    def forget(self, waiter: threading.Lock) -> None:
        """Nobody waits for it any more."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this at every change; it must not block."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Stop calling it; a forked child has forgotten it already."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def notify(self) -> None:
        """Something changed."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()
        for listener in self._listeners:
            listener()


@contextmanager
def released(lock: Any) -> Iterator[None]:
    """Without a reentrant lock, however often this thread holds it; held as before in the end."""
    held = lock._release_save() if lock._is_owned() else None  # noqa: SLF001 - what threading.Condition uses, unchanged for long
    try:
        yield
    finally:
        if held is not None:
            lock._acquire_restore(held)  # noqa: SLF001 - likewise
