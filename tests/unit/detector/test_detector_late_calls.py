"""Calls that come late: they stand where they belong, and what is not judged any more makes nothing usual."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.engine import Engine
from services.detector.core.events import Book, Event
from services.detector.core.kernels import baseline
from services.detector.core.metrics import RESPONSE_TIME_SHIFT
from services.detector.core.timeline import Timeline
from services.detector.core.watch import Watch
from shared.batch import Batch, Series
from tests.unit.detector.detector_kit import HOUR, MINUTE, T0, batch, ordinary, stored

KEY = Series("late", "query")
NOW = T0 + 6 * HOUR


def known() -> Timeline:
    """A tool called six times a minute for six hours, 25 ms."""
    timeline = Timeline(Watch(Engine(100), Book()), 5 * MINUTE)
    timeline.take(calls(T0, NOW, 25.0, 6, seed=1), live=True)
    timeline.go_on(NOW)
    return timeline


def calls(start_ms: int, end_ms: int, level: float, a_minute: int, *, seed: int) -> Batch:
    ts = np.arange(start_ms, end_ms, MINUTE // a_minute)
    return batch(ts, ordinary(len(ts), seed, level, 0.4), np.ones(len(ts), np.uint8), KEY)


def go_on(timeline: Timeline, minutes: int) -> list[Event]:
    for minute in range(minutes):
        begins = NOW + minute * MINUTE
        timeline.take(calls(begins, begins + MINUTE, 25.0, 6, seed=100 + minute), live=True)
        timeline.turn(begins + MINUTE)
    return stored(timeline.watch)


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_spell_that_is_told_late_is_no_change_of_the_calls_after_it(seed: int) -> None:
    timeline = known()
    timeline.take(calls(NOW - 10 * MINUTE, NOW - 5 * MINUTE, 2500.0, 12, seed=7 + seed), live=True)
    events = go_on(timeline, 30)
    assert events
    for event in events:
        assert NOW - 11 * MINUTE <= event.start_ms <= NOW - 5 * MINUTE, event
        assert event.last_ms <= NOW, event
    assert not [event for event in events if event.type == RESPONSE_TIME_SHIFT and event.end_ms is None]


def test_what_is_too_old_to_be_judged_makes_no_slow_calls_usual() -> None:
    late, ever = known(), known()
    late.take(calls(NOW - 60 * MINUTE, NOW - 30 * MINUTE, 250.0, 6, seed=9), live=True)
    for timeline in (late, ever):
        go_on(timeline, 15)
    bands = [one.watch.engine.series[KEY].tracks[0][baseline.BAND] for one in (late, ever)]
    assert bands[0] == pytest.approx(bands[1], rel=0.1)
