"""What follows the day, or comes in busy stretches anyway, explains nothing; what is more than that does."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.events import Event
from services.detector.core.incidents.evidence import Change, changes_in
from services.detector.core.incidents.ordinary import CALLS, Stretches, stretches_before, usual_at
from services.detector.core.watch import Watch
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, T0, batch, cut, feed, make_watch, ordinary, stored


def daily(days: int, a_minute: int = 10) -> np.ndarray:
    """Calls from 9:00 to 17:00 of each day, a few in the other hours."""
    every = MINUTE // a_minute
    found = []
    for day in range(days):
        night = np.arange(0, 24 * HOUR, 5 * MINUTE)
        busy = np.arange(9 * HOUR, 17 * HOUR, every)
        found.append(T0 + day * DAY + np.unique(np.concatenate([night, busy])))
    return np.concatenate(found)


def slow_at(start_ms: int, ts: np.ndarray, minutes: int = 20) -> tuple[Watch, Event]:
    """Calls that are slow for a while; what was found of it."""
    watch, values = make_watch(), ordinary(len(ts))
    during = (ts >= start_ms) & (ts < start_ms + minutes * MINUTE)
    values[during] *= 12
    cpu = np.where(during, 70.0, np.where((ts // HOUR) % 24 >= 9, 65.0, 5.0))
    for part in cut(batch(ts, values, cpu=cpu), 200):
        watch.apply(part, live=True)
        watch.tick(int(part.ts[-1]))
    return watch, next(e for e in stored(watch) if e.metric == "response_time" and e.start_ms >= start_ms)


def test_calls_of_every_morning_are_no_cause_of_what_is_slow_then() -> None:
    start_ms = T0 + 3 * DAY + 9 * HOUR + 10 * MINUTE
    watch, event = slow_at(start_ms, daily(4))
    series = watch.engine.series[KEY]
    load = changes_in(event.evidence)[CALLS]
    assert 4 < usual_at(series, CALLS, start_ms, start_ms) < 11
    assert stretches_before(series, CALLS, start_ms, 20) == pytest.approx(Stretches(0.2, 10.0), abs=0.1)
    assert not load.moved(CALLS)
    assert (event.incident["likelyCause"] or {}).get("kind") not in {CALLS, "cpu"}


def test_more_calls_than_on_any_morning_are_the_cause() -> None:
    start_ms = T0 + 3 * DAY + 9 * HOUR + 10 * MINUTE
    more = start_ms - 4 * MINUTE + np.arange(0, 24 * MINUTE, 500)
    _, event = slow_at(start_ms, np.unique(np.concatenate([daily(4), more])))
    load = changes_in(event.evidence)[CALLS]
    assert load.moved(CALLS)
    assert 4 < load.before < 11, "what is usual at that hour, not in the hours before"
    assert event.incident["likelyCause"]["kind"] in {CALLS, "throughput_change"}


def test_on_a_tools_first_morning_four_times_the_calls_are_not_yet_a_cause_and_twenty_times_are() -> None:
    for a_minute, expected in ((3, False), (40, True)):
        steady = T0 + np.arange(0, 8 * HOUR, MINUTE)
        more = T0 + np.arange(8 * HOUR, 9 * HOUR, MINUTE // a_minute)
        _, event = slow_at(T0 + 8 * HOUR + 10 * MINUTE, np.concatenate([steady, more]))
        load = changes_in(event.evidence)[CALLS]
        assert load.rose(CALLS)
        assert load.moved(CALLS) is expected


def test_a_busy_stretch_is_one_of_those_with_calls_also_when_they_are_older_than_a_day() -> None:
    watch = make_watch()
    sessions = [
        T0 + day * DAY + hour * HOUR + np.arange(0, 20 * MINUTE, 10_000) for day in (0, 3) for hour in range(8, 13)
    ]
    feed(watch, batch(np.concatenate(sessions), ordinary(10 * 120)), 200)
    series = watch.engine.series[KEY]
    monday = T0 + 5 * DAY
    assert stretches_before(series, CALLS, monday, 5) == pytest.approx(Stretches(6.0, 6.0), abs=0.5)


def test_of_a_few_minutes_nothing_is_known_to_be_ordinary() -> None:
    watch = make_watch()
    feed(watch, batch(T0 + np.arange(0, 15 * MINUTE, 10_000), ordinary(90)))
    series = watch.engine.series[KEY]
    assert stretches_before(series, CALLS, T0 + 15 * MINUTE, 5) is None
    assert stretches_before(series, CALLS, T0 + 16 * MINUTE, 5) is not None


def test_what_is_ordinary_rose_but_did_not_move() -> None:
    assert Change(1.0, 4.0, chance=True).rose(CALLS)
    assert not Change(1.0, 4.0, chance=True).moved(CALLS)
    assert not Change(1.0, 1.5).rose(CALLS)
