"""A tool that fails from its first calls on is an anomaly, told as what it is, once, until it works or is known for it."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from services.detector.core import rebuilding
from services.detector.core.answers.answer import answer, parse_query
from services.detector.core.answers.past import Known, Replay
from services.detector.core.engine import Engine
from services.detector.core.events import Event, from_record, to_record
from services.detector.core.kernels import error_mixture as row
from services.detector.core.kernels import errors, judge
from services.detector.core.telling.explain import anomaly
from services.detector.core.telling.narrative import summary
from services.detector.core.telling.remarks import whole
from services.detector.core.watch import Watch
from tests.unit.detector.detector_kit import (
    DAY,
    HOUR,
    KEY,
    MINUTE,
    T0,
    batch,
    feed,
    make_watch,
    ordinary,
    stored,
    times,
)

EVERY = 5 * MINUTE


def watched(ok: list[int] | np.ndarray, every_ms: int = EVERY, *, ticked: bool = False) -> Watch:
    watch, ts = make_watch(), times(len(ok), every_ms)
    for i in range(len(ok)):
        watch.apply(batch(ts[i : i + 1], [50.0], ok[i : i + 1]), live=True)
        if ticked:
            watch.tick(int(ts[i]) + MINUTE)
    return watch


def failures_of(watch: Watch) -> list[Event]:
    return stored(watch, "error_rate_spike")


@pytest.mark.parametrize(("ok", "calls"), [([0, 0, 0, 0], 4), ([1, 0, 0, 0, 0, 0], 6), ([0, 0, 0, 1, 0, 0], 6)])
def test_a_few_first_calls_that_fail_are_an_anomaly_at_medium(ok: list[int], calls: int) -> None:
    (event,) = failures_of(watched(ok))
    assert (event.start_ms, event.calls, event.points) == (T0, calls, ok.count(0))
    assert event.since_first
    assert event.confidence >= 0.95
    assert failures_of(watched(ok[:-1])) == []


def test_a_tool_that_fails_half_of_the_time_from_its_first_call_on_is_one() -> None:
    rng = np.random.default_rng(3)
    (event,) = failures_of(watched((rng.random(120) < 0.5).astype(np.uint8)))
    assert event.since_first


@pytest.mark.parametrize(("rate", "most"), [(0.05, 0.06), (0.2, 0.06), (0.3, 0.08)])
def test_a_new_tool_that_usually_fails_so_often_alarms_no_more_than_is_promised(rate: float, most: float) -> None:
    rng, ts, out, alarms = np.random.default_rng(11), times(1_000, MINUTE // 2), np.zeros((64, errors.HAPPENING)), 0
    for _ in range(1_000):
        run, at, ok, worst = np.zeros(row.SIZE), 0, (rng.random(1_000) >= rate).astype(np.uint8), 0.0
        while at < len(ts):
            found, at = errors.judge_failures(ts, ok, run, 2.0, out, at)
            worst = max([worst, *(h[1 + row.LEVEL] for h in out[:found] if h[0] == judge.OPENED)])
        alarms += worst >= 2
    assert alarms <= most * 1_000


def test_it_is_told_without_a_usual_rate() -> None:
    watch = watched([0] * 7 + [1] + [0] * 6 + [1, 0], ticked=True)
    (event,) = failures_of(watch)
    said = summary(event)
    assert said.startswith(
        "“tool” of “server” has failed since its first calls at 2025-10-10 00:00Z, still going on: 14 of 16"
    )
    assert "usual" not in said
    row_, told = anomaly(event, full=True), whole(watch, event)
    assert row_["baseline"]["median"] is None
    assert row_["severity"] == "critical"
    assert any("never known to work" in advice for advice in event.recommendations)
    lines = "\n".join(told["text"])
    assert "first-calls: " in lines
    assert "usual     not known; of a tool that works no more than 30 % of calls fail" in lines
    assert told["explanation"]["baseline"]["median"] is None
    assert told["text"][-1].startswith("╌╌ of a tool that works: 0–30")
    assert "usual: " not in lines
    assert "baseline" not in lines


def test_it_ends_when_the_tool_works() -> None:
    watch = watched([0] * 10 + [1] * 12, ticked=True)
    (event,) = failures_of(watch)
    assert event.end_ms == T0 + 9 * EVERY
    assert event.ended == "back inside"
    assert summary(event).startswith(
        "“tool” of “server” failed from its first calls on from 2025-10-10 00:00Z to 00:45Z: 10 of 10"
    )


def test_what_it_failed_before_it_worked_is_not_usual() -> None:
    watch = watched([0] * 10 + [1] * 60 + [0] * 6, ticked=True)
    first, again = failures_of(watch)
    assert not again.since_first
    assert again.start_ms == T0 + 70 * EVERY
    assert again.median < 5, "of the sixty calls since; two failures stay learned"
    assert first.end_ms == T0 + 9 * EVERY


def test_a_tool_that_always_fails_is_told_once_and_is_known_for_it_after_a_day() -> None:
    watch = make_watch()
    ok = np.zeros(4 * 24 * 60, np.uint8)
    ts = times(len(ok), MINUTE)
    feed(watch, batch(ts, ordinary(len(ok)), ok), 60)
    (event,) = failures_of(watch)
    assert event.ended == "the new normal"
    assert event.end_ms is not None
    assert DAY <= event.end_ms - event.start_ms < DAY + 4 * HOUR


def test_a_tool_that_always_fails_by_day_does_not_ring_every_morning() -> None:
    watch = make_watch()
    for day in range(5):
        for i in range(60):
            now = T0 + day * DAY + i * 6 * MINUTE
            watch.apply(batch([now], [50.0], [0]), live=True)
            watch.tick(now + MINUTE)
        watch.tick(T0 + day * DAY + 23 * HOUR)
    (event,) = failures_of(watch)
    assert event.ended == "no more calls"


def test_a_quiet_tool_that_always_fails_has_one_event_that_goes_on() -> None:
    watch = watched([0] * 70, DAY // 10, ticked=True)
    (event,) = failures_of(watch)
    assert event.end_ms is None
    assert event.calls == 70


def test_a_past_window_has_the_same_and_calls_before_which_there_were_others_are_not_the_first() -> None:
    ok = np.concatenate([np.zeros(10, np.uint8), np.ones(30, np.uint8)])
    calls = batch(times(40, EVERY), ordinary(40), ok)
    replay = Replay(calls, T0 + DAY, 100, EVERY)
    assert [*replay.steps()]
    watch = watched(ok, ticked=True)
    (event,), (lived,) = failures_of(watch), failures_of(replay.watch)
    assert (lived.id, lived.end_ms, lived.points, lived.calls) == (event.id, event.end_ms, event.points, event.calls)

    known, query = make_watch(), parse_query({"lookbackMs": DAY, "endMs": T0 + DAY}, T0 + DAY)
    known.apply(batch([T0 - HOUR, T0 + DAY], [50.0, 50.0]), live=True)
    found = answer(known, query, contextlib.nullcontext, Known([], replay.watch))
    assert not [one for one in found["anomalies"] if one["anomalyType"] == "error_rate_spike"]
    found = answer(watch, query, contextlib.nullcontext, Known([], replay.watch))
    assert [one["id"] for one in found["anomalies"] if one["anomalyType"] == "error_rate_spike"] == [event.id]


def test_a_rebuild_keeps_it_and_tells_no_known_tool_anew() -> None:
    ok = np.zeros(30, np.uint8)
    watch = watched(ok, ticked=True)
    (event,) = failures_of(watch)
    again = Watch(Engine(100), watch.book)
    under_way = rebuilding.set_aside(again, watch.engine)
    again.apply(batch(times(20, EVERY, T0 + 10 * EVERY), ordinary(20), ok[:20]), live=False)
    rebuilding.join(again, under_way)
    (kept,) = failures_of(again)
    assert (kept.id, kept.end_ms) == (event.id, None)

    watch.book.remove(event)  # it is the new normal, and long forgotten
    third = Watch(Engine(100), watch.book)
    under_way = rebuilding.set_aside(third, watch.engine)
    third.apply(batch(times(20, EVERY, T0 + 10 * EVERY), ordinary(20), ok[:20]), live=False)
    rebuilding.join(third, under_way)
    assert failures_of(third) == []


def test_without_a_database_the_files_know_that_it_was_told() -> None:
    watch = watched([0] * 30, ticked=True)
    (event,) = failures_of(watch)
    known = from_record(to_record(event))
    watch.book.close(known, known.last_ms, "the new normal")
    again = make_watch()
    again.book.add(known)
    again.apply(batch(times(20, EVERY, T0 + DAY), ordinary(20), [0] * 20), live=False)
    assert [e.id for e in failures_of(again)] == [known.id]


def test_a_row_that_was_kept_before_first_calls_were_noted_begins_no_event_at_no_time() -> None:
    run, out, ts = np.zeros(row.SIZE), np.zeros((64, errors.HAPPENING)), times(40, MINUTE)
    errors.judge_failures(ts[:3].copy(), np.zeros(3, np.uint8), run, 1.0, out, 0)
    run[row.START] = 0.0
    assert errors.judge_failures(ts[3:].copy(), np.zeros(37, np.uint8), run, 1.0, out, 0) == (0, 37)


def test_a_tool_that_works_first_is_judged_by_its_own_usual_rate() -> None:
    watch = watched([1] * 100 + [0] * 6)
    (event,) = failures_of(watch)
    assert not event.since_first
    assert event.series == KEY
