"""Tools that are called no more: found soon, dated by their last call, and not when it is night or the people went home."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.events import Event
from services.detector.core.state.breaks import MOST, Breaks
from services.detector.core.sweeps.silence import Clock, Pauses, pauses_of
from services.detector.core.telling.explain import anomaly
from services.detector.core.telling.narrative import summary
from services.detector.core.watch import Watch
from shared.batch import Batch, Series, concatenate
from tests.unit.detector.detector_kit import DAY, HOUR, KEY, MINUTE, batch, make_watch

#: Monday, 6 October 2025, 00:00 UTC.
MONDAY = 1_759_708_800_000
OTHER = Series("elsewhere", "tool")
STEP = 15 * MINUTE


def calls(start: int, end: int, an_hour: float, key: Series = KEY, *, hours=range(24), weekend=True, seed=1) -> Batch:
    """Calls at random, in some hours of the day."""
    rng = np.random.default_rng(seed)
    ts = np.sort(rng.integers(start, end, int((end - start) / HOUR * an_hour)))
    of_day, day = ts % DAY // HOUR, (ts // DAY + 3) % 7
    ts = ts[np.isin(of_day, list(hours)) & ((day < 5) | weekend)]
    return batch(ts, 100 * np.exp(0.2 * rng.standard_normal(len(ts))), key=key)


def watched(parts: list[Batch], start: int, end: int) -> Watch:
    """A quarter of an hour after the other, with a sweep after each."""
    watch, whole = make_watch(), concatenate(parts)
    order = np.argsort(whole.ts, kind="stable")
    whole = whole.take(order)
    cuts = np.searchsorted(whole.ts, np.arange(start, end + STEP, STEP))
    for at, (low, high) in enumerate(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)):
        now = start + (at + 1) * STEP
        if high > low:
            watch.apply(whole.take(np.arange(low, high)), live=True)
        watch.tick(now)
        watch.sweep(watch.engine.series.values(), now)
    return watch


def silences(watch: Watch, key: Series = KEY) -> list[Event]:
    return [e for e in watch.book.events.values() if e.stored and e.metric == "calls" and e.series == key]


@pytest.mark.parametrize("an_hour", [1.0, 6.0, 60.0])
def test_a_tool_that_is_called_no_more_is_silent_since_its_last_call(an_hour: float) -> None:
    stopped, missed = MONDAY + 8 * DAY + 11 * HOUR, min(20 * HOUR, int(25 / an_hour * HOUR) + 25 * MINUTE)
    own = calls(MONDAY, stopped, an_hour)
    watch = watched([own, calls(MONDAY, stopped + DAY, 20, OTHER)], MONDAY, stopped + missed)
    (event,) = silences(watch)
    assert abs(event.start_ms - int(own.ts.max())) <= 2 * MINUTE
    assert event.end_ms is None
    assert event.value == 0
    assert anomaly(event)["details"]["deviation"] == "stopped"
    assert event.median == pytest.approx(an_hour if an_hour >= 2 else 24 * an_hour, rel=0.5)


def test_a_silence_ends_when_calls_come_again() -> None:
    stopped, again = MONDAY + 3 * DAY, MONDAY + 3 * DAY + 4 * HOUR
    parts = [calls(MONDAY, stopped, 120), calls(again, again + HOUR, 120), calls(MONDAY, again + HOUR, 60, OTHER)]
    watch = watched(parts, MONDAY, again + HOUR)
    (event,) = silences(watch)
    assert event.end_ms is not None
    assert abs(event.end_ms - again) <= 20 * MINUTE
    assert event.ended == "back inside"


def test_a_silence_never_becomes_what_is_usual() -> None:
    stopped = MONDAY + 3 * DAY
    watch = watched(
        [calls(MONDAY, stopped, 3000), calls(MONDAY, stopped + DAY, 60, OTHER)], MONDAY, stopped + 20 * HOUR
    )
    (event,) = silences(watch)
    assert event.end_ms is None
    assert abs(event.start_ms - stopped) <= 2 * MINUTE


def test_nights_and_weekends_of_people_are_no_silence_and_a_working_hour_without_calls_is() -> None:
    office = range(8, 17)
    stopped = MONDAY + 8 * DAY + 11 * HOUR
    people = calls(MONDAY, stopped, 20, hours=office, weekend=False)
    watch = watched([people, calls(MONDAY, stopped + 3 * HOUR, 60, OTHER)], MONDAY, stopped + 3 * HOUR)
    (event,) = [e for e in silences(watch) if e.start_ms > MONDAY + 2 * DAY]
    assert abs(event.start_ms - int(people.ts.max())) <= MINUTE


def test_where_nobody_calls_anything_any_more_it_is_the_people_who_went() -> None:
    office = range(8, 17)
    stopped = MONDAY + 8 * DAY + 11 * HOUR
    parts = [calls(MONDAY, stopped, 20, Series("server", f"tool-{k}"), hours=office, seed=k) for k in range(3)]
    watch = watched(parts, MONDAY, stopped + 5 * HOUR)
    assert not [e for e in watch.book.events.values() if e.metric == "calls" and e.stored]


def test_a_young_tool_is_silent_only_while_others_are_called() -> None:
    stopped, end = MONDAY + 3 * HOUR, MONDAY + 4 * HOUR
    own, other = calls(MONDAY, stopped, 60), calls(MONDAY, end, 60, OTHER)
    assert not silences(watched([own, other.take(other.ts < stopped)], MONDAY, end))
    (event,) = silences(watched([own, other], MONDAY, end))
    assert abs(event.start_ms - int(own.ts.max())) <= MINUTE
    assert (event.severity, event.confidence) == ("info", 0.9)
    assert "stopped at 2025-10-06 02:5" in summary(event)
    assert "; likely a real stop (confidence 0.9)" in summary(event)


def test_a_night_without_the_machine_is_the_silence_of_no_tool() -> None:
    """Everything stops for six hours; one tool is called again at once, the others an hour later."""
    stopped, again = MONDAY + 3 * DAY, MONDAY + 3 * DAY + 6 * HOUR
    names = [Series("server", f"tool-{k}") for k in range(4)]
    parts = [calls(MONDAY, stopped, 120, name, seed=k) for k, name in enumerate(names)]
    parts += [calls(again, again + HOUR, 120, names[0])]
    for name in names[1:]:
        parts += [calls(again + 12 * MINUTE, again + HOUR, 120, name)]
    watch = watched(parts, MONDAY, again + HOUR)
    assert not [e for e in watch.book.events.values() if e.metric == "calls" and e.stored]
    late = watched(parts[: len(names) + 1], MONDAY, again + HOUR)
    silent = {e.tool for e in late.book.events.values() if e.metric == "calls" and e.stored}
    assert silent == {"tool-1", "tool-2", "tool-3"}, "an hour in which others are called is"


def ticks(start: int, end: int, key: Series, seed: int) -> Batch:
    """Four calls every quarter of an hour, on the minute."""
    rng = np.random.default_rng(seed)
    ts = (np.arange(start, end, STEP)[:, None] + 2_500 * np.arange(4) + 20_000 * rng.random((1, 4))).astype(np.int64)
    return batch(np.sort(ts.ravel()), 100 * np.exp(0.2 * rng.standard_normal(ts.size)), key=key)


def test_where_all_tools_are_called_on_the_same_minutes_one_that_is_no_more_is_silent_and_stays_so() -> None:
    stopped, end = MONDAY + 4 * DAY + 6 * HOUR, MONDAY + 4 * DAY + 18 * HOUR
    names = [Series("cron", f"tool-{k}") for k in range(4)]
    parts = [ticks(MONDAY, stopped if k == 0 else end, name, k) for k, name in enumerate(names)]
    soon = watched(parts, MONDAY, stopped + 2 * HOUR)
    (event,) = silences(soon, names[0])
    assert abs(event.start_ms - stopped) <= STEP
    watch = watched(parts, MONDAY, end)
    (event,) = silences(watch, names[0])
    assert event.end_ms is None
    assert not [e for name in names[1:] for e in silences(watch, name)]


def test_a_machine_asleep_is_the_silence_of_no_tool_that_is_called_on_the_same_minutes() -> None:
    asleep, awake = MONDAY + 4 * DAY + 6 * HOUR, MONDAY + 4 * DAY + 11 * HOUR
    names = [Series("cron", f"tool-{k}") for k in range(4)]
    parts = [ticks(MONDAY, asleep, name, k) for k, name in enumerate(names)]
    parts += [ticks(awake + (k == 0) * STEP, awake + 2 * HOUR, name, k) for k, name in enumerate(names)]
    watch = watched(parts, MONDAY, awake + 2 * HOUR)
    assert not [e for name in names for e in silences(watch, name)]


def test_steady_tools_of_all_paces_are_hardly_ever_called_silent() -> None:
    days, rates = 5, [1.0, 3.0, 10.0, 40.0, 120.0]
    parts = [calls(MONDAY, MONDAY + days * DAY, r, Series("s", f"{r:g}"), seed=int(r)) for r in rates]
    watch = watched(parts, MONDAY, MONDAY + days * DAY)
    false = [e for e in watch.book.events.values() if e.metric == "calls" and e.stored]
    assert len(false) <= days * len(rates) / 7 / 5 + 1, "a fifth of one a tool and week, and the luck of one"


def test_longer_pauses_are_seldom_and_few_pauses_leave_more_doubt() -> None:
    usual, busy = np.random.default_rng(1).exponential(1.0, 1_000), np.ones(1_001, np.bool_)
    many, few = pauses_of(usual, busy), pauses_of(np.random.default_rng(2).exponential(1.0, 30), busy)
    assert many.chance(many.edge) == 1.0
    assert many.chance(8.0) < many.chance(4.0) < 0.1
    assert 3 * many.chance(12.0) < few.chance(12.0) < 1e-3
    assert Pauses(1, 0.0, 1.0, 1, 0.0).chance(1.0) == pytest.approx(0.5)


def test_what_was_a_silence_yesterday_hides_none_today_and_nights_stay_what_they_are() -> None:
    lengths = np.append(np.random.default_rng(1).exponential(1.0, 1_000), 120.0)
    assert pauses_of(lengths, np.ones(1_001, np.bool_)).longest < 20
    assert pauses_of(lengths, np.arange(1_001) < 1_000).longest == 120.0


def test_the_clock_stands_still_where_nothing_is_usual() -> None:
    by_hour = np.zeros(24)
    by_hour[9:17] = 0.5
    called = np.arange((MONDAY + 9 * HOUR) // MINUTE, (MONDAY + 17 * HOUR) // MINUTE, 2)
    clock = Clock(by_hour, called, nights=True, now_ms=MONDAY + DAY + 12 * HOUR)
    assert clock.between(MONDAY + 18 * HOUR, MONDAY + DAY + 6 * HOUR) == 0
    assert clock.between(MONDAY + 10 * HOUR, MONDAY + 11 * HOUR) == pytest.approx(30)


def test_a_server_of_which_no_tool_is_called_any_more_is_one_warning_and_no_single_tool_of_it_is() -> None:
    stopped, end = MONDAY + 3 * HOUR, MONDAY + 4 * HOUR
    billing = [Series("billing", name) for name in ("charge", "refund", "invoice")]
    parts = [calls(MONDAY, stopped, 300 - 60 * k, key, seed=k) for k, key in enumerate(billing)]
    whole = watched([*parts, calls(MONDAY, end, 60, OTHER)], MONDAY, end)
    found = {key.tool: silences(whole, key)[0] for key in billing}
    assert [found[tool].severity for tool in ("charge", "refund", "invoice")] == ["warning", "info", "info"]
    assert [raised.event.tool for raised in whole.take_raises() if raised.event.metric == "calls"] == ["charge"]
    assert all("No tool of “billing” is called any more" in e.recommendations[0] for e in found.values())
    parts[1] = calls(MONDAY, end, 240, billing[1], seed=1)
    one = watched([*parts, calls(MONDAY, end, 60, OTHER)], MONDAY, end)
    (charge,), (invoice,) = silences(one, billing[0]), silences(one, billing[2])
    assert charge.severity == invoice.severity == "info"
    assert "while 1 other tool of “billing” is called still: the server runs" in charge.recommendations[0]


def test_a_server_that_people_use_now_and_then_is_no_warning_when_they_go_on_to_another() -> None:
    stopped, end = MONDAY + 3 * HOUR, MONDAY + 4 * HOUR
    keys = [Series("git", "log"), Series("git", "diff")]
    parts = [calls(MONDAY, stopped, 120, key, seed=k) for k, key in enumerate(keys)]
    parts = [part.take((part.ts < MONDAY + HOUR) | (part.ts > MONDAY + HOUR + 7 * MINUTE)) for part in parts]
    watch = watched([*parts, calls(MONDAY, end, 60, OTHER)], MONDAY, end)
    assert [e.severity for key in keys for e in silences(watch, key)] == ["info", "info"]


def test_of_a_silence_only_the_calls_are_spoken_of() -> None:
    stopped, end = MONDAY + 3 * HOUR, MONDAY + 4 * HOUR
    watch = watched([calls(MONDAY, stopped, 60), calls(MONDAY, end, 60, OTHER)], MONDAY, end)
    (event,) = silences(watch)
    assert "still going on: no call since, usual are" in summary(event)
    assert "did not rise" not in summary(event)


def test_of_the_times_without_any_call_the_longest_are_remembered() -> None:
    breaks = Breaks()
    breaks.note(MONDAY, MONDAY + 5 * HOUR, MONDAY + 5 * HOUR)
    for tick in range(2 * MOST):
        now = MONDAY + 5 * HOUR + tick * 15 * MINUTE
        breaks.note(now, now + 15 * MINUTE, now + 15 * MINUTE)
    spans = list(breaks.within(MONDAY, MONDAY + 3 * DAY))
    assert (MONDAY, MONDAY + 5 * HOUR) in spans
    assert len(spans) == MOST
    assert list(breaks.within(MONDAY, MONDAY + 3 * DAY, HOUR)) == [(MONDAY, MONDAY + 5 * HOUR)]
