"""The sketch against sorted values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import sketch

VALUES = st.floats(0, 1e9, allow_nan=False)
QUANTILES = st.sampled_from(["0.5", "0.95", "0.99", "0.01", "0.07", "1.0", "0.001"])


def nearest_rank(values: list[float], quantile: str) -> float:
    rank = max(1, math.ceil(Fraction(quantile) * len(values)))
    return sorted(values)[rank - 1]


def close(found: float, true: float) -> bool:
    return abs(found - true) <= sketch.RELATIVE_ERROR * true * (1 + 1e-9) + sketch.MIN_VALUE


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=200), QUANTILES)
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(values: list[float], quantile: str) -> None:
    bins, counts = sketch.add_up(sketch.bin_of(values), None, sketch.BINS)
    assert close(sketch.quantile(bins, counts, float(quantile)), nearest_rank(values, quantile))


@settings(deadline=None)
@given(st.lists(st.lists(VALUES, min_size=1, max_size=30), min_size=1, max_size=8), QUANTILES)
def test_merged_sketches_answer_as_one_sketch_of_all_values(parts: list[list[float]], quantile: str) -> None:
    made = [sketch.add_up(sketch.bin_of(part), None, sketch.BINS) for part in parts]
    bins, counts = sketch.add_up(
        np.concatenate([part[0] for part in made]), np.concatenate([part[1] for part in made]), sketch.BINS
    )
    everything = [value for part in parts for value in part]
    assert close(sketch.quantile(bins, counts, float(quantile)), nearest_rank(everything, quantile))
    assert counts.sum() == len(everything)


@settings(deadline=None)
@given(st.lists(st.lists(VALUES, max_size=20), min_size=1, max_size=12), QUANTILES)
def test_grouped_quantiles_are_those_of_each_series(series: list[list[float]], quantile: str) -> None:
    keys = [code * sketch.BINS + sketch.bin_of(values).astype(np.int64) for code, values in enumerate(series)]
    found = sketch.quantiles(
        *sketch.add_up(np.concatenate(keys), None, len(series) * sketch.BINS), len(series), (float(quantile),)
    )
    for code, values in enumerate(series):
        if values:
            assert close(found[0, code], nearest_rank(values, quantile))
        else:
            assert math.isnan(found[0, code])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 9)), max_size=50))
def test_adding_up_is_the_same_dense_and_sparse(pairs: list[tuple[int, int]]) -> None:
    keys = np.array([key for key, _ in pairs], np.int64)
    counts = np.array([count for _, count in pairs], np.float64)
    expected: dict[int, int] = {}
    for key, count in pairs:
        expected[key] = expected.get(key, 0) + count
    for cells in (5001, 1 << 30):
        found, added = sketch.add_up(keys, counts, cells)
        assert dict(zip(found.tolist(), added.tolist(), strict=True)) == expected
        assert found.tolist() == sorted(expected)
        assert found.dtype == np.int32
        alone, times = sketch.add_up(keys, None, cells)
        assert alone.tolist() == sorted(expected)
        assert times.sum() == len(pairs)


def test_zero_tiny_huge_and_odd_values_have_a_bin() -> None:
    bins = sketch.bin_of([0.0, 1e-12, 1e9, 1e12, math.inf, math.nan, -1.0])
    assert bins.tolist() == [0, 0, sketch.BINS - 1, sketch.BINS - 1, sketch.BINS - 1, 0, 0]
    assert sketch.value_of(np.array([0]))[0] == 0
    assert close(float(sketch.value_of(np.array([sketch.BINS - 1]))[0]), 1e9)


def test_every_bin_answers_within_the_error_of_its_edges() -> None:
    bins = np.arange(1, sketch.BINS)
    upper = sketch.MIN_VALUE * sketch.GAMMA**bins
    values = sketch.value_of(bins)
    assert np.all(np.abs(values - upper) <= sketch.RELATIVE_ERROR * upper * (1 + 1e-9))
    lower = upper / sketch.GAMMA
    assert np.all(np.abs(values - lower) <= sketch.RELATIVE_ERROR * lower * (1 + 1e-9))


def test_an_empty_sketch_has_no_quantile() -> None:
    nothing = np.empty(0, np.int32), np.empty(0)
    assert math.isnan(sketch.quantile(*nothing, 0.5))
    assert np.isnan(sketch.quantiles(*nothing, 3, (0.5, 0.9))).all()


@pytest.mark.parametrize(
    ("total", "quantile", "rank"), [(100, 0.07, 7), (20, 0.95, 19), (1, 0.5, 1), (10**9, 0.99, 99 * 10**7)]
)
def test_ranks_do_not_suffer_from_rounding(total: int, quantile: float, rank: int) -> None:
    assert float(sketch.ranks(total, quantile)) == rank
