"""One event is one anomaly: when it begins, how it goes on, when it ends, and what never is one."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.core.kernels import baseline, judge
from services.detector.core.metrics import SENSITIVITIES, is_below
from services.detector.core.readings import from_track
from services.detector.core.watch import Watch
from shared.batch import Series, concatenate
from tests.unit.detector.detector_kit import (
    HOUR,
    KEY,
    MINUTE,
    T0,
    batch,
    bursts,
    feed,
    make_watch,
    ordinary,
    stored,
    times,
)


def spiked(n: int = 400, at: int = 300, length: int = 8, times_as_slow: float = 10.0) -> np.ndarray:
    values = ordinary(n)
    values[at : at + length] *= times_as_slow
    return values


def test_a_burst_of_slow_calls_is_one_event_with_start_peak_and_end() -> None:
    watch = make_watch()
    ts, values = times(400), spiked()
    feed(watch, batch(ts, values))
    (event,) = stored(watch)
    assert (event.type, event.metric, event.method) == ("response_time_spike", "response_time", "auto")
    assert event.start_ms == ts[300]
    assert event.end_ms == event.last_ms == ts[307]
    assert event.value == values[300:308].max()
    assert event.peak_ms == ts[300 + int(np.argmax(values[300:308]))]
    assert event.points == 8
    assert event.ended == "back inside"
    assert event.severity in ("warning", "critical")
    assert 0.9 < event.confidence < 1.0
    assert event.lower < 100 < event.upper < 300


@pytest.mark.parametrize("size", [1, 7, 400])
def test_the_event_is_the_same_however_the_stream_is_cut_into_batches(size: int) -> None:
    watch = make_watch()
    feed(watch, batch(times(400), spiked()), size)
    (event,) = stored(watch)
    whole = make_watch()
    feed(whole, batch(times(400), spiked()), 400)
    assert stored(whole) == [event]


def test_two_slow_calls_are_not_enough() -> None:
    watch = make_watch()
    feed(watch, batch(times(400), spiked(length=2, times_as_slow=50)))
    assert not watch.book.events


def test_bursts_closer_than_the_gap_are_one_event_and_further_ones_are_two() -> None:
    near, far = spiked(600), spiked(600)
    near[312:320] *= 10
    far[400:408] *= 10
    for values, expected in ((near, 1), (far, 2)):
        watch = make_watch()
        feed(watch, batch(times(600), values))
        assert len(stored(watch)) == expected


def test_an_event_ends_by_the_clock_when_no_call_comes_any_more() -> None:
    watch = make_watch()
    ts = times(308)
    feed(watch, batch(ts, spiked(308)))
    (event,) = stored(watch)
    assert event.end_ms is None
    assert not watch.tick(int(ts[-1]) + 29 * MINUTE)
    assert watch.tick(int(ts[-1]) + 30 * MINUTE)
    assert event.end_ms == ts[307]
    assert event.ended == "no more calls"


def test_a_long_event_becomes_the_new_normal_and_ends() -> None:
    watch = make_watch()
    values = np.concatenate([ordinary(400), ordinary(2_000, 2, level=900)])
    feed(watch, batch(times(2_400), values))
    (event,) = stored(watch)
    assert event.ended == "the new normal"
    assert event.end_ms is not None
    assert event.end_ms - event.start_ms < 4 * HOUR
    assert event.upper < 300, "the band stays that of before"


def test_what_was_usual_when_the_alarm_was_raised_is_still_told_when_the_new_level_is_learned() -> None:
    watch = make_watch()
    values = ordinary(560)
    values[300:] *= 8
    feed(watch, batch(times(560), values), 10)
    track = watch.engine.series[KEY].tracks[0].copy()
    assert track[judge.ADOPTED]
    # Once it is learned.
    track[[baseline.MEDIAN, baseline.LOWER]] = 800, 600
    track[baseline.BAND : baseline.BAND + 3] = 1_200
    event = from_track(KEY, 0, track)
    assert event.lower < 100 < event.upper < 300
    assert event.median == pytest.approx(100, rel=0.2)
    assert event.evidence["fired"]["bands"]["medium"] == event.upper


def test_a_stray_slow_call_an_hour_before_does_not_make_slow_calls_the_usual_ones_at_once() -> None:
    watch = make_watch()
    seldom = times(200, 6 * MINUTE)
    often = seldom[-1] + times(120, MINUTE, start=MINUTE)
    values = ordinary(320)
    values[190] *= 30  # fifty minutes before
    values[200:216] *= 12
    feed(watch, batch(np.concatenate([seldom, often]), values), 1)
    (event,) = stored(watch)
    assert event.ended == "back inside"


def test_every_phase_owes_the_files_one_line_and_the_alerter_one_word() -> None:
    watch = make_watch()
    feed(watch, batch(times(400), spiked(length=12)), 1)
    (event,) = stored(watch)
    assert [(line.event.id, line.phase) for line in watch.take_lines()] == [(event.id, "open"), (event.id, "close")]
    tellings = watch.take_raises()
    assert tellings[0].name == event.id
    assert len({t.name for t in tellings}) == len(tellings) <= 2
    assert not watch.take_lines()
    assert not watch.take_raises()


def test_an_event_that_becomes_critical_is_told_again_under_another_name() -> None:
    watch = make_watch()
    values = ordinary(420)
    values[300:304] *= 4
    values[304:320] *= 80
    feed(watch, batch(times(420), values), 1)
    watch.tick(int(times(420)[-1]))
    (event,) = stored(watch)
    assert [t.name for t in watch.take_raises()] == [event.id, f"{event.id}-critical"]


# --- what is never an event ------------------------------------------------------------------------------------------


def nothing_found(watch: Watch) -> bool:
    return not watch.book.events


def test_a_jitter_from_1_to_1_2_ms_is_never_an_anomaly() -> None:
    watch = make_watch()
    values = np.full(2_000, 1.0)
    values[500:560] = 1.2
    values[900:1900:3] = 1.2
    feed(watch, batch(times(2_000), values))
    watch.sweep(watch.engine.series.values(), int(times(2_000)[-1]))
    assert nothing_found(watch)


@pytest.mark.parametrize("value", [0.0, 1e-9, 5.0, 1e9])
def test_flat_data_have_no_anomaly(value: float) -> None:
    watch = make_watch()
    feed(watch, batch(times(1_000), np.full(1_000, value), cpu=np.full(1_000, 100.0), memory=np.full(1_000, 64.0)))
    watch.sweep(watch.engine.series.values(), int(times(1_000)[-1]))
    assert nothing_found(watch)


def test_a_cold_start_has_no_baseline_to_judge_by() -> None:
    watch = make_watch()
    feed(watch, batch(times(19), [100.0] * 10 + [9_000.0] * 9))
    assert nothing_found(watch)


def test_twenty_calls_of_baseline_suffice_for_a_tenfold_slowdown() -> None:
    watch = make_watch()
    feed(watch, batch(times(45, 1_000), np.concatenate([ordinary(38), np.full(7, 3_000.0)])), 1)
    assert [e.type for e in stored(watch)] == ["response_time_spike"]


def test_heavy_tails_are_not_a_stream_of_events() -> None:
    watch = make_watch()
    values = 50 * (1 + np.random.default_rng(3).pareto(1.5, 20_000))
    feed(watch, batch(times(20_000, MINUTE), values), 500)
    assert len(stored(watch)) <= 4  # two weeks


# --- sparse, late, missing -------------------------------------------------------------------------------------------


def test_a_tool_of_ten_calls_a_day_is_watched_too() -> None:
    watch = make_watch()
    every = 144 * MINUTE
    values = ordinary(60, spread=0.1)
    values[50:56] *= 20
    feed(watch, batch(times(60, every), values), 1)
    found = stored(watch)
    assert found
    assert {e.type for e in found} == {"response_time_spike"}
    assert found[0].start_ms == times(60, every)[50]


def test_calls_that_come_late_are_history_and_not_news() -> None:
    watch = make_watch()
    feed(watch, batch(times(400), ordinary(400)))
    late = batch(times(20, 1_000), np.full(20, 9_000.0))
    watch.apply(late, live=True)
    assert nothing_found(watch)
    series = watch.engine.series[Series("server", "tool")]
    assert series.calls_total == 420
    assert series.moments[:, 0, 0].sum() == 420


def test_calls_out_of_order_and_from_the_future_disturb_nothing() -> None:
    watch = make_watch()
    ts = times(400)
    rng = np.random.default_rng(4)
    shuffled = ts + rng.integers(-60_000, 60_000, 400)
    shuffled[200] = ts[200] + 10 * MINUTE
    feed(watch, batch(shuffled, spiked()))
    assert len(stored(watch)) == 1


def test_resources_that_were_not_measured_are_passed_over() -> None:
    watch = make_watch()
    cpu = np.full(400, np.nan)
    cpu[::2] = 10.0
    memory = np.full(400, np.nan)
    cpu[300:320:2] = 95.0
    feed(watch, batch(times(400), ordinary(400), cpu=cpu, memory=memory))
    (event,) = stored(watch)
    assert (event.type, event.metric, event.unit) == ("resource_spike", "cpu", "%")
    assert event.value == 95.0
    assert event.points == 10


def test_resources_may_begin_later_than_the_series() -> None:
    watch = make_watch()
    feed(watch, batch(times(100), ordinary(100)))
    feed(watch, batch(times(200, start=T0 + 100 * 15_000), ordinary(200), disk_io=np.full(200, 10.0)))
    series = watch.engine.series[Series("server", "tool")]
    assert series.metrics == 4
    assert series.moments[:, 0, 0].sum() == 300
    assert series.moments[:, 3, 0].sum() == 200


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_burst_of_failures_is_one_event() -> None:
    watch = make_watch()
    ok = (np.random.default_rng(6).random(2_000) > 0.01).astype(np.uint8)
    ok[1500:1600] = np.random.default_rng(7).random(100) > 0.5
    feed(watch, batch(times(2_000), ordinary(2_000), ok))
    (event,) = stored(watch, "error_rate_spike")
    assert times(2_000)[1480] <= event.start_ms <= times(2_000)[1510]
    assert event.end_ms is not None
    assert event.end_ms <= times(2_000)[1640]
    assert 35 < event.value < 65
    assert event.unit == "%"
    assert event.severity in ("warning", "critical")


def test_two_failures_among_good_calls_are_not_an_event() -> None:
    watch = make_watch()
    ok = np.ones(300, np.uint8)
    ok[200:204:2] = 0
    feed(watch, batch(times(300), ordinary(300), ok))
    assert nothing_found(watch)


def test_a_tool_of_which_every_call_fails_is_found_at_once() -> None:
    watch = make_watch()
    ok = np.ones(320, np.uint8)
    ok[300:] = 0
    ts, values = times(320), ordinary(320)
    feed(watch, batch(ts[:305], values[:305], ok[:305]), 1)
    watch.tick(int(ts[304]))
    (event,) = stored(watch, "error_rate_spike")
    assert event.value == 100.0
    assert event.severity == "warning", "it may be over"
    feed(watch, batch(ts[305:], values[305:], ok[305:]), 1)
    watch.tick(int(ts[-1]))
    assert stored(watch, "error_rate_spike") == [event]
    assert event.severity == "critical"
    assert event.recommendations[0].startswith(f"All {event.calls} calls since 2025-10-10T01:15:00Z failed")


def test_a_tool_that_always_failed_now_and_then_is_left_alone() -> None:
    watch = make_watch()
    ok = (np.random.default_rng(8).random(6_000) > 0.05).astype(np.uint8)
    feed(watch, batch(times(6_000), ordinary(6_000), ok))
    assert len(stored(watch, "error_rate_spike")) <= 1  # before five per cent is known to be usual


# --- sensitivities ---------------------------------------------------------------------------------------------------


def test_a_more_sensitive_setting_reports_everything_a_less_sensitive_one_does() -> None:
    watch = make_watch()
    feed(watch, batch(times(6_000), bursts()))
    reported = [
        {e.id for e in watch.book.events.values() if not is_below(e.level, sensitivity)}
        for sensitivity in SENSITIVITIES
    ]
    assert reported[0] > reported[1] > reported[2]
    assert reported[2]


# --- many series -----------------------------------------------------------------------------------------------------


def test_series_never_influence_each_other() -> None:
    slow, fast = Series("server", "slow"), Series("server", "fast")
    together, alone = make_watch(), make_watch()
    a, b = batch(times(400), ordinary(400, 1, 5_000), key=slow), batch(times(400), spiked(), key=fast)
    for at in range(0, 400, 40):
        rows = np.arange(at, at + 40)
        together.apply(concatenate([a.take(rows), b.take(rows)]), live=True)
        alone.apply(b.take(rows), live=True)
    assert [(e.id, e.value) for e in stored(together)] == [(e.id, e.value) for e in stored(alone)]


def test_series_beyond_the_cap_are_counted_and_one_silent_for_a_day_makes_room() -> None:
    watch = make_watch(max_series=2)
    for tool in "abc":
        watch.apply(batch([T0], [1.0], key=Series("s", tool)), live=True)
    assert watch.engine.unwatched_calls_total == 1
    assert len(watch.engine.series) == 2
    watch.apply(batch([T0 + 25 * HOUR], [1.0], key=Series("s", "d")), live=True)
    assert Series("s", "d") in watch.engine.series
    assert len(watch.engine.series) == 2
    assert len(watch.engine.gone) == 1


def test_calls_that_are_counted_together_are_not_watched() -> None:
    watch = make_watch()
    feed(watch, batch(times(400), spiked(), key=Series("__overflow__", "__overflow__")))
    assert not watch.engine.series
    assert watch.engine.unwatched_calls_total == 400


def test_a_server_of_which_every_tool_is_slow_is_told_in_one_go() -> None:
    watch = make_watch(1_000)
    for number in range(300):
        values = ordinary(60, number)
        values[50:] *= 20
        feed(watch, batch(times(60), values, key=Series("server", f"tool{number}")), 60)
    found = stored(watch)
    assert len(found) == 300
    assert all(len(event.evidence["siblings"]) <= 5 for event in found)
