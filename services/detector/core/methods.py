"""The named methods, exactly as their names say, per series and metric, debounced into events.

z-score: |x − mean| > k·sd, both over the whole lookback, sd the population's; what lies below the mean is found too, as the
definition says, but is `info` at the most: a drop is rarely trouble. moving-avg: x > k·mean of the 20 calls before
it (at least 5). percentile: x above the lookback's nearest-rank P99.9, P99 or P95.

Where the single calls are no longer held, minutes stand in: mean and sd are still those of all calls, candidates are each
minute's largest (and smallest) call, the moving average is that of the minutes before with at least 20 calls, percentiles are
within 2 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core import severity
from services.detector.core.events import SEVERITIES, Event, event_id
from services.detector.core.kernels import query
from services.detector.core.metrics import GAP_CALLS, GAP_MS, LEVELS, METRICS, MIN_METHOD_CALLS, MINUTE_MS
from services.detector.core.state.series import SeriesState
from services.detector.core.view import Float64, Int64, Minutes, Moments, Span

#: By sensitivity, as users know them.
Z_LIMITS: Final = {"low": 3.0, "medium": 2.5, "high": 2.0}
MOVING_AVERAGE_TIMES: Final = {"low": 3.0, "medium": 2.0, "high": 1.5}
PERCENTILES: Final = {"low": 0.999, "medium": 0.99, "high": 0.95}
#: Calls in the moving average, and fewest.
WINDOW_CALLS: Final = 20
FEWEST_WINDOW_CALLS: Final = 5


@dataclass(frozen=True, slots=True)
class Candidates:
    """Calls judged, ascending by time: when, what, the limits of the usual range for each, whether outside."""

    ts: Int64
    x: Float64
    lower: Float64
    upper: Float64
    outside: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Found:
    """The events of one metric of one series, as arrays over events; `event(i)` makes one of them.

    groups i64[n, 4] as `query.group` writes them; severity: index into events.SEVERITIES; times: the worst value over the end of
    the usual range.
    """

    span: Span
    moments: Moments
    candidates: Candidates
    groups: NDArray[np.int64]
    typical: Float64
    median: float
    severity: NDArray[np.int64]
    times: Float64
    start_ms: Int64
    method: str
    sensitivity: str

    def event(self, i: int) -> Event:
        """One event in full."""
        return _event(self, i)


def find(series: SeriesState, method: str, sensitivity: str, start_ms: int, end_ms: int) -> Iterator[Found]:
    """What a named method finds in a span of a series; nothing with fewer than MIN_METHOD_CALLS calls."""
    held = series.calls.between(start_ms, end_ms)[:2]
    for metric in range(series.metrics):
        span = Span(series, metric, start_ms, end_ms, held)
        moments = span.moments()
        if moments.n < MIN_METHOD_CALLS:
            continue
        candidates = _JUDGES[method](span, moments, sensitivity)
        if candidates.outside.any():
            yield _grouped(span, moments, candidates, method, sensitivity)


def zscore(span: Span, moments: Moments, sensitivity: str) -> Candidates:
    """|x − mean| > k·sd."""
    k = Z_LIMITS[sensitivity]
    ts, x = _with_extremes(span, both=True)
    outside = np.zeros(len(x), np.uint8)
    query.outside_zscore(x, moments.mean, moments.deviation, k, outside)
    reach = k * moments.deviation
    return Candidates(ts, x, np.full(len(x), moments.mean - reach), np.full(len(x), moments.mean + reach), outside)


def moving_average(span: Span, _: Moments, sensitivity: str) -> Candidates:
    """x > k·mean of the calls before."""
    k = MOVING_AVERAGE_TIMES[sensitivity]
    # The lookback's first calls are averaged over those before it, which the ring may still hold.
    earlier = Span(span.series, span.metric, 0, span.end_ms)
    average = np.empty(len(earlier.x))
    query.trailing_mean(earlier.x, WINDOW_CALLS, FEWEST_WINDOW_CALLS, average)
    held = (earlier.ts >= span.start_ms) & (earlier.ts > _held_after(span))
    ts, x, average = earlier.ts[held], earlier.x[held], average[held]
    if not span.exact:
        minutes = _before_calls(span)
        gone = minutes.high_at <= span.series.calls.dropped_ts
        ts = np.concatenate([minutes.high_at[gone], ts])
        x = np.concatenate([minutes.high[gone], x])
        average = np.concatenate([_minutes_average(minutes)[gone], average])
    with np.errstate(invalid="ignore"):
        outside = (x > k * average).astype(np.uint8)
    return Candidates(ts, x, np.zeros(len(x)), k * average, outside)


def percentile(span: Span, _: Moments, sensitivity: str) -> Candidates:
    """x above the lookback's percentile."""
    limit = span.quantile(PERCENTILES[sensitivity])
    ts, x = _with_extremes(span, both=False)
    outside = np.zeros(len(x), np.uint8)
    query.above(x, limit, outside)
    lowest = float(x.min()) if span.exact else float(span.minutes().low.min())
    return Candidates(ts, x, np.full(len(x), lowest), np.full(len(x), limit), outside)


