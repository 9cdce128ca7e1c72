"""The latest calls of a tool, without what the time of day and idle time before a call make of them.

Response times follow the day, and the first call after idle time is often slow. Both are taken off the logarithms here, so
that what is left can be compared call by call, whenever it was. Pure; knows nothing of shifts (`shifts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import EDGES, LOWEST
from services.detector.core.kernels.shift import normal_scores
from services.detector.core.metrics import MINUTE_MS
from services.detector.core.state.series import HOUR_MS, SeriesState
from services.detector.core.sweeps.trouble import usual_calls

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

DAY_MS: Final = 24 * HOUR_MS
#: A call after so long is one after idle time; calls of either kind that tell what that makes of them.
IDLE_MS: Final = 15 * MINUTE_MS
FEWEST_IDLE: Final = 8
#: A tool is not busy when all calls of so long are kept.
KEPT_MS: Final = 12 * HOUR_MS
#: Calls that fail before this quantile of those that succeed tell nothing of how long a tool takes.
AT_ONCE: Final = 0.05
#: The course of the day is learned from the calls themselves when they are of so many days.
OWN_DAYS: Final = 4
#: Share of the calls, the latest, from which nothing is learned: they may be what is looked for.
UNLEARNED: Final = 0.25
FEWEST_LEARNED: Final = 30
#: What is learned is held back as by so many calls that say nothing.
RIDGE: Final = 4.0
#: What is beyond these quantiles is learned as if it were there.
CLIPPED: Final = (0.05, 0.95)
#: Calls of a block, whose means tell how much the level wanders by itself; blocks that tell it.
BLOCK: Final = 8
FEWEST_BLOCKS: Final = 12
#: Parts of the time whose levels are compared are so many apart; levels are alike for longer than the first where they wander
#: slowly, so the second counts as well where there are pairs enough.
APART: Final = 4
FAR_APART: Final = 8
#: Blocks of calls so far apart tell nothing of hours.
NEAR_MS: Final = 6 * HOUR_MS
#: No level wanders by more of what single calls do; what looks like it was trouble.
MOST_WANDERING: Final = 0.35
#: What it is of a tool that is not known for long.
UNKNOWN_WANDERING: Final = 0.1
#: It counts as much as so many comparisons of parts; among fewer than so many one change counts too much.
UNKNOWN_PAIRS: Final = 2
FEW_PAIRS: Final = 24


@dataclass(frozen=True, slots=True)
class Latest:
    """Calls in order of time: ts; as many milliseconds as they would have taken at an average time of day and not after idle
    time; the bins of these within the series' window, of `size`. `own_days`: whether they are of days enough to tell by
    themselves what the time of day makes of them.
    """

    ts: Int64
    steady: Float64
    bins: Int64
    usual: NDArray[np.bool_]
    size: int
    own_days: bool

    @property
    def wandering(self) -> float:
        """Variance of the level by itself, in normal scores."""
        return _wandering(self.ts[self.usual], self.bins[self.usual], self.size)


def latest_calls(series: SeriesState, end_ms: int) -> Latest:
    """What is kept of the calls up to a time."""
    ts, x, ok = series.calls.by_time()
    measured = np.isfinite(x[0]) & (ts <= end_ms)
    if series.calls.covers(end_ms - KEPT_MS):
        measured &= ~_failed_at_once(x[0], ok)
    ts, values = ts[measured], x[0][measured]
    logs, usual = np.log(np.maximum(values, LOWEST)), np.ones(len(ts), np.bool_)
    size, low = len(series.histograms.base_of(0)), int(series.histograms.lows[0])
    known = _known(ts)
    steady = np.exp(_steady(known, logs, usual))
    bins = _bins(steady, low, size)
    if _own_days(ts):
        usual = usual_calls(ts, bins, size)
        if not usual.all():
            steady = np.exp(_steady(known, logs, usual))
            bins = _bins(steady, low, size)
            usual = usual_calls(ts, bins, size)
    return Latest(ts, steady, bins, usual, size, _own_days(ts))


def _failed_at_once(values: Float64, ok: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which calls failed faster than hardly any that succeeded: how long the tool takes they do not tell."""
    failed = ok == 0
    fastest = values[~failed & np.isfinite(values)]
    if not failed.any() or not len(fastest):
        return np.zeros(len(values), np.bool_)
    return np.asarray(failed & (values < np.quantile(fastest, AT_ONCE)))


