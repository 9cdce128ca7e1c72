"""Small kernels over values say what numpy says, and a batch is folded in and judged as its parts' twins do."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.detector.core.engine import Engine, Happening
from services.detector.core.kernels import absorb, bins, error_mixture, fold, judge, query, screen, shift, spans, twins
from services.detector.core.kernels.twins import bins_of, fold_moments
from services.detector.core.kernels.twins_failures import Failures
from services.detector.core.kernels.twins_sequential import Spikes
from services.detector.core.metrics import METRICS
from services.detector.core.signal.pending import COUNT, MINUTE, SLOTS, SUM, WIDTH
from shared.batch import Batch
from tests.unit.detector.against_twins import ABSURD, against_twin, any_value, awkward, some_values
from tests.unit.detector.detector_kit import KEY, T0

A_MINUTE = 60_000


def array(values: list[float]) -> np.ndarray:
    return np.asarray(values, np.float64)


@against_twin(bins.middle, bins.upper)
@given(st.integers(-5, bins.BINS + 5))
def test_a_bin_has_the_middle_and_the_edge_that_its_logarithm_says(number: int) -> None:
    within = min(max(number, 0), bins.BINS - 1)
    assert bins.middle(number) == pytest.approx(0.0 if within == 0 else math.exp((within - 256 + 0.5) * 0.04))
    assert bins.upper(number) == pytest.approx(math.exp((number - 256 + 1) * 0.04))


@against_twin(fold.all_fit)
@given(some_values, st.sampled_from([-math.inf, 0.0, 1.0, 42.0]), st.sampled_from([0.0, 42.0, 1e9, 1e300, math.inf]))
@awkward(0.0, 1e300)
def test_all_values_fit_that_numpy_says_fit(values: list[float], first: float, last: float) -> None:
    x = array(values)
    finite = x[np.isfinite(x)]
    assert fold.all_fit(x, first, last) == bool(((finite >= first) & (finite < last)).all())


@against_twin(query.smallest)
@given(some_values.map(lambda values: [v for v in values if not math.isnan(v)] or [1.0]), st.integers(0, 100))
@awkward(0)
def test_the_value_of_a_rank_is_that_of_all_sorted(values: list[float], rank: int) -> None:
    x = array([v for v in values if not math.isnan(v)] or [1.0])
    at, expected = rank % len(x), np.sort(x)
    assert query.smallest(x, at) == expected[at]
    assert (x[:at] <= x[at]).all()
    assert (x[at:] >= x[at]).all()
    np.testing.assert_array_equal(np.sort(x), expected)


@against_twin(query.trend)
@given(some_values, st.integers(0, 3))
@awkward(1)
def test_the_trend_of_awkward_values_is_the_median_of_all_slopes(values: list[float], step: int) -> None:
    t, y = np.arange(len(values), dtype=np.float64) * step, array(values)
    i, j = np.triu_indices(len(t), 1)
    some = (t[i] != t[j]) & np.isfinite(y[i]) & np.isfinite(y[j])
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = (y[j] - y[i])[some] / (t[j] - t[i])[some]
        expected = (np.median(slopes), np.sign(slopes).sum()) if len(slopes) else (0.0, 0.0)
    assert query.trend(t, y) == pytest.approx(expected, nan_ok=True)


some_counts = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0, 7.0, 40.0]), min_size=8, max_size=8)


@against_twin(shift.compare)
@given(some_counts, some_counts)
@example([0.0] * 8, [0.0] * 8)
@example([0.0] * 8, [1.0] * 8)
@example([1.0, *[0.0] * 7], [1.0, *[0.0] * 7])
@example([*[0.0] * 7, 1.0], [1.0, *[0.0] * 7])
@example([30.0, *[0.0] * 7], [30.0, *[0.0] * 7])
def test_two_histograms_compare_as_the_calls_in_them(recent: list[float], before: list[float]) -> None:
    expected = twins.compare(array(recent), array(before))
    assert shift.compare(array(recent), array(before)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


many_counts = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 9.0]), min_size=80, max_size=80)


@against_twin(shift.slowed)
@given(many_counts, many_counts)
@example([0.0] * 80, [0.0] * 80)
@example([0.0] * 80, [1.0] * 80)
@example([1.0, *[0.0] * 79], [1.0, *[0.0] * 79])
@example([*[0.0] * 79, 9.0], [9.0, *[0.0] * 79])
def test_calls_are_as_much_likelier_slower_ones_as_each_of_them_says(recent: list[float], before: list[float]) -> None:
    expected = twins.slowed(array(recent), array(before))
    assert shift.slowed(array(recent), array(before)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_calls_of_two_kinds_that_are_each_four_times_as_slow_are_likelier_slower_than_wandering_ones() -> None:
    rng = np.random.default_rng(3)
    hits = rng.random(1_000) < 0.6
    bin_numbers = (60 + np.where(hits, 0.0, 60.0) + rng.normal(0.0, 8.0, 1_000)).astype(np.int64)

    def counts(numbers: np.ndarray) -> np.ndarray:
        return np.bincount(numbers, minlength=300).astype(np.float64)

    before, latest = counts(bin_numbers[:-16]), bin_numbers[-16:]
    assert shift.slowed(counts(latest + round(math.log(4.0) / 0.04)), before) > 12.0
    assert shift.slowed(counts(latest), before) < 0.0
    assert shift.slowed(counts(latest + 6), before) < 0.0


@against_twin(screen.compare_all)
@given(
    st.lists(st.tuples(st.integers(0, 4_000_000), any_value), max_size=30),
    st.integers(0, 29),
    st.tuples(st.integers(0, 2_000_000), st.integers(1_000_000, 4_000_000)),
    st.dictionaries(st.integers(0, 12), some_counts, min_size=1),
    st.integers(0, 13),
    st.integers(1, 12),
    st.integers(0, 6),
)
@settings(deadline=None)
def test_the_windows_of_a_busy_tool_compare_as_their_calls_one_window_at_a_time(
    calls: list[tuple[int, float]],
    following: int,
    span: tuple[int, int],
    quarters: dict[int, list[float]],
    last: int,
    day: int,
    fewest_before: int,
) -> None:
    following %= max(len(calls), 1)
    ring = calls[len(calls) - following :] + calls[: len(calls) - following]
    ts, x = np.array([t for t, _ in ring], np.int64), array([value for _, value in ring])
    index = np.array(sorted(quarters), np.int64)
    counts = np.array([[*quarters[key], 9.0] for key in index.tolist()]).astype(np.uint32)
    windows, out = ([2, 3, 5, 8], [1, 2, 4]), np.zeros((7, 4))
    low = bins.ONE - 4
    idle = screen.compare_all(
        ts,
        x,
        len(ts),
        following,
        span[1],
        span[0],
        900_000,
        index,
        len(index),
        counts,
        8,
        low,
        last,
        *map(np.array, windows),
        day,
        fewest_before,
        4,
        out,
    )
    by_quarter = {key: array(each) for key, each in quarters.items()}
    expected = twins.compare_all(calls, span, by_quarter, low, last, windows, day, fewest_before)
    assert out == pytest.approx(expected, rel=1e-6, abs=1e-6)
    known = [t for t, value in calls if t <= span[1] and math.isfinite(value)]
    assert idle == np.count_nonzero(np.diff(known[: len(known) - len(known) // 4]) >= 900_000)


@against_twin(screen.compare_latest)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=40),
    st.integers(0, 12),
    st.integers(1, 9),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_the_windows_of_seldom_called_tools_compare_as_their_calls_one_window_at_a_time(
    calls: list[tuple[int, bool]], from_number: int, right_before: int, twice: int
) -> None:
    places = np.array([place for place, _ in calls], np.int64)
    usual = np.flatnonzero(np.array([is_usual for _, is_usual in calls], bool))
    windows, out = [1, 2, 4, 9, 15], np.zeros((5, 3, 2))
    screen.compare_latest(places, usual, 8, from_number, np.array(windows), right_before, twice, out)
    expected = twins.compare_latest(places, usual, 8, from_number, windows, right_before, twice)
    assert out == pytest.approx(expected, rel=1e-6, abs=1e-6)


@against_twin(shift.normal_quantile)
@given(st.floats(1e-12, 1.0 - 1e-12))
@example(0.5)
@example(1e-300)
@example(0.02425)
def test_the_normal_quantile_is_that_of_the_standard_library(p: float) -> None:
    assert shift.normal_quantile(p) == pytest.approx(NormalDist().inv_cdf(p), rel=2e-9, abs=1e-12)


@against_twin(shift.normal_scores)
@given(some_counts)
@example([0.0] * 8)
@example([5.0, *[0.0] * 7])
def test_the_normal_scores_of_bins_are_those_of_the_calls_in_them(counts: list[float]) -> None:
    calls = np.repeat(np.arange(8), array(counts).astype(np.int64))
    expected = np.zeros(8)
    expected[calls] = twins.scores_of(calls)
    assert shift.normal_scores(array(counts)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@against_twin(shift.standings)
@given(some_counts)
@example([0.0] * 8)
@example([5.0, *[0.0] * 7])
def test_how_a_call_stands_among_others_is_its_normal_score_with_them(counts: list[float]) -> None:
    assert shift.standings(array(counts)) == pytest.approx(twins.standings(array(counts)), rel=1e-6, abs=1e-6)


@against_twin(shift.mark_raised)
@given(
    some_values | st.lists(st.floats(-3.0, 3.0), max_size=60),
    st.floats(0.5, 9.0),
    st.integers(0, 50),
    st.integers(0, 4),
)
@awkward(4.0, 20, 0)
@example([1.0, 1.0, -1.0, 2.0, -5.0, 3.0, -1.0], 3.0, 50, 1)
def test_stretches_that_are_raised_are_those_of_the_twin(
    gains: list[float], sure: float, longest_ms: int, after: int
) -> None:
    ts = np.arange(len(gains), dtype=np.int64)
    expected = twins.mark_raised(ts, array(gains), sure, longest_ms, after)
    assert shift.mark_raised(ts, array(gains), sure, longest_ms, after).tolist() == expected.tolist()


@given(some_values)
@awkward()
def test_the_bins_of_awkward_values_are_those_of_the_twin(values: list[float]) -> None:
    x = array([v for v in values if not math.isnan(v)])
    assert [bins.bin_of(v) for v in x.tolist()] == bins_of(x).tolist()


@against_twin(spans.tally)
@given(st.lists(st.integers(0, 30 * A_MINUTE), max_size=60), st.integers(0, 20), st.integers(0, 40), st.integers(0, 70))
def test_calls_held_and_calls_that_only_minutes_tell_of_are_counted_as_plainly(
    when: list[int], start: int, end: int, gone: int
) -> None:
    ts, first, last = np.sort(np.asarray(when, np.int64)), start * A_MINUTE, end * A_MINUTE
    dropped = int(ts[gone - 1]) if 0 < gone <= len(ts) else -1
    minutes = np.unique(ts // A_MINUTE)
    moments = np.zeros((len(minutes), 1, fold.MOMENTS))
    moments[:, 0] = fold_moments(ts, np.ones(len(ts)), minutes)
    held = [t for t in ts.tolist() if t > dropped]
    looked_at = [t for t in held if first <= t <= last]
    told = 0
    if dropped >= first:
        whole = range(-(-first // A_MINUTE), min(dropped, last) // A_MINUTE + 1)
        told = sum(t // A_MINUTE in whole for t in ts.tolist())
        told = max(0, told - sum(t // A_MINUTE == dropped // A_MINUTE for t in looked_at))
    kept = np.asarray(held, np.int64)
    assert spans.tally(first, last, kept, len(kept), dropped, minutes, len(minutes), moments) == (len(looked_at), told)


@against_twin(fold.fold_metric)
@given(some_values, st.integers(1, 40_000), st.integers(0, 1))
@awkward(7_000, 0)
@settings(max_examples=60)
def test_a_minute_under_way_has_the_count_and_the_sum_of_its_finite_values(
    values: list[float], step_ms: int, metric: int
) -> None:
    x, ts = array(values), T0 + np.arange(len(values), dtype=np.int64) * step_ms
    numbers = np.unique(ts // A_MINUTE)[:SLOTS]
    under_way, rows = np.zeros((1, SLOTS, WIDTH)), np.append(np.unique(ts // A_MINUTE), 0)
    under_way[0, numbers % SLOTS, MINUTE] = numbers
    found, n = np.zeros((3, len(ts)), np.int64), len(rows) - 1
    fold.find_rows(ts, rows, n, np.zeros(1, np.int64), 0, found)
    moments, counts = np.zeros((n + 1, 2, fold.MOMENTS)), np.zeros((1, bins.BINS), np.uint32)
    with np.errstate(over="ignore", invalid="ignore"):
        fold.fold_metric(ts, x, found, rows, moments, metric, counts, 0, bins.BINS, 0, under_way, 0)
        for number in numbers:
            mine = x[(ts // A_MINUTE == number) & np.isfinite(x)]
            slot = under_way[0, number % SLOTS, COUNT + 2 * metric : SUM + 2 * metric + 1]
            total = bins_of(mine).sum() if metric == 0 else mine.sum()
            assert slot[0] == len(mine)
            if np.isfinite(slot[1]) and np.isfinite(
                total
            ):  # 1e300 and −1e300 cancel out in one order of adding, not in another
                assert slot[1] == pytest.approx(float(total), rel=1e-9, abs=1e-9 * float(np.abs(mine).sum() + 1.0))


some_call = st.tuples(
    st.sampled_from([0, 50, 1_000, 20_000, 61_000, 700_000, -30_000]),
    st.one_of(st.floats(50, 150), st.sampled_from([100.0, 900.0, 5_000.0]), st.sampled_from(ABSURD)),
    st.one_of(st.just(500.0), any_value),
    st.booleans(),
    st.integers(1, 25),
)


def happened(spikes: list[Spikes], failures: Failures, calls: list[tuple[int, float, float, bool]]) -> list[object]:
    """What the twins say of a batch: metric by metric, then the failures."""
    found: list[object] = []
    for metric, twin in enumerate(spikes):
        for t, *values, _ in calls:
            value = values[metric // 2] if metric in {0, 2} else math.nan
            found += [(metric, *one) for one in twin.judge(float(t), value)]
    failures.rate = spikes[0].rate
    for t, _, _, ok in calls:
        found += [(-1, *one) for one in failures.judge(float(t), not ok)]
    return found


def batches(runs: list[tuple[int, float, float, bool, int]], most: int) -> list[list[tuple[int, float, float, bool]]]:
    """Calls from runs, a batch at most so many of one minute: longer ones are folded in piece by piece."""
    each = [one[:4] for one in runs for _ in range(one[4])]
    ts = T0 + 1_000_000 + np.cumsum(np.asarray([step for step, *_ in each], np.int64))
    found: list[list[tuple[int, float, float, bool]]] = []
    for t, (_, *rest) in zip(ts.tolist(), each, strict=True):
        if not found or len(found[-1]) == most or found[-1][0][0] // A_MINUTE != t // A_MINUTE:
            found.append([])
        found[-1].append((t, *rest))
    return found


@against_twin(absorb.absorb, absorb.sort_calls, absorb.keep_calls)
@given(st.lists(some_call, max_size=25), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_judged_as_the_twins_judge_its_metrics_and_failures(runs, most: int) -> None:
    engine, failures = Engine(10), Failures(0.0)
    spikes = [Spikes(metric.margin_ratio, metric.margin_excess) for metric in METRICS]
    for part in batches(runs, most):
        when, x, memory, ok = (np.asarray(column) for column in zip(*part, strict=True))
        some = Batch((KEY,), np.zeros(len(part), np.uint32), when, x, ok.astype(np.uint8), memory=memory)
        assert [outline(h) for h in engine.apply(some)] == happened(spikes, failures, part)


def outline(h: Happening) -> tuple[int, float, float, int]:
    """Metric, kind, start and level."""
    row = error_mixture if h.metric < 0 else judge
    return h.metric, h.kind, float(h.place[row.START]), int(h.place[row.LEVEL])
