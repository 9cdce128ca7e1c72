"""The test of failures says what its twin says, alarms soon and rarely without reason, and its events follow the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.core import severity
from services.detector.core.kernels import burn, errors, judge
from services.detector.core.kernels import error_mixture as row
from services.detector.core.kernels.twins_failures import Failures, Windows
from tests.unit.detector.against_twins import against_twin
from tests.unit.detector.detector_kit import DAY, MINUTE, T0, batch, feed, make_watch, ordinary, stored, times

Happened = list[tuple[float, float, int]]

steps = st.sampled_from([0, 50, 1_000, 20_000, 61_000, 700_000, 1_900_000, 90_000_000, -30_000, -1_000_000])
stream = st.lists(st.tuples(steps, st.booleans(), st.integers(1, 60)), min_size=1, max_size=30)
# What goes on for days, so that it becomes the new normal.
lasting = st.tuples(st.integers(20, 80), st.sampled_from([600_000, 1_200_000]), st.integers(2, 5)).map(
    lambda shape: [(1_000, True, shape[0])] + [(shape[1], i % shape[2] == 0, 1) for i in range(400)]
)


def judged(ts: np.ndarray, ok: np.ndarray, run: np.ndarray, rate: float = 1.0) -> Happened:
    seen: Happened = []
    out, at = np.zeros((4, errors.HAPPENING)), 0
    while at < len(ts):
        found, at = errors.judge_failures(ts, ok, run, rate, out, at)
        seen += [(h[0], h[1 + row.START], int(h[1 + row.LEVEL])) for h in out[:found].copy()]
    return seen


def failing(n: int, rate: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) >= rate).astype(np.uint8)


# What fails from its first calls on, mostly, and works, falls silent or goes on so.
from_first = st.tuples(stream, st.integers(3, 300), st.integers(0, 9), stream).map(
    lambda parts: [
        *parts[0][:2],
        *((60_000, i % 10 < parts[2], 1) for i in range(parts[1])),
        *parts[3],
    ]
)


@against_twin(errors.judge_failures)
@given(st.one_of(stream, lasting, from_first), st.sampled_from([0.0, 0.01, 2.0, 500.0]), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_failures_are_judged_as_by_the_twin_however_the_calls_are_cut_into_batches(runs, rate, cut) -> None:
    each = [(step, good) for step, good, times_ in runs for _ in range(times_)]
    ts = T0 + np.cumsum(np.asarray([step for step, _ in each], np.int64))
    ok = np.asarray([good for _, good in each], np.uint8)
    run, twin = np.zeros(row.SIZE), Failures(rate)
    expected = [found for t, good in zip(ts, ok, strict=True) for found in twin.judge(float(t), not good)]
    size = max(1, len(ts) // cut)
    seen: Happened = []
    for at in range(0, len(ts), size):
        seen += judged(ts[at : at + size].copy(), ok[at : at + size].copy(), run, rate)
    assert seen == expected
    assert run[row.SEEN] == pytest.approx(twin.seen)
    assert run[row.USUAL] == pytest.approx(twin.usual)
    assert run[row.MIXTURE : row.MIXTURE + row.RATES] == pytest.approx(twin.mixture)
    assert np.isfinite(run).all()


def test_the_twins_own_streams_open_close_and_adopt_events() -> None:
    """Else the test above would prove little."""
    twin, kinds = Failures(2.0), set()
    for i in range(4_000):
        bad = 200 <= i < 215 or (i >= 600 and i % 3 == 0)
        kinds |= {kind for kind, *_ in twin.judge(T0 + i * 30_000.0, bad)}
    kinds |= {kind for kind, *_ in twin.judge(T0 + 30 * float(DAY), True)}
    assert kinds >= {errors.OPENED, errors.CLOSED_INSIDE, errors.CLOSED_ADOPTED}


# --- how soon, and how rarely ----------------------------------------------------------------------------------------


def calls_to_alarm(rate: float, seed: int) -> int | None:
    """Calls from a change of 1 % to `rate` until the medium alarm; None when one was under way before."""
    run = np.zeros(row.SIZE)
    judged(times(5_000, MINUTE), failing(5_000, 0.01, seed), run)
    if run[row.PHASE] != judge.IDLE:
        return None
    ts, ok = times(400, MINUTE, T0 + 5_000 * MINUTE), failing(400, rate, seed + 10_000)
    for i in range(400):
        judged(ts[i : i + 1], ok[i : i + 1], run)
        if run[row.PHASE] == judge.OPEN and run[row.LEVEL] >= 2:
            return i + 1
    return 400


@pytest.mark.parametrize(("rate", "most"), [(0.1, 45), (0.3, 10), (1.0, 3)])
def test_a_rise_from_one_per_cent_alarms_within_few_calls(rate: float, most: int) -> None:
    taken = [calls for seed in range(80) if (calls := calls_to_alarm(rate, seed)) is not None]
    assert np.median(taken) <= most


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.2])
def test_false_alarms_come_as_rarely_as_they_are_said_to(rate: float) -> None:
    run, n = np.zeros(row.SIZE), 1_000_000
    opened = [h for h in judged(times(n, MINUTE), failing(n, rate, 3), run) if h[0] == errors.OPENED]
    medium = len({start for _, start, level in opened if level >= 2})
    assert medium <= 2 * n / row.ARL[1] + 20


def test_a_young_tool_has_no_false_burst_when_its_first_failures_come() -> None:
    alarms = 0
    for seed in range(300):
        run = np.zeros(row.SIZE)
        alarms += any(level >= 2 for *_, level in judged(times(300, MINUTE), failing(300, 0.03, seed), run))
    assert alarms <= 20  # 90,000 calls


def test_one_or_two_failures_are_never_an_event() -> None:
    run, ok = np.zeros(row.SIZE), np.ones(100_000, np.uint8)
    ok[[50_000, 50_001]] = 0
    assert not judged(times(100_000, MINUTE), ok, run)


def test_a_busy_tool_is_allowed_no_more_false_alarms_an_hour_than_a_quiet_one() -> None:
    """A thousand calls a second: a week has 6·10^8 of them."""
    run, n = np.zeros(row.SIZE), 3_000_000
    assert not [h for h in judged(times(n, 1), failing(n, 0.01, 4), run, 60_000.0) if h[2] >= 2]
    found = judged(times(20, 1, T0 + n), np.zeros(20, np.uint8), run, 60_000.0)
    assert found[0][0] == errors.OPENED, "and yet a failure is found within milliseconds"


# --- events ----------------------------------------------------------------------------------------------------------


def test_an_event_begins_with_its_first_failure_and_ends_with_its_last() -> None:
    watch, ok = make_watch(), failing(1_000, 0.005, 1)
    ok[600:] = 1
    ok[700:720] = 0
    feed(watch, batch(times(1_000), ordinary(1_000), ok))
    (event,) = stored(watch, "error_rate_spike")
    assert (event.start_ms, event.end_ms) == (times(1_000)[700], times(1_000)[719])
    assert (event.points, event.calls, event.value) == (20, 20, 100.0)
    assert event.median < 2
    assert event.median < event.upper < 5


def test_a_tool_of_ten_calls_a_day_that_fails_for_a_week_has_one_event() -> None:
    watch, every = make_watch(), DAY // 10
    ok = np.ones(270, np.uint8)
    ok[200:270:2] = 0
    feed(watch, batch(times(270, every), ordinary(270), ok), 1)
    (event,) = stored(watch, "error_rate_spike")
    assert event.start_ms == times(270, every)[200]
    assert event.end_ms is None


def test_a_rate_that_stays_becomes_the_new_normal() -> None:
    watch = make_watch()
    ok = np.concatenate([failing(4_000, 0.01, 2), failing(8_000, 0.15, 3)])
    feed(watch, batch(times(12_000), ordinary(12_000), ok), 500)
    found = stored(watch, "error_rate_spike")
    assert found[0].ended == "the new normal"
    assert found[0].end_ms is not None
    assert found[0].end_ms - found[0].start_ms < 2 * DAY
    assert found[0].upper < 5, "what was usual stays that of before"
    assert len(found) <= 3


def test_the_calls_of_an_event_are_not_learned() -> None:
    run = np.zeros(row.SIZE)
    ok = np.ones(3_000, np.uint8)
    ok[2_000:2_060] = 0
    judged(times(3_000, MINUTE // 4), ok, run)
    assert run[row.PHASE] == judge.IDLE
    assert run[row.FAILED] <= 3
    assert run[row.SEEN] == pytest.approx(2_940, rel=0.05)  # half a day has faded


# --- windows and severity --------------------------------------------------------------------------------------------


@given(stream, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_windows_are_those_of_the_twin(runs, cut) -> None:
    each = [(step, good) for step, good, times_ in runs for _ in range(times_)]
    ts = T0 + np.cumsum(np.asarray([step for step, _ in each], np.int64))
    ok = np.asarray([good for _, good in each], np.uint8)
    run, twin, size = np.zeros(row.SIZE), Windows(), max(1, len(ts) // cut)
    for at in range(0, len(ts), size):
        judged(ts[at : at + size].copy(), ok[at : at + size].copy(), run)
    for t, good in zip(ts, ok, strict=True):
        twin.note(float(t), not good)
    assert run[row.BURN : row.BURN + 10] == pytest.approx([value for pair in twin.sums for value in pair])
    assert (run[row.NEW_FAILED], run[row.NEW_SEEN]) == twin.new
    assert all(0 <= share <= 1 for share in burn.shares(run))


def test_a_short_window_forgets_and_a_long_one_does_not() -> None:
    run, ok = np.zeros(row.SIZE), np.ones(2_000, np.uint8)
    ok[900:1_000] = 0
    judged(times(2_000, 2_000), ok, run)
    shares = burn.shares(run)
    assert shares[burn.FIVE_MINUTES] < 0.001
    assert shares[burn.HOUR] == pytest.approx(0.05, abs=0.03)
    assert shares[burn.THREE_DAYS] == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("share", "minutes", "expected"),
    [
        (1.0, 5, "critical"),
        (1.0, 2, "warning"),
        (0.2, 60, "critical"),
        (0.2, 3, "warning"),
        (0.08, 12 * 60, "warning"),
        (0.03, 60, "info"),
    ],
)
def test_severity_follows_how_fast_the_error_budget_burns(share: float, minutes: int, expected: str) -> None:
    run, a_minute = np.zeros(row.SIZE), 20
    judged(times(20_000, MINUTE // a_minute), np.ones(20_000, np.uint8), run)
    n = minutes * a_minute
    bad = (np.arange(n) % round(1 / share) != 0).astype(np.uint8)
    judged(times(n, MINUTE // a_minute, T0 + 20_000 * MINUTE // a_minute), bad, run)
    burns = severity.burn_rates(burn.shares(run), 0.0)
    assert severity.of_failures(int((bad == 0).sum()), n, burns, minutes * MINUTE) == expected


def test_a_blip_of_a_busy_tool_is_no_emergency_and_few_failures_never_are() -> None:
    run = np.zeros(row.SIZE)
    judged(times(100_000, 10), np.ones(100_000, np.uint8), run)
    judged(times(20, 10, T0 + 1_000_000), np.zeros(20, np.uint8), run)
    assert severity.of_failures(20, 20, severity.burn_rates(burn.shares(run), 0.0), 200) == "info"
    assert severity.of_failures(4, 4, [100.0] * 5, 5 * MINUTE) == "warning"


def test_failures_of_two_minutes_are_no_emergency_and_those_that_go_on_are_one_after_three() -> None:
    for a_minute in (4, 30, 600):
        every = MINUTE // a_minute
        n, minutes = 200 * a_minute, 10
        for lasting in (2, minutes):
            ok = np.ones(n + minutes * a_minute, np.uint8)
            ok[n : n + lasting * a_minute] = 0
            watch, found = make_watch(), {}
            for i in range(0, len(ok), a_minute):
                part = slice(i, i + a_minute)
                feed(watch, batch(times(len(ok), every)[part], ordinary(len(ok[part])), ok[part]))
                watch.tick(int(T0 + (i + a_minute) * every))
                for event in stored(watch, "error_rate_spike"):
                    found.setdefault(event.severity, i // a_minute + 1 - 200)
            assert "warning" in found
            assert found.get("critical") == (
                None if lasting == 2 else 4 if a_minute == 4 else pytest.approx(3.5, abs=0.5)
            )


def test_what_a_tool_always_did_does_not_burn_its_budget() -> None:
    assert severity.burn_rates([0.2], 0.2) == [1.0]
    assert severity.burn_rates([0.2], 0.0) == [pytest.approx(20.0)]


@given(st.floats(0, 1e6), st.floats(0, 1e9))
def test_the_upper_rate_lies_above_the_rate_and_below_one(failed: float, seen: float) -> None:
    upper = severity.upper_rate(min(failed, seen), seen)
    assert min(failed, seen) / max(seen, 1.0) <= upper + 1e-12
    assert upper <= 1.0 + 1e-12
