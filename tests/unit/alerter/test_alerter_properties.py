"""What must hold whatever comes: one open alert a condition, the hourly limit, windows equal to their definition."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from alerter_timeline import T0, Timeline
from hypothesis import given, settings
from hypothesis import strategies as st

from services.alerter.core.events import Announce
from services.alerter.core.model import Severity, Told
from services.alerter.core.rate_limit import RATE_SPAN_MS, RateLimit
from services.alerter.core.windows import Rows, SlidingWindow

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("calls"),
            st.integers(0, 8 * 3600),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["x", "y", "z"]),
            st.sampled_from([10.0, 600.0, 2000.0]),
            st.integers(0, 10),
            st.booleans(),
        ),
        st.tuples(st.just("tick"), st.integers(0, 8 * 3600)),
        st.tuples(st.just("ack"), st.integers(1, 20)),
        st.tuples(st.just("anomaly"), st.integers(0, 8 * 3600), st.integers(0, 5)),
        st.tuples(
            st.just("caught_up"),
        ),
    ),
    max_size=40,
)


def _play(timeline: Timeline, steps: list[tuple]) -> list[Announce]:
    clock, seen = 0, []
    for step in steps:
        if step[0] == "calls":
            _, at, server, tool, ms, failed, live = step
            clock = max(clock, at)
            seen += timeline.calls(at, 10, server=server, tool=tool, ms=ms, failed=failed, live=live, now_s=clock)
        elif step[0] == "tick":
            clock = max(clock, step[1])
            seen += timeline.tick(clock)
        elif step[0] == "caught_up":
            seen += timeline.caught_up(clock)
        elif step[0] == "anomaly":
            clock = max(clock, step[1])
            seen += timeline.anomaly(step[1], now_s=clock, id=f"anomaly-{step[2]}", severity="critical")
        else:
            opened = timeline.opened()
            if opened:
                seen += timeline.acknowledge(clock, opened[step[1] % len(opened)].alert_id)
    return [action for action in seen if isinstance(action, Announce)]


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_no_condition_ever_has_two_open_alerts_and_no_server_more_than_its_hourly_limit(steps):
    timeline = Timeline(resolve_after_ms=1_800_000)
    told = _play(timeline, steps)  # `validate` after every step checks the first
    raised = [action.alert for action in told if action.told is Told.RAISED]
    assert len({alert.alert_id for alert in raised}) == len(raised)
    for server in {alert.fingerprint.server for alert in raised}:
        mine = sorted((a for a in raised if a.fingerprint.server == server), key=lambda a: a.alert_id)
        severities = _most_in_an_hour(mine)
        assert severities[Severity.WARNING] <= 5
        assert severities[Severity.CRITICAL] <= 5


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_a_restart_before_every_step_gives_the_same_alerts(steps):
    straight = Timeline(resolve_after_ms=1_800_000)
    expected = _play(straight, steps)
    with TemporaryDirectory() as folder:
        restarted = Timeline(restart_in=Path(folder), resolve_after_ms=1_800_000)
        assert _play(restarted, steps) == expected
    assert restarted.core.book.opened() == straight.core.book.opened()
    assert restarted.core.suppression.totals() == straight.core.suppression.totals()
    assert restarted.core.outbox.entries == straight.core.outbox.entries


def _most_in_an_hour(alerts) -> Counter:
    """The most alerts of each severity in any hour that ends with a new alert, on the limiter's monotone time."""
    most: Counter = Counter()
    times, latest = [], 0
    for alert in alerts:
        latest = max(latest, alert.ts_ms)
        times.append((latest, alert.candidate.severity if alert.upgraded_ms is None else alert.severity))
        recent = Counter(s for t, s in times if t > latest - RATE_SPAN_MS)
        most |= recent
    return most


@given(st.lists(st.tuples(st.integers(0, 4 * 3_600_000), st.sampled_from(list(Severity))), max_size=60))
def test_the_rate_limit_lets_five_through_in_any_hour_and_at_most_five_critical_ones_more(asked):
    rate = RateLimit(5)
    passed: list[tuple[int, Severity]] = []
    latest = 0
    for ts, severity in asked:
        if rate.allows("s", severity, ts):
            rate.count("s", severity, ts)
            latest = max(latest, ts)
            passed.append((latest, severity))
    for end, _ in passed:
        hour = [severity for t, severity in passed if end - RATE_SPAN_MS < t <= end]
        assert hour.count(Severity.WARNING) <= 5
        assert hour.count(Severity.CRITICAL) <= 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 400_000), st.floats(0.1, 1e5), st.booleans()), max_size=30
        ),
        max_size=8,
    )
)
def test_a_window_is_what_its_slots_hold_however_the_calls_came(batches):
    window = SlidingWindow(300_000, {"duration": True})
    window.grow(4)
    kept: list[tuple[int, int, float, bool]] = []
    for rows in batches:
        if not rows:
            continue
        ids, ts, values, failed = (np.asarray(column) for column in zip(*rows, strict=True))
        window.add(Rows(ids, T0 + ts, failed.astype(np.float64), {"duration": values.astype(np.float64)}))
        kept += [(i, (T0 + t) // window.slot_ms, v, f) for i, t, v, f in rows]
        kept = [row for row in kept if row[1] > window.head - window.slots]
    every = np.arange(4)
    for number in every:
        mine = [row for row in kept if row[0] == number]
        one = np.asarray([number])
        assert window.calls_of(one)[0] == len(mine)
        assert window.failures_of(one)[0] == sum(row[3] for row in mine)
        quantile = window.quantile_of("duration", one, 0.95)[0]
        if not mine:
            assert math.isnan(quantile)
            continue
        values = sorted(row[2] for row in mine)
        exact = values[math.ceil(0.95 * len(values) - 1e-9) - 1]
        assert abs(quantile - exact) <= 0.0101 * exact
        assert window.most_of("duration", one)[0] == values[-1]
        assert math.isclose(window.mean_of("duration", one)[0], sum(values) / len(values))
    assert (window.columns["duration"].histogram >= 0).all()
    assert window.columns["duration"].histogram.sum() == len(kept)
