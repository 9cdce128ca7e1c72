"""What is usual of a series' metric: a histogram of its values that fades, and the bands that are taken from it.

Works on the row of a series' metric that `judge` keeps its events in (a track); knows nothing of those.
"""

# ruff: noqa: PLR0917 - kernels are called by position
from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.bins import MIDDLES, bin_of, middle, upper
from services.detector.core.kernels.compiled import compiled

Row = NDArray[np.float64]
Base = NDArray[np.float32]

#: Sensitivities: low, medium, high are levels 3, 2, 1.
LEVELS: Final = 3
# Places of a track: what is known of the baseline.
WEIGHT, DECAYED_AT, SINCE, RATE, REFRESHED_AT, NEWEST, MEDIAN, LOWER = range(8)
BAND, CHANCE = 8, 11  # three places each: the levels' upper limits and chances of a call above them
#: Three places: what a call inside takes from each level's CUSUM, 0 until it is needed.
CALM: Final = 45
# What is known of how calls outside come together, fading like the baseline; three places each.
RUNS, FOLLOWED = 48, 51
#: What the time of day raises the bands by: how much more is usual in this hour than in others, at least 1; 0 for unknown.
SEASON: Final = 54

_Z = (2.0, 2.5, 3.0)
_TAIL = (0.05, 0.01, 0.001)
#: Share of the metric's margin above the median that a level leaves.
_MARGIN = (0.5, 1.0, 1.5)
#: Ranks taken of the baseline: its lower end, the median, the levels' limits.
_RANKS = (0.05, 0.5, *(1.0 - tail for tail in _TAIL))
#: Least weight from which bands are taken.
MIN_WEIGHT: Final = 20.0
_HALF_LIFE_MS = 86_400_000.0
#: Most that a baseline weighs when it has faded: its bins are in single precision, to which 1 can be added up to 2^24.
_MOST_WEIGHT = 4_000_000.0
_DECAY_EVERY_MS = 600_000.0


@compiled("void(float64, float64, float32[:], int64, float64[:])", part=True)
def learn(value: float, weight: float, base: Base, low: int, track: Row) -> None:
    """Add a value to the baseline."""
    place = bin_of(value) - low
    if 0 <= place < len(base):
        base[place] += weight
        track[WEIGHT] += weight
    track[SINCE] += 1.0


@compiled("void(float64, float32[:], int64, float64[:], float64, float64)")
def refresh(t: float, base: Base, low: int, track: Row, ratio: float, excess: float) -> None:
    """Let the baseline fade to time `t` and take the bands from it."""
    if track[DECAYED_AT] == 0.0:
        track[DECAYED_AT] = t
    age = t - track[DECAYED_AT]
    if age >= _DECAY_EVERY_MS:
        fade = min(0.5 ** (age / _HALF_LIFE_MS), _MOST_WEIGHT / max(track[WEIGHT], 1.0))
        for i in range(len(base)):
            base[i] *= fade
        track[WEIGHT] *= fade
        for i in range(RUNS, SEASON):
            track[i] *= fade
        track[DECAYED_AT] = t
    passed = max((t - track[REFRESHED_AT]) / 60_000.0, 1.0 / 60.0)
    now = track[SINCE] / passed
    track[RATE] = now if track[RATE] == 0.0 else 0.8 * track[RATE] + 0.2 * now
    track[REFRESHED_AT] = t
    track[SINCE] = 0.0
    weight = 0.0
    mean = 0.0
    for i in range(len(base)):
        weight += base[i]
        mean += base[i] * MIDDLES[low + i]
    track[WEIGHT] = weight
    if weight <= 0.0:
        return
    mean /= weight
    spread = 0.0
    # `rank_bin` of every rank, in one pass.
    ranked = np.empty(len(_RANKS), np.int64)
    running, last, reached = 0.0, 0, 0
    for i in range(len(base)):
        if base[i] > 0.0:
            away = MIDDLES[low + i] - mean
            spread += base[i] * away * away
            running += base[i]
            last = i
            while reached < len(_RANKS) and running >= _RANKS[reached] * weight - 1e-9:
                ranked[reached] = i
                reached += 1
    for k in range(reached, len(_RANKS)):
        ranked[k] = last
    deviation = math.sqrt(spread / weight)
    median = middle(low + ranked[1])
    track[MEDIAN] = median
    track[LOWER] = middle(low + ranked[0])
    for level in range(LEVELS):
        margin = median + max(median * (ratio - 1.0), excess) * _MARGIN[level]
        track[BAND + level] = max(margin, upper(low + ranked[2 + level]), mean + _Z[level] * deviation)
        track[CHANCE + level] = max(_TAIL[level], 1.0 / (weight + 1.0))
        track[CALM + level] = 0.0


@compiled("boolean(float64[:])", part=True)
def refresh_due(track: Row) -> bool:
    """Whether enough was learned since the bands were taken."""
    if track[WEIGHT] < MIN_WEIGHT:
        return False
    return bool(track[BAND] == 0.0 or track[SINCE] >= max(8.0, min(track[WEIGHT] / 16.0, 1024.0)))
