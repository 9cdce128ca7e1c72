"""All series: routes a batch's calls to them and collects what the kernels saw happen.

Owns the set of series and its cap. Knows nothing of events' life (`events`), of words (`explain`) or of disks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perfmon.wire.limits import OVERFLOW_NAME
from services.detector.core.kernels import error_events, errors, judge
from services.detector.core.kernels.absorb import FAILURES as FAILURES_STAGE
from services.detector.core.kernels.absorb import sort_calls
from services.detector.core.kernels.error_mixture import LEVEL, START
from services.detector.core.metrics import ERROR_RATE_SPIKE, HISTORY_MS, METRICS, MINUTE_MS, STORED_LEVEL
from services.detector.core.reach import Reach
from services.detector.core.servers import Servers
from services.detector.core.signal import course
from services.detector.core.state.budget import Budget
from services.detector.core.state.series import SeriesState, SortedCalls, Work
from services.detector.core.state.signals import Point, Signals
from shared.batch import Batch, Series

#: A column that was not measured.
_NOTHING: Final = np.empty(0)


#: Series of which each keeps its arrays at hand, two thousand bytes.
MOST_AT_HAND: Final = 1_000
#: How much more must be used before it is tried again when histories are as short as can be.
_WORSE_TIMES: Final = 1.05


class Happening(NamedTuple):
    """A kernel saw an event open, rise a level or close. `metric` indexes METRICS, −1 = failures; `kind` and `place` are
    those of `kernels.judge` (`kernels.errors` for failures).
    """

    series: SeriesState
    metric: int
    kind: float
    place: NDArray[np.float64]

    @property
    def type(self) -> str:
        """The anomaly type it is about."""
        return ERROR_RATE_SPIKE if self.metric < 0 else METRICS[self.metric].spike_type

    @property
    def start_ms(self) -> int:
        """When the event began."""
        return int(self.place[START if self.metric < 0 else judge.START])


def _pass_over(happening: Happening) -> None:
    pass


class Turn(NamedTuple):
    """A signal's anomaly opened, rose a level or closed: `signal`, `kind` and `track` are those of `signal.course`."""

    series: SeriesState
    signal: int
    kind: float
    track: NDArray[np.float64]


