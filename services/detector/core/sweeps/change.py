"""When a level changed, and whether it went back: the likeliest moments, among the calls, of a change between two known levels.

Each call says by how much it is nearer to one level than to the other, at most 1 either way, so that no single call decides. A
rise is where the sums to the end are highest, a fall where the stretch of the highest sum ends, and a level is left when they
have fallen far since (Page 1954). Of a tool whose calls are not all kept, its minutes say it. Pure; knows nothing of what is a
shift (`shifts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.metrics import MINUTE_MS
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.sweeps.latest import Latest
from services.detector.core.view import minutes_of

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: What is earlier than a pause of so long is the same rise only if it speaks for it by more than so much.
PAUSE_MS: Final = HOUR_MS
BEFORE_PAUSE: Final = 1.5
#: A level is left when what speaks against it since outweighs what spoke for it by so much at least and at most, and by this
#: share of the calls that showed it.
LEFT: Final = (2.0, 10.0)
LEFT_SHARE: Final = 1.0 / 3.0
#: Times by which levels differ at least.
_LEAST_LN: Final = 0.02


@dataclass(frozen=True, slots=True)
class Course:
    """Calls, or minutes, in order of time: ts (epoch ms), values, and how much each speaks for the level `high` and not `low`,
    -1 ... 1.
    """

    ts: Int64
    values: Float64
    gains: Float64

    def rise(self) -> int | None:
        """The number of the first of those at the high level up to the end; None when none are."""
        if not len(self.gains):
            return None
        sums = np.cumsum(self.gains[::-1])[::-1]
        at = int(np.argmax(sums))
        if sums[at] <= 0.0:
            return None
        after_pause = 1 + np.flatnonzero(np.diff(self.ts) >= PAUSE_MS)
        later = after_pause[(after_pause > at) & (sums[after_pause] >= sums[at] - BEFORE_PAUSE)]
        return int(later[-1]) if len(later) else at

    def fall(self) -> int | None:
        """The number of the last of the stretch that is most surely at the high level; None when none is."""
        if not len(self.gains):
            return None
        sums = np.concatenate([[0.0], np.cumsum(self.gains)])
        stretch = sums[1:] - np.minimum.accumulate(sums)[:-1]
        at = int(np.argmax(stretch))
        return at if stretch[at] > 0.0 else None

    def is_left(self, points: float) -> bool:
        """Whether the high level, shown by so many calls, is left at the end."""
        sums = np.concatenate([[0.0], np.cumsum(self.gains)])
        return float(sums.max() - sums[-1]) >= min(max(points * LEFT_SHARE, LEFT[0]), LEFT[1])


def of_calls(latest: Latest, since_ms: int, end_ms: int, levels: tuple[float, float]) -> Course:
    """The kept calls of a span, against two levels."""
    some = (latest.ts >= since_ms) & (latest.ts <= end_ms)
    values = latest.steady[some]
    return Course(latest.ts[some], values, _gains(np.log(values), math.log(levels[0]), math.log(levels[1])))


def of_minutes(
    series: SeriesState, since_ms: int, end_ms: int, shown_ms: tuple[int, int], levels: tuple[float, float]
) -> Course:
    """The minutes of a span against two levels, of which they show the high one in another span: means are no medians,
    but higher.
    """
    minutes = minutes_of(series, 0, since_ms // MINUTE_MS, end_ms // MINUTE_MS)
    logs = np.log(np.maximum(minutes.mean, np.finfo(np.float64).tiny))
    of_high = logs[(minutes.start >= shown_ms[0]) & (minutes.start <= shown_ms[1])]
    top = max(float(np.median(of_high)) if len(of_high) else 0.0, math.log(levels[1]))
    return Course(minutes.start, minutes.mean, _gains(logs, top - math.log(levels[1] / levels[0]), top))


def _gains(logs: Float64, low: float, high: float) -> Float64:
    half = max(high - low, _LEAST_LN) / 2.0
    return np.clip((logs - (low + high) / 2.0) / half, -1.0, 1.0)
