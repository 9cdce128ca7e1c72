"""The Numenta Anomaly Benchmark's score, from its description.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms: the Numenta Anomaly Benchmark" (ICMLA 2015), section II: in
every labelled window the earliest detection earns a reward that falls as a sigmoid from the window's left end to its right; a
window without one costs a false negative; a detection outside costs up to a false positive, less shortly after a window. The
first 15 % of a file (at most of 5,000 rows) are probation: nothing there counts. Sums over all files are set between those of a
detector that says nothing (0) and a perfect one (100). One threshold holds for all files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

PROBATION_SHARE: Final = 0.15
PROBATION_OF_ROWS: Final = 5000
#: Further than so many widths behind a window a detection costs all.
_FAR: Final = 3.0


class Profile(NamedTuple):
    """What a detection in a window earns, one outside costs, a missed window costs."""

    hit: float
    false: float
    missed: float


PROFILES: Final = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """What of a file counts, without probation. rows: which; window i64 (−1 outside); worth: 0 … 1 within, −1 … 0 outside."""

    rows: Int64
    window: Int64
    worth: Float64


class Best(NamedTuple):
    """The threshold with the highest score, and that score (0 … 100, or below)."""

    threshold: float
    score: float


def sigmoid(position: Float64) -> Float64:
    """1 far before, 0 at, −1 far behind a window's right end; `position` in widths of the window."""
    falling = 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, _FAR))) - 1.0
    return np.where(position > _FAR, -1.0, falling)


def labelled(stamps: NDArray[np.datetime64], windows: Sequence[tuple[np.datetime64, np.datetime64]]) -> Labelled:
    """A file's rows that count, from the stamps of its rows and the first and last stamp of each window in order of time.

    Raises: ValueError for a window that begins or ends at no row.
    """
    n = len(stamps)
    window, worth = np.full(n, -1), np.full(n, -1.0)
    free = 0
    for number, (first, last) in enumerate(windows):
        starts, ends = np.flatnonzero(stamps == first), np.flatnonzero(stamps == last)
        if not len(ends) or not len(starts) or starts[-1] < free:
            raise ValueError(f"a window from {first} to {last} begins or ends at no row")
        begin, end = int(starts[starts >= free][0]), int(ends[0])
        width = float(end - int(starts[0]) + 1)
        inside, behind = np.arange(begin, end + 1), np.arange(end + 1, n)
        window[inside] = number
        worth[inside] = sigmoid((inside - (end + 1)) / width) / float(sigmoid(np.array(-1.0)))
        worth[behind] = sigmoid((behind - end) / (width - 1.0)) if width > 1 else -1.0
        free = end + 1
    probation = int(PROBATION_SHARE * min(n, PROBATION_OF_ROWS))
    rows = np.arange(probation, n)
    return Labelled(rows, window[rows], worth[rows])


class Corpus:
    """The rows that count of several files, one after the other; `file` i64, `window` i64 and `worth` f64 of each."""

    def __init__(self, files: Sequence[Labelled]) -> None:
        counts = [int(one.window.max(initial=-1)) + 1 for one in files]
        offsets = np.cumsum([0, *counts])[:-1]
        shifted = [np.where(one.window < 0, -1, one.window + off) for one, off in zip(files, offsets, strict=True)]
        self._rows = [one.rows for one in files]
        self.file = np.repeat(np.arange(len(files)), [len(one.rows) for one in files])
        self.window = np.concatenate(shifted)
        self.worth = np.concatenate([one.worth for one in files])

    def flat(self, scores: Sequence[Float64]) -> Float64:
        """A detector's scores of whole files as one array over the rows that count."""
        return np.concatenate([of[rows] for of, rows in zip(scores, self._rows, strict=True)])

    def total(
        self, scores: Float64, profile: Profile, threshold: float, files: NDArray[np.bool_] | None = None
    ) -> float:
        """The sum of some files (all) at a threshold, before it is set between none and perfect."""
        level, gain = self._gains(scores, profile, files)
        return float(gain[level >= threshold].sum()) - profile.missed * self.windows(files)

    def score(
        self, scores: Float64, profile: Profile, threshold: float, files: NDArray[np.bool_] | None = None
    ) -> float:
        """0 for silence, 100 for perfection, at a threshold."""
        return self.normalised(self.total(scores, profile, threshold, files), profile, files)

    def best(self, scores: Float64, profile: Profile, files: NDArray[np.bool_] | None = None) -> Best:
        """The highest score over all thresholds."""
        level, gain = self._gains(scores, profile, files)
        order = np.argsort(-level, kind="stable")
        level, sums = level[order], np.append(0.0, np.cumsum(gain[order]))
        # One threshold takes all rows of the same score; at none of them the sum is 0.
        ends = np.append(0, np.flatnonzero(np.append(level[1:] != level[:-1], True)[: len(level)]) + 1)
        top = int(ends[np.argmax(sums[ends])])
        total = float(sums[top]) - profile.missed * self.windows(files)
        return Best(float(level[top - 1]) if top else np.inf, self.normalised(total, profile, files))

    def normalised(self, total: float, profile: Profile, files: NDArray[np.bool_] | None = None) -> float:
        """A sum between those of silence and perfection; NaN without any window."""
        windows = self.windows(files)
        silence, perfect = -profile.missed * windows, profile.hit * windows
        return 100.0 * (total - silence) / (perfect - silence) if windows else float("nan")

    def windows(self, files: NDArray[np.bool_] | None = None) -> int:
        """How many windows there are to be found."""
        window = self.window if files is None else self.window[files[self.file]]
        return len(np.unique(window[window >= 0]))

    def _gains(self, scores: Float64, profile: Profile, files: NDArray[np.bool_] | None) -> tuple[Float64, Float64]:
        """Scores, and what the sum gains as soon as the threshold is at or below each."""
        chosen = np.ones(len(scores), bool) if files is None else files[self.file]
        s, window, worth = scores[chosen], self.window[chosen], self.worth[chosen]
        outside = window < 0
        levels, gains = [s[outside]], [profile.false * worth[outside]]
        # Within a window the earliest row at or above the threshold counts: those are the records of the running maximum,
        # and with each lower record the reward goes from the later row's to the earlier one's.
        inside = np.flatnonzero(~outside)
        for rows in np.split(inside, np.flatnonzero(np.diff(window[inside])) + 1):
            if len(rows):
                before = np.concatenate(([-np.inf], np.maximum.accumulate(s[rows])[:-1]))
                records = rows[s[rows] > before]
                reward = profile.hit * worth[records]
                levels.append(s[records])
                gains.append(reward - np.append(reward[1:], -profile.missed))
        return np.concatenate(levels), np.concatenate(gains)
