"""Every kernel says what its twin says, for ordinary and for absurd input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.core.kernels import bins, errors, fold, judge, query, twins
from services.detector.core.kernels.twins_sequential import Failures, Spikes

T0 = 1_760_000_000_000
ABSURD = [0.0, -0.0, -1.0, 1e300, -1e300, 5e-324, 1e-310, math.inf, -math.inf, math.nan, 1.0, 1.0, 1e9]
anything = st.lists(st.one_of(st.sampled_from(ABSURD), st.floats(width=64)), max_size=40)
sensible = st.lists(st.floats(0.01, 1e6), max_size=60)
some_values = st.one_of(anything, sensible, st.lists(st.just(42.0), max_size=30))


def array(values: list[float]) -> np.ndarray:
    return np.asarray(values, np.float64)


@given(st.one_of(st.sampled_from([v for v in ABSURD if not math.isnan(v)]), st.floats(allow_nan=False)))
def test_a_value_has_the_bin_its_twin_says(value: float) -> None:
    assert bins.bin_of(value) == twins.bins_of(array([value]))[0]


@given(st.floats(1e-4, 1e13))
def test_a_bins_middle_is_within_two_percent_of_its_values(value: float) -> None:
    assert bins.middle(bins.bin_of(value)) == pytest.approx(value, rel=0.0203)
    assert bins.upper(bins.bin_of(value)) >= value * (1 - 1e-9)


@given(st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0]), max_size=30), st.floats(0, 50))
def test_the_rank_falls_into_the_bin_its_twin_says(counts: list[float], rank: float) -> None:
    assert bins.rank_bin(array(counts), rank) == twins.rank_bin(array(counts), rank)


def test_quantiles_of_a_histogram_are_nearest_rank_within_two_percent() -> None:
    x = np.random.default_rng(5).lognormal(5, 1, 3_000)
    counts = np.bincount(twins.bins_of(x), minlength=bins.BINS).astype(np.float64)
    for q in (0.5, 0.95, 0.99, 0.999, 1.0):
        exact = np.sort(x)[max(1, math.ceil(q * len(x))) - 1]
        assert bins.quantile(counts, 0, q) == pytest.approx(exact, rel=0.0203)
    assert math.isnan(bins.quantile(np.zeros(4), 0, 0.5))


@given(some_values, st.integers(0, 40))
@settings(max_examples=60)
def test_minutes_and_histograms_are_those_of_the_twin(values: list[float], step_s: int) -> None:
    # Sums of squares of 1e300 overflow in any arithmetic; what matters there is that nothing else is disturbed.
    x = array([v if abs(v) < 1e150 or not math.isfinite(v) else 1e9 for v in values])
    ts = T0 + np.arange(len(x), dtype=np.int64) * step_s * 1000
    minutes, quarters = np.unique(ts // 60_000), np.unique(ts // 900_000)
    moments, failures = np.zeros((len(minutes) + 1, 1, fold.MOMENTS)), np.zeros(len(minutes) + 1)
    counts = np.zeros((len(quarters) + 1, bins.BINS), np.uint32)
    ok = (np.arange(len(x)) % 3 != 0).astype(np.uint8)
    padded = [np.append(a, 0) for a in (minutes, quarters)]
    starts, lows = np.asarray([0, bins.BINS]), np.zeros(1, np.int64)
    fold.fold(
        ts, x[None, :], ok, padded[0], len(minutes), moments, failures, padded[1], len(quarters), counts, starts, lows
    )
    expected = twins.fold_moments(ts, x, minutes)
    assert moments[: len(minutes), 0] == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert np.array_equal(counts[: len(quarters)], twins.fold_counts(ts, x, quarters, 0, bins.BINS))
    assert failures.sum() == (ok == 0).sum()


def test_late_and_lost_calls_go_where_they_belong_or_nowhere() -> None:
    ts = np.asarray([T0 + 120_000, T0, T0 + 60_000, T0 + 600_000, T0 - 60_000])
    x = array([3.0, 1.0, 2.0, 9.0, 8.0])
    minutes = np.asarray([T0 // 60_000, T0 // 60_000 + 1, T0 // 60_000 + 2])
    moments, failures = np.zeros((3, 1, fold.MOMENTS)), np.zeros(3)
    counts = np.zeros((1, bins.BINS), np.uint32)
    none = np.zeros(1, np.int64)
    starts = np.asarray([0, bins.BINS])
    fold.fold(ts, x[None, :], np.zeros(5, np.uint8), minutes, 3, moments, failures, none, 0, counts, starts, none)
    assert moments[:, 0, fold.N].tolist() == [1, 1, 1]
    assert moments[:, 0, fold.MEAN].tolist() == [1, 2, 3]
    assert failures.tolist() == [1, 1, 1]
    assert counts.sum() == 0


@given(some_values, st.floats(-10, 1e6), st.floats(0, 1e5), st.sampled_from([2.0, 2.5, 3.0]))
def test_zscore_marks_what_its_twin_marks(values: list[float], mean: float, deviation: float, k: float) -> None:
    x, out = array(values), np.zeros(len(values), np.uint8)
    query.outside_zscore(x, mean, deviation, k, out)
    assert np.array_equal(out.astype(bool), twins.outside_zscore(x, mean, deviation, k))


@given(some_values, st.floats(allow_nan=True))
def test_above_marks_what_its_twin_marks(values: list[float], limit: float) -> None:
    x, out = array(values), np.zeros(len(values), np.uint8)
    query.above(x, limit, out)
    assert np.array_equal(out.astype(bool), twins.above(x, limit))


@given(st.one_of(sensible, st.lists(st.sampled_from([1.0, 5.0, math.nan, math.inf, 1e300, 5e-324]), max_size=40)))
def test_the_moving_average_is_that_of_its_twin(values: list[float]) -> None:
    x, out = array(values), np.zeros(len(values))
    query.trailing_mean(x, 20, 5, out)
    np.testing.assert_allclose(out, twins.trailing_mean(x, 20, 5), rtol=1e-9, atol=1e-300)


@given(st.lists(st.tuples(st.integers(0, 200_000), st.booleans(), st.floats(0, 10)), max_size=60))
def test_grouping_is_that_of_its_twin(calls: list[tuple[int, bool, float]]) -> None:
    ts = np.cumsum(np.asarray([c[0] for c in calls], np.int64)) if calls else np.empty(0, np.int64)
    mask = np.asarray([c[1] for c in calls], np.uint8)
    bad = array([c[2] for c in calls])
    out = np.zeros((max(1, len(calls)), query.GROUP), np.int64)
    found = query.group(ts, bad, mask, 120_000, 10, out)
    assert out[:found].tolist() == twins.group(ts, bad, mask, 120_000, 10)


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0.0, 1.0, 2.5, 100.0, math.nan])), max_size=25))
def test_the_trend_is_that_of_its_twin(points: list[tuple[int, float]]) -> None:
    t, y = array([float(p[0]) for p in sorted(points)]), array([p[1] for p in sorted(points, key=lambda p: p[0])])
    assert query.trend(t, y) == pytest.approx(twins.trend(t, y))


call = st.tuples(
    st.sampled_from([0, 50, 1_000, 20_000, 61_000, 1_900_000, -30_000, -1_000_000]),
    st.one_of(
        st.floats(50, 150),
        st.floats(50, 150),
        st.sampled_from([100.0, 400.0, 1_000.0, 5_000.0, math.nan, math.inf, 1e300, 0.0]),
    ),
    st.booleans(),
)
stream = st.lists(st.tuples(call, st.integers(1, 25)), min_size=1, max_size=25)


def spread(runs: list[tuple[tuple[int, float, bool], int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calls from runs: each step repeated, so that long quiet stretches and bursts come up."""
    steps = [(step, value, ok) for (step, value, ok), times in runs for _ in range(times)]
    ts = T0 + np.cumsum(np.asarray([s[0] for s in steps], np.int64))
    return ts, array([s[1] for s in steps]), np.asarray([s[2] for s in steps], np.uint8)


