"""What a tool is known by leaves out the trouble that it had: which calls are of trouble, and what that makes of a shift."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.kernels.bins import LN_WIDTH
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.latest import latest_calls
from services.detector.core.sweeps.shifts import find_shift
from services.detector.core.sweeps.trouble import usual_calls
from tests.unit.detector.detector_kit import HOUR, KEY, T0, batch, feed, make_watch, ordinary

MEDIUM = 2


def once_an_hour(n: int, seed: int = 1) -> np.ndarray:
    return T0 + np.cumsum(np.random.default_rng(seed).exponential(HOUR, n)).astype(np.int64)


def known(ts: np.ndarray, values: np.ndarray) -> SeriesState:
    watch = make_watch()
    feed(watch, batch(ts, values))
    return watch.engine.series[KEY]


def of_trouble(values: np.ndarray, ts: np.ndarray) -> np.ndarray:
    bins = np.floor(np.log(values) / LN_WIDTH).astype(np.int64)
    return np.flatnonzero(~usual_calls(ts, bins - bins.min(), int(np.ptp(bins)) + 1))


def test_slow_calls_of_some_hours_that_are_over_are_trouble() -> None:
    ts, values = once_an_hour(200), ordinary(200, spread=0.3)
    values[100:112] *= 2.5
    left_out = of_trouble(values, ts)
    assert 10 <= np.count_nonzero((left_out >= 100) & (left_out < 112)) <= len(left_out) <= 14


def test_slow_calls_that_still_come_are_not_over() -> None:
    ts, values = once_an_hour(200), ordinary(200, spread=0.3)
    values[-12:] *= 2.5
    assert not len(of_trouble(values, ts))


def test_a_level_that_stayed_for_days_was_usual() -> None:
    ts, values = once_an_hour(300), ordinary(300, spread=0.2)
    values[100:170] *= 2.5
    assert not len(of_trouble(values, ts))


def test_what_was_so_for_half_of_the_time_was_usual() -> None:
    ts, values = once_an_hour(240), ordinary(240, spread=0.2)
    for first in range(0, 230, 24):
        values[first : first + 14] *= 2.5
    assert not len(of_trouble(values, ts))


@pytest.mark.parametrize("spread", [0.2, 1.2])
def test_calls_that_know_nothing_of_each_other_are_hardly_ever_trouble(spread: float) -> None:
    ts = once_an_hour(300)
    found = [len(of_trouble(ordinary(300, seed=seed, spread=spread), ts)) for seed in range(40)]
    assert np.mean(np.array(found) > 0) <= 0.1


@pytest.mark.parametrize("seed", range(4))
def test_a_shift_is_found_of_a_tool_that_was_slow_every_other_day(seed: int) -> None:
    ts, values = once_an_hour(150, seed), ordinary(150, seed=seed, spread=0.2)
    for first, last, times in ((30, 44, 3.0), (70, 78, 3.0), (100, 112, 2.0), (140, 150, 1.7)):
        values[first:last] *= times
    found = find_shift(known(ts, values), int(ts[-1]))
    assert found is not None
    assert found.level >= MEDIUM
    assert ts[130] <= found.start_ms <= ts[145]


def test_trouble_that_is_over_is_not_told_of_once_more() -> None:
    ts, values = once_an_hour(200), ordinary(200, spread=0.3)
    values[160:180] *= 3.0
    series = known(ts, values)
    assert np.count_nonzero(~latest_calls(series, int(ts[-1])).usual) >= 15
    found = find_shift(series, int(ts[-1]))
    assert found is None or found.level < MEDIUM
