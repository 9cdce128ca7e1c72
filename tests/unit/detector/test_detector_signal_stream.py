"""Calls become a point a minute of each signal: which minute, when, with what; and what is kept of it over a restart."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.engine import Engine
from services.detector.core.events import Book
from services.detector.core.signal import course, scorer
from services.detector.core.signal.course import CALLS_SIGNAL
from services.detector.core.signal.pending import LATE_MINUTES
from services.detector.core.state.budget import Budget
from services.detector.core.state.codec import decode_series, encode_series
from services.detector.core.watch import Watch
from shared.batch import Series
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, T0, batch, cut, feed, make_watch, ordinary, stored

MEMORY = 2


def state_of(watch: Watch, signal: int, key: Series = KEY) -> np.ndarray | None:
    kept = watch.engine.signals.signal(watch.engine.series[key].row, signal)
    return None if kept is None else kept[0]


def points(watch: Watch, signal: int = 0) -> int:
    state = state_of(watch, signal)
    return 0 if state is None else int(state[scorer.COUNT])


def every_minute(n: int, calls: int = 1) -> np.ndarray:
    return T0 + (np.arange(n * calls) * (MINUTE // calls)).astype(np.int64)


def pass_minutes(watch: Watch, start: int, n: int) -> None:
    for minute in range(n):
        watch.tick(start + minute * MINUTE)


def test_a_minute_is_a_point_once_two_minutes_more_are_over() -> None:
    watch = make_watch()
    for ts in every_minute(6).tolist():
        watch.tick(ts)
        watch.apply(batch([ts], [80.0]), live=True)
    assert points(watch) == 6 - 1 - LATE_MINUTES
    pass_minutes(watch, T0 + 6 * MINUTE, 2 + LATE_MINUTES)
    assert points(watch) == 6, "the clock closes the minutes of a tool that is not called any more"


def test_minutes_of_a_producer_whose_clock_is_behind_are_whole() -> None:
    watch, behind = make_watch(), 5 * MINUTE
    for at in range(60):
        now = T0 + at * MINUTE // 4
        watch.tick(now)
        watch.apply(batch([now - behind], [100.0 if at % 4 else 6_400.0]), live=True)
    pass_minutes(watch, T0 + HOUR, 12)
    assert points(watch) == 15
    assert state_of(watch, 0)[scorer.EXPECTED] == pytest.approx(283.0, rel=0.03)


def test_a_producer_whose_clock_is_ahead_takes_no_minute_from_others() -> None:
    watch = make_watch()
    for at in range(60):
        now = T0 + at * MINUTE // 4
        watch.tick(now)
        watch.apply(batch([now + 8 * MINUTE], [50.0], key=Series("ahead", "tool")), live=True)
        watch.apply(batch([now], [100.0]), live=True)
    pass_minutes(watch, T0 + 15 * MINUTE, 5)
    assert points(watch) == 15


def test_late_calls_count_in_their_minute_while_it_is_open() -> None:
    on_time, late = make_watch(), make_watch()
    ts, values = every_minute(12), np.full(12, 80.0)
    values[4] = 160.0
    order = [0, 1, 2, 3, 5, 6, 4, 7, 8, 9, 10, 11]
    feed(on_time, batch(ts, values), 1)
    feed(late, batch(ts[order], values[order]), 1)
    np.testing.assert_array_equal(state_of(on_time, 0), state_of(late, 0))


@pytest.mark.parametrize("size", [1, 7, 90, 2_000])
def test_points_are_the_same_however_the_stream_is_cut(size: int) -> None:
    whole = batch(every_minute(300, 3), ordinary(900), memory=ordinary(900, 4, 300.0))
    watch, other = make_watch(), make_watch()
    for into, each in ((watch, 50), (other, size)):
        feed(into, whole, each)
        into.tick(T0 + 310 * MINUTE)
    for signal in (0, MEMORY):
        np.testing.assert_allclose(state_of(watch, signal), state_of(other, signal), rtol=1e-5)


def test_a_point_of_response_time_is_the_geometric_mean_and_of_a_resource_the_mean() -> None:
    watch = make_watch()
    feed(watch, batch(T0 + np.arange(4) * 1_000, [10.0, 1_000.0, 10.0, 1_000.0], memory=np.array([1.0, 2.0, 3.0, 6.0])))
    watch.tick(T0 + 15 * MINUTE)
    assert state_of(watch, 0)[scorer.EXPECTED] == pytest.approx(100.0, rel=0.02)
    assert state_of(watch, MEMORY)[scorer.EXPECTED] == pytest.approx(3.0)


def test_signals_are_kept_of_what_is_measured_alone() -> None:
    watch = make_watch()
    feed(watch, batch(every_minute(20), ordinary(20), cpu=np.full(20, 3.0)))
    assert [state_of(watch, signal) is not None for signal in range(course.SIGNALS)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_minutes_without_calls_are_points_of_a_busy_tools_calls_alone() -> None:
    watch = make_watch()
    feed(watch, batch(every_minute(20, 12), ordinary(240)), 12)
    pass_minutes(watch, T0 + 20 * MINUTE, 6)
    before = points(watch, CALLS_SIGNAL), points(watch)
    watch.tick(T0 + 60 * MINUTE)
    assert points(watch, CALLS_SIGNAL) > before[0] + 20
    assert points(watch) == before[1]


def test_a_day_read_at_once_gives_the_points_of_a_day() -> None:
    watch = make_watch()
    watch.apply(batch(every_minute(1_440, 2), ordinary(2_880)), live=False)
    watch.tick(T0 + DAY + HOUR)
    assert points(watch) == 1_440


def test_disordered_calls_of_a_day_neither_fail_nor_take_for_ever() -> None:
    watch = make_watch()
    rng = np.random.default_rng(5)
    ts = T0 + rng.integers(0, DAY, 3_000)
    watch.apply(batch(ts, ordinary(3_000)), live=False)
    assert watch.engine.series[KEY].calls_total == 3_000


def test_signals_and_minutes_under_way_come_back_from_bytes() -> None:
    watch = make_watch()
    whole = batch(every_minute(50, 10), ordinary(500), memory=ordinary(500, 2))
    feed(watch, whole)
    series = watch.engine.series[KEY]
    engine = Engine(10)
    again = decode_series(series.key, series.number, encode_series(series), Budget(), engine.signals)
    for ours, theirs in ((watch.engine.signals, engine.signals),):
        np.testing.assert_array_equal(ours.pending[series.row], theirs.pending[again.row])
        np.testing.assert_array_equal(ours.heads[series.row], theirs.heads[again.row])
        for signal in range(course.SIGNALS):
            for mine, other in zip(
                ours.signal(series.row, signal) or (), theirs.signal(again.row, signal) or (), strict=True
            ):
                np.testing.assert_array_equal(mine, other)


def test_a_series_that_goes_gives_its_rows_and_bytes_back() -> None:
    watch = Watch(Engine(2), Book())
    for day in range(6):
        for name in ("a", "b"):
            key = Series("server", f"{name}{day}")
            ts = every_minute(30) + day * 3 * DAY
            for part in cut(batch(ts, ordinary(30), key=key), 10):
                watch.apply(part, live=True)
    signals = watch.engine.signals
    assert len(watch.engine.series) == 2
    assert signals.rows <= 3
    assert watch.engine.budget.used_bytes < 100_000


def test_histories_of_the_largest_series_give_way_to_new_series() -> None:
    watch = Watch(Engine(500, Budget(400_000)), Book())
    feed(watch, batch(every_minute(1_400), ordinary(1_400)))
    long_before = watch.engine.series[KEY].minutes.filled
    for number in range(100):
        watch.apply(batch(every_minute(3) + DAY, ordinary(3), key=Series("other", f"tool-{number}")), live=True)
        watch.tick(T0 + DAY + (number + 10) * MINUTE)
    assert watch.engine.series[KEY].minutes.filled < long_before
    assert watch.engine.series[KEY].since() > T0
    assert watch.engine.budget.used_bytes < 800_000


def test_cpu_at_its_ceiling_for_minutes_is_an_event_of_the_minutes() -> None:
    watch = make_watch()
    cpu = np.full(400, 70.0) + np.random.default_rng(3).normal(0, 4, 400)
    cpu[300:330] = 99.0
    feed(watch, batch(every_minute(400), ordinary(400), cpu=np.clip(cpu, 0, 100)), 1)
    found = [event for event in stored(watch) if event.metric == "cpu"]
    assert len(found) == 1
    assert abs(found[0].start_ms - (T0 + 300 * MINUTE)) <= 5 * MINUTE


def test_what_is_usual_at_an_hour_of_the_day_is_known_after_a_day() -> None:
    watch = make_watch()
    ts = every_minute(3 * 1_440)
    level = np.where(ts // HOUR % 24 == 12, 300.0, 100.0)
    feed(watch, batch(ts, level * np.exp(np.random.default_rng(1).normal(0, 0.05, len(ts)))), 500)
    signals, row = watch.engine.signals, watch.engine.series[KEY].row
    assert signals.season(row, 0, 12) > 1.5
    assert signals.season(row, 0, 20) == pytest.approx(0.95, abs=0.15)
    assert not [event for event in stored(watch) if event.start_ms > T0 + 2 * DAY]
