"""The named methods, exactly as their names say, per series and metric, debounced into events.

z-score: |x − mean| > k·sd, both over the whole lookback, sd the population's; what lies below the mean is found too, as the
definition says, but is `info` at the most: a drop is rarely trouble. moving-avg: x > k·mean of the 20 calls before
it (at least 5). percentile: x above the lookback's nearest-rank P99.9, P99 or P95.

Where the single calls are no longer held, minutes stand in: mean and sd are still those of all calls, candidates are each
minute's largest (and smallest) call, the moving average is that of the minutes before with at least 20 calls, percentiles are
within 2 %, and calls between two events are counted by the minutes.

A limit of so many deviations says nothing of how sure a finding is, so these have no confidence; `chance` says how many are
expected of tools that are as they always are. One call alone is `info`.
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
from services.detector.core.answers import chance
from services.detector.core.events import SEVERITIES, Event, event_id
from services.detector.core.kernels import named, spans, starts
from services.detector.core.kernels.bins import BINS
from services.detector.core.kernels.fold import N
from services.detector.core.metrics import GAP_CALLS, GAP_MS, LEVELS, METRICS, MIN_METHOD_CALLS, MINUTE_MS
from services.detector.core.state.calls import MAX_CALLS
from services.detector.core.state.series import SeriesState
from services.detector.core.view import Float64, Int64

#: By sensitivity, as users know them.
Z_LIMITS: Final = {"low": 3.0, "medium": 2.5, "high": 2.0}
MOVING_AVERAGE_TIMES: Final = {"low": 3.0, "medium": 2.0, "high": 1.5}
PERCENTILES: Final = {"low": 0.999, "medium": 0.99, "high": 0.95}
_LIMITS: Final = {
    "z-score": ("more than {} deviations from the mean", Z_LIMITS),
    "moving-avg": ("more than {} times the 20 calls before", MOVING_AVERAGE_TIMES),
    "percentile": ("above P{}", {name: round(100.0 * share, 1) for name, share in PERCENTILES.items()}),
}
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
        #: Events to be expected by chance, of those series and of all.
        self._expected: list[list[float]] = []
        self._by_chance = 0.0
        room = max(MAX_CALLS, BINS)
        self._order, self._when = np.zeros(room, np.int64), np.zeros(room, np.int64)
        self._work = np.zeros((4, room))
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
            minutes.column(0),
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
        expected = self._of_chance(series, figures)
        self._by_chance += sum(expected)
        if found:
            self._series.append(series)
            self._rows.append(self._out[:found].copy())
            self._expected.append(expected)

    def found(self) -> Found:
        """All that was found so far."""
        rows = np.concatenate(self._rows) if self._rows else np.zeros((0, named.FOUND))
        owner = np.repeat(np.arange(len(self._rows)), [len(part) for part in self._rows])
        return Found(self._series, owner, rows, self._expected, self._by_chance, *_ranked(rows), *self._asked)

    def _of_chance(self, series: SeriesState, figures: Float64) -> list[float]:
        """Events to be expected by chance, by metric."""
        expected = [0.0] * series.metrics
        rows = series.minutes.between(self._start_ms // MINUTE_MS, self._end_ms // MINUTE_MS)
        minutes, held = series.minutes.index[rows], series.moments[rows, :, N]
        for metric, figure in enumerate(figures.tolist()):
            calls, mean, deviation = figure[spans.COUNT], figure[spans.AVERAGE], figure[spans.DEVIATION]
            if calls >= MIN_METHOD_CALLS:
                median, high = figure[spans.MIDDLE], figure[spans.HIGH_ONE]
                share = self._share(median, chance.spread_of(median, high), mean, deviation)
                expected[metric] = starts.events_by_chance(minutes, held[:, metric], share, float(GAP_CALLS))
        return expected

    def _share(self, median: float, spread: float, mean: float, deviation: float) -> float:
        """The share of a metric's calls that lie outside though nothing is wrong."""
        if self._method == named.PERCENTILE:
            return 1.0 - self._k if spread > 0 else 0.0
        if self._method == named.MOVING_AVERAGE:
            return chance.beyond_average(spread, self._k)
        return chance.beyond_deviations(median, spread, mean - self._k * deviation, mean + self._k * deviation)


