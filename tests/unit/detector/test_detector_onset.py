"""Since when a tool fails more: stray failures long before are not the beginning."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.engine import Engine
from services.detector.core.events import Event
from services.detector.core.kernels import error_mixture as errors
from services.detector.core.onset import onset_of
from services.detector.core.readings import from_track
from services.detector.core.redating import dated_anew
from services.detector.core.watch import Watch
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary, times

EVERY = 90_000  # forty calls an hour


def failing(n: int, at: int, strays: list[int], *, share: float = 0.35, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(times, ok): a tool that hardly ever fails, strays apart, and then does."""
    ok = np.ones(n, np.uint8)
    ok[strays] = 0
    ok[at:] = np.random.default_rng(seed).random(n - at) >= share
    ok[at] = 0
    return times(n, EVERY), ok


def watched(n: int, ts: np.ndarray, ok: np.ndarray, size: int = 20) -> Watch:
    watch = make_watch()
    for first in range(0, n, size):
        part = slice(first, first + size)
        feed(watch, batch(ts[part], ordinary(len(ts[part])), ok[part]))
        watch.tick(int(ts[part][-1]))
    return watch


def the_failures(watch: Watch) -> Event:
    (event,) = [e for e in watch.book.events.values() if e.metric == "error_rate" and e.stored]
    return event


