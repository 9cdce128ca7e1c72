"""Tools that are called far more than ever: told soon, whatever their pace, and not when people are merely busy; nor is a surge
what is usual on the days after it.
"""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.events import Event
from services.detector.core.watch import Watch
from shared.batch import Batch, Series, concatenate
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, batch, make_watch

#: Monday, 6 October 2025, 00:00 UTC.
MONDAY = 1_759_708_800_000
OTHER = Series("elsewhere", "tool")
STEP = 5 * MINUTE
OFFICE = (8, 17)


def office(days: int, an_hour: float, key: Series = KEY, seed: int = 1) -> Batch:
    """Calls in little clumps in the office hours of weekdays."""
    rng = np.random.default_rng(seed)
    ts: list[float] = []
    for day in range(days):
        for _ in range(rng.poisson(an_hour / 3 * (OFFICE[1] - OFFICE[0])) if day % 7 < 5 else 0):
            at = MONDAY + day * DAY + rng.uniform(*OFFICE) * HOUR
            ts += list(at + np.cumsum(rng.exponential(4_000, 1 + rng.poisson(2))))
    return called(np.sort(np.array(ts)).astype(np.int64), key)


def burst(start: int, minutes: float, calls: int, key: Series = KEY) -> Batch:
    """Calls at random within a time."""
    return called(np.sort(np.random.default_rng(7).integers(start, start + int(minutes * MINUTE), calls)), key)


def called(ts: np.ndarray, key: Series) -> Batch:
    """Calls at some times, none of them slow."""
    return batch(ts, 100 * np.exp(0.2 * np.random.default_rng(3).standard_normal(len(ts))), key=key)


def watched(parts: list[Batch], closely: int, until: int) -> tuple[Watch, dict[str, int]]:
    """An hour after the other, then, from a time on, five minutes, with a sweep after each; and when each event was first told at
    medium.
    """
    watch, whole, told = make_watch(), concatenate(parts), dict[str, int]()
    whole = whole.take(np.argsort(whole.ts, kind="stable"))
    moments = [*range(MONDAY + HOUR, closely, HOUR), *range(closely, until + 1, STEP)]
    cuts = np.searchsorted(whole.ts, [MONDAY, *moments]).tolist()
    for now, low, high in zip(moments, cuts[:-1], cuts[1:], strict=True):
        if high > low:
            watch.apply(whole.take(np.arange(low, high)), live=True)
        watch.tick(now)
        watch.sweep(watch.engine.series.values(), now)
        for event in changed_calls(watch):
            told.setdefault(event.id, now)
    return watch, told


def changed_calls(watch: Watch, key: Series = KEY) -> list[Event]:
    return [e for e in watch.book.events.values() if e.stored and e.metric == "calls" and e.series == key]


@pytest.mark.parametrize(("an_hour", "calls"), [(10, 250), (25, 700)])
def test_a_seldom_called_tool_that_an_agent_calls_without_end_is_told_within_a_quarter_of_an_hour(
    an_hour: float, calls: int
) -> None:
    began = MONDAY + 9 * DAY + 10 * HOUR
    parts = [office(10, an_hour), burst(began, 50, calls), office(10, 40, OTHER, seed=2)]
    watch, told = watched(parts, began - HOUR, began + 2 * HOUR)
    (event,) = changed_calls(watch)
    assert told[event.id] <= began + 15 * MINUTE
    assert abs(event.start_ms - began) <= 3 * MINUTE
    assert abs(event.last_ms - (began + 50 * MINUTE)) <= 5 * MINUTE
    assert event.value > event.upper
    assert event.end_ms is not None


def test_what_goes_on_for_hours_is_one_surge_until_it_is_what_is_usual() -> None:
    began = MONDAY + 3 * DAY + 9 * HOUR
    parts = [office(5, 25), burst(began, 8 * 60, 8 * 840), office(5, 40, OTHER, seed=2)]
    watch, _ = watched(parts, began - HOUR, began + 9 * HOUR)
    event = min(changed_calls(watch), key=lambda event: event.start_ms)
    assert abs(event.start_ms - began) <= 5 * MINUTE
    assert 5 * HOUR <= event.last_ms - began <= 7 * HOUR
    assert event.ended == "the new normal"


def test_a_busy_hour_a_nightly_job_and_a_first_day_are_no_surges() -> None:
    jobs = [burst(MONDAY + day * DAY + 2 * HOUR, 9, 400, Series("night", "job")) for day in range(9)]
    busy = burst(MONDAY + 8 * DAY + 10 * HOUR, 60, 80)
    parts = [office(9, 25), busy, *jobs, office(9, 40, OTHER, seed=2)]
    watch, _ = watched(parts, MONDAY + 8 * DAY, MONDAY + 8 * DAY + 18 * HOUR)
    assert not [e for e in watch.book.events.values() if e.metric == "calls" and e.stored and e.value > e.median]


@pytest.mark.parametrize("an_hour", [60, 110])
def test_a_surge_makes_no_fall_of_the_calls_of_the_days_after_it(an_hour: float) -> None:
    began = MONDAY + 8 * DAY + 10 * HOUR
    parts = [office(11, an_hour), burst(began, 50, 25 * an_hour), office(11, 40, OTHER, seed=2)]
    watch, _ = watched(parts, began - HOUR, MONDAY + 10 * DAY + 12 * HOUR)
    (event,) = changed_calls(watch)
    assert event.start_ms >= began - 3 * MINUTE
    assert event.value > event.upper


def test_a_surge_on_a_calm_saturday_makes_no_fall_of_the_calls_of_its_afternoon() -> None:
    saturday = MONDAY + 5 * DAY
    began, end = saturday + 8 * HOUR, saturday + 12 * HOUR
    week = np.random.default_rng(5).integers(MONDAY, saturday, 5 * 24 * 600)
    calm = np.random.default_rng(6).integers(saturday, end, 12 * 80)
    parts = [called(np.sort(np.concatenate([week, calm])), KEY), burst(began, 75, 3_000)]
    watch, _ = watched(parts, began - HOUR, end)
    assert not [e for e in changed_calls(watch) if e.value < e.median]


def test_a_loop_that_ends_with_a_dead_server_is_a_surge_and_a_silence() -> None:
    began = MONDAY + 3 * DAY + 10 * HOUR
    steady = np.sort(np.random.default_rng(5).integers(MONDAY, began, 3 * 24 * 40))
    parts = [called(steady, KEY), burst(began, 40, 1_500), office(5, 40, OTHER, seed=2)]
    watch, _ = watched(parts, began - HOUR, began + 4 * HOUR)
    surge, silence = sorted(changed_calls(watch), key=lambda event: event.start_ms)
    assert surge.end_ms is not None
    assert surge.value > surge.upper
    assert silence.value == 0
    assert silence.end_ms is None
    assert abs(silence.start_ms - (began + 40 * MINUTE)) <= 2 * MINUTE
