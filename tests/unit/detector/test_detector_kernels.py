"""Every kernel says what its twin says, for ordinary and for absurd input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.core.kernels import absorb, bins, fold, judge, query, twins
from services.detector.core.kernels.twins_sequential import Spikes
from services.detector.core.signal.pending import SLOTS, WIDTH
from tests.unit.detector.against_twins import against_twin

T0 = 1_760_000_000_000
ABSURD = [0.0, -0.0, -1.0, 1e300, -1e300, 5e-324, 1e-310, math.inf, -math.inf, math.nan, 1.0, 1.0, 1e9]
anything = st.lists(st.one_of(st.sampled_from(ABSURD), st.floats(width=64)), max_size=40)
sensible = st.lists(st.floats(0.01, 1e6), max_size=60)
some_values = st.one_of(anything, sensible, st.lists(st.just(42.0), max_size=30))


def array(values: list[float]) -> np.ndarray:
    return np.asarray(values, np.float64)


@against_twin(bins.bin_of)
@given(st.one_of(st.sampled_from([v for v in ABSURD if not math.isnan(v)]), st.floats(allow_nan=False)))
def test_a_value_has_the_bin_its_twin_says(value: float) -> None:
    assert bins.bin_of(value) == twins.bins_of(array([value]))[0]


@given(st.floats(1e-4, 1e13))
def test_a_bins_middle_is_within_two_percent_of_its_values(value: float) -> None:
    assert bins.middle(bins.bin_of(value)) == pytest.approx(value, rel=0.0203)
    assert bins.upper(bins.bin_of(value)) >= value * (1 - 1e-9)


@against_twin(bins.rank_bin)
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


def test_every_bin_begins_where_the_logarithm_says() -> None:
    for number in range(1, bins.BINS):
        first = float(bins.EDGES[number])
        before = math.nextafter(first, 0.0)
        for value in (first, before, math.nextafter(first, math.inf), first * 1.01):
            expected = math.floor(math.log(value) / bins.LN_WIDTH) + bins.ONE
            if value < bins.LOWEST:
                expected = 0
            assert bins.bin_of(value) == min(expected, bins.BINS - 1)
        assert (bins.bin_of(before), bins.bin_of(first)) == (number - 1, number)


def folded(
    ts: np.ndarray, x: np.ndarray, ok: np.ndarray, minutes: np.ndarray, quarters: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Moments, counts and failures of one metric in these minutes and quarter hours, and whether all calls had both."""
    moments, failures = np.zeros((len(minutes) + 1, 1, fold.MOMENTS)), np.zeros(len(minutes) + 1)
    counts = np.zeros((len(quarters) + 1, bins.BINS), np.uint32)
    found = np.zeros((3, len(ts)), np.int64)
    rows, quarter_rows = (np.append(each, 0) for each in (minutes, quarters))
    whole = fold.find_rows(ts, rows, len(minutes), quarter_rows, len(quarters), found)
    under_way = np.zeros((1, SLOTS, WIDTH))
    fold.fold_metric(ts, x, found, rows, moments, 0, counts, 0, bins.BINS, 0, under_way, 0)
    fold.fold_failures(ok, found, failures)
    return moments[: len(minutes), 0], counts[: len(quarters)], failures[: len(minutes)], whole