_JUDGES: Final = {"z-score": zscore, "moving-avg": moving_average, "percentile": percentile}


def _held_after(span: Span) -> int:
    """Calls after this time are all held one by one."""
    return -1 if span.exact else span.series.calls.dropped_ts


def _before_calls(span: Span) -> Minutes:
    """The minutes up to the one of the latest call that is no longer held."""
    return span.minutes(before_ms=span.series.calls.dropped_ts + MINUTE_MS)


def _with_extremes(span: Span, *, both: bool) -> tuple[Int64, Float64]:
    """The calls held and, before them, each minute's largest (and, of whole minutes, smallest) call."""
    if span.exact:
        return span.ts, span.x
    minutes = _before_calls(span)
    after = _held_after(span)
    held, gone, whole = span.ts > after, minutes.high_at <= after, minutes.start + MINUTE_MS <= after
    parts_ts, parts_x = [minutes.high_at[gone], span.ts[held]], [minutes.high[gone], span.x[held]]
    if both:
        parts_ts.append(minutes.start[whole])
        parts_x.append(minutes.low[whole])
    ts, x = np.concatenate(parts_ts), np.concatenate(parts_x)
    order = np.argsort(ts, kind="stable")
    return ts[order], x[order]


def _minutes_average(minutes: Minutes) -> Float64:
    """Mean of the minutes before each one, back to WINDOW_CALLS calls."""
    calls = np.concatenate([[0.0], np.cumsum(minutes.n)])
    sums = np.concatenate([[0.0], np.cumsum(minutes.n * minutes.mean)])
    before = np.arange(len(minutes))
    since = np.maximum(np.searchsorted(calls, calls[before] - WINDOW_CALLS, "right") - 1, 0)
    counted = calls[before] - calls[since]
    with np.errstate(invalid="ignore", divide="ignore"):
        average: Float64 = np.where(counted >= FEWEST_WINDOW_CALLS, (sums[before] - sums[since]) / counted, np.nan)
    return average


def _grouped(span: Span, moments: Moments, found: Candidates, method: str, sensitivity: str) -> Found:
    over = np.maximum(found.x - found.upper, found.lower - found.x)
    groups = np.zeros((int(found.outside.sum()), query.GROUP), np.int64)
    groups = groups[: query.group(found.ts, over, found.outside, GAP_MS, GAP_CALLS, groups)]
    points = groups[:, 3]
    marked = found.x[np.flatnonzero(found.outside)]
    typical = np.add.reduceat(marked, np.cumsum(points) - points) / points
    value, upper = found.x[groups[:, 2]], found.upper[groups[:, 2]]
    median = span.quantile(0.5)
    grave = severity.of_deviations(METRICS[span.metric], typical, median, upper)
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(upper > 0, value / upper, value)
    grave[value <= upper] = SEVERITIES.index("info")  # it lies below the range
    start_ms = found.ts[groups[:, 0]]
    return Found(span, moments, found, groups, typical, median, grave, times, start_ms, method, sensitivity)


def _event(found: Found, i: int) -> Event:
    first, last, worst, points = found.groups[i].tolist()
    span, calls = found.span, found.candidates
    metric = METRICS[span.metric]
    value = float(calls.x[worst])
    start_ms = int(calls.ts[first])
    name = f"{metric.name}/{found.method}/{found.sensitivity}"
    return Event(
        id=event_id(span.series.key, metric.spike_type, name, start_ms),
        server=span.series.key.server,
        tool=span.series.key.tool,
        type=metric.spike_type,
        metric=metric.name,
        unit=metric.unit,
        method=found.method,
        start_ms=start_ms,
        last_ms=int(calls.ts[last]),
        end_ms=int(calls.ts[last]),
        peak_ms=int(calls.ts[worst]),
        value=value,
        typical=float(found.typical[i]),
        median=found.median,
        lower=max(0.0, float(calls.lower[worst])),
        upper=float(calls.upper[worst]),
        points=points,
        calls=last - first + 1,
        level=LEVELS[found.sensitivity],
        confidence=severity.from_distance(_distance(found.moments, value, float(found.typical[i]), points)),
        severity=SEVERITIES[found.severity[i]],
    )


def _distance(moments: Moments, value: float, typical: float, points: int) -> float:
    """How many deviations of the *other* calls the worst one is off their mean."""
    others = moments.n - points
    if others < 2:
        return 0.0
    mean = (moments.n * moments.mean - points * typical) / others
    spread = moments.n * (moments.deviation**2 + moments.mean**2) - points * typical**2
    variance = max(spread / others - mean**2, (1e-9 * abs(mean)) ** 2)
    return abs(value - mean) / math.sqrt(variance) if variance > 0 else math.inf
