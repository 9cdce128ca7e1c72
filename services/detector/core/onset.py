"""Since when a tool fails more: the likeliest moment, among its failures, of the change from its usual rate to the rate since.

A generalised likelihood ratio over the moments of a change (Siegmund and Venkatraman 1995), asked once, when what was a suspicion
since a stray failure becomes an event. Pure; looks at the tool's latest calls, or its minutes where these go not far enough.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.error_events import MIN_FAILURES
from services.detector.core.metrics import MINUTE_MS
from services.detector.core.state.series import SeriesState

#: A rate is no closer to none and to all than this.
_EDGE: Final = 1e-4
#: Times the rate of an event before from which on what follows is another one, and how much likelier that must be (ln).
FAR_TIMES: Final = 4.0
_FAR_LIKELIER: Final = 10.0
#: How much likelier (ln) two failures by themselves must be than with those before, to wait for a third.
_LIKELIER: Final = 2.0
#: A suspicion so much older than the event that it becomes is another one.
ANEW_MS: Final = 2 * MINUTE_MS


class Onset(NamedTuple):
    """Since when (epoch ms), and the calls and failures since, the last call included."""

    start_ms: int
    calls: int
    failures: int


def onset_of(series: SeriesState, first_ms: int, last_ms: int, usual: float) -> Onset | None:
    """The likeliest onset in a span; None without failures enough in it."""
    start, calls, failures = _counts(series, first_ms, last_ms)
    failing, n, k, gain = _gains(calls, failures, usual, MIN_FAILURES)
    if not len(failing):
        return None
    at = int(np.argmax(gain))
    return Onset(int(start[failing[at]]), int(n[at]), int(k[at]))


def is_of_two(series: SeriesState, first_ms: int, last_ms: int, usual: float) -> bool:
    """Whether the latest two failures of a span are by themselves a likelier rise than together with any before, which are strays
    then, minutes before or more; one more failure tells.
    """
    start, calls, failures = _counts(series, first_ms, last_ms)
    failing, _, k, gain = _gains(calls, failures, usual, MIN_FAILURES - 1)
    if not len(failing) or k[-1] >= MIN_FAILURES or start[failing[-1]] - first_ms < ANEW_MS:
        return False
    return bool(gain[-1] >= max(gain[:-1], default=0.0) + _LIKELIER)


def worse_since(series: SeriesState, first_ms: int, last_ms: int, usual: float, told_ms: int) -> Onset | None:
    """Since when far more fails than in the time of an event before; None unless it is far likelier that the rate has changed
    (generalised likelihood ratio, both rates unknown), and the event was told before, at `told_ms`: strays before a burst are
    part of it.
    """
    start, calls, failures = _counts(series, first_ms, last_ms)
    since, until = np.cumsum(failures[::-1])[::-1], np.cumsum(failures) - failures
    failing = np.flatnonzero((failures > 0) & (since >= MIN_FAILURES) & (until >= MIN_FAILURES))
    if not len(failing):
        return None
    all_calls, all_failures = float(calls.sum()), float(failures.sum())
    n, k = np.cumsum(calls[::-1])[::-1][failing], since[failing]
    before = np.maximum((all_failures - k) / (all_calls - n), usual)
    gain = _likelihood(k, n) + _likelihood(all_failures - k, all_calls - n) - _likelihood(all_failures, all_calls)
    at = int(np.argmax(gain))
    if gain[at] < _FAR_LIKELIER or k[at] < FAR_TIMES * before[at] * n[at]:
        return None
    onset = int(failing[at])
    return Onset(int(start[onset]), int(n[at]), int(k[at])) if start[onset] > told_ms else None


class Lull(NamedTuple):
    """What was before an onset: the last failure (epoch ms), the calls and failures up to it, and the calls after it."""

    last_ms: int
    calls: int
    failures: int
    after: int


def lull_before(series: SeriesState, first_ms: int, onset_ms: int) -> Lull | None:
    """The calls from `first_ms` to an onset; None without failures in them."""
    start, calls, failures = _counts(series, first_ms, onset_ms - 1)
    failing = np.flatnonzero(failures > 0)
    if not len(failing):
        return None
    end = int(failing[-1]) + 1
    return Lull(int(start[end - 1]), int(calls[:end].sum()), int(failures[:end].sum()), int(calls[end:].sum()))


def _gains(
    calls: NDArray[np.float64], failures: NDArray[np.float64], usual: float, least: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The rows from which on `least` failed, the calls and failures since each, and how much likelier (ln) these are at their own
    rate than at the usual one.
    """
    since = np.cumsum(failures[::-1])[::-1]
    failing = np.flatnonzero((failures > 0) & (since >= least))
    n, k = np.cumsum(calls[::-1])[::-1][failing], since[failing]
    rate = np.clip(k / n, max(usual, _EDGE), 1.0 - _EDGE)
    usual = min(max(usual, _EDGE), 1.0 - _EDGE)
    return failing, n, k, k * np.log(rate / usual) + (n - k) * np.log((1.0 - rate) / (1.0 - usual))


def _likelihood(failures: NDArray[np.float64] | float, calls: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """ln of how likely so many failures among so many calls are at their own rate."""
    k, n = np.asarray(failures, np.float64), np.asarray(calls, np.float64)
    rate = np.clip(k / n, 1e-12, 1.0 - 1e-12)
    return np.asarray(k * np.log(rate) + (n - k) * np.log1p(-rate))


def _counts(
    series: SeriesState, first_ms: int, last_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Times, calls and failures: of each call where they are all known, else of each minute."""
    if series.calls.covers(first_ms):
        ts, _, ok = series.calls.between(first_ms, last_ms)
        return ts, np.ones(len(ts)), (ok == 0).astype(np.float64)
    rows = series.minutes.between(first_ms // MINUTE_MS, last_ms // MINUTE_MS)
    calls = np.asarray(series.moments[rows, 0, 0])
    return np.maximum(series.minutes.index[rows] * MINUTE_MS, first_ms), calls, np.asarray(series.failures[rows])