@against_twin(fold.find_rows, fold.fold_metric, fold.fold_failures)
@given(some_values, st.integers(0, 40), st.lists(st.integers(0, 7), max_size=40))
@settings(max_examples=100)
def test_minutes_and_histograms_are_those_of_the_twin(values: list[float], step_s: int, jumps: list[int]) -> None:
    # Sums of squares of 1e300 overflow in any arithmetic; what matters there is that nothing else is disturbed. Values that
    # differ in their last digits alone differ by what any arithmetic rounds.
    x = array([float(f"{v:.5e}") if abs(v) < 1e150 or not math.isfinite(v) else 1e9 for v in values])
    ts = T0 + np.arange(len(x), dtype=np.int64) * step_s * 1000
    for at, jump in enumerate(jumps[: len(ts)]):  # late ones among them, of the minutes before
        ts[at] -= jump * 20_000
    minutes, quarters = np.unique(ts // 60_000), np.unique(ts // 900_000)
    ok = (np.arange(len(x)) % 3 != 0).astype(np.uint8)
    moments, counts, failures, whole = folded(ts, x, ok, minutes, quarters)
    assert whole
    assert moments == pytest.approx(twins.fold_moments(ts, x, minutes), rel=1e-9, abs=1e-6)
    assert np.array_equal(counts, twins.fold_counts(ts, x, quarters, 0, bins.BINS))
    assert failures.tolist() == [((ts // 60_000 == minute) & (ok == 0)).sum() for minute in minutes]


def test_calls_of_two_minutes_in_turn_are_those_of_each_minute_alone() -> None:
    rng = np.random.default_rng(3)
    ts = T0 + rng.integers(0, 2, 500) * 60_000 + rng.integers(0, 1_000, 500)
    x, ok = rng.lognormal(3, 1, 500), (rng.random(500) > 0.1).astype(np.uint8)
    minutes = np.unique(ts // 60_000)
    moments, _, failures, _ = folded(ts, x, ok, minutes, np.unique(ts // 900_000))
    for row, minute in enumerate(minutes):
        mine = ts // 60_000 == minute
        assert moments[row] == pytest.approx(twins.fold_moments(ts[mine], x[mine], minutes[row : row + 1])[0])
        assert failures[row] == (ok[mine] == 0).sum()


def test_late_and_lost_calls_go_where_they_belong_or_nowhere() -> None:
    ts = np.asarray([T0 + 120_000, T0, T0 + 60_000, T0 + 600_000, T0 - 60_000])
    x = array([3.0, 1.0, 2.0, 9.0, 8.0])
    minutes = np.asarray([T0 // 60_000, T0 // 60_000 + 1, T0 // 60_000 + 2])
    moments, counts, failures, whole = folded(ts, x, np.zeros(5, np.uint8), minutes, np.empty(0, np.int64))
    assert not whole
    assert moments[:, fold.N].tolist() == [1, 1, 1]
    assert moments[:, fold.MEAN].tolist() == [1, 2, 3]
    assert failures.tolist() == [1, 1, 1]
    assert counts.sum() == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["no", "cpu", "all"])), max_size=60), st.integers(6, 9))
def test_calls_are_sorted_by_series_as_a_stable_sort_would(calls: list[tuple[int, str]], codes: int) -> None:
    n = len(calls)
    code = np.asarray([c[0] for c in calls], np.uint32)
    ts, ok, column = np.arange(n), (np.arange(n) % 2).astype(np.uint8), np.arange(n, dtype=np.float64)
    cpu, memory = column * 10, np.empty(0)
    ts_out, ok_out, x_out = np.empty(n, np.int64), np.empty(n, np.uint8), np.empty((4, n))
    ends = np.cumsum(np.bincount(code, minlength=codes))
    next_of = np.concatenate(([0], ends[:-1]))
    absorb.sort_calls(code, next_of, ts, ok, column, cpu, memory, memory, ts_out, ok_out, x_out)
    order = np.argsort(code, kind="stable")
    assert next_of.tolist() == ends.tolist()
    assert ts_out.tolist() == ts[order].tolist()
    assert ok_out.tolist() == ok[order].tolist()
    assert x_out[0].tolist() == column[order].tolist()
    assert x_out[1].tolist() == cpu[order].tolist()
    assert np.isnan(x_out[2:]).all()


@given(st.lists(st.integers(0, 25), max_size=12))
def test_the_ring_holds_the_latest_calls_in_order_and_knows_what_went(parts: list[int]) -> None:
    room, said = 10, -1
    ts, x, ok = np.zeros(room, np.int64), np.zeros((2, room)), np.zeros(room, np.uint8)
    filled = following = sent = 0
    for size in parts:
        new = np.arange(sent, sent + size)
        values = new[None, :].astype(np.float64)
        filled, following, dropped = absorb.keep_calls(
            new, values, (new % 2).astype(np.uint8), 0, size, ts, x, ok, filled, following
        )
        sent, said = sent + size, max(said, dropped)
    order = np.roll(ts, -following) if filled == room else ts[:filled]
    assert order.tolist() == list(range(max(0, sent - room), sent))
    assert said == max(sent - room, 0) - 1
    assert x[0, :filled].tolist() == ts[:filled].tolist()
    assert np.isnan(x[1, :filled]).all()
    assert (ok[:filled] == ts[:filled] % 2).all()


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


@against_twin(judge.judge)
@given(stream, st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_spikes_are_judged_as_by_the_twin_however_the_calls_are_cut_into_batches(runs, cut) -> None:
    ts, x, _ = spread(runs)
    base, track, out = np.zeros(bins.BINS, np.float32), np.zeros(judge.SIZE), np.zeros((4, judge.HAPPENING))
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
    if twin.phase == "open":
        assert track[[judge.ALARMED, judge.KEPT_MEDIAN]].tolist() == pytest.approx([twin.alarmed, twin.usual[0]])
        assert track[judge.KEPT_BAND : judge.KEPT_BAND + 3].tolist() == pytest.approx(twin.usual[1:])
        assert bool(track[judge.ADOPTED]) == twin.adopted


def test_the_twins_own_streams_do_open_and_close_events() -> None:
    """Else the test above would prove nothing."""
    twin, seen = Spikes(1.5, 5.0), set()
    for i in range(400):
        bad = 200 <= i < 215
        seen |= {("spike", kind) for kind, *_ in twin.judge(T0 + i * 15_000.0, 900.0 if bad else 100.0 + i % 7)}
    assert seen == {("spike", 1.0), ("spike", 2.0)}
