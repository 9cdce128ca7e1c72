"""Lasting shifts call by call: few calls of tools that are called seldom, times of day, idle time, trouble before."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps import shifts
from services.detector.core.sweeps.latest import UNKNOWN_WANDERING, latest_calls, wandering
from services.detector.core.sweeps.shifts import SURE, find_shift
from services.detector.core.sweeps.windows import may_have_risen
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary, stored

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


def hits_and_misses(n: int, seed: int = 5) -> np.ndarray:
    """Milliseconds of a cache's tool: six of ten calls are ten times as fast as the others."""
    rng = np.random.default_rng(seed)
    hit = rng.random(n) < 0.6
    return 100 * np.exp(np.where(hit, -2.3 + 0.3 * rng.standard_normal(n), 0.4 * rng.standard_normal(n)))


def test_hits_and_misses_that_are_both_four_times_as_slow_are_found_though_misses_were_always_slow() -> None:
    ts, values = seldom(600, every_ms=2 * MINUTE), hits_and_misses(600)
    values[-16:] *= 4.0
    found = find_shift(known(ts, values), int(ts[-1]))
    assert found is not None
    assert found.level >= MEDIUM
    assert found.method == "times-slower"
    assert ts[-18] <= found.start_ms <= ts[-12]


@pytest.mark.parametrize("seed", range(12))
def test_hits_and_misses_that_are_both_slower_are_one_anomaly_from_when_they_are(seed: int) -> None:
    watch, ts, values = make_watch(), seldom(1_400, every_ms=2 * MINUTE, seed=seed), hits_and_misses(1_400, seed)
    values[-20:] *= 4.0
    for now in range(T0 + MINUTE, int(ts[-1]) + 2 * MINUTE, MINUTE):
        some = (ts >= now - MINUTE) & (ts < now)
        if some.any():
            watch.apply(batch(ts[some], values[some]), live=True)
        watch.tick(now)
        if now % (5 * MINUTE) == 0:
            watch.sweep(watch.engine.series.values(), now)
    found = [event for event in stored(watch) if event.last_ms >= ts[-20]]
    assert len(found) == 1
    assert abs(found[0].start_ms - ts[-20]) <= 20 * MINUTE


@pytest.mark.parametrize("times", [1.0, 1.3])
def test_misses_and_a_level_that_wanders_are_no_slower_hits(times: float) -> None:
    ts = seldom(600, every_ms=2 * MINUTE)
    for seed in range(8):
        values = hits_and_misses(600, seed)
        values[-16:] *= times
        found = find_shift(known(ts, values), int(ts[-1]))
        assert found is None or found.level < MEDIUM


@pytest.mark.parametrize("seed", range(4))
def test_calls_that_come_in_slow_rows_anyhow_are_not_several_times_as_slow(seed: int) -> None:
    ts, noise = seldom(900, every_ms=2 * MINUTE, seed=seed), ordinary(900, seed=seed, level=1.0, spread=0.3)
    logs = np.zeros(900)
    for i in range(1, 900):
        logs[i] = 0.9 * logs[i - 1] + np.log(noise[i])
    series = known(ts, 100 * np.exp(logs))
    for end in ts[600::4].tolist():
        found = find_shift(series, end)
        assert found is None or found.level < MEDIUM or found.method != "times-slower"


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


