"""All series: routes a batch's calls to them and collects what the kernels saw happen.

Owns the set of series and its cap. Knows nothing of events' life (`events`), of words (`explain`) or of disks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perfmon.wire.limits import OVERFLOW_NAME
from services.detector.core.kernels import errors, judge
from services.detector.core.metrics import ERROR_RATE_SPIKE, HISTORY_MS, METRICS
from services.detector.core.state.budget import Budget
from services.detector.core.state.series import SeriesState
from shared.batch import Batch, Series

#: Happenings taken from a kernel at once; it is called again while there are more.
_OUT_ROWS: Final = 32


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


class Engine:
    """Series by name. At most `max_series` states; a new one beyond that takes the place of one silent for a day, else it is
    not watched, and counted.
    """

    def __init__(self, max_series: int, budget: Budget | None = None) -> None:
        self.series: dict[Series, SeriesState] = {}
        #: Watched tools by server.
        self.tools: Counter[str] = Counter()
        self.budget = budget or Budget()
        self.max_series = max_series
        self.unwatched_calls_total = 0
        self.calls_total = 0
        self.newest_ts = -1
        #: Numbers of series that went; their rows in the database go with the next save.
        self.gone: list[int] = []
        self._next_number = 1
        self._out = np.zeros((_OUT_ROWS, judge.HAPPENING))
        self._failures_out = np.zeros((_OUT_ROWS, errors.HAPPENING))

    def adopt(self, series: SeriesState) -> None:
        """Put a restored series in its place."""
        self.series[series.key] = series
        self.tools[series.key.server] += 1
        self._next_number = max(self._next_number, series.number + 1)
        self.newest_ts = max(self.newest_ts, series.newest_ts)

    def apply(self, batch: Batch) -> list[Happening]:
        """Fold a batch in; what happened, in order of series, then metric, then time."""
        happenings: list[Happening] = []
        for key, ts, x, ok in by_series(batch):
            # What is counted together has no history of its own to be judged by.
            pooled = OVERFLOW_NAME in key
            series = None if pooled else self.series.get(key) or self._new(key, int(ts.max()))
            if series is None:
                self.unwatched_calls_total += len(ts)
                continue
            series.add(ts, x, ok)
            happenings += self._judge(series, ts, x, ok)
            self.newest_ts = max(self.newest_ts, series.newest_ts)
        self.calls_total += len(batch)
        return happenings

    def close_silent(self, series: SeriesState, now_ms: int) -> list[Happening]:
        """Close by the clock what a series has heard nothing of for long."""
        happenings: list[Happening] = []
        for metric in range(series.metrics):
            track = series.tracks[metric]
            if track[judge.PHASE] != judge.OPEN:
                continue
            hists = series.histograms
            kind = judge.end_if_silent(float(now_ms), hists.base_of(metric), int(hists.lows[metric]), track)
            if kind:
                happenings.append(Happening(series, metric, kind, track.copy()))
        kind = errors.end_if_silent(series.run, float(now_ms))
        if kind:
            happenings.append(Happening(series, -1, kind, series.run.copy()))
        series.dirty = series.dirty or bool(happenings)
        return happenings

    def _judge(
        self, series: SeriesState, ts: NDArray[np.int64], x: NDArray[np.float64], ok: NDArray[np.uint8]
    ) -> Iterator[Happening]:
        hists = series.histograms
        for metric in range(min(series.metrics, len(x))):
            base, low, track = hists.base_of(metric), int(hists.lows[metric]), series.tracks[metric]
            if low < 0:
                continue
            kind = METRICS[metric]
            row = 0
            while row < len(ts):
                found, row = judge.judge(
                    ts, x[metric], base, low, track, kind.margin_ratio, kind.margin_excess, self._out, row
                )
                for happening in self._out[:found]:
                    yield Happening(series, metric, float(happening[0]), happening[1:].copy())
        rate = float(series.tracks[0][judge.RATE])
        row = 0
        while row < len(ts):
            found, row = errors.judge_failures(ts, ok, series.run, rate, self._failures_out, row)
            for happening in self._failures_out[:found]:
                yield Happening(series, -1, float(happening[0]), happening[1:].copy())

    def _new(self, key: Series, ts_ms: int) -> SeriesState | None:
        if len(self.series) >= self.max_series and not self._evict(ts_ms):
            return None
        series = SeriesState(key, self._next_number, self.budget)
        self._next_number += 1
        self.series[key] = series
        self.tools[key.server] += 1
        return series

    def _evict(self, ts_ms: int) -> bool:
        stalest = min(self.series.values(), key=lambda series: series.newest_ts)
        if stalest.newest_ts > ts_ms - HISTORY_MS:
            return False
        del self.series[stalest.key]
        self.tools[stalest.key.server] -= 1
        self.gone.append(stalest.number)
        return True


def by_series(
    batch: Batch,
) -> Iterator[tuple[Series, NDArray[np.int64], NDArray[np.float64], NDArray[np.uint8]]]:
    """(series, ts, x[metrics, n], ok) of each series in a batch, rows in order of arrival, arrays writable and aligned."""
    n = len(batch)
    if not n:
        return
    counts = np.bincount(batch.codes, minlength=len(batch.dictionary))
    # 16-bit keys are sorted by radix.
    keys = batch.codes.astype(np.uint16) if len(batch.dictionary) <= 65_536 else batch.codes
    order = np.argsort(keys, kind="stable") if np.count_nonzero(counts) > 1 else np.arange(n)
    ts, ok = batch.ts[order], batch.ok[order]
    measured = (batch.cpu, batch.memory, batch.disk_io)
    x = np.empty((len(METRICS) if any(column is not None for column in measured) else 1, n))
    x[0] = batch.duration[order]
    for metric in range(1, len(x)):
        column = measured[metric - 1]
        x[metric] = np.nan if column is None else column[order]
    end = 0
    for code in np.flatnonzero(counts):
        start, end = end, end + int(counts[code])
        yield batch.dictionary[code], ts[start:end], x[:, start:end], ok[start:end]
