"""Everything that is kept of one series (one tool of one server), and how calls get into it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import cache
from operator import is_
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels import absorb, baseline, errors, judge
from services.detector.core.kernels.error_mixture import LEVEL, PHASE, USUAL
from services.detector.core.kernels.fold import MOMENTS
from services.detector.core.metrics import HISTORY_MS, METRICS, MINUTE_MS, QUARTER_MS, STORED_LEVEL
from services.detector.core.signal.pending import SLOTS
from services.detector.core.state.budget import OBJECTS_BYTES, Budget
from services.detector.core.state.calls import Calls
from services.detector.core.state.histograms import FIRST_QUARTERS, MAX_QUARTERS, Histograms
from services.detector.core.state.rows import Layout, SortedRows
from services.detector.core.state.signals import Signals
from shared.batch import Series

#: Minutes kept: a day and slack.
MAX_MINUTES: Final = HISTORY_MS // MINUTE_MS + 96
_FIRST_MINUTES: Final = 2
#: History is saved in chunks of this many minutes.
CHUNK_MINUTES: Final = 30
CHUNK_MS: Final = CHUNK_MINUTES * MINUTE_MS
HOUR_MS: Final = 60 * MINUTE_MS
#: A series is saved in chunks of time; so many can have changed since it was.
_CHUNKS: Final = MAX_MINUTES // CHUNK_MINUTES + 2
#: Most rows and how many of them are wanted, of minutes and of quarter hours.
_LIMITS: Final = np.array([MAX_MINUTES, MAX_MINUTES, MAX_QUARTERS, MAX_QUARTERS])
_TRACKS_BYTES: Final = 8 * judge.SIZE
#: The time of day raises a band by this much at most.
MOST_SEASON: Final = 3.0


#: Margins of METRICS, f64[metrics, 2]: ratio and excess.
MARGINS: Final = np.array([(metric.margin_ratio, metric.margin_excess) for metric in METRICS])
#: Happenings taken from the kernel at once; it is called again while there are more.
_OUT_ROWS: Final = 32
#: Calls folded in at once when they are from more minutes than can be under way; and fewest, however disordered they are.
_PIECE_CALLS: Final = 16_384
_FEWEST_CALLS: Final = 64


class SortedCalls(NamedTuple):
    """Calls of many series, one series after the other: ts i64[n], x f64[1 or 4, n], ok u8[n]."""

    ts: NDArray[np.int64]
    x: NDArray[np.float64]
    ok: NDArray[np.uint8]


#: Blocks of memory of a series, and the arrays in them: where among these the failures' row is.
_RUN: Final = 9
AtHand = tuple[tuple[bytearray, ...], tuple[NDArray[Any], ...]]


class Work:
    """Room that the kernel works in, the same for all series: `rows` i64[3, ≥ calls], `out`. `keep`: series are so few that each
    may keep its arrays at hand.
    """

    def __init__(self, calls: int = 1_024) -> None:
        self.keep = False
        self.rows = np.zeros((3, calls), np.int64)
        self.out = np.zeros((_OUT_ROWS, absorb.HAPPENING))

    def fit(self, calls: int) -> None:
        """Have room for so many calls of a series."""
        if self.rows.shape[1] < calls:
            self.rows = np.zeros((3, 2 * calls), np.int64)


class SeriesState:
    """O(1) bytes; see `state.budget` for how many. Its parts are blocks of memory, of which arrays are views for now."""

    __slots__ = (
        "at_hand",
        "begun",
        "begun_minute",
        "budget",
        "calls",
        "calls_total",
        "changed_chunks",
        "dirty",
        "first_ts",
        "histograms",
        "hour",
        "key",
        "minutes",
        "newest_ts",
        "number",
        "room",
        "row",
        "signals",
    )

    def __init__(
        self, key: Series, number: int, budget: Budget, metrics: int = 1, signals: Signals | None = None
    ) -> None:
        """`signals`: where the series' minutes under way and signals are kept, with those of others."""
        self.key = key
        self.signals = Signals(budget) if signals is None else signals
        self.row = self.signals.add()
        #: The name of this series in the database.
        self.number = number
        self.budget = budget
        self.calls = Calls(metrics, budget)
        self.minutes = SortedRows(_FIRST_MINUTES, _layout(metrics), MAX_MINUTES, MAX_MINUTES, budget)
        self.histograms = Histograms(metrics, budget)
        self.room = bytearray(metrics * _TRACKS_BYTES + 8 * errors.SIZE)
        #: The hour (since 1970) whose usual values the bands follow.
        self.hour = -1
        self.first_ts = -1
        self.newest_ts = -1
        self.calls_total = 0
        #: The latest minute with calls, its usual rate of failures and whether there was an event of them when it began.
        self.begun_minute = -1
        self.begun = (0.0, False)
        self.dirty = True
        #: The blocks of memory and the arrays in them, where these are kept.
        self.at_hand: AtHand | None = None
        #: Bit n: the latest chunk whose number is n modulo _CHUNKS has changed since the series was saved.
        self.changed_chunks = 0
        self.budget.force(OBJECTS_BYTES + self.size_bytes)

    @property
    def metrics(self) -> int:
        """How many of METRICS are kept: 1, or all once a resource was measured."""
        return self.calls.metrics

    @property
    def tracks(self) -> NDArray[np.float64]:
        """f64[metrics, judge.SIZE], a view."""
        return np.ndarray((self.calls.metrics, judge.SIZE), np.float64, self.room)

    @property
    def run(self) -> NDArray[np.float64]:
        """f64[errors.SIZE], a view."""
        at_hand = self.at_hand
        if at_hand is not None and at_hand[0][-1] is self.room:
            run: NDArray[np.float64] = at_hand[1][_RUN]
            return run
        return np.ndarray(errors.SIZE, np.float64, self.room, self.calls.metrics * _TRACKS_BYTES)

    @property
    def moments(self) -> NDArray[np.float64]:
        """f64[minutes, metrics, MOMENTS] of the filled minutes."""
        moments: NDArray[np.float64] = self.minutes.column(0)[: self.minutes.filled]
        return moments

    @property
    def failures(self) -> NDArray[np.float64]:
        """f64[minutes]: failed calls of the filled minutes."""
        failures: NDArray[np.float64] = self.minutes.column(1)[: self.minutes.filled]
        return failures

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        parts = (self.calls.size_bytes, self.minutes.size_bytes, self.histograms.size_bytes)
        return sum(parts) + len(self.room)

    @property
    def dirty_chunks(self) -> list[int]:
        """The chunks of history that changed since the series was saved, ascending."""
        newest = self.newest_ts // CHUNK_MS
        return [
            chunk for chunk in range(newest - _CHUNKS + 1, newest + 1) if self.changed_chunks >> chunk % _CHUNKS & 1
        ]

    def at_beginning(self, minute: int) -> tuple[float, bool]:
        """The usual rate of failures, and whether there is a stored event of them, when a minute began: asked before its first
        call is absorbed. Of an earlier one what was so when the latest began.
        """
        if minute > self.begun_minute:
            run = self.run
            self.begun_minute, self.begun = minute, (float(run[USUAL]), has_event(run))
        return self.begun

    def all_changed(self) -> None:
        """All history is to be saved with the next save."""
        self.changed_chunks = (1 << _CHUNKS) - 1

    def saved(self) -> None:
        """What is here is on disk as well."""
        self.dirty = False
        self.changed_chunks = 0

    def absorb(self, calls: SortedCalls, first: int, end: int, work: Work) -> Iterator[NDArray[np.float64]]:
        """Fold calls `first` … `end` − 1 in (in order of arrival) and judge them. Yields what happened, rows
        f64[absorb.HAPPENING] that are good until the next one.
        """
        while first < end:
            piece = yield from self._absorb(calls, first, end, work)
            first += piece

    def _absorb(
        self, calls: SortedCalls, first: int, end: int, work: Work
    ) -> Generator[NDArray[np.float64], None, int]:
        """Likewise with as many of the calls as the minutes under way can take; how many these were."""
        stage, row = absorb.NEW, 0
        hour = int(calls.ts[end - 1]) // HOUR_MS
        if hour > self.hour >= 0:
            self._turn_hour(hour)
        while stage != absorb.DONE:
            minutes, hists, kept = self.minutes, self.histograms, self.calls
            quarters, arrays = hists.quarters, self._arrays(keep=work.keep)
            found, stage, row, earliest, latest, filled, following, dropped_ts, *rows = absorb.absorb(
                calls.ts,
                calls.x,
                calls.ok,
                first,
                end,
                stage,
                row,
                arrays[0],
                minutes.filled,
                minutes.forgotten,
                arrays[1],
                arrays[2],
                arrays[3],
                quarters.filled,
                quarters.forgotten,
                arrays[4],
                arrays[5],
                arrays[6],
                arrays[7],
                arrays[8],
                arrays[9],
                arrays[10],
                arrays[11],
                arrays[12],
                kept.filled,
                kept.following,
                self.signals.pending,
                self.signals.heads,
                self.row,
                self.hour,
                self.budget.spare_bytes,
                _LIMITS,
                MARGINS,
                work.rows,
                work.out,
            )
            minutes.filled, minutes.forgotten, quarters.filled, quarters.forgotten = rows
            if found == absorb.GROW:
                end = first + self._piece(calls.ts[first : min(end, first + _PIECE_CALLS)], end - first)
                self._grow(calls.ts[first:end], calls.x[:, first:end])
                continue
            if latest >= 0:
                kept.kept(filled, following, dropped_ts)
                self._note(earliest, latest, end - first)
            if found:
                yield from work.out[:found]
        return end - first

    def _arrays(self, *, keep: bool) -> tuple[NDArray[Any], ...]:
        """All arrays in the order in which the kernel takes them. To make them takes longer than to look whether they are still
        those of today's blocks, and kept they take two thousand bytes.
        """
        calls, minutes, hists, at_hand = self.calls, self.minutes, self.histograms, self.at_hand
        blocks = (calls.room, minutes.room, hists.quarters.room, hists.room, self.room)
        if at_hand is not None and all(map(is_, at_hand[0], blocks)):
            return at_hand[1]
        arrays = (*minutes.views(), *hists.quarters.views(), *hists.views(), self.tracks, self.run, *calls.views())
        self.at_hand = (blocks, arrays) if keep else None
        return arrays

    def _note(self, earliest: int, latest: int, calls: int) -> None:
        """Note what is changed by calls that were folded in."""
        # A span of many chunks has made its minutes in `_grow`, which noted them.
        self.changed_chunks |= 1 << latest // CHUNK_MS % _CHUNKS | 1 << earliest // CHUNK_MS % _CHUNKS
        self.first_ts = earliest if self.first_ts < 0 else min(self.first_ts, earliest)
        self.newest_ts = max(self.newest_ts, latest)
        self.calls_total += calls
        self.dirty = True

    def widen(self) -> None:
        """Begin to keep resources."""
        before, metrics = self.size_bytes, len(METRICS)
        tracks, run = self.tracks, self.run
        self.calls.widen(metrics)
        self.room = bytearray(metrics * _TRACKS_BYTES + 8 * errors.SIZE)
        self.tracks[:1], self.run[:] = tracks, run
        moments, failures = self.minutes.lay_out(_layout(metrics))
        self.minutes.column(0)[:, :1], self.minutes.column(1)[:] = moments, failures
        self.histograms.widen(metrics)
        self.budget.force(self.size_bytes - before)

    def halve(self) -> int:
        """Give half of the history's room back, its oldest part with it; how many bytes that were."""
        before = self.size_bytes
        self.calls.halve()
        self.minutes.halve(_FIRST_MINUTES)
        self.histograms.quarters.halve(FIRST_QUARTERS)
        return before - self.size_bytes

    def forget(self) -> None:
        """Give all room back: the series goes."""
        self.budget.force(-OBJECTS_BYTES - self.size_bytes)
        self.signals.drop(self.row)

    def since(self) -> int:
        """From when on history is whole: the first call ever, or the first after what was forgotten."""
        forgotten = self.minutes.forgotten
        oldest = self.first_ts if forgotten < 0 else (forgotten + 1) * MINUTE_MS
        return max(oldest, self.newest_ts - HISTORY_MS)

    @staticmethod
    def _piece(ts: NDArray[np.int64], calls: int) -> int:
        """How many of the next calls the minutes under way can take; `ts` of the first of them."""
        minutes = ts // MINUTE_MS
        beyond = np.abs(minutes - minutes[0]) >= SLOTS - 1
        at = int(np.argmax(beyond))
        if not beyond[at]:
            return len(ts)
        disordered = at < _FEWEST_CALLS and bool(np.any(np.diff(minutes[:_FEWEST_CALLS]) < 0))
        return min(calls, _FEWEST_CALLS) if disordered else at

    def _turn_hour(self, hour: int) -> None:
        """Have the bands follow the time of day."""
        self.hour = hour
        for metric in range(self.metrics):
            self.tracks[metric, baseline.SEASON] = min(self.signals.season(self.row, metric, hour % 24), MOST_SEASON)

    def _grow(self, ts: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        """Make room for calls: for their metrics, minutes, quarter hours and bins, and among the latest calls."""
        if self.metrics == 1 and len(x) > 1 and np.isfinite(x[1:]).any():
            self.widen()
        self.calls.make_room(len(ts))
        minutes = _unique(ts // MINUTE_MS)
        self.minutes.make_room(minutes)
        self.histograms.quarters.make_room(_unique(minutes * MINUTE_MS // QUARTER_MS))
        for chunk in _unique(minutes // CHUNK_MINUTES).tolist():
            self.changed_chunks |= 1 << chunk % _CHUNKS
        self.signals.claim(self.row, minutes.tolist())
        hour = int(minutes[-1]) * MINUTE_MS // HOUR_MS
        if hour != self.hour:
            self._turn_hour(hour)
        for metric in range(min(self.metrics, len(x))):
            finite = x[metric][np.isfinite(x[metric])]
            if len(finite):
                self.histograms.make_bins(metric, float(finite.min()), float(finite.max()))


@cache
def _layout(metrics: int) -> Layout:
    """Of the minutes' table: moments and failures."""
    return (np.float64, (metrics, MOMENTS)), (np.float64, ())


def _unique(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The keys ascending, each once; mostly there is but one."""
    return keys[:1] if keys[0] == keys[-1] and (len(keys) < 3 or not (keys != keys[0]).any()) else np.unique(keys)


def has_event(run: NDArray[np.float64]) -> bool:
    """Whether a row of failures shows an event that is stored."""
    return bool(run[PHASE] == judge.OPEN and run[LEVEL] >= STORED_LEVEL)
