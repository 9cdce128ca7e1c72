"""The five metrics that can be judged: their units, limits, columns and ways of judging, and the defaults of all thresholds.

Deliberately knows no scope and no alert. Percent are 0–100, durations ms, memory MB, disk I/O KB.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

#: The window of everything that is judged over a window and names none.
DEFAULT_WINDOW_MS: Final = 5 * 60 * 1000
#: Shortest and longest window: 60 slots of a second at the least, and what is kept in memory at the most.
MIN_WINDOW_MS: Final = 10 * 1000
MAX_WINDOW_MS: Final = 24 * 60 * 60 * 1000
#: How old a single call may be and still raise a current alert.
CALL_STALE_MS: Final = 5 * 60 * 1000
#: Calls below which a value over a window says nothing.
DEFAULT_MIN_CALLS: Final = 5
#: An error rate counts from so many calls, or from so many failures.
ERROR_MIN_CALLS: Final = 20
ERROR_MIN_FAILURES: Final = 5


class Metric(StrEnum):
    """What a threshold watches."""

    RESPONSE_TIME = "response_time"
    ERROR_RATE = "error_rate"
    CPU = "cpu"
    MEMORY = "memory"
    DISK_IO = "disk_io"


class Aggregation(StrEnum):
    """How the calls become one value: each by itself, or over a window."""

    CALL = "call"
    AVG = "avg"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    MAX = "max"
    MIN = "min"
    RATE = "error_rate"


#: The quantile of each percentile.
QUANTILES: Final = {Aggregation.P50: 0.50, Aggregation.P95: 0.95, Aggregation.P99: 0.99}

_VALUED: Final = tuple(a for a in Aggregation if a is not Aggregation.RATE)


class MetricKind(NamedTuple):
    """unit: as it is written after a number. column: the batch's, None for the error rate. limit: the largest threshold.
    aggregations: accepted ones. window_default: what a window means when no aggregation is named.
    """

    unit: str
    column: str | None
    limit: float
    aggregations: tuple[Aggregation, ...]
    window_default: Aggregation


KINDS: Final[dict[Metric, MetricKind]] = {
    Metric.RESPONSE_TIME: MetricKind("ms", "duration", 1e9, _VALUED, Aggregation.P95),
    Metric.ERROR_RATE: MetricKind("%", None, 100.0, (Aggregation.RATE,), Aggregation.RATE),
    Metric.CPU: MetricKind("%", "cpu", 1e6, _VALUED, Aggregation.AVG),
    Metric.MEMORY: MetricKind("MB", "memory", 1e12, _VALUED, Aggregation.AVG),
    Metric.DISK_IO: MetricKind("KB", "disk_io", 1e15, _VALUED, Aggregation.AVG),
}