class Engine:
    """Series by name. At most `max_series` states; a new one beyond that takes the place of one silent for a day, else it is
    not watched, and counted.
    """

    def __init__(self, max_series: int, budget: Budget | None = None) -> None:
        self.series: dict[Series, SeriesState] = {}
        #: Watched tools by server.
        self.tools: Counter[str] = Counter()
        self.budget = budget or Budget()
        self.signals = Signals(self.budget)
        #: By their row among the signals.
        self._of_row: list[SeriesState | None] = []
        self._judged_minute = -1
        #: Servers of which a tool has a new event of its own since the last minute was over.
        self._explained: set[str] = set()
        self._least_bytes = 0
        self.servers = Servers(self._tools_of)
        self.reach = Reach()
        self.max_series = max_series
        self.unwatched_calls_total = 0
        self.calls_total = 0
        self.newest_ts = -1
        #: Numbers of series that went; their rows in the database go with the next save.
        self.gone: list[int] = []
        self._next_number = 1
        self._work = Work()

    def adopt(self, series: SeriesState) -> None:
        """Put a restored series in its place."""
        self.series[series.key] = series
        self._put(series)
        self.tools[series.key.server] += 1
        self._next_number = max(self._next_number, series.number + 1)
        self.newest_ts = max(self.newest_ts, series.newest_ts)

    def apply(
        self,
        batch: Batch,
        came_ms: int | None = None,
        *,
        live: bool = True,
        take: Callable[[Happening], None] = _pass_over,
    ) -> list[Happening]:
        """Fold a batch in; what happened, in order of series, then metric, then time: `take` takes each before the series is
        judged further. `came_ms`: when the last of it came, if that is known, and all of it if it is `live`.
        """
        happenings: list[Happening] = []
        if not len(batch):
            return happenings
        calls, ends = sort_batch(batch)
        newest_ts = self.newest_ts
        self._work.fit(int(np.diff(ends, prepend=0).max()))
        if any(key not in self.series for key in batch.dictionary):
            self._begin_new(batch, calls, ends)
        self._work.keep = len(self.series) <= MOST_AT_HAND
        first = 0
        watched: list[SeriesState | None] = [None] * len(batch.dictionary)
        rates, busy = np.zeros(len(batch.dictionary)), np.zeros(len(batch.dictionary), np.uint8)
        for code, (key, end) in enumerate(zip(batch.dictionary, ends.tolist(), strict=True)):
            if end == first:
                continue
            # What is counted together has no history of its own to be judged by.
            pooled = OVERFLOW_NAME in key
            series = None if pooled else self.series.get(key) or self._new(key, int(calls.ts[first:end].max()))
            if series is None:
                self.unwatched_calls_total += end - first
            else:
                watched[code] = series
                rates[code], busy[code] = series.at_beginning(int(calls.ts[first]) // MINUTE_MS)
                if came_ms is not None and live:
                    self.reach.note_tool(key.server, int(calls.ts[end - 1]), came_ms)
                for row in series.absorb(calls, first, end, self._work):
                    happenings.append(_happening(series, row))
                    take(happenings[-1])
                self.newest_ts = max(self.newest_ts, series.newest_ts)
            first = end
        if came_ms is not None:
            self.reach.note_all(int(calls.ts.max()), came_ms)
        self.calls_total += len(batch)
        self.signals.breaks.note(newest_ts, int(calls.ts.min()), self.newest_ts)
        for happening in happenings:
            if happening.metric < 0 and happening.kind == judge.OPENED and happening.place[LEVEL] >= STORED_LEVEL:
                self._explained.add(happening.series.key.server)
        self.servers.judge(batch, watched, rates, busy)
        return happenings

    def close_minutes(self, now_ms: int) -> None:
        """Judge the minutes that are over at a time, of all series; once a minute at most."""
        minute = now_ms // MINUTE_MS
        if minute > self._judged_minute:
            late = self.reach.held_back(now_ms)
            held = [series for series in self.series.values() if series.key.server in late] if late else ()
            reached = {series.row: self.reached(series, now_ms) // MINUTE_MS for series in held}
            self.signals.close(self.reach.of_all(now_ms) // MINUTE_MS, reached)
            self._judged_minute = minute
            self.make_room()

    def ask_servers(self, now_ms: int) -> None:
        """A minute is over: servers, of which no tool's event explains it, have an event if failures suffice for long."""
        for server in self._explained:
            self.servers.explained(server)
        self._explained.clear()
        self.servers.tick(now_ms, self.reach)

    def reached(self, series: SeriesState, now_ms: int) -> int:
        """Until when the calls of a series are known (epoch ms)."""
        return self.reach.of(series.key.server, series.newest_ts, now_ms)

    def take_turns(self) -> list[Turn]:
        """What happened in signals since the last time."""
        found = ((self._of_row[point.row], point) for point in self.signals.take())
        return [Turn(series, point.signal, point.kind, point.track) for series, point in found if series is not None]

    def forget_after(self, ts_ms: int) -> int:
        """Forget series whose newest call is later: they heard it under a clock that was set back since, and would take every
        call for a late one as long as it was ahead. How many went; they learn anew.
        """
        if self.newest_ts <= ts_ms:
            return 0
        ahead = [series for series in self.series.values() if series.newest_ts > ts_ms]
        for series in ahead:
            self._forget(series)
            self.servers.forget(series.key.server)
        self.newest_ts = max((series.newest_ts for series in self.series.values()), default=-1)
        self._judged_minute = -1
        return len(ahead)

    def close_silent(self, series: SeriesState, now_ms: int) -> list[Happening]:
        """Close what a series has heard nothing of for long, as far as the stream has come."""
        now_ms = self.reached(series, now_ms)
        happenings: list[Happening] = []
        for metric in range(series.metrics):
            track = series.tracks[metric]
            if track[judge.PHASE] != judge.OPEN:
                continue
            hists = series.histograms
            kind = judge.end_if_silent(float(now_ms), hists.base_of(metric), int(hists.lows[metric]), track)
            if kind:
                happenings.append(Happening(series, metric, kind, track.copy()))
        for number in range(course.SIGNALS):
            kept = self.signals.signal(series.row, number)
            if kept is not None and course.end_if_silent(float(now_ms), kept[1]):
                self.signals.found.append(Point(series.row, number, course.CLOSED_QUIET, kept[1].copy()))
        kind = error_events.end_if_silent(series.run, float(now_ms))
        if kind:
            happenings.append(Happening(series, -1, kind, series.run.copy()))
        series.dirty = series.dirty or bool(happenings)
        return happenings

    def _begin_new(self, batch: Batch, calls: SortedCalls, ends: NDArray[np.int64]) -> None:
        """Begin all new series of a batch, so that what they take is known before the histories of the first of them grow."""
        for key, first, end in zip(batch.dictionary, [0, *ends.tolist()], ends.tolist(), strict=False):
            if end > first and key not in self.series and OVERFLOW_NAME not in key:
                measured = len(calls.x) > 1 and bool(np.isfinite(calls.x[1:, first:end]).any())
                series = self._new(key, int(calls.ts[first:end].max()))
                if series is not None and measured:
                    series.widen()

    def _new(self, key: Series, ts_ms: int) -> SeriesState | None:
        if len(self.series) >= self.max_series and not self._evict(ts_ms):
            return None
        series = SeriesState(key, self._next_number, self.budget, signals=self.signals)
        self._next_number += 1
        self.series[key] = series
        self._put(series)
        self.tools[key.server] += 1
        return series

    def _put(self, series: SeriesState) -> None:
        self._of_row += [None] * (series.row + 1 - len(self._of_row))
        self._of_row[series.row] = series

    def make_room(self) -> int:
        """Have the longest histories forget their older halves when all series together take too much; bytes given back."""
        excess, given = self.budget.excess_bytes, 0
        if not excess or self.budget.used_bytes < self._least_bytes:
            return 0
        largest = sorted(self.series.values(), key=lambda series: series.size_bytes, reverse=True)
        before = -1
        while given > before:
            before = given
            for series in largest:
                if given >= excess:
                    return given
                given += series.halve()
        # All are as short as can be; there is no use in trying again soon.
        self._least_bytes = int(self.budget.used_bytes * _WORSE_TIMES)
        return given

    def _evict(self, ts_ms: int) -> bool:
        stalest = min(self.series.values(), key=lambda series: series.newest_ts)
        if stalest.newest_ts > ts_ms - HISTORY_MS:
            return False
        self._forget(stalest)
        return True

    def _forget(self, series: SeriesState) -> None:
        del self.series[series.key]
        self._of_row[series.row] = None
        series.forget()
        self.tools[series.key.server] -= 1
        self.gone.append(series.number)
        if not self.tools[series.key.server]:
            self.servers.forget(series.key.server)

    def _tools_of(self, server: str) -> Iterator[SeriesState]:
        return (series for series in self.series.values() if series.key.server == server)


def sort_batch(batch: Batch) -> tuple[SortedCalls, NDArray[np.int64]]:
    """The calls of a batch by series, each series' in order of arrival, and where those of each code end, i64[codes]."""
    n = len(batch)
    measured = [batch.cpu, batch.memory, batch.disk_io]
    ends = np.cumsum(np.bincount(batch.codes, minlength=len(batch.dictionary)))
    next_of = np.concatenate(([0], ends[:-1]))
    x = np.empty((len(METRICS) if any(column is not None for column in measured) else 1, n))
    calls = SortedCalls(np.empty(n, np.int64), x, np.empty(n, np.uint8))
    ts, ok, duration = _own(batch.ts), _own(batch.ok), _own(batch.duration)
    cpu, memory, disk_io = (_NOTHING if column is None else _own(column) for column in measured)
    sort_calls(_own(batch.codes), next_of, ts, ok, duration, cpu, memory, disk_io, calls.ts, calls.ok, calls.x)
    return calls, ends


def _own(column: NDArray[Any]) -> NDArray[Any]:
    """The column as kernels take it: what lies in an entry's bytes may be read-only or unaligned."""
    return column if column.flags.carray else column.copy()


def _happening(series: SeriesState, row: NDArray[np.float64]) -> Happening:
    stage = int(row[0])
    size, metric = (errors.SIZE, -1) if stage == FAILURES_STAGE else (judge.SIZE, stage)
    return Happening(series, metric, float(row[1]), row[2 : 2 + size].copy())