def of_three_hours(minutes_ago: int, times: float, end_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """25 calls a minute of a tool that nobody knew before, times as slow since so many minutes."""
    rng = np.random.default_rng(1)
    ts = np.sort(rng.integers(end_ms - 3 * HOUR, end_ms, 3 * 60 * 25))
    return ts, ordinary(len(ts), level=200.0, spread=0.25) * np.where(ts >= end_ms - minutes_ago * MINUTE, times, 1.0)


@pytest.mark.parametrize("minutes_ago", [15, 30, 45, 60, 75, 90])
def test_a_shift_of_a_tool_known_for_three_hours_is_found_for_as_long_as_it_lasts(minutes_ago: int) -> None:
    end_ms = T0 + 10 * HOUR
    found = find_shift(known(*of_three_hours(minutes_ago, 1.6, end_ms)), end_ms)
    assert found is not None
    assert found.level >= MEDIUM
    assert abs(found.start_ms - (end_ms - minutes_ago * MINUTE)) <= 2 * MINUTE


def test_a_lasting_rise_is_called_a_shift_when_its_calls_come_all_at_once() -> None:
    end_ms, watch = T0 + 10 * HOUR, make_watch()
    feed(watch, batch(*of_three_hours(75, 1.6, end_ms)), 500)
    watch.tick(end_ms)
    watch.sweep(watch.engine.series.values(), end_ms)
    (event,) = stored(watch)
    assert (event.type, event.end_ms) == ("response_time_shift", None)


def test_how_much_a_level_wanders_does_not_contain_the_one_change_that_is_judged() -> None:
    began = T0 + np.arange(12, dtype=np.int64) * 15 * MINUTE
    changed = np.where(np.arange(12) < 7, 0.0, 1.0)
    assert wandering(changed, 0.0, began) < UNKNOWN_WANDERING
    restless = np.array([0.0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1])
    assert wandering(restless, 0.0, began) > UNKNOWN_WANDERING


def test_how_much_a_level_wanders_within_hours_is_not_told_by_parts_of_other_days() -> None:
    apart = T0 + np.arange(40, dtype=np.int64) * 7 * HOUR
    assert wandering(np.random.default_rng(1).normal(0.0, 2.0, 40), 0.0, apart) == UNKNOWN_WANDERING


@pytest.mark.parametrize("seed", [1, 19, 23, 29])
def test_calls_that_come_once_an_hour_are_seldom_looked_at_and_need_be_less_sure(seed: int) -> None:
    ts, values = seldom(200, seed=seed), ordinary(200, seed=seed + 500, spread=0.6)
    values[-10:] *= 2.2
    found = find_shift(known(ts, values), int(ts[-1]))
    assert found is not None
    assert found.level == MEDIUM
    often = ts[0] + (ts - ts[0]) // 60
    oftener = find_shift(known(often, values), int(often[-1]))
    assert oftener is None or oftener.level < MEDIUM


@pytest.mark.parametrize("times", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("gap_ms", [5_000, 30_000])
def test_the_quick_look_at_a_busy_tool_passes_over_nothing_that_the_thorough_one_finds(
    times: float, gap_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ts = np.arange(T0, T0 + DAY, gap_ms)
    values = ordinary(len(ts), gap_ms, spread=0.5)
    values[-len(ts) // 12 :] *= times
    series = known(ts, values)
    ends = range(T0 + DAY - 3 * HOUR, T0 + DAY + 1, 10 * MINUTE)
    quick = [find_shift(series, end_ms) for end_ms in ends]
    risen = [may_have_risen(series, end_ms, SURE[0]) for end_ms in ends]
    monkeypatch.setattr(shifts, "may_have_risen", lambda *_: True)
    assert [find_shift(series, end_ms) for end_ms in ends] == quick
    assert times > 1.0 or not all(risen)
    assert times < 2.0 or any(quick)


def test_a_level_that_wanders_slowly_wanders_as_much_as_one_that_does_so_quickly() -> None:
    """Parts an hour apart are alike where a level takes an hour to move, and show half of what it does."""
    rng, began = np.random.default_rng(1), T0 + np.arange(96, dtype=np.int64) * 15 * MINUTE
    levels = np.empty((200, 96))
    levels[:, 0] = rng.normal(0.0, 0.2, 200)
    for i in range(1, 96):
        levels[:, i] = 0.8 * levels[:, i - 1] + rng.normal(0.0, 0.2 * 0.6, 200)
    found = [wandering(level, 0.0, began) for level in levels]
    assert np.median(found) == pytest.approx(0.04, rel=0.15)
