"""The kernel of the named methods against plain Python over all calls ever made, also where it has only minutes to go by."""

from __future__ import annotations

import contextlib
import math
import statistics

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.detector.core.answers import methods
from services.detector.core.answers.answer import answer, parse_query
from services.detector.core.kernels import named
from services.detector.core.kernels.bins import bin_of, middle
from services.detector.core.metrics import GAP_CALLS, GAP_MS, SENSITIVITIES
from services.detector.core.state.budget import Budget
from services.detector.core.state.calls import MAX_CALLS
from services.detector.core.state.series import SeriesState, SortedCalls, Work
from shared.batch import Series
from tests.unit.detector.against_twins import against_twin, awkward, some_values
from tests.unit.detector.detector_kit import HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary, times

LIMITS = {
    "z-score": {"low": 3.0, "medium": 2.5, "high": 2.0},
    "moving-avg": {"low": 3.0, "medium": 2.0, "high": 1.5},
    "percentile": {"low": 0.999, "medium": 0.99, "high": 0.95},
}
Calls = list[tuple[int, float]]


def series_of(calls: Calls) -> SeriesState:
    series = SeriesState(KEY, 1, Budget())
    for at in range(0, len(calls), 100):
        part = calls[at : at + 100]
        ts = np.asarray([t for t, _ in part], np.int64)
        x = np.asarray([[v for _, v in part]])
        list(series.absorb(SortedCalls(ts, x, np.ones(len(part), np.uint8)), 0, len(part), Work(len(part))))
    return series


def rank(values: list[float], q: float) -> float:
    return sorted(values)[max(1, math.ceil(q * len(values) - 1e-9)) - 1]


