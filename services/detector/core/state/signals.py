"""The signals of all series: their minutes under way, scorers' states and courses, in few large arrays.

Large, so that one kernel call closes a minute of all series. A series has a row of `pending`, `heads` and `places`; each of its
signals takes a row of `states` and `tracks` when it is first measured. Arrays grow; nobody may keep a view.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.core.signal import course, minutes, scorer
from services.detector.core.signal.course import SIGNALS
from services.detector.core.signal.pending import LATE_MINUTES, MINUTE, SLOTS, WIDTH
from services.detector.core.state.breaks import Breaks
from services.detector.core.state.budget import Budget

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

#: A minute without calls counts as such when it has been over for this long: some report in batches.
SILENT_MINUTES: Final = 10
#: Arrays grow by half; what is not used yet is not touched and takes no memory.
_GROWTH: Final = 1.5
_FIRST_ROWS: Final = 2
#: Bytes of a series, and of each of its signals.
_SERIES_BYTES: Final = 8 * (minutes.HEADS + SLOTS * WIDTH + SIGNALS)
_SIGNAL_BYTES: Final = 4 * scorer.SIZE + 8 * course.SIZE + 8
#: Time and points of an hour after which it is known what is usual in it.
_DAY_S: Final = 86_400.0
_SEASON_POINTS: Final = 20.0
#: No series is held back.
NONE_HELD: Final[Mapping[int, int]] = MappingProxyType({})
#: Happenings taken from the kernel at once.
_OUT_ROWS: Final = 64


class Point(NamedTuple):
    """A happening in a signal: row of the series, signal, kind (`course`), the track at that moment."""

    row: int
    signal: int
    kind: float
    track: Float64


class Signals:
    """Rows handed out and taken back; what is in them is the kernels'."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.heads: Int64 = np.zeros((0, minutes.HEADS), np.int64)
        self.pending: Float64 = np.zeros((0, SLOTS, WIDTH))
        self.places: Int64 = np.zeros((0, SIGNALS), np.int64)
        self.states: Float32 = np.zeros((0, scorer.SIZE), np.float32)
        self.tracks: Float64 = np.zeros((0, course.SIZE))
        #: `minutes.USED` and `minutes.SPARE`; the rows of states that were given back.
        self.counts: Int64 = np.zeros(2, np.int64)
        self.spare: Int64 = np.zeros(0, np.int64)
        #: Series rows in use or once used, and those given back.
        self.rows = 0
        self._free: list[int] = []
        #: What happened since it was last asked for.
        self.found: list[Point] = []
        self.breaks = Breaks()
        self._out = np.zeros((_OUT_ROWS, minutes.HAPPENING))

    @property
    def size_bytes(self) -> int:
        """Bytes in use."""
        used = int(self.counts[minutes.USED] - self.counts[minutes.SPARE])
        return (self.rows - len(self._free)) * _SERIES_BYTES + used * _SIGNAL_BYTES

    def add(self) -> int:
        """A row for a new series."""
        self.budget.force(_SERIES_BYTES)
        if self._free:
            return self._free.pop()
        if self.rows == len(self.heads):
            capacity = max(_FIRST_ROWS, int(len(self.heads) * _GROWTH) + 1)
            self.heads = _grown(self.heads, capacity, -1)
            self.pending = _grown(self.pending, capacity)
            self.places = _grown(self.places, capacity, -1)
        self.rows += 1
        return self.rows - 1

    def drop(self, row: int) -> None:
        """Take the rows of a series back."""
        for place in self.places[row][self.places[row] >= 0].tolist():
            self.states[place], self.tracks[place] = 0.0, 0.0
            self.spare[self.counts[minutes.SPARE]] = place
            self.counts[minutes.SPARE] += 1
            self.budget.force(-_SIGNAL_BYTES)
        self.budget.force(-_SERIES_BYTES)
        self.places[row], self.heads[row], self.pending[row] = -1, -1, 0.0
        self._free.append(row)

    def claim(self, row: int, wanted: list[int]) -> None:
        """Open minutes (ascending) for calls; those that have to go for it are judged."""
        judged = int(self.heads[row, minutes.JUDGED])
        for minute in wanted[-SLOTS:]:
            slot = self.pending[row, minute % SLOTS]
            there = int(slot[MINUTE])
            if minute <= judged or there >= minute:
                continue
            if there:
                self._close(row, row + 1, there, there)
                judged = there
                slot = self.pending[row, minute % SLOTS]
            slot[MINUTE] = minute

    def close(self, newest_minute: int, held: Mapping[int, int] = NONE_HELD) -> None:
        """Judge what is over when `newest_minute` has begun, of all series; `held`: by row, those with another newest one."""
        first = 0
        for row in sorted(held):
            self._close_until(first, row, newest_minute)
            self._close_until(row, row + 1, held[row])
            first = row + 1
        self._close_until(first, self.rows, newest_minute)

    def take(self) -> list[Point]:
        """What happened since the last time."""
        found, self.found = self.found, []
        return found

    def signal(self, row: int, number: int) -> tuple[Float32, Float64] | None:
        """State and track of a signal, views for now; None when it was never measured."""
        place = int(self.places[row, number])
        return None if place < 0 else (self.states[place], self.tracks[place])

    def usual(self, row: int, number: int, hour: int) -> float:
        """What is usual of a signal in an hour of the day (UTC); 0 when that is not known yet."""
        means = self._of_hours(row, number, hour)
        return 0.0 if means is None else float(means[hour])

    def season(self, row: int, number: int, hour: int) -> float:
        """How many times what is usual over the day is usual in an hour of the day (UTC); 0 when that is not known yet."""
        means = self._of_hours(row, number, hour)
        if means is None:
            return 0.0
        over_day = float(means[means > 0].mean()) if (means > 0).any() else 0.0
        return float(means[hour]) / over_day if over_day > 0 else 0.0

    def _of_hours(self, row: int, number: int, hour: int) -> Float32 | None:
        """f32[24] of the hours' means, 0 where there were no points; None unless this hour's is known."""
        kept = self.signal(row, number)
        if kept is None or kept[0][scorer.LAST_S] - kept[0][scorer.FIRST_S] < _DAY_S:
            return None
        counts = kept[0][scorer.HOUR_COUNT : scorer.HOUR_COUNT + 24]
        if counts[hour] < _SEASON_POINTS:
            return None
        means: Float32 = np.where(counts > 0, kept[0][scorer.HOUR_MEAN : scorer.HOUR_MEAN + 24], np.float32(0.0))
        return means

    def wandering(self, row: int, number: int) -> tuple[float, float] | None:
        """(usual value, deviation of an hour's mean from it) of a signal known for a day; None of others."""
        kept = self.signal(row, number)
        if kept is None or kept[0][scorer.LAST_S] - kept[0][scorer.FIRST_S] < _DAY_S:
            return None
        width = (scorer.HOUR_MEAN - scorer.STREAM) // len(scorer.PARTS)
        variance = kept[0][scorer.STREAM + width * scorer.PARTS.index("shift") + 1]
        return float(kept[0][scorer.STREAM]), float(np.sqrt(max(variance, 0.0)))

    def export(self, row: int) -> dict[str, Any]:
        """All that is known of a series' signals, as bytes."""
        places = self.places[row]
        chosen = places[places >= 0]
        return {
            "size": scorer.SIZE,
            "heads": self.heads[row].tolist(),
            "pending": self.pending[row].tobytes(),
            "has": np.flatnonzero(places >= 0).tolist(),
            "states": self.states[chosen].tobytes(),
            "tracks": self.tracks[chosen].tobytes(),
        }

    def restore_minutes(self, row: int, heads: list[int], pending: Float64) -> None:
        """Put a series' minutes under way back."""
        self.heads[row], self.pending[row] = heads, pending

    def restore(self, row: int, has: list[int], states: Float32, tracks: Float64) -> None:
        """Put back the signals that a series has."""
        first, end = int(self.counts[minutes.USED]), int(self.counts[minutes.USED]) + len(has)
        while end > len(self.states):
            self._grow_states()
        self.counts[minutes.USED] = end
        self.budget.force(len(has) * _SIGNAL_BYTES)
        self.places[row, has] = np.arange(first, end)
        self.states[first:end], self.tracks[first:end] = states, tracks

    def _close_until(self, first: int, end: int, newest_minute: int) -> None:
        self._close(first, end, newest_minute - LATE_MINUTES - 1, newest_minute - SILENT_MINUTES - 1)

    def _close(self, first: int, end: int, until: int, silent_until: int) -> None:
        before = int(self.counts[minutes.USED] - self.counts[minutes.SPARE])
        while first < end:
            found, first, more = minutes.close(
                first,
                end,
                until,
                silent_until,
                self.heads,
                self.pending,
                self.places,
                self.states,
                self.tracks,
                course.MARGINS,
                self.spare,
                self.counts,
                self._out,
            )
            self.found += [Point(int(o[0]), int(o[1]), float(o[2]), o[3:].copy()) for o in self._out[:found]]
            if more:
                self._grow_states()
        made = int(self.counts[minutes.USED] - self.counts[minutes.SPARE]) - before
        self.budget.force(made * _SIGNAL_BYTES)

    def _grow_states(self) -> None:
        capacity = max(SIGNALS, int(len(self.states) * _GROWTH) + 1)
        self.states, self.tracks = _grown(self.states, capacity), _grown(self.tracks, capacity)
        self.spare = _grown(self.spare, capacity)


def _grown(array: NDArray[Any], capacity: int, fill: int = 0) -> NDArray[Any]:
    """The array with more rows, on pages of its own: what is not touched takes no memory, what is given back leaves no hole."""
    shape = (capacity, *array.shape[1:])
    larger: NDArray[Any] = np.ndarray(shape, array.dtype, mmap.mmap(-1, math.prod(shape) * array.itemsize))
    larger[: len(array)] = array
    if fill:
        larger[len(array) :] = fill
    return larger
