"""Calls that come late: nobody was silent while they were on their way, and whoever stops does so by the stream's own time."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.events import Event
from services.detector.core.reach import HOLD_MS, LATE_MS, Reach
from services.detector.core.signal.minutes import CALLED
from services.detector.core.watch import Watch
from shared.batch import Batch, Series, concatenate
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, T0, batch, make_watch, ordinary, stored, times

#: When the wall clock stands at the first call's coming, hours late.
LATE = 3 * HOUR
SIBLING, OTHER = Series("server", "sibling"), Series("elsewhere", "tool")
SECOND = 1_000


def slow_since(n: int, at: int, key: Series = KEY) -> Batch:
    values = ordinary(n)
    values[at:] *= 10
    return batch(times(n), values, key=key)


def come(watch: Watch, whole: Batch, came_ms: int, part_ms: int = 10 * MINUTE) -> int:
    """Calls as they come a second apart, ten minutes of them at once; the time after the last."""
    whole = whole.take(np.argsort(whole.ts, kind="stable"))
    for start in range(int(whole.ts[0]), int(whole.ts[-1]) + 1, part_ms):
        part = whole.take((whole.ts >= start) & (whole.ts < start + part_ms))
        if len(part):
            watch.apply(part, live=True, came_ms=came_ms)
        watch.tick(came_ms)
        watch.sweep(list(watch.engine.series.values()), came_ms)
        came_ms += SECOND
    return came_ms


def of(watch: Watch, key: Series) -> list[Event]:
    return [e for e in stored(watch) if e.series == key]


def test_an_event_goes_on_while_the_calls_that_show_it_still_come_late() -> None:
    watch = make_watch()
    come(watch, slow_since(400, 300), int(times(400)[-1]) + LATE)
    (event,) = of(watch, KEY)
    assert (event.end_ms, event.ended) == (None, "")


def test_with_calls_that_come_late_the_same_is_found_as_with_calls_in_time() -> None:
    whole = slow_since(400, 300)
    late, in_time = make_watch(), make_watch()
    come(late, whole, int(whole.ts[-1]) + LATE)
    for start in range(T0, int(whole.ts[-1]), MINUTE):
        part = whole.take((whole.ts >= start) & (whole.ts < start + MINUTE))
        in_time.apply(part, live=True, came_ms=start + MINUTE)
        in_time.tick(start + MINUTE)
    found = [(e.type, e.start_ms, e.end_ms, e.level) for e in of(late, KEY) if e.method == "auto"]
    assert found == [(e.type, e.start_ms, e.end_ms, e.level) for e in of(in_time, KEY) if e.method == "auto"]


def test_no_minute_is_called_empty_before_its_calls_had_time_to_come() -> None:
    watch = make_watch()
    many = times(3_000, 3_000)
    now = come(watch, batch(many, ordinary(3_000)), int(many[-1]) + LATE)
    watch.tick(now + HOLD_MS)
    row = watch.engine.series[KEY].row
    assert watch.engine.signals.heads[row, CALLED] == int(many[-1]) // MINUTE
    assert not [e for e in watch.book.events.values() if e.metric == "calls"]


def test_a_tool_that_stopped_is_over_although_the_others_come_late_still() -> None:
    watch = make_watch()
    others = [batch(times(800), ordinary(800, 2), key=key) for key in (SIBLING, OTHER)]
    come(watch, concatenate([slow_since(400, 300), *others]), int(times(800)[-1]) + LATE)
    (event,) = of(watch, KEY)
    assert event.ended == "no more calls"
    assert event.end_ms == int(times(400)[-1])


def test_when_nothing_comes_any_more_everything_is_over_by_the_wall_clock() -> None:
    watch = make_watch()
    now = come(watch, slow_since(400, 300), int(times(400)[-1]) + LATE)
    watch.tick(now + HOLD_MS - 2 * SECOND)
    assert of(watch, KEY)[0].end_ms is None
    watch.tick(now + HOLD_MS)
    assert of(watch, KEY)[0].ended == "no more calls"


def test_one_server_that_is_late_keeps_no_other_from_ending() -> None:
    watch = make_watch()
    own, now = slow_since(400, 300), int(times(400)[-1]) + LATE
    watch.apply(own, live=True, came_ms=int(own.ts[-1]))
    watch.apply(batch([now - SECOND], [100.0], key=Series("live", "tool")), live=True, came_ms=now)
    watch.apply(batch([now - HOUR], [100.0], key=OTHER), live=True, came_ms=now)
    watch.apply(batch([now - SECOND], [100.0], key=Series("live", "tool")), live=True, came_ms=now)
    watch.tick(now)
    assert of(watch, KEY)[0].ended == "no more calls"


def test_a_silence_that_is_known_does_not_end_because_a_siblings_calls_come_late() -> None:
    watch = make_watch()
    stopped, end = T0 + 2 * DAY, T0 + 2 * DAY + 4 * HOUR
    own = times((stopped - T0) // MINUTE, MINUTE)
    sibling = times((end - T0) // MINUTE, MINUTE)
    now = T0
    for start in range(T0, end, HOUR):
        now = start + HOUR
        for ts, key in ((own, KEY), (sibling, SIBLING)):
            chosen = ts[(ts >= start) & (ts < now)]
            if len(chosen):
                watch.apply(batch(chosen, np.full(len(chosen), 100.0), key=key), live=True, came_ms=now)
        watch.tick(now)
        watch.sweep(list(watch.engine.series.values()), now)
    (silence,) = [e for e in of(watch, KEY) if e.metric == "calls"]
    watch.apply(batch([now - 3 * HOUR - 30 * MINUTE], [100.0], key=SIBLING), live=True, came_ms=now)
    watch.sweep(list(watch.engine.series.values()), now + SECOND)
    assert silence.end_ms is None


@pytest.mark.parametrize("late", [0, LATE_MS])
def test_calls_that_come_in_time_hold_nothing_back(late: int) -> None:
    reach = Reach()
    reach.note_tool("server", T0 - late, T0)
    reach.note_all(T0 - late, T0)
    assert reach.of("server", -1, T0) == T0


def test_a_tool_is_known_as_far_as_its_own_calls_and_a_clock_set_back_holds_nothing() -> None:
    reach = Reach()
    reach.note_tool("server", T0 - HOUR, T0)
    reach.note_tool("server", T0 - 2 * HOUR, T0)
    assert reach.of("server", -1, T0) == T0 - 2 * HOUR
    assert reach.of("server", T0 - MINUTE, T0) == T0 - MINUTE
    assert reach.of("other", -1, T0) == T0
    assert reach.of("server", -1, T0 - DAY) == T0 - DAY
    assert reach.held_back(T0) == {"server"}
    assert not reach.held_back(T0 + HOLD_MS)