class Plainly:
    """The definition, call by call and minute by minute, of the calls from `start` to `end`."""

    def __init__(self, calls: Calls, dropped: int, start: int, end: int) -> None:
        self.calls = sorted((c for c in calls if c[0] <= end), key=lambda c: c[0])
        self.start, self.dropped = start, dropped
        self.exact = dropped < start
        begin = start if self.exact else -(-start // MINUTE) * MINUTE
        self.inside = [v for t, v in self.calls if t >= begin]
        self.quarters = [v for t, v in self.calls if t >= begin // (15 * MINUTE) * 15 * MINUTE]
        self.minutes: dict[int, Calls] = {}
        for t, v in self.calls:
            self.minutes.setdefault(t // MINUTE, []).append((t, v))

    def limits(self, method: str, k: float) -> tuple[float, float]:
        if method == "z-score":
            mean, reach = statistics.fmean(self.inside), k * statistics.pstdev(self.inside)
            return mean - reach, mean + reach
        if self.exact:
            return min(self.inside), rank(self.inside, k)
        return min(self.inside), middle(bin_of(rank(self.quarters, k)))

    def average_before_minute(self, minute: int) -> float:
        """Of the minutes before, back to twenty calls."""
        values: list[float] = []
        for before in sorted((m for m in self.minutes if m < minute), reverse=True):
            if len(values) >= 20:
                break
            values += [v for _, v in self.minutes[before]]
        return statistics.fmean(values) if len(values) >= 5 else math.nan

    def average_before_call(self, at: int) -> float:
        held = [c for c in self.calls if c[0] > self.dropped]
        before = [v for _, v in held[max(0, at - 20) : at]]
        told = [v for m in [self.dropped // MINUTE] for v in self._told_before(m)] if self.dropped >= 0 else []
        missing = min(20 - len(before), len(told))
        if len(before) + missing < 5:
            return math.nan
        return (sum(before) + (missing * statistics.fmean(told) if missing else 0.0)) / (len(before) + missing)

    def _told_before(self, minute: int) -> list[float]:
        values: list[float] = []
        for before in sorted((m for m in self.minutes if m < minute), reverse=True):
            if len(values) >= 20:
                break
            values += [v for _, v in self.minutes[before]]
        return values

    def candidates(self, method: str, k: float) -> list[tuple[int, float, float, float, float, bool]]:
        """(ts, place, value, lower, upper, outside)."""
        lower, upper = (0.0, math.nan) if method == "moving-avg" else self.limits(method, k)
        found, place = [], 0.0
        gone = [m for m in sorted(self.minutes) if m * MINUTE >= self.start and m <= self.dropped // MINUTE]
        for minute in [] if self.exact else gone:
            values = self.minutes[minute]
            middle_place = place + (len(values) - 1) / 2
            if method == "moving-avg":
                upper = k * self.average_before_minute(minute)
            least = min(v for _, v in values)
            if method == "z-score" and (minute + 1) * MINUTE <= self.dropped:
                found.append((minute * MINUTE, middle_place, least, lower, upper, least < lower))
            at, most = max(values, key=lambda c: (c[1], -c[0]))
            if at <= self.dropped:
                found.append((at, middle_place, most, lower, upper, most > upper))
            place += len([1 for t, _ in values if t <= self.dropped])
        for i, (t, v) in enumerate(c for c in self.calls if c[0] > self.dropped):
            if t < self.start:
                continue
            if method == "moving-avg":
                upper = k * self.average_before_call(i)
            outside = v > upper or (method == "z-score" and v < lower)
            found.append((t, place, v, lower, upper, outside))
            place += 1
        return found

    def events(self, method: str, k: float) -> list[tuple[int, int, int, int, float]]:
        """(start, last, points, calls, worst value)."""
        groups: list[list[tuple[int, float, float, float, float, bool]]] = []
        for one in self.candidates(method, k):
            if not one[-1]:
                continue
            last = groups[-1][-1] if groups else None
            if last is not None and not (one[0] - last[0] > GAP_MS and one[1] - last[1] - 1 >= GAP_CALLS):
                groups[-1].append(one)
            else:
                groups.append([one])
        events = []
        for group in groups:
            worst = group[0]
            for one in group:
                if max(one[2] - one[4], one[3] - one[2]) > max(worst[2] - worst[4], worst[3] - worst[2]):
                    worst = one
            calls = max(len(group), round(group[-1][1] - group[0][1]) + 1)
            events.append((group[0][0], group[-1][0], len(group), calls, worst[2]))
        return events


def found(
    series: SeriesState, method: str, sensitivity: str, start: int, end: int
) -> list[tuple[int, int, int, int, float]]:
    events = [f.event(i) for f in methods.find(series, method, sensitivity, start, end) for i in range(len(f.groups))]
    return [(e.start_ms, e.last_ms, e.points, e.calls, e.value) for e in events]


def walk(seed: int, n: int, mean_gap_ms: int, spread: float) -> Calls:
    rng = np.random.default_rng(seed)
    ts = T0 + np.cumsum(rng.integers(1, 2 * mean_gap_ms, n))
    x = np.round(100.0 * np.exp(spread * rng.standard_normal(n)), 3)
    for at in rng.integers(0, n, max(1, n // 60)).tolist():
        x[at : at + rng.integers(1, 4)] *= rng.choice([0.01, 3.0, 20.0])
    return list(zip(ts.tolist(), x.tolist(), strict=True))


@against_twin(named.look)
@pytest.mark.parametrize("method", LIMITS)
@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
@given(st.integers(0, 2**32), st.integers(20, 900), st.sampled_from([500, 20_000, 90_000]), st.sampled_from([0.1, 0.6]))
@settings(max_examples=12, deadline=None)
def test_calls_that_are_held_are_judged_as_the_definition_says(
    method: str, sensitivity: str, seed: int, n: int, gap: int, spread: float
) -> None:
    calls = walk(seed, n, gap, spread)
    end = calls[-1][0]
    series = series_of(calls)
    for start in (T0, calls[n // 3][0]):
        plain = Plainly(calls, series.calls.dropped_ts, start, end)
        expected = plain.events(method, LIMITS[method][sensitivity]) if len(plain.inside) >= 12 else []
        assert found(series, method, sensitivity, start, end) == expected


@pytest.mark.parametrize("method", LIMITS)
@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
@pytest.mark.parametrize(("seed", "gap"), [(1, 9_000), (2, 30_000), (3, 2_000)])
def test_where_calls_are_no_longer_held_minutes_stand_in_as_they_say(
    method: str, sensitivity: str, seed: int, gap: int
) -> None:
    calls = walk(seed, 2_500, gap, 0.4)
    end = calls[-1][0]
    series = series_of(calls)
    assert not series.calls.covers(T0)
    middle_of = (T0 + (end - T0) // 3) // (15 * MINUTE) * 15 * MINUTE
    for start in (T0, middle_of):
        plain = Plainly(calls, series.calls.dropped_ts, start, end)
        assert found(series, method, sensitivity, start, end) == plain.events(method, LIMITS[method][sensitivity])


@pytest.mark.parametrize("method", LIMITS)
def test_nearly_every_call_far_outside_is_within_an_event_though_only_minutes_are_known(method: str) -> None:
    calls = walk(5, 5_000, 6_000, 0.2)
    far = range(400, 5_000, 500)
    for at in far:
        calls[at] = (calls[at][0], 9_000.0)
    series = series_of(calls)
    events = found(series, method, "low", T0, calls[-1][0])
    for at in far:
        assert any(start <= calls[at][0] <= last for start, last, *_ in events)


@given(
    st.lists(st.sampled_from([0.0, 5e-324, 1.0, 1e300, 1.7e308]), min_size=12, max_size=60), st.sampled_from([*LIMITS])
)
@example([0.0] * 9 + [1.0, 1.7e308, 1.7e308], "moving-avg")
@example([0.0] * 10 + [1.0, 1.7e308], "moving-avg")
@example([5e-324] * 12 + [1e300], "moving-avg")
@settings(max_examples=60, deadline=None)
def test_values_of_any_size_do_not_break_a_method(values: list[float], method: str) -> None:
    calls = [(T0 + 15_000 * i, v) for i, v in enumerate(values)]
    for _, _, points, many, worst in found(series_of(calls), method, "high", T0, T0 + HOUR):
        assert 1 <= points <= many <= len(values)
        assert worst in values


@against_twin(named.look)
@given(some_values, st.sampled_from([*LIMITS]), st.sampled_from([*SENSITIVITIES]))
@awkward("z-score", "high")
@awkward("moving-avg", "medium")
@awkward("percentile", "high")
@settings(max_examples=60, deadline=None)
def test_awkward_values_are_judged_as_the_definition_says_of_those_that_are_finite(
    values: list[float], method: str, sensitivity: str
) -> None:
    usual = [100.0 + i % 7 for i in range(20)]
    # Beyond, sums of squares overflow in any arithmetic; below 0 nothing is ever measured, and sums lose nothing to each other.
    moderate = [min(max(v, 0.0), 1e100) if math.isfinite(v) else v for v in values]
    calls = [(T0 + 15_000 * i, v) for i, v in enumerate(usual + moderate)]
    finite = [call for call in calls if math.isfinite(call[1])]
    plain = Plainly(finite, -1, T0, calls[-1][0])
    expected = plain.events(method, LIMITS[method][sensitivity])
    seen = found(series_of(calls), method, sensitivity, T0, calls[-1][0])
    assert [event[:4] for event in seen] == [event[:4] for event in expected]


@given(st.integers(0, 2**32), st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_the_worst_are_those_of_all_sorted(seed: int, limit: int) -> None:
    calls = walk(seed, 800, 20_000, 0.8)
    (all_of_it,) = methods.find(series_of(calls), "moving-avg", "high", T0, calls[-1][0])
    order = np.lexsort((all_of_it.groups[:, named.START], all_of_it.times, all_of_it.severity))[::-1]
    assert [e.id for e in all_of_it.worst(limit)] == [all_of_it.event(i).id for i in order[:limit].tolist()]
    assert not all_of_it.worst(0)


def test_coverage_says_what_was_looked_at_call_by_call_and_what_by_minutes() -> None:
    watch, n = make_watch(), 3_000
    feed(watch, batch(times(n), ordinary(n), key=Series("files", "busy")))
    feed(watch, batch(times(50, start=T0), ordinary(50), key=Series("files", "quiet")))
    query = parse_query({"method": "z-score", "lookbackMs": 24 * HOUR}, watch.engine.newest_ts)
    coverage = answer(watch, query, contextlib.nullcontext)["coverage"]
    assert (coverage["calls"], coverage["series"], coverage["seriesExact"]) == (n + 50, 2, 1)
    assert (coverage["callsOneByOne"], coverage["callsByMinutes"]) == (MAX_CALLS + 50, n - MAX_CALLS)
