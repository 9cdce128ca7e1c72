"""What is watched of a call, in which unit, and how wide a margin a value must leave before it can be abnormal.

Owns names and constants only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Sensitivity = Literal["low", "medium", "high"]
Method = Literal["auto", "z-score", "moving-avg", "percentile"]

#: From wide to narrow; an event's level is 1 + the index of the least sensitive setting that reports it.
SENSITIVITIES: Final[tuple[Sensitivity, ...]] = ("high", "medium", "low")
METHODS: Final[tuple[Method, ...]] = ("auto", "z-score", "moving-avg", "percentile")
#: Those that compare single values with a fixed limit, and know nothing of chance or of failures.
NAMED_METHODS: Final = METHODS[1:]
LEVELS: Final[dict[str, int]] = {name: level for level, name in enumerate(SENSITIVITIES, start=1)}
#: Events of this level and above are stored and may alert.
STORED_LEVEL: Final = LEVELS["medium"]

RESPONSE_TIME_SPIKE: Final = "response_time_spike"
RESPONSE_TIME_SHIFT: Final = "response_time_shift"
ERROR_RATE_SPIKE: Final = "error_rate_spike"
#: What such an event of a whole server was found as, beside those of the tool whose name it bears.
SERVER_ERRORS: Final = "server_error_rate_spike"
RESOURCE_SPIKE: Final = "resource_spike"
RESOURCE_LEAK: Final = "resource_leak"
THROUGHPUT_CHANGE: Final = "throughput_change"
#: The method of what is found in a series' minutes (`signal`), by which its events are known.
SIGNAL: Final = "signal"
ANOMALY_TYPES: Final = (
    RESPONSE_TIME_SPIKE,
    RESPONSE_TIME_SHIFT,
    ERROR_RATE_SPIKE,
    RESOURCE_SPIKE,
    RESOURCE_LEAK,
    THROUGHPUT_CHANGE,
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured column. `margin_ratio` and `margin_excess` (in `unit`): how far above the median a value must be before
    `auto` may call it abnormal at medium, whatever the statistics say, so that jitter of a fast or flat tool never is; at high
    half of that distance, at low half as much again.
    `notable_excess` and `grave_excess`: below the first an anomaly is at most `info`, below the second at most `warning`.
    """

    name: str
    unit: str
    spike_type: str
    margin_ratio: float
    margin_excess: float
    notable_excess: float
    grave_excess: float


RESPONSE_TIME: Final = Metric("response_time", "ms", RESPONSE_TIME_SPIKE, 2.0, 5.0, 50.0, 500.0)
CPU: Final = Metric("cpu", "%", RESOURCE_SPIKE, 1.6, 20.0, 20.0, 60.0)
MEMORY: Final = Metric("memory", "MB", RESOURCE_SPIKE, 1.4, 32.0, 64.0, 512.0)
DISK_IO: Final = Metric("disk_io", "KB", RESOURCE_SPIKE, 4.0, 256.0, 10_240.0, 1_048_576.0)
#: Row j of every per-metric array belongs to METRICS[j]; a series that never measured resources has row 0 alone.
METRICS: Final = (RESPONSE_TIME, CPU, MEMORY, DISK_IO)

MINUTE_MS: Final = 60_000
#: What the state can look back on.
HISTORY_MS: Final = 24 * 3_600_000
#: One row of the percentile histograms.
QUARTER_MS: Final = 15 * MINUTE_MS

#: Calls inside between two abnormal ones, and time between them, that both must be exceeded to make two events of them.
GAP_CALLS: Final = 10
GAP_MS: Final = 2 * MINUTE_MS
#: Calls a baseline needs before `auto` judges by it.
MIN_BASELINE_CALLS: Final = 20
#: Calls a lookback needs before a named method judges in it (|z| cannot pass 3 with fewer than 11 calls).
MIN_METHOD_CALLS: Final = 12


def is_below(level: int, sensitivity: str) -> bool:
    """Whether an event of `level` is too faint for a sensitivity."""
    return level < LEVELS[sensitivity]