@given(stream, st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_spikes_are_judged_as_by_the_twin_however_the_calls_are_cut_into_batches(runs, cut) -> None:
    ts, x, _ = spread(runs)
    base, track, out = np.zeros(bins.BINS), np.zeros(judge.SIZE), np.zeros((4, judge.HAPPENING))
    twin = Spikes(1.5, 5.0)
    expected = [found for t, value in zip(ts, x, strict=True) for found in twin.judge(float(t), float(value))]
    seen = []
    size = max(1, len(ts) // cut)
    for at in range(0, len(ts), size):
        part_ts, part_x, row = ts[at : at + size].copy(), x[at : at + size].copy(), 0
        while row < len(part_ts):
            found, row = judge.judge(part_ts, part_x, base, 0, track, 1.5, 5.0, out, row)
            seen += [(h[0], h[1 + judge.START], int(h[1 + judge.LEVEL])) for h in out[:found].copy()]
    assert seen == expected
    assert base == pytest.approx(np.asarray(twin.counts), rel=1e-9, abs=1e-9)
    assert {judge.IDLE: "idle", judge.PENDING: "pending", judge.OPEN: "open"}[track[judge.PHASE]] == twin.phase


@given(stream, st.sampled_from([0.0, 2.0, 500.0]))
@settings(max_examples=150, deadline=None)
def test_failures_are_judged_as_by_the_twin(runs, rate) -> None:
    ts, _, ok = spread(runs)
    run, out = np.zeros(errors.SIZE), np.zeros((4, errors.HAPPENING))
    twin = Failures(rate)
    expected = [found for t, good in zip(ts, ok, strict=True) for found in twin.judge(float(t), not good)]
    seen, row = [], 0
    while row < len(ts):
        found, row = errors.judge_failures(ts, ok, run, rate, out, row)
        seen += [(h[0], h[1 + errors.START], int(h[1 + errors.LEVEL])) for h in out[:found].copy()]
    assert seen == expected
    assert run[errors.SEEN] == pytest.approx(twin.seen)
    assert run[errors.CUSUM] == pytest.approx(twin.cusum)


def test_the_twins_own_streams_do_open_and_close_events() -> None:
    """Else the two tests above would prove nothing."""
    twin, failures, seen = Spikes(1.5, 5.0), Failures(2.0), set()
    for i in range(400):
        bad = 200 <= i < 215
        seen |= {("spike", kind) for kind, *_ in twin.judge(T0 + i * 15_000.0, 900.0 if bad else 100.0 + i % 7)}
        seen |= {("failure", kind) for kind, *_ in failures.judge(T0 + i * 15_000.0, bad)}
    assert seen == {("spike", 1.0), ("spike", 2.0), ("failure", 1.0), ("failure", 2.0)}
