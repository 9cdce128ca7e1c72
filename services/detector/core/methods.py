"""The named methods, exactly as their names say, per series and metric, debounced into events.

z-score: |x − mean| > k·sd, both over the whole lookback, sd the population's; what lies below the mean is found too, as the
definition says, but is `info` at the most: a drop is rarely trouble. moving-avg: x > k·mean of the 20 calls before
it (at least 5). percentile: x above the lookback's nearest-rank P99.9, P99 or P95.

Where the single calls are no longer held, minutes stand in: mean and sd are still those of all calls, candidates are each
minute's largest (and smallest) call, the moving average is that of the minutes before with at least 20 calls, percentiles are
within 2 %, and calls between two events are counted by the minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.events import SEVERITIES, Event, event_id
from services.detector.core.kernels import named, spans
from services.detector.core.kernels.bins import BINS
from services.detector.core.metrics import GAP_CALLS, GAP_MS, LEVELS, METRICS, MIN_METHOD_CALLS
from services.detector.core.state.calls import MAX_CALLS
from services.detector.core.state.series import SeriesState
from services.detector.core.view import Float64, Int64

#: By sensitivity, as users know them.
Z_LIMITS: Final = {"low": 3.0, "medium": 2.5, "high": 2.0}
MOVING_AVERAGE_TIMES: Final = {"low": 3.0, "medium": 2.0, "high": 1.5}
PERCENTILES: Final = {"low": 0.999, "medium": 0.99, "high": 0.95}
_KERNELS: Final = {
    "z-score": (named.ZSCORE, Z_LIMITS),
    "moving-avg": (named.MOVING_AVERAGE, MOVING_AVERAGE_TIMES),
    "percentile": (named.PERCENTILE, PERCENTILES),
}


class Search:
    """Looks through one series after the other with a method, and gathers what it finds."""

    def __init__(self, method: str, sensitivity: str, start_ms: int, end_ms: int) -> None:
        self._asked = method, sensitivity
        self._method, limits = _KERNELS[method]
        self._k = limits[sensitivity]
        self._start_ms, self._end_ms = start_ms, end_ms
        self._series: list[SeriesState] = []
        self._rows: list[Float64] = []
        self._figures: list[Float64] = []
        room = max(MAX_CALLS, BINS)
        self._order, self._when = np.zeros(room, np.int64), np.zeros(room, np.int64)
        self._work = np.zeros((3, room))
        # Two events of a metric begin more than GAP_MS apart.
        self._out = np.zeros((len(METRICS) * (max(0, end_ms - start_ms) // GAP_MS + 2), named.FOUND))

    def look(self, series: SeriesState) -> None:
        """Look through a series; metrics with fewer than MIN_METHOD_CALLS calls are passed over."""
        calls, minutes, hists = series.calls, series.minutes, series.histograms
        figures = np.zeros((series.metrics, spans.FIGURES))
        found = named.look(
            self._method,
            self._k,
            self._start_ms,
            self._end_ms,
            MIN_METHOD_CALLS,
            GAP_MS,
            GAP_CALLS,
            calls.ts,
            calls.x,
            series.metrics,
            calls.filled,
            calls.following,
            calls.dropped_ts,
            minutes.index,
            minutes.filled,
            minutes.columns[0],
            hists.quarters.index,
            hists.quarters.filled,
            hists.counts,
            hists.starts,
            hists.lows,
            self._order,
            self._when,
            self._work,
            figures,
            self._out,
        )
        if found:
            self._series.append(series)
            self._rows.append(self._out[:found].copy())
            self._figures.append(figures)

    def found(self) -> Found:
        """All that was found so far."""
        rows = np.concatenate(self._rows) if self._rows else np.zeros((0, named.FOUND))
        owner = np.repeat(np.arange(len(self._rows)), [len(part) for part in self._rows])
        return Found(self._series, owner, rows, self._figures, *_ranked(rows), *self._asked)


@dataclass(frozen=True, slots=True)
class Found:
    """Events as arrays over events; `event(i)` makes one of them.

    series, figures: of those that have any; owner: index into them. groups f64[n, named.FOUND]. severity: index into
    events.SEVERITIES; times: the worst value over the end of the usual range.
    """

    series: Sequence[SeriesState]
    owner: Int64
    groups: Float64
    figures: Sequence[Float64]
    severity: Int64
    times: Float64
    method: str
    sensitivity: str

    def worst(self, limit: int) -> list[Event]:
        """The worst ones, in full: the graver, the further outside, the later."""
        chosen = self._at_least(limit)
        order = np.lexsort((self.groups[chosen, named.START], self.times[chosen], self.severity[chosen]))[::-1]
        return [self.event(i) for i in chosen[order[:limit]].tolist()]

    def summary(self) -> dict[str, Any]:
        """How many, by severity and by type."""
        by_metric = np.bincount(self.groups[:, named.METRIC].astype(np.int64), minlength=len(METRICS)).tolist()
        by_type: Counter[str] = Counter()
        for metric, count in zip(METRICS, by_metric, strict=True):
            by_type[metric.spike_type] += count
        counts = np.bincount(self.severity, minlength=len(SEVERITIES)).tolist()
        return {
            "total": len(self.severity),
            "bySeverity": dict(zip(SEVERITIES, counts, strict=True)),
            "byType": {name: count for name, count in sorted(by_type.items()) if count},
        }

    def _at_least(self, limit: int) -> Int64:
        """The worst `limit` and few others, so that not all need be sorted."""
        for grave in reversed(range(len(SEVERITIES))):
            chosen = np.flatnonzero(self.severity >= grave)
            if len(chosen) >= limit > 0:
                graver = int(np.count_nonzero(self.severity > grave))
                times = self.times[chosen][self.severity[chosen] == grave]
                # `times` of those that are the last to be needed.
                least = np.partition(times, len(times) - (limit - graver))[len(times) - (limit - graver)]
                worst: Int64 = chosen[(self.severity[chosen] > grave) | (self.times[chosen] >= least)]
                return worst
        return np.arange(len(self.severity))

    def event(self, i: int) -> Event:
        """One event in full."""
        row = self.groups[i].tolist()
        owner, number = int(self.owner[i]), int(row[named.METRIC])
        key, metric = self.series[owner].key, METRICS[number]
        start_ms, last_ms, points = int(row[named.START]), int(row[named.LAST]), int(row[named.POINTS])
        typical = row[named.TOTAL] / points if math.isfinite(row[named.TOTAL]) else row[named.VALUE]
        name = f"{metric.name}/{self.method}/{self.sensitivity}"
        return Event(
            id=event_id(key, metric.spike_type, name, start_ms),
            server=key.server,
            tool=key.tool,
            type=metric.spike_type,
            metric=metric.name,
            unit=metric.unit,
            method=self.method,
            start_ms=start_ms,
            last_ms=last_ms,
            end_ms=last_ms,
            peak_ms=int(row[named.PEAK_AT]),
            value=row[named.VALUE],
            typical=typical,
            median=row[named.MEDIAN],
            lower=max(0.0, row[named.LOWER]),
            upper=row[named.UPPER],
            points=points,
            calls=max(points, round(row[named.LAST_PLACE] - row[named.FIRST_PLACE]) + 1),
            level=LEVELS[self.sensitivity],
            confidence=severity.from_distance(
                _distance(self.figures[owner][number], row[named.VALUE], typical, points)
            ),
            severity=SEVERITIES[self.severity[i]],
        )


def find(series: SeriesState, method: str, sensitivity: str, start_ms: int, end_ms: int) -> Iterator[Found]:
    """What a named method finds in a span of one series, if anything."""
    search = Search(method, sensitivity, start_ms, end_ms)
    search.look(series)
    found = search.found()
    if len(found.groups):
        yield found


def _ranked(rows: Float64) -> tuple[NDArray[np.int64], Float64]:
    """Severity and times of events."""
    grave = np.zeros(len(rows), np.int64)
    value, upper = rows[:, named.VALUE], rows[:, named.UPPER]
    typical = rows[:, named.TOTAL] / np.maximum(rows[:, named.POINTS], 1.0)
    for number, metric in enumerate(METRICS):
        of_metric = rows[:, named.METRIC] == number
        if of_metric.any():
            median = rows[of_metric, named.MEDIAN]
            grave[of_metric] = severity.of_deviations(metric, typical[of_metric], median, upper[of_metric])
    grave[value <= upper] = SEVERITIES.index("info")  # it lies below the range
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(upper > 0, value / upper, value)
    return grave, times


def _distance(figures: Float64, value: float, typical: float, points: int) -> float:
    """How many deviations of the *other* calls the worst one is off their mean."""
    scale = abs(value) or 1.0  # so that squares of large values stay finite
    n, others = float(figures[spans.COUNT]), float(figures[spans.COUNT]) - points
    if others < 2:
        return 0.0
    average, deviation = float(figures[spans.AVERAGE]) / scale, float(figures[spans.DEVIATION]) / scale
    value, typical = value / scale, typical / scale
    mean = (n * average - points * typical) / others
    spread = n * (deviation**2 + average**2) - points * typical**2
    variance = max(spread / others - mean**2, (1e-9 * abs(mean)) ** 2)
    return abs(value - mean) / math.sqrt(variance) if variance > 0 else math.inf
