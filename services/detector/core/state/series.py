"""Everything that is kept of one series (one tool of one server), and how calls get into it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels import absorb, errors, judge
from services.detector.core.kernels.fold import MOMENTS
from services.detector.core.metrics import HISTORY_MS, METRICS, MINUTE_MS, QUARTER_MS
from services.detector.core.signal.pending import SLOTS
from services.detector.core.state.budget import OBJECTS_BYTES, Budget
from services.detector.core.state.calls import Calls
from services.detector.core.state.histograms import FIRST_QUARTERS, Histograms
from services.detector.core.state.rows import SortedRows
from services.detector.core.state.signals import Signals
from shared.batch import Series

#: Minutes kept: a day and slack.
MAX_MINUTES: Final = HISTORY_MS // MINUTE_MS + 96
_FIRST_MINUTES: Final = 4
#: History is saved in chunks of this many minutes.
CHUNK_MINUTES: Final = 30
CHUNK_MS: Final = CHUNK_MINUTES * MINUTE_MS
HOUR_MS: Final = 60 * MINUTE_MS
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


class Work:
    """Room that the kernel works in, the same for all series: `rows` i64[3, ≥ calls], `out`."""

    def __init__(self, calls: int = 1_024) -> None:
        self.rows = np.zeros((3, calls), np.int64)
        self.out = np.zeros((_OUT_ROWS, absorb.HAPPENING))

    def fit(self, calls: int) -> None:
        """Have room for so many calls of a series."""
        if self.rows.shape[1] < calls:
            self.rows = np.zeros((3, 2 * calls), np.int64)


class SeriesState:
    """O(1) bytes; see `state.budget` for how many. `tracks` f64[metrics, judge.SIZE], `run` f64[errors.SIZE]."""

    __slots__ = (
        "budget",
        "calls",
        "calls_total",
        "dirty",
        "dirty_chunks",
        "first_ts",
        "histograms",
        "hour",
        "key",
        "minutes",
        "newest_ts",
        "number",
        "row",
        "run",
        "signals",
        "tracks",
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
        moments = np.zeros((_FIRST_MINUTES, metrics, MOMENTS))
        self.minutes = SortedRows([moments, np.zeros(_FIRST_MINUTES)], MAX_MINUTES, MAX_MINUTES, budget)
        self.histograms = Histograms(metrics, budget)
        self.tracks: NDArray[np.float64] = np.zeros((metrics, judge.SIZE))
        self.run: NDArray[np.float64] = np.zeros(errors.SIZE)
        #: The hour (since 1970) whose usual values the bands follow.
        self.hour = -1
        self.first_ts = -1
        self.newest_ts = -1
        self.calls_total = 0
        self.dirty = True
        self.dirty_chunks: set[int] = set()
        self.budget.force(OBJECTS_BYTES + self.size_bytes)

    @property
    def metrics(self) -> int:
        """How many of METRICS are kept: 1, or all once a resource was measured."""
        return len(self.tracks)

    @property
    def moments(self) -> NDArray[np.float64]:
        """f64[minutes, metrics, MOMENTS] of the filled minutes."""
        moments: NDArray[np.float64] = self.minutes.columns[0][: self.minutes.filled]
        return moments

    @property
    def failures(self) -> NDArray[np.float64]:
        """f64[minutes]: failed calls of the filled minutes."""
        failures: NDArray[np.float64] = self.minutes.columns[1][: self.minutes.filled]
        return failures

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        parts = (self.calls.size_bytes, self.minutes.size_bytes, self.histograms.size_bytes)
        return sum(parts) + self.tracks.nbytes + self.run.nbytes

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
        minutes, hists, kept = self.minutes, self.histograms, self.calls
        stage, row = absorb.NEW, 0
        while stage != absorb.DONE:
            found, stage, row, earliest, latest, filled, following, dropped_ts = absorb.absorb(
                calls.ts,
                calls.x,
                calls.ok,
                first,
                end,
                stage,
                row,
                minutes.index,
                minutes.filled,
                minutes.columns[0],
                minutes.columns[1],
                hists.quarters.index,
                hists.quarters.filled,
                hists.counts,
                hists.starts,
                hists.lows,
                hists.fits,
                hists.base,
                self.tracks,
                self.run,
                kept.ts,
                kept.x,
                kept.ok,
                kept.filled,
                kept.following,
                self.signals.pending,
                self.row,
                MARGINS,
                work.rows,
                work.out,
            )
            if found == absorb.GROW:
                end = first + self._piece(calls.ts[first : min(end, first + _PIECE_CALLS)], end - first)
                self._grow(calls.ts[first:end], calls.x[:, first:end])
                continue
            if latest >= 0:
                kept.kept(filled, following, dropped_ts)
                self._note(earliest, latest, end - first)
            yield from work.out[:found]
        return end - first

    def _note(self, earliest: int, latest: int, calls: int) -> None:
        """Note what is changed by calls that were folded in."""
        first, last = earliest // CHUNK_MS, latest // CHUNK_MS
        self.dirty_chunks.add(last)
        # A span of many chunks has made its minutes in `_grow`, which noted them.
        if first != last:
            self.dirty_chunks.add(first)
        self.first_ts = earliest if self.first_ts < 0 else min(self.first_ts, earliest)
        self.newest_ts = max(self.newest_ts, latest)
        self.calls_total += calls
        self.dirty = True

    def widen(self) -> None:
        """Begin to keep resources."""
        before = self.size_bytes
        metrics = len(METRICS)
        self.calls.widen(metrics)
        moments = np.zeros((len(self.minutes.index), metrics, MOMENTS))
        moments[:, :1] = self.minutes.columns[0]
        self.minutes.columns[0] = moments
        self.histograms.widen(metrics)
        tracks = np.zeros((metrics, judge.SIZE))
        tracks[:1] = self.tracks
        self.tracks = tracks
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
            self.tracks[metric, judge.SEASON] = min(self.signals.season(self.row, metric, hour % 24), MOST_SEASON)

    def _grow(self, ts: NDArray[np.int64], x: NDArray[np.float64]) -> None:
        """Make room for calls: for their metrics, minutes, quarter hours and bins, and among the latest calls."""
        if self.metrics == 1 and len(x) > 1 and np.isfinite(x[1:]).any():
            self.widen()
        self.calls.make_room(len(ts))
        minutes = _unique(ts // MINUTE_MS)
        self.minutes.make_room(minutes)
        self.histograms.quarters.make_room(_unique(minutes * MINUTE_MS // QUARTER_MS))
        if len(minutes) == 1:
            self.dirty_chunks.add(int(minutes[0]) // CHUNK_MINUTES)
        else:
            self.dirty_chunks.update((minutes // CHUNK_MINUTES).tolist())
        self.signals.claim(self.row, minutes.tolist())
        hour = int(minutes[-1]) * MINUTE_MS // HOUR_MS
        if hour != self.hour:
            self._turn_hour(hour)
        for metric in range(min(self.metrics, len(x))):
            finite = x[metric][np.isfinite(x[metric])]
            if len(finite):
                self.histograms.make_bins(metric, float(finite.min()), float(finite.max()))


def _unique(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The keys ascending, each once; mostly there is but one."""
    return keys[:1] if keys[0] == keys[-1] and (len(keys) < 3 or not (keys != keys[0]).any()) else np.unique(keys)
