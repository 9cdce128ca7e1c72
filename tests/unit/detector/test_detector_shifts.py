"""Lasting shifts call by call: few calls of tools that are called seldom, times of day, idle time, trouble before."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.latest import latest_calls
from services.detector.core.sweeps.shifts import find_shift
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary

MEDIUM = 2


def seldom(n: int, every_ms: int = HOUR, seed: int = 1) -> np.ndarray:
    """Times of calls that come whenever they like, so often on average."""
    return T0 + np.cumsum(np.random.default_rng(seed).exponential(every_ms, n)).astype(np.int64)


def known(ts: np.ndarray, values: np.ndarray) -> SeriesState:
    watch = make_watch()
    feed(watch, batch(ts, values))
    return watch.engine.series[KEY]


def cold(ts: np.ndarray, times: float) -> np.ndarray:
    return np.where(np.diff(ts, prepend=ts[0]) > 20 * MINUTE, times, 1.0)


def peak(ts: np.ndarray, swing: float) -> np.ndarray:
    return np.exp(swing * np.cos((ts % DAY - 14 * HOUR) / DAY * 2 * np.pi))


@pytest.mark.parametrize("spread", [0.2, 0.7])
def test_eight_calls_of_a_tool_called_once_an_hour_that_are_four_times_slower_are_found(spread: float) -> None:
    ts, values = seldom(200), ordinary(200, spread=spread)
    values[-8:] *= 4.0
    found = find_shift(known(ts, values), int(ts[-1]))
    assert found is not None
    assert found.level >= MEDIUM
    assert ts[-12] <= found.start_ms <= ts[-4]


def test_twenty_calls_of_a_tool_called_once_an_hour_that_are_three_times_slower_are_found_where_it_was_so_before() -> (
    None
):
    ts, values = seldom(240), ordinary(240, spread=0.3)
    values[100:130] *= 3.0
    values[160:190] *= 3.0
    values[-20:] *= 3.0
    found = find_shift(known(ts, values), int(ts[-1]))
    assert found is not None
    assert found.level >= MEDIUM


@pytest.mark.parametrize("seed", range(8))
def test_calls_that_know_nothing_of_each_other_are_no_shift(seed: int) -> None:
    ts, values = seldom(200, seed=seed), ordinary(200, seed=seed, spread=1.0)
    found = find_shift(known(ts, values), int(ts[-1]))
    assert found is None or found.level < MEDIUM


def test_first_calls_after_idle_time_that_are_always_slow_are_no_shift() -> None:
    often = T0 + np.arange(400, dtype=np.int64) * 4 * MINUTE
    ts = np.concatenate([seldom(60), seldom(60)[-1] + HOUR + often - T0])
    ts = np.concatenate([ts, ts[-1] + HOUR * np.arange(1, 13)])
    values = ordinary(len(ts)) * cold(ts, 3.0)
    found = find_shift(known(ts, values), int(ts[-1]))
    assert found is None or found.level < MEDIUM


def test_a_time_of_day_that_is_always_slow_is_no_shift_and_is_taken_off() -> None:
    ts = seldom(600, every_ms=30 * MINUTE)
    ts = ts[: np.flatnonzero(ts % DAY < 15 * HOUR)[-1]]
    values = ordinary(len(ts)) * peak(ts, 0.3)
    series = known(ts, values)
    found = find_shift(series, int(ts[-1]))
    assert found is None or found.level < MEDIUM
    steady = np.log(latest_calls(series, int(ts[-1])).steady)
    assert abs(np.corrcoef(steady, np.log(peak(ts, 0.3)))[0, 1]) < 0.2


def test_calls_that_all_take_the_same_time_are_no_shift() -> None:
    ts = seldom(200)
    assert find_shift(known(ts, np.full(200, 100.0)), int(ts[-1])) is None