@dataclass(frozen=True, slots=True)
class Group:
    """The events of one metric of one tool: the worst of them, how many, how many to be expected by chance, when the last was
    seen (epoch ms).
    """

    worst: Event
    count: int
    expected: float
    last_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """Events as arrays over events; `event(i)` makes one of them.

    series, expected (events by chance, by metric): of those that have any; owner: index into them. by_chance: of all that were
    looked through. groups f64[n, named.FOUND]. severity: index into events.SEVERITIES; times: the worst value over the end of
    the usual range.
    """

    series: Sequence[SeriesState]
    owner: Int64
    groups: Float64
    expected: Sequence[Sequence[float]]
    by_chance: float
    severity: Int64
    times: Float64
    method: str
    sensitivity: str

    def worst(self, limit: int, offset: int = 0) -> list[Event]:
        """The worst ones but for the first `offset`, in full: the graver, the further outside, the later."""
        chosen = self._at_least(offset + limit)
        return [self.event(i) for i in chosen[self._order(chosen)[offset : offset + limit]].tolist()]

    def by_tool(self, limit: int, offset: int = 0) -> tuple[list[Group], int]:
        """The same, together for each metric of a tool, and how many such there are."""
        first, worst = self._worst_of_each()
        order = self._order(worst)
        counts = np.diff(first, append=len(self.owner))
        last = np.maximum.reduceat(self.groups[:, named.LAST], first) if len(first) else np.zeros(0)
        number = self.groups[:, named.METRIC].astype(np.int64)
        groups = [
            Group(
                self.event(int(worst[place])),
                int(counts[place]),
                self.expected[self.owner[worst[place]]][number[worst[place]]],
                int(last[place]),
            )
            for place in order[offset : offset + limit].tolist()
        ]
        return groups, len(worst)

    def _worst_of_each(self) -> tuple[Int64, Int64]:
        """Where the events of each metric of a tool begin, which stand together, and the worst of them."""
        place = self.owner * len(METRICS) + self.groups[:, named.METRIC].astype(np.int64)
        first: Int64 = np.flatnonzero(np.diff(place, prepend=-1))
        left = np.arange(len(place))
        for key in (self.severity, self.times, self.groups[:, named.START]):
            begins = np.flatnonzero(np.diff(place[left], prepend=-1))
            most = np.maximum.reduceat(key[left], begins)
            left = left[key[left] == np.repeat(most, np.diff(begins, append=len(left)))]
        # Of those that are the same in all of this, the last.
        return first, left[np.flatnonzero(np.diff(place[left], append=-1))]

    def _order(self, chosen: Int64) -> Int64:
        """How the chosen events are ranked, worst first."""
        keys = (self.groups[chosen, named.START], self.times[chosen], self.severity[chosen])
        order: Int64 = np.lexsort(keys)[::-1]
        return order

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
            "expectedByChance": round(self.by_chance),
            "limit": limit_words(self.method, self.sensitivity),
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
        key, metric = self.series[int(self.owner[i])].key, METRICS[int(row[named.METRIC])]
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
            confidence=0.0,
            severity=SEVERITIES[self.severity[i]],
        )


def limit_words(method: str, sensitivity: str) -> str:
    """`more than 2.5 deviations from the mean`."""
    text, limits = _LIMITS[method]
    return text.format(f"{limits[sensitivity]:g}")


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
    # What lies below the range, or is one call alone, is not worth more.
    grave[(value <= upper) | (rows[:, named.POINTS] < 2)] = SEVERITIES.index("info")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        times = np.where(upper > 0, value / upper, value)
    return grave, times
