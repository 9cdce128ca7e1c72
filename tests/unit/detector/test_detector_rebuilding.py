"""A rebuild while anomalies are open: afterwards everything is as if there had been none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.detector.core import rebuilding
from services.detector.core.engine import Engine
from services.detector.core.incidents.evidence import gather
from services.detector.core.kernels import error_mixture, judge
from services.detector.core.readings import from_track
from services.detector.core.watch import Watch
from shared.batch import Batch, concatenate
from tests.unit.detector.detector_kit import KEY, MINUTE, T0, batch, make_watch

MINUTES, CALLS = 300, 20
#: An earlier anomaly of the same tool and metric, and one that goes on.
EARLIER, NOW = range(200, 210), range(290, MINUTES)


def day(seed: int, kind: str) -> list[Batch]:
    """A batch a minute."""
    rng = np.random.default_rng(seed)
    parts = []
    for minute in range(MINUTES):
        ts = np.sort(T0 + minute * MINUTE + rng.integers(0, MINUTE, CALLS))
        duration, ok = np.exp(rng.normal(3, 0.3, CALLS)), rng.random(CALLS) > 0.01
        if minute in EARLIER or minute in NOW:
            ok = rng.random(CALLS) > 0.7 if kind == "failures" else ok
            duration = duration * (20 if kind == "spike" else 1.6 if kind == "signal" else 1)
        parts.append(batch(ts, duration, ok.astype(np.uint8)))
    return parts


def live(parts: list[Batch]) -> Watch:
    watch = make_watch()
    for minute, part in enumerate(parts):
        watch.apply(part, live=True)
        watch.tick(T0 + (minute + 1) * MINUTE)
    watch.take_lines(), watch.take_raises()
    return watch


def rebuilt(watch: Watch, parts: list[Batch]) -> Watch:
    """As the shell does: all of a tool at once, into a book that knows the events."""
    again = Watch(Engine(100), watch.book)
    under_way = rebuilding.set_aside(again, watch.engine)
    again.apply(concatenate(parts), live=False)
    rebuilding.join(again, under_way)
    return again


def events(watch: Watch) -> dict[str, tuple[Any, ...]]:
    return {e.id: (e.type, e.start_ms, e.end_ms is None, e.raised) for e in watch.book.events.values()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["failures", "spike", "signal"])
def test_a_rebuild_while_an_anomaly_is_open_finds_the_same_anomalies_and_keeps_it_open(kind: str, seed: int) -> None:
    parts = day(seed, kind)
    watch = live(parts)
    before = events(watch)
    assert any(is_open for _, _, is_open, _ in before.values())
    again = rebuilt(watch, parts)
    assert events(again) == before
    again.caught_up(T0 + MINUTES * MINUTE)
    assert (again.take_lines(), again.take_raises()) == ([], [])


@pytest.mark.parametrize("kind", ["failures", "spike", "signal"])
def test_an_anomaly_that_the_rebuild_dates_otherwise_keeps_its_id_and_is_followed_to_its_end(kind: str) -> None:
    parts = day(3, kind)
    watch = live(parts)
    before = events(watch)
    again = rebuilt(watch, parts[250:])
    assert events(again) == before
    calm = day(4, "none")
    for part in calm[:60]:
        part.ts[:] += MINUTES * MINUTE
        again.apply(part, live=True)
        again.tick(int(part.ts.max()))
    assert {name: what[1] for name, what in events(again).items()} == {name: what[1] for name, what in before.items()}
    assert not any(is_open for _, _, is_open, _ in events(again).values())
    assert all(e.last_ms < T0 + (MINUTES + 15) * MINUTE for e in again.book.events.values())


def test_an_anomaly_of_which_the_rebuild_finds_nothing_has_ended() -> None:
    parts = day(3, "spike")
    watch = live(parts)
    again = rebuilt(watch, day(3, "none"))
    assert set(events(again)) == set(events(watch))
    assert not again.book.open
    assert [line.phase for line in again.take_lines()] == ["close"]


@pytest.mark.parametrize("kind", ["failures", "spike"])
def test_an_older_track_is_not_taken_for_an_open_event(kind: str) -> None:
    parts = day(3, kind)
    book = live(parts).book
    event = max(book.events.values(), key=lambda e: e.start_ms)
    span = (event.start_ms, event.last_ms)
    again = Watch(Engine(100), book)
    again.apply(concatenate(parts[:250]), live=False)
    assert (event.start_ms, event.last_ms, event.end_ms) == (*span, None)
    again.apply(concatenate(parts[250:]), live=False)
    assert (event.start_ms, event.end_ms) == (span[0], None)


@pytest.mark.parametrize("metric", [-1, 0])
def test_an_event_ends_no_earlier_than_it_began_whatever_its_track_says(metric: int) -> None:
    place = np.zeros(error_mixture.SIZE if metric < 0 else judge.SIZE)
    start, last = (error_mixture.START, error_mixture.LAST) if metric < 0 else (judge.START, judge.LAST)
    place[start], place[last] = T0 + MINUTE, T0
    event = from_track(KEY, metric, place)
    assert event.last_ms == event.start_ms == T0 + MINUTE


def test_the_evidence_of_an_event_with_a_last_call_before_its_first_can_be_gathered() -> None:
    watch = live(day(3, "spike"))
    event = max(watch.book.events.values(), key=lambda e: e.start_ms)
    event.last_ms = event.start_ms - 2 * MINUTE
    assert gather(event, watch.engine.series[KEY], iter(()), 1).first


def test_failures_dated_anew_end_in_the_batch_in_which_they_were() -> None:
    rng = np.random.default_rng(5)
    n = 6_000
    ts = T0 + np.arange(n) * 3_000
    ok = np.ones(n, np.uint8)
    ok[4_000] = ok[4_003] = 0  # a suspicion
    ok[4_700:4_760] = rng.random(60) > 0.8
    whole = batch(ts, np.full(n, 20.0), ok)
    watch = make_watch()
    watch.apply(whole, live=True)
    found = [e for e in watch.book.events.values() if e.type == "error_rate_spike" and e.stored]
    assert [(e.start_ms >= ts[4_699], e.last_ms <= ts[4_760], e.end_ms is None) for e in found] == [(True, True, False)]
    assert found[0].calls < 100  # not those since the suspicion