@pytest.mark.parametrize("size", [1, 20, 1_000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_event_of_failures_begins_when_they_rose_and_not_with_a_stray_one_hours_before(size: int, seed: int) -> None:
    n, at = 1_000, 900
    ts, ok = failing(n, at, [200, 520, 812], seed=seed)
    event = the_failures(watched(n, ts, ok, size))
    assert abs(event.start_ms - int(ts[at])) <= 10 * MINUTE
    assert 20 <= event.value <= 60
    assert event.points <= int((ok[at:] == 0).sum())
    assert event.calls <= n - at
    assert event.end_ms is None


def test_an_event_that_began_anew_goes_on_and_ends() -> None:
    n, at, end = 1_600, 900, 1_000
    ts, ok = failing(n, at, [200, 520, 812])
    ok[end:] = 1
    event = the_failures(watched(n, ts, ok))
    assert event.end_ms is not None
    assert abs(event.end_ms - int(ts[end])) <= HOUR
    assert event.points == int((ok[at:end] == 0).sum())


def test_the_likeliest_onset_is_that_of_the_rate_since() -> None:
    watch = Watch(Engine(10), make_watch().book)
    ts, ok = failing(800, 700, [100, 400], share=0.5)
    feed(watch, batch(ts, ordinary(800), ok))
    series = watch.engine.series[KEY]
    onset = onset_of(series, T0, int(ts[-1]), 0.003)
    assert onset is not None
    assert (onset.start_ms, onset.calls, onset.failures) == (int(ts[700]), 100, int((ok[700:] == 0).sum()))
    series.calls.dropped_ts = T0 + DAY  # by minutes likewise
    by_minutes = onset_of(series, T0, int(ts[-1]), 0.003)
    assert by_minutes is not None
    assert abs(by_minutes.start_ms - int(ts[700])) < MINUTE
    assert onset_of(series, int(ts[0]), int(ts[50]), 0.003) is None


def test_an_event_that_begins_anew_never_ends_before_it_began() -> None:
    n, at = 1_000, 900
    ts, ok = failing(n, at, [200, 520, 812], share=0.6)
    watch = watched(n, ts, ok)
    series = watch.engine.series[KEY]
    run = series.run.copy()
    run[errors.START], run[errors.LAST] = ts[200], ts[520]  # a suspicion whose latest failure noted is long ago
    again = dated_anew(series, from_track(KEY, -1, run), run, known=False)
    assert again is not None
    assert again.start_ms >= int(ts[812])
    assert again.last_ms >= again.start_ms


def test_a_stray_failure_minutes_before_is_not_the_beginning_either() -> None:
    n, at = 1_200, 1_000
    ts = T0 + np.arange(n) * 5_000
    ok = np.ones(n, np.uint8)
    ok[[at - 110, at, at + 3, at + 9, at + 15, at + 22]] = 0  # the first nine minutes before
    event = the_failures(watched(n, ts, ok))
    assert event.start_ms == int(ts[at])
    assert event.points == 5


@pytest.mark.parametrize("gap", [30, 40, 50])
def test_failures_that_stopped_are_over_before_the_next_begin(gap: int) -> None:
    """A tool called once an hour: six calls fail, then it is what it usually is, with a stray failure or two; then six again."""
    n, first = 600, 400
    second = first + 6 + gap
    ts = T0 + np.arange(n) * HOUR
    ok = np.ones(n, np.uint8)
    ok[7::15] = 0
    for at in (first, second):
        ok[at : at + 6] = 0
    before, after = (e for e in watched(n, ts, ok, 1).book.events.values() if e.metric == "error_rate" and e.stored)
    assert (before.start_ms, before.end_ms) == (ts[first], ts[first + 5])
    assert after.start_ms == ts[second]


@pytest.mark.parametrize("size", [1, 20, 1_000])
def test_what_failed_for_minutes_and_was_well_since_is_not_the_beginning_of_a_burst(size: int) -> None:
    n, faint, burst = 3_000, 2_600, 2_850
    ts = T0 + np.arange(n) * 12_000
    ok = np.ones(n, np.uint8)
    ok[100:2_400:600] = 0
    ok[[faint, faint + 12, faint + 20, faint + 30, faint + 45]] = 0
    ok[burst::3] = 0
    events = [e for e in watched(n, ts, ok, size).book.events.values() if e.metric == "error_rate" and e.stored]
    assert [(e.start_ms, e.points) for e in events] == [(ts[faint], 5), (ts[burst], 50)]
    assert (events[0].end_ms, events[0].calls) == (ts[faint + 45], 46)
    assert events[1].end_ms is None


def test_no_event_is_of_fewer_failures_than_it_takes() -> None:
    watch = Watch(Engine(10), make_watch().book)
    ok = np.ones(400, np.uint8)
    ok[[120, 350, 399]] = 0
    ts = times(400, EVERY)
    feed(watch, batch(ts, ordinary(400), ok))
    series = watch.engine.series[KEY]
    onset = onset_of(series, T0, int(ts[-1]), 0.003)
    assert onset is not None
    assert (onset.start_ms, onset.failures) == (int(ts[120]), 3)
    assert onset_of(series, int(ts[200]), int(ts[-1]), 0.003) is None


def ticked(ts: np.ndarray, ok: np.ndarray) -> list[Event]:
    watch = make_watch()
    for i in range(len(ts)):
        watch.apply(batch(ts[i : i + 1], [50.0], ok[i : i + 1]), live=True)
        watch.tick(int(ts[i]) + 1_000)
    return sorted(
        (e for e in watch.book.events.values() if e.metric == "error_rate" and e.stored), key=lambda e: e.start_ms
    )


def test_a_weak_event_that_is_told_hides_no_far_worse_one_after_it() -> None:
    faint, burst, n = 1_000, 1_250, 1_400
    ts, ok = T0 + np.arange(n) * 12_000, np.ones(n, np.uint8)
    ok[100:900:300] = 0
    ok[[faint, faint + 8, faint + 16, faint + 20, faint + 30, faint + 45]] = 0
    ok[burst::3] = 0
    weak, worse = ticked(ts, ok)
    assert (weak.start_ms, weak.end_ms, weak.points, weak.ended) == (
        ts[faint],
        ts[faint + 45],
        6,
        "a far worse one began",
    )
    assert (worse.start_ms, worse.points, worse.calls, worse.end_ms) == (ts[burst], 50, 148, None)
    assert worse.median < 1, "what failed in the weak one is not usual"
    assert worse.severity == "critical"


def test_an_event_that_varies_as_chance_has_it_stays_one() -> None:
    rng, n = np.random.default_rng(5), 3_000
    ok = np.ones(n, np.uint8)
    ok[500:] = rng.random(n - 500) >= 0.2
    (event,) = ticked(T0 + np.arange(n) * 12_000, ok)
    assert event.points > 400


def test_a_quiet_tools_event_is_over_after_a_few_calls_that_work() -> None:
    ts, ok = T0 + np.arange(80) * 3_000_000, np.ones(80, np.uint8)
    ok[50:62] = 0
    ok[65:76] = 0
    first, second = ticked(ts, ok)
    assert (first.start_ms, first.end_ms, second.start_ms) == (ts[50], ts[61], ts[65])


@pytest.mark.parametrize("size", [1, 7, 700])
@pytest.mark.parametrize("before", [[30], [20, 40], [15, 50], [30, 60, 90]])
def test_a_burst_that_stray_failures_helped_to_be_found_is_told_from_its_own_beginning(
    size: int, before: list[int]
) -> None:
    n, at = 700, 600
    ts, ok = T0 + np.arange(n) * 3 * MINUTE, np.ones(n, np.uint8)
    ok[[120, 410, *(at - k for k in before)]] = 0
    ok[at : at + 6] = 0
    watch, told = make_watch(), set()
    for first in range(0, n, size):
        part = slice(first, first + size)
        watch.apply(batch(ts[part], ordinary(len(ts[part])), ok[part]), live=True)
        watch.tick(int(ts[part][-1]) + 1_000)
        told |= {(e.start_ms, e.value) for e in watch.book.events.values() if e.metric == "error_rate" and e.stored}
    assert told == {(ts[at], 100.0)}
    event = the_failures(watch)
    assert (event.points, event.calls, event.end_ms) == (6, 6, ts[at + 5])


def test_two_failures_that_none_follows_are_no_event_however_the_strays_before_them_lie() -> None:
    n, at = 1_000, 900
    ts, ok = T0 + np.arange(n) * 3 * MINUTE, np.ones(n, np.uint8)
    ok[[120, 410, at - 40, at - 20, at, at + 1]] = 0
    watch = make_watch()
    for i in range(n):
        watch.apply(batch(ts[i : i + 1], [50.0], ok[i : i + 1]), live=True)
        watch.tick(int(ts[i]) + 1_000)
    assert not [e for e in watch.book.events.values() if e.metric == "error_rate" and e.stored]
    run = watch.engine.series[KEY].run
    assert run[errors.FAILED] == pytest.approx(6, abs=0.1), "all are learned"
    assert run[errors.SEEN] == pytest.approx(n, rel=0.1)
