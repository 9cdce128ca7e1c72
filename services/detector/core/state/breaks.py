"""When nothing at all was called: a machine asleep, a pipeline that was down, a weekend. No tool is to be blamed for that."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from services.detector.core.metrics import MINUTE_MS

#: No shorter pause of everything is one, and no more are remembered.
LEAST_MS: Final = 10 * MINUTE_MS
MOST: Final = 32


class Breaks:
    """The latest breaks. Only in memory: after a start the first calls tell of the one before it."""

    def __init__(self) -> None:
        #: The newest call of all (epoch ms), −1 before the first.
        self.newest_ms = -1
        self._spans: deque[tuple[int, int]] = deque(maxlen=MOST)

    def note(self, before_ms: int, first_ms: int, newest_ms: int) -> None:
        """Calls came, of whatever series: the newest before (−1: none), the first of them, the newest now."""
        if 0 <= before_ms < first_ms - LEAST_MS:
            self._spans.append((before_ms, first_ms))
        self.newest_ms = newest_ms

    def within(self, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
        """The parts of a span, up to the newest call, in which nothing was called."""
        for first, last in self._spans:
            if first < end_ms and last > start_ms:
                yield max(first, start_ms), min(last, end_ms)
