"""Fixed-rate load: when each message is due, and how long it waited, corrected for coordinated omission.

The schedule is fixed before the first message. A wait counts from the moment a message was due, not from when it could be sent:
what stalls the sender would otherwise hide the waits that it causes (Gil Tene, "How NOT to Measure Latency"; as wrk2 does).
Pure: times are arguments, in seconds from the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: What is told of many waits.
QUANTILES: Final = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99.9_ms": 0.999}


class Schedule:
    """Message `n` (from 0) is due at `n / per_s` seconds; `total` messages."""

    def __init__(self, per_s: float, seconds: float) -> None:
        if per_s <= 0 or seconds <= 0:
            raise ValueError("a rate and a time above 0 are needed")
        self.per_s = per_s
        self.total = max(1, round(per_s * seconds))

    def due_s(self, number: int) -> float:
        """When a message is due."""
        return number / self.per_s

    def due_by(self, elapsed_s: float) -> int:
        """How many messages are due by then, those of that very moment too."""
        if elapsed_s < 0:
            return 0
        due = int(elapsed_s * self.per_s) + 2  # one too many, should the product be rounded down
        while due > 0 and self.due_s(due - 1) > elapsed_s:
            due -= 1
        return min(self.total, due)

    def waited_s(self, number: int, answered_s: float) -> float:
        """How long the message waited for its answer: from when it was due."""
        return answered_s - self.due_s(number)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The nearest-rank quantile (0 < q <= 1) of ascending values."""
    rank = max(1, -(-round(q * 1_000_000) * len(ordered) // 1_000_000))
    return ordered[min(rank, len(ordered)) - 1]


def spread_ms(samples_s: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99, p99.9 and max of samples in seconds, as milliseconds; every sample is kept, none is binned."""
    ordered = sorted(samples_s)
    return {name: 1000 * quantile(ordered, q) for name, q in QUANTILES.items()} | {"max_ms": 1000 * ordered[-1]}