def _bins(values: Float64, low: int, size: int) -> Int64:
    """Their bins within a series' window."""
    return np.clip(np.searchsorted(EDGES, values, "right") - 1 - low, 0, size - 1)


def _own_days(ts: Int64) -> bool:
    return len(ts) > 0 and bool(ts[int(len(ts) * (1.0 - UNLEARNED)) - 1] - ts[0] >= OWN_DAYS * DAY_MS)


def _known(ts: Int64) -> Float64:
    """What is known of each call beforehand, f64[1 or 3, n]: whether it came after idle time and, if they are of days enough, the
    time of day.
    """
    idle = (np.diff(ts, prepend=ts[:1]) >= IDLE_MS).astype(np.float64)
    if not _own_days(ts):
        return idle[None]
    angle = (ts % DAY_MS) * (2.0 * math.pi / DAY_MS)
    return np.array([idle, np.cos(angle), np.sin(angle)])


def _steady(known: Float64, logs: Float64, usual: NDArray[np.bool_]) -> Float64:
    """The logarithms without what is explained by what is known of each call: a ridge regression on the usual calls but the
    latest.
    """
    learned = np.flatnonzero(usual[: len(logs) - int(len(logs) * UNLEARNED)])
    if len(learned) < FEWEST_LEARNED:
        return logs
    if not FEWEST_IDLE <= np.count_nonzero(known[0, learned]) <= len(learned) - FEWEST_IDLE:
        known = known[1:]
    if not len(known):
        return logs
    of = known[:, learned]
    known = known - of.mean(axis=1, keepdims=True)
    of = known[:, learned]
    clipped = np.clip(logs[learned], *np.quantile(logs[learned], CLIPPED))
    coefficients = np.linalg.solve(of @ of.T + RIDGE * np.eye(len(of)), of @ (clipped - clipped.mean()))
    return np.asarray(logs - coefficients @ known)


def _wandering(ts: Int64, bins: Int64, size: int) -> float:
    """Variance of the level within hours, in normal scores: of the differences of blocks of calls, beyond what single calls make
    of them. Robust: what lasts does not count, nor what was brief.
    """
    blocks = len(bins) // BLOCK
    if blocks < FEWEST_BLOCKS:
        return UNKNOWN_WANDERING
    scores = normal_scores(np.bincount(bins, minlength=size).astype(np.float64))[bins]
    first = len(scores) - blocks * BLOCK
    of_block = scores[first:].reshape(blocks, BLOCK)
    by_chance = float(np.median(of_block.var(axis=1, ddof=1))) / BLOCK
    return wandering(of_block.mean(axis=1), by_chance, ts[first::BLOCK])


def wandering(means: Float64, by_chance: float, began: Int64) -> float:
    """Variance of a level, from the means of parts of the time, the variance that these have by chance, and when they began (ms).
    Few parts are believed with reserve, and the likeliest change among them is none of it, for it may be what is judged.
    """
    pairs, found = _apart(means, by_chance, began, APART)
    if not pairs:
        return UNKNOWN_WANDERING
    far_pairs, far = _apart(means, by_chance, began, FAR_APART)
    if far_pairs >= FEW_PAIRS:
        found = max(found, far)
    return (pairs * min(found, MOST_WANDERING) + UNKNOWN_PAIRS * UNKNOWN_WANDERING) / (pairs + UNKNOWN_PAIRS)


def _apart(means: Float64, by_chance: float, began: Int64, apart: int) -> tuple[int, float]:
    """How many pairs of parts so far apart there are, and the variance of the level that their differences show."""
    moved = np.abs(means[apart:] - means[:-apart])
    counts = began[apart:] - began[:-apart] <= NEAR_MS
    if np.count_nonzero(counts) < FEW_PAIRS:
        first, change = np.arange(len(moved)), _likeliest_change(means)
        counts &= (first + apart < change) | (first >= change)
    pairs = int(np.count_nonzero(counts))
    return pairs, max(0.0, (1.4826 * float(np.median(moved[counts]))) ** 2 / 2.0 - by_chance) if pairs else 0.0


def _likeliest_change(means: Float64) -> int:
    """The number of the part with which another level most likely began: by the squares that two means explain."""
    n = len(means)
    before = np.arange(1, n)
    total = np.cumsum(means - means.mean())[:-1]
    return 1 + int(np.argmax(total**2 / (before * (n - before))))
