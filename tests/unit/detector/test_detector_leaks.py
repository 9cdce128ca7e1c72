"""A leak is told since when, from what and how fast it grew; and once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from services.detector.core.events import Event
from services.detector.core.sweeps.findings import Finding
from services.detector.core.sweeps.sweep import find_leak
from services.detector.core.watch import Watch
from shared.batch import Batch
from tests.unit.detector.detector_kit import HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary

FIVE = 5 * MINUTE


def leaking(hours: float, since_min: float, mb_per_hour: float, calls_a_minute: float = 20) -> Batch:
    """Calls whose memory is 220 MB, give or take 3 %, and grows from a minute on."""
    rng, n = np.random.default_rng(1), int(hours * 60 * calls_a_minute)
    ts = T0 + np.sort(rng.integers(0, int(hours * HOUR), n))
    grown = np.maximum(0.0, (ts - T0) / HOUR - since_min / 60) * mb_per_hour
    return batch(ts, ordinary(n, spread=0.3), memory=220 * rng.uniform(0.97, 1.03, n) + grown)


def leak_of(calls: Batch, end_ms: int) -> Finding:
    watch = make_watch()
    feed(watch, calls, 500)
    found = find_leak(watch.engine.series[KEY], end_ms)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("hours", "since_min", "mb_per_hour"),
    [(3.2, 62, 250), (8, 120, 33), (12, 180, 60), (24, 600, 250)],
)
def test_a_leak_began_when_memory_began_to_grow_however_long_that_is_ago(
    hours: float, since_min: float, mb_per_hour: float
) -> None:
    found = leak_of(leaking(hours, since_min, mb_per_hour), T0 + int(hours * HOUR))
    assert abs(found.start_ms - (T0 + since_min * MINUTE)) <= 10 * MINUTE
    assert found.per_hour == pytest.approx(mb_per_hour, rel=0.03)
    assert found.median == pytest.approx(220, rel=0.01)
    assert (found.lower, found.upper) == (pytest.approx(213, abs=2), pytest.approx(227, abs=2))


def again_and_again(to_mb: float, falls: int, after_h: float) -> Batch:
    """220 MB that grow to so many within five hours and fall back, so many times and so many hours apart, and grow once more."""
    rng, hours = np.random.default_rng(2), falls * (5 + after_h) + 5
    ts = T0 + np.sort(rng.integers(0, int(hours * HOUR), int(hours * 60 * 10)))
    within_h = (ts - T0) / HOUR % (5 + after_h)
    grown = np.where(within_h < 5, within_h / 5, 0.0) * (to_mb - 220)
    return batch(ts, ordinary(len(ts), spread=0.3), memory=220 * rng.uniform(0.97, 1.03, len(ts)) + grown)


def test_what_leaked_yesterday_is_told_when_it_leaks_again() -> None:
    found = leak_of(again_and_again(600, 1, 12), T0 + 22 * HOUR)
    assert abs(found.start_ms - (T0 + 17 * HOUR)) <= 10 * MINUTE


def test_what_grows_and_falls_all_day_is_no_leak() -> None:
    watch = make_watch()
    feed(watch, again_and_again(400, 4, 0.5), 500)
    assert find_leak(watch.engine.series[KEY], T0 + 27 * HOUR) is None


def test_a_leak_never_began_before_the_first_call() -> None:
    found = leak_of(leaking(3, -HOUR / MINUTE, 100).take(np.arange(100, 3_600)), T0 + 3 * HOUR)
    assert T0 + 4 * MINUTE <= found.start_ms <= T0 + 10 * MINUTE
    assert found.per_hour == pytest.approx(100, rel=0.05)
    assert found.lower <= found.median <= found.upper
    assert found.median == pytest.approx(330, rel=0.03)


def live(watch: Watch, calls: Batch, hours: float) -> None:
    """As the service does: five minutes of calls, then a sweep."""
    for now in range(T0 + FIVE, T0 + int(hours * HOUR) + FIVE, FIVE):
        watch.apply(calls.take((calls.ts >= now - FIVE) & (calls.ts < now)), live=True)
        watch.tick(now)
        watch.sweep(watch.engine.series.values(), now)


def at_once(watch: Watch, calls: Batch, hours: float) -> None:
    """As after a pipeline was down."""
    feed(watch, calls, 500)
    watch.tick(T0 + int(hours * HOUR))
    watch.sweep(watch.engine.series.values(), T0 + int(hours * HOUR))


def told(watch: Watch, metric: str) -> list[Event]:
    return [e for e in watch.book.events.values() if e.metric == metric and e.level > 0]


@pytest.mark.parametrize("come", [live, at_once])
def test_a_leak_is_one_anomaly_however_far_beyond_its_band_memory_goes(
    come: Callable[[Watch, Batch, float], None],
) -> None:
    watch = make_watch()
    come(watch, leaking(3.2, 62, 250), 3.2)
    (leak,) = told(watch, "memory")
    assert (leak.type, leak.end_ms, leak.stored) == ("resource_leak", None, True)
    assert abs(leak.start_ms - (T0 + 62 * MINUTE)) <= 10 * MINUTE
    assert leak.median == pytest.approx(220, rel=0.01)
    lines = watch.take_lines()
    assert [line.phase for line in lines if line.event is leak] == ["open"]
    assert all(line.event.end_ms is not None for line in lines if line.event is not leak)


def test_what_is_part_of_a_leak_is_no_news_and_calls_far_beyond_it_are() -> None:
    watch = make_watch()
    calls = leaking(4, 62, 60)
    assert calls.memory is not None
    calls.memory[4_200:4_260] *= 6.0
    live(watch, calls, 4)
    leak, spike = sorted(told(watch, "memory"), key=lambda e: e.start_ms)
    assert (leak.type, spike.type) == ("resource_leak", "resource_spike")
    assert abs(spike.start_ms - int(calls.ts[4_200])) <= MINUTE
