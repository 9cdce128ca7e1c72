"""When nothing at all was called: a machine asleep, a pipeline that was down, a weekend. No tool is to be blamed for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.detector.core.metrics import MINUTE_MS
from shared.timespan import DAY_MS

#: No shorter pause of everything is one, and no more are remembered: the longest, none longer than that it matters to a tool.
LEAST_MS: Final = 10 * MINUTE_MS
MOST: Final = 96
KEPT_MS: Final = 3 * DAY_MS


class Breaks:
    """The latest breaks. Only in memory: after a start the first calls tell of the one before it."""

    def __init__(self) -> None:
        #: The newest call of all (epoch ms), −1 before the first.
        self.newest_ms = -1
        self._spans: list[tuple[int, int]] = []

    def note(self, before_ms: int, first_ms: int, newest_ms: int) -> None:
        """Calls came, of whatever series: the newest before (−1: none), the first of them, the newest now."""
        if 0 <= before_ms < first_ms - LEAST_MS:
            self._spans = [span for span in self._spans if span[1] > first_ms - KEPT_MS]
            if len(self._spans) == MOST:
                self._spans.remove(min(self._spans, key=_length_ms))
            self._spans.append((before_ms, first_ms))
        self.newest_ms = newest_ms

    def within(self, start_ms: int, end_ms: int, longer_ms: int = 0) -> Iterator[tuple[int, int]]:
        """The parts of a span, up to the newest call, in which nothing was called, of breaks longer than so long."""
        for first, last in self._spans:
            if first < end_ms and last > start_ms and last - first > longer_ms:
                yield max(first, start_ms), min(last, end_ms)


def _length_ms(span: tuple[int, int]) -> int:
    return span[1] - span[0]
