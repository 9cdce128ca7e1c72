"""The minutes of a series that are under way: calls are added up until the minute is over (`signal.minutes`).

`pending` f64[series, SLOTS, WIDTH]; minute m is in slot m % SLOTS. Knows arrays alone; `state.signals` owns them.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled
from services.detector.core.metrics import METRICS

#: Minutes of a series that can be under way at once: the latest, and late calls for so many before it less one.
SLOTS: Final = 4
#: Minutes that stay open for late calls.
LATE_MINUTES: Final = 2
#: Columns of a minute under way: its number (0 = none), then count and sum of each metric (of response time the bins' numbers).
MINUTE, COUNT, SUM = 0, 1, 2
SEEN: Final = 1 + 2 * len(METRICS)  # and calls when it was last looked whether the minute is over
WIDTH: Final = SEEN + 1


@compiled("void(float64[:, :, ::1], int64, int64, int64, float64, float64)", part=True)
def note(pending: NDArray[Any], row: int, minute: int, metric: int, n: float, total: float) -> None:
    """Add n values of a metric to their minute, unless that is over."""
    at = minute % SLOTS
    if pending[row, at, MINUTE] == minute:
        pending[row, at, COUNT + 2 * metric] += n
        pending[row, at, SUM + 2 * metric] += total
