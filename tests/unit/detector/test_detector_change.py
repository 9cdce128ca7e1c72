"""When a level changed: since when slow calls are slow, whether they still are, and what is told of slowness that passed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.detector.core.sweeps.change import Course
from services.detector.core.sweeps.latest import latest_calls
from services.detector.core.sweeps.shifts import find_shift
from services.detector.core.telling.levels import level_of, measure
from services.detector.core.watch import Watch
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary, stored

MEDIUM = 2
EVERY = 6 * MINUTE


def course(gains: list[float], every_ms: int = MINUTE, pause_at: int = 0, pause_ms: int = 0) -> Course:
    ts = T0 + np.arange(len(gains), dtype=np.int64) * every_ms
    ts[pause_at:] += pause_ms
    return Course(ts, np.ones(len(gains)), np.array(gains))


def live(ts: np.ndarray, values: np.ndarray, ok: np.ndarray | None = None) -> Watch:
    """Fed and swept every five minutes."""
    watch = make_watch()
    whole = batch(ts, values, ok)
    for now in range(int(ts[0]), int(ts[-1]) + 5 * MINUTE, 5 * MINUTE):
        part = whole.take((whole.ts >= now - 5 * MINUTE) & (whole.ts < now))
        if len(part):
            feed(watch, part)
        watch.tick(now)
        watch.sweep(watch.engine.series.values(), now)
    return watch


def passing(times_as_slow: float, slow: int, since: int, spread: float = 0.45) -> tuple[np.ndarray, np.ndarray, int]:
    """Calls every six minutes, the last but `since` of which were slow for so many calls; the number of the first slow one."""
    n = 300 + slow + since
    values = ordinary(n, 4, level=200.0, spread=spread)
    values[300 : 300 + slow] *= times_as_slow
    return T0 + np.arange(n, dtype=np.int64) * EVERY, values, 300


def test_a_level_rose_with_the_first_call_of_those_that_are_mostly_high() -> None:
    assert course([-1, -0.5, 1, -1, -1, 1, 0.8, -0.3, 1, 1]).rise() == 5


def test_nothing_rose_where_no_call_is_high() -> None:
    assert course([-1, -0.5, -0.2]).rise() is None
    assert course([]).rise() is None
    assert course([]).fall() is None


def test_a_stray_call_before_a_night_is_not_when_a_level_rose() -> None:
    gains = [-1.0, -1.0, 1.0, 1.0, 1.0, 1.0]
    assert course(gains, pause_at=3, pause_ms=12 * HOUR).rise() == 3
    assert course(gains).rise() == 2


def test_a_level_fell_with_the_last_call_of_those_that_are_mostly_high() -> None:
    assert course([1, 1, -0.3, 0.8, -1, -1, 1, -1]).fall() == 3
    assert course([1, -1, -1, -1, 1, 1, 1, -1]).fall() == 6


def test_a_level_is_left_when_much_speaks_against_it_since_and_a_few_calls_are_not_much() -> None:
    assert not course([1.0] * 40 + [-1.0] * 6).is_left(40)
    assert course([1.0] * 40 + [-1.0] * 10).is_left(40)
    assert course([1.0] * 6 + [-1.0] * 3).is_left(6)


@pytest.mark.parametrize("times_as_slow", [3.0, 150.0])
def test_slowness_that_passed_is_no_lasting_shift_of_little(times_as_slow: float) -> None:
    ts, values, _ = passing(times_as_slow, slow=12, since=60)
    watch = make_watch()
    feed(watch, batch(ts[:324], values[:324]))
    found = []
    for at in range(324, len(ts)):
        feed(watch, batch(ts[at : at + 1], values[at : at + 1]))
        found.append(find_shift(watch.engine.series[KEY], int(ts[at])))
    assert [one for one in found if one is not None and one.level >= MEDIUM] == []


@pytest.mark.parametrize("times_as_slow", [2.0, 3.0])
def test_a_shift_that_went_back_ended_when_it_did_and_keeps_the_level_it_had(times_as_slow: float) -> None:
    ts, values, first = passing(times_as_slow, slow=60, since=80, spread=0.3)
    watch = live(ts, values)
    (event,) = [e for e in stored(watch) if e.type == "response_time_shift"]
    assert event.end_ms is not None
    assert abs(event.start_ms - int(ts[first])) <= 3 * EVERY
    assert abs(event.end_ms - int(ts[first + 59])) <= 4 * EVERY
    level = level_of(event)
    assert level is not None
    assert level.times >= 0.8 * times_as_slow


def test_a_level_is_not_told_by_the_calls_after_it_while_its_end_is_not_known_yet() -> None:
    ts, values, _ = passing(3.0, slow=60, since=80, spread=0.2)
    watch = live(ts[:360], values[:360])
    (event,) = [e for e in stored(watch) if e.type == "response_time_shift"]
    event.evidence["level"] = {"before": 200.0, "now": 600.0}
    feed(watch, batch(ts[360:], values[360:]))
    event.last_ms = int(ts[-1])
    found = measure(event, watch.engine.series[KEY])
    assert found is not None
    assert found.now == pytest.approx(600.0)


def test_calls_that_failed_at_once_are_no_level_before() -> None:
    ts, values, _ = passing(1.0, slow=0, since=60)
    ok = np.ones(len(ts), np.uint8)
    ok[300:330], values[300:330] = 0, 2.0
    watch = make_watch()
    feed(watch, batch(ts, values, ok))
    series = watch.engine.series[KEY]
    latest = latest_calls(series, int(ts[-1]))
    assert len(latest.ts) == len(ts) - 30
    assert float(latest.steady.min()) > 2.0
    ok[:] = 1
    watch = make_watch()
    feed(watch, batch(ts, values, ok))
    assert len(latest_calls(watch.engine.series[KEY], int(ts[-1])).ts) == len(ts)


def test_a_lasting_change_of_a_busy_tool_stays_one_event_through_a_calm_evening() -> None:
    n = 2 * 24 * 60 * 4
    ts = T0 + np.arange(n, dtype=np.int64) * 15_000
    hour = (ts % DAY) / HOUR
    values = ordinary(n, 7, level=60.0, spread=0.4) * (1.0 + 0.15 * np.cos((hour - 15.0) * math.pi / 12.0))
    slow = (ts >= T0 + DAY + 10 * HOUR) & (ts < T0 + DAY + 22 * HOUR)
    values[slow] *= 1.7
    watch = live(ts, values)
    found = [e for e in stored(watch) if e.metric == "response_time" and e.start_ms >= T0 + DAY + 9 * HOUR]
    assert len(found) <= 2
    assert abs(min(e.start_ms for e in found) - T0 - DAY - 10 * HOUR) <= 15 * MINUTE
