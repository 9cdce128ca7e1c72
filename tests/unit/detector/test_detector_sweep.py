"""What the sweep finds that single calls do not show: shifts, leaks, changed throughput; and that nothing is found twice."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from services.detector.core.answers.answer import answer, parse_query
from services.detector.core.events import Event, event_id
from services.detector.core.sweeps.sweep import find_leak
from services.detector.core.watch import Watch
from shared.batch import Series, concatenate
from tests.unit.detector.detector_kit import HOUR, KEY, MINUTE, T0, batch, feed, make_watch, ordinary, stored, times

FIVE = 5 * MINUTE


def sweep_every_five_minutes(watch: Watch, whole, start: int, end: int) -> None:
    """Feed five minutes, sweep, and so on, as the service does."""
    for now in range(start, end + FIVE, FIVE):
        part = whole.take((whole.ts >= now - FIVE) & (whole.ts < now))
        if len(part):
            watch.apply(part, live=True)
        watch.tick(now)
        watch.sweep(watch.engine.series.values(), now)


def only(watch: Watch, anomaly_type: str) -> Event:
    (event,) = stored(watch, anomaly_type)
    return event


def test_a_lasting_rise_of_the_level_is_one_shift_from_its_beginning() -> None:
    watch = make_watch()
    n, at = 6 * 240, 4 * 240
    values = ordinary(n, spread=0.08)
    values[at:] *= 1.2
    ts = times(n)
    sweep_every_five_minutes(watch, batch(ts, values), T0, T0 + 6 * HOUR)
    (event,) = [e for e in watch.book.events.values() if e.type == "response_time_shift"]
    assert event.level == 1, "a fifth more is for the sensitive alone"
    assert abs(event.start_ms - int(ts[at])) <= 15 * MINUTE
    assert event.end_ms is None
    assert event.median == pytest.approx(100, rel=0.05)
    assert event.value == pytest.approx(120, rel=0.05)
    assert event.confidence > 0.99
    assert any("changed for good" in text for text in event.recommendations)


def test_a_shift_that_goes_back_ends() -> None:
    watch = make_watch()
    values = ordinary(8 * 240, spread=0.15)
    values[4 * 240 : 5 * 240] *= 1.8
    sweep_every_five_minutes(watch, batch(times(8 * 240), values), T0, T0 + 8 * HOUR)
    event = only(watch, "response_time_shift")
    assert event.end_ms is not None
    assert event.end_ms <= T0 + 6 * HOUR
    assert event.ended in ("back inside", "the new normal")
    assert [line.phase for line in watch.take_lines() if line.event is event] == ["open", "close"]


def test_a_spike_that_lasts_is_called_a_shift_and_stays_one_anomaly() -> None:
    watch = make_watch()
    values = ordinary(8 * 240)
    values[4 * 240 :] *= 8
    sweep_every_five_minutes(watch, batch(times(8 * 240), values), T0, T0 + 8 * HOUR)
    event = only(watch, "response_time_shift")
    assert event.id == event_id(KEY, "response_time_spike", "response_time", event.start_ms)
    assert event.start_ms == times(8 * 240)[4 * 240]
    assert not stored(watch, "response_time_spike")
    assert event.end_ms is None, "its level was learned within an hour, and is still there"
    lines = [line for line in watch.take_lines() if line.event.id == event.id]
    assert [line.phase for line in lines] == ["open"]


def test_a_spike_that_lasts_is_as_severe_as_the_shift_that_it_is() -> None:
    """Within the band of single calls a level may stand far above the one before."""
    watch = make_watch()
    values = ordinary(8 * 240, spread=0.7)
    values[6 * 240 :] *= 3.0
    sweep_every_five_minutes(watch, batch(times(8 * 240), values), T0, T0 + 8 * HOUR)
    event = only(watch, "response_time_shift")
    assert event.typical / event.upper < 1.5
    assert event.id == event_id(KEY, "response_time_spike", "response_time", event.start_ms)
    assert (event.severity, event.raised) == ("warning", "warning")


def test_noise_and_a_slow_hour_of_the_day_are_no_shift() -> None:
    watch = make_watch()
    values = ordinary(24 * 240, spread=0.4) * (1 + 0.15 * np.sin(np.arange(24 * 240) / 240 / 24 * 2 * np.pi))
    sweep_every_five_minutes(watch, batch(times(24 * 240), values), T0, T0 + 24 * HOUR)
    assert not stored(watch, "response_time_shift")


def test_memory_that_doubles_in_six_hours_is_one_leak_with_its_pace() -> None:
    watch = make_watch()
    n = 8 * 60
    rng = np.random.default_rng(2)
    memory = 200 + rng.normal(0, 3, n)
    memory[120:] += np.arange(n - 120) / 360 * 200
    sweep_every_five_minutes(watch, batch(times(n, MINUTE), ordinary(n), memory=memory), T0, T0 + 8 * HOUR)
    event = only(watch, "resource_leak")
    assert event.metric == "memory"
    assert event.value > 280
    assert event.evidence["perHour"] == pytest.approx(33, rel=0.25)
    assert "MB an hour" in event.recommendations[0]
    assert event.confidence > 0.99


def test_memory_that_grows_from_next_to_nothing_is_looked_at() -> None:
    watch, n = make_watch(), 5 * 60
    memory = np.full(n, 1e-310)
    memory[70:] = np.arange(n - 70) * 2.0
    feed(watch, batch(times(n, MINUTE), ordinary(n), memory=memory))
    found = find_leak(watch.engine.series[KEY], T0 + n * MINUTE)
    assert found is None or found.value > 100


@pytest.mark.parametrize("shape", ["flat", "noise", "step", "sawtooth"])
def test_memory_that_does_not_grow_without_cease_is_no_leak(shape: str) -> None:
    watch = make_watch()
    n = 8 * 60
    i = np.arange(n)
    memory = {
        "flat": np.full(n, 128.0),
        "noise": 128 + np.random.default_rng(3).normal(0, 30, n),
        "step": np.where(i < 240, 100.0, 300.0),
        "sawtooth": 100 + i % 60 * 2.0,
    }[shape]
    sweep_every_five_minutes(watch, batch(times(n, MINUTE), ordinary(n), memory=memory), T0, T0 + 8 * HOUR)
    assert not stored(watch, "resource_leak")


def test_a_steady_tool_that_falls_silent_is_a_throughput_change_of_severity_info() -> None:
    watch = make_watch()
    n = 8 * 240
    sweep_every_five_minutes(watch, batch(times(n), ordinary(n)), T0, T0 + 9 * HOUR)
    event = only(watch, "throughput_change")
    assert event.severity == "info"
    assert event.value == 0
    assert (event.median, event.unit) == (pytest.approx(240, rel=0.02), "calls/h")
    assert "No calls arrive" in event.recommendations[0]
    assert not [t for t in watch.take_raises() if t.event is event]


def test_irregular_use_is_no_throughput_change() -> None:
    watch = make_watch()
    rng = np.random.default_rng(4)
    bursts = [T0 + int(b) + np.arange(40) * 2_000 for b in np.sort(rng.integers(0, 20 * HOUR, 30))]
    ts = np.sort(np.concatenate(bursts))
    sweep_every_five_minutes(watch, batch(ts, ordinary(len(ts))), T0, T0 + 22 * HOUR)
    assert not stored(watch, "throughput_change")


def test_a_shift_within_the_margin_of_a_spike_is_seen_by_the_sweep_and_goes_back() -> None:
    watch = make_watch()
    values = ordinary(8 * 240, spread=0.6)
    values[4 * 240 : 5 * 240 + 120] *= 1.9
    sweep_every_five_minutes(watch, batch(times(8 * 240), values), T0, T0 + 8 * HOUR)
    event = only(watch, "response_time_shift")
    assert event.method == "rank-shift"
    assert event.ended == "back inside"
    after = [e for e in stored(watch, "response_time_spike") if e.start_ms > T0 + 5 * HOUR]
    assert not after, "slow calls during a shift belong to it"


def test_sweeping_again_and_again_adds_nothing() -> None:
    watch = make_watch()
    values = ordinary(6 * 240, spread=0.6)
    values[5 * 240 :] *= 2
    feed(watch, batch(times(6 * 240), values))
    now = T0 + 6 * HOUR
    for _ in range(5):
        watch.sweep(watch.engine.series.values(), now)
    assert len([line for line in watch.take_lines() if line.event.type == "response_time_shift"]) == 1
    assert not list(watch.preview(watch.engine.series[KEY], now))


# --- evidence --------------------------------------------------------------------------------------------------------


def test_what_moved_at_the_same_time_is_said() -> None:
    watch = make_watch()
    values, cpu, ok = ordinary(400), np.full(400, 12.0), np.ones(400, np.uint8)
    values[300:320] *= 12
    cpu[300:320] = 96.0
    ok[300:320:2] = 0
    feed(watch, batch(times(400), values, ok, cpu=cpu))
    slow = only(watch, "response_time_spike")
    text = " ".join(slow.recommendations)
    assert "Failures rose with it, from 0 to" in text
    assert "CPU rose in the same calls, from 12 to 96 %" in text
    assert slow.evidence["changes"]["cpu"] == {"before": 12.0, "during": 96.0, "sinceMs": slow.start_ms}


def test_when_nothing_moved_it_says_waiting_and_whether_that_was_measured() -> None:
    measured, partly, unmeasured = make_watch(), make_watch(), make_watch()
    values, same = ordinary(400), np.full(400, 12.0)
    values[300:310] *= 12
    feed(measured, batch(times(400), values, cpu=same, memory=same, disk_io=same))
    feed(partly, batch(times(400), values, memory=same, disk_io=same))
    feed(unmeasured, batch(times(400), values))
    assert "the time is spent waiting" in only(measured, "response_time_spike").recommendations[0]
    assert only(partly, "response_time_spike").recommendations[0] == (
        "Neither failures, memory, disk I/O nor load moved with it; CPU was not measured here: record it to tell "
        "waiting from work."
    )
    assert "resources were not measured here" in only(unmeasured, "response_time_spike").recommendations[0]


def test_what_has_nothing_from_before_to_compare_with_is_not_said_to_be_unmeasured() -> None:
    watch, values, same = make_watch(), np.full(40, 100.0), np.full(40, 12.0)
    values[2] = 9_000.0
    feed(watch, batch(times(40, 1_000), values, cpu=same, memory=same, disk_io=same))
    (found,) = answer(watch, parse_query({"method": "z-score"}, T0 + HOUR), nullcontext)["anomalies"]
    assert found["recommendations"] == [
        "No calls from before it are known to compare with: whether failures, resources or load moved cannot be told."
    ]


def test_the_tool_of_a_server_that_was_first_is_named_as_where_to_start() -> None:
    watch = make_watch()
    first, second = ordinary(400), ordinary(400, 2)
    first[300:330] *= 12
    second[310:330] *= 12
    a = batch(times(400), first, key=Series("server", "a\x1b[31m"))
    b = batch(times(400, start=T0 + 1), second, key=Series("server", "b"))
    both = concatenate([a, b])
    feed(watch, both.take(np.argsort(both.ts, kind="stable")), 20)
    early, late = stored(watch, "response_time_spike")
    assert early.tool.startswith("a")
    assert any("this one was first" in text for text in early.recommendations)
    told = next(text for text in late.recommendations if "start there" in text)
    assert "“a\\x1b[31m”" in told, "names from monitored servers are escaped and quoted"
