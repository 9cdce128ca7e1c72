"""Since when a level rises: the likeliest moment at which a line that was flat began to climb.

A broken line, fitted by least squares with its bend at every candidate (Hinkley 1971). Where the bend is at the very beginning,
the rise may be older than what was looked at: then twice as long is looked at, if a broken line fits that as well. Pure; decides
nothing about what is a leak (`sweep`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
#: Means by part of the time: when each began (ms), ascending, and the means.
Course = tuple[Float64, Float64]

#: Parts on which the rise must show.
FEWEST_RISING: Final = 3
#: A rise that began within so many parts of the beginning may have begun before.
AT_BEGINNING: Final = 2
#: How often twice as long is looked at, and how much worse a broken line may fit that: times, and share of all values' range.
WIDER: Final = 2
WORSE_TIMES: Final = 1.5
WORSE_SHARE: Final = 0.01


class Rise(NamedTuple):
    """Since when (ms), the level before, and the greatest distance of a part from the line."""

    start_ms: int
    level: float
    spread: float


def rise_of(course: Callable[[int], Course], span_ms: int, part_ms: int) -> Rise:
    """When what rises now began to, by `course`, the parts of the last so many milliseconds: of at least FEWEST_RISING + 1."""
    t, y = course(span_ms)
    rise, distance = _fit(t, y, part_ms)
    for _ in range(WIDER):
        if rise.start_ms > t[0] + AT_BEGINNING * part_ms:
            break
        span_ms *= 2
        t, y = course(span_ms)
        wider, wider_distance = _fit(t, y, part_ms)
        if wider.start_ms >= rise.start_ms or wider_distance > WORSE_TIMES * distance + WORSE_SHARE * np.ptp(y):
            break
        rise, distance = wider, wider_distance
    return rise


def _fit(t: Float64, y: Float64, part_ms: int) -> tuple[Rise, float]:
    """The likeliest rise, and the root of the mean squared distance from it."""
    centre = t + part_ms / 2
    bends = np.arange(t[0], t[-FEWEST_RISING] + 1, part_ms / 2)
    climbed = np.maximum(0.0, centre - bends[:, None])
    mean = climbed.mean(axis=1)
    sxx = (climbed**2).mean(axis=1) - mean**2
    sxy = (climbed * y).mean(axis=1) - mean * y.mean()
    at = int(np.argmax(np.where(sxy > 0.0, sxy**2 / sxx, 0.0)))
    slope = sxy[at] / sxx[at]
    level = float(y.mean() - slope * mean[at])
    away = y - level - slope * climbed[at]
    return Rise(int(bends[at]), level, float(np.abs(away).max())), float(np.sqrt((away**2).mean()))
