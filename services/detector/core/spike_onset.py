"""Since when calls are slow, or take much: the likeliest moment, among the calls of a track, from which on many lie outside.

A track begins with the first call outside, which may be a stray one of long before. Asked when it becomes an event, and when it
is sure enough to be told. Pure but for the track, whose beginning is moved.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from services.detector.core.firing import usual_of
from services.detector.core.kernels import baseline, judge
from services.detector.core.metrics import MINUTE_MS, SENSITIVITIES
from services.detector.core.state.series import SeriesState

#: A first call outside so long before the others is moved away from.
ANEW_MS: Final = 2 * MINUTE_MS
#: Calls outside since a beginning, at least.
FEWEST_OUTSIDE: Final = 2
#: How much likelier (ln) a later beginning must be.
LIKELIER: Final = 1.0
_EDGE: Final = 1e-4


def begin_later(series: SeriesState, metric: int, place: judge.Row) -> bool:
    """Move the beginning of a track, and of the series' own if it is that, to when calls outside really became many; whether it
    was earlier.
    """
    first_ms, last_ms = int(place[judge.START]), int(place[judge.LAST])
    if last_ms - first_ms < ANEW_MS or not series.calls.covers(first_ms):
        return False
    ts, x, _ = series.calls.between(first_ms, last_ms)
    ts, values = ts[np.isfinite(x[metric])], x[metric][np.isfinite(x[metric])]
    level = max(int(place[judge.LEVEL]), 1) - 1
    bands = usual_of(place).bands
    at = _likeliest(values > bands[level], float(place[baseline.CHANCE + level]))
    if at is None or int(ts[at]) - first_ms < ANEW_MS:
        return False
    own = series.tracks[metric]
    if own[judge.PHASE] == judge.OPEN and own[judge.START] == first_ms:
        _leave_out(own, values[:at], int(ts[at]), bands)
        series.dirty = True
    _leave_out(place, values[:at], int(ts[at]), bands)
    return True


def _likeliest(outside: np.ndarray[tuple[int], np.dtype[np.bool_]], chance: float) -> int | None:
    """The number of the call with which many began to lie outside; None if that was with the first."""
    since = np.cumsum(outside[::-1])[::-1]
    begins = np.flatnonzero(outside & (since >= FEWEST_OUTSIDE))
    if len(begins) < 2:
        return None
    chance = min(max(chance, _EDGE), 0.5)
    n, k = len(outside) - begins, since[begins]
    rate = np.clip(k / n, chance, 1.0 - _EDGE)
    gain = k * np.log(rate / chance) + (n - k) * np.log((1.0 - rate) / (1.0 - chance))
    at = int(np.argmax(gain))
    return int(begins[at]) if gain[at] >= gain[0] + LIKELIER else None


def _leave_out(
    track: judge.Row, values: np.ndarray[tuple[int], np.dtype[np.float64]], start_ms: int, bands: tuple[float, ...]
) -> None:
    """Begin a track after these values."""
    track[judge.START] = start_ms
    track[judge.CALLS] = max(track[judge.CALLS] - len(values), track[judge.QUIET] + FEWEST_OUTSIDE)
    for level in range(len(SENSITIVITIES)):
        strays = values[values > bands[level]]
        if level == 0 and track[judge.OUTSIDE] - len(strays) >= FEWEST_OUTSIDE:
            track[judge.TOTAL] -= strays.sum()
        track[judge.OUTSIDE + level] = max(track[judge.OUTSIDE + level] - len(strays), FEWEST_OUTSIDE)
