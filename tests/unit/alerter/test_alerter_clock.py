"""A clock that was wrong for a while, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
from alerter_timeline import T0

from services.alerter.core.dedup import MAX_AHEAD_MS, dedup
from services.alerter.core.events import MessageFailed
from services.alerter.core.model import Reason
from shared.timespan import DAY_MS

DAY = 86_400.0


def test_an_alert_that_a_clock_days_ahead_resolved_does_not_silence_its_condition_for_days(timeline):
    t = timeline()
    t.calls(0, 10, ms=5000)
    t.tick(3 * DAY)
    assert t.opened() == []
    t.calls(60, 10, ms=5000)
    assert len(t.opened()) == 1


def test_late_metrics_from_just_before_a_resolution_raise_nothing_new(timeline):
    t = timeline()
    t.calls(0, 10, ms=5000)
    alert = t.only()
    t.tick(DAY + 600)
    over = t.core.book.get(alert.alert_id)
    assert over is not None
    assert over.resolved_ms is not None
    for ahead_ms in (0, MAX_AHEAD_MS):
        late = replace(alert.candidate, ts_ms=over.resolved_ms - ahead_ms)
        assert dedup(late, None, over, 60_000) is Reason.RECENTLY_RESOLVED
    earlier = replace(alert.candidate, ts_ms=over.resolved_ms - DAY_MS)
    assert dedup(earlier, None, over, 60_000) is Reason.RAISED


@pytest.mark.parametrize("days", [1, 3])
def test_alerts_of_a_clock_that_was_days_ahead_do_not_fill_the_hour_once_it_is_set_back(timeline, days):
    t = timeline()
    for tool in range(8):
        t.calls(days * DAY, 10, tool=f"early{tool}", ms=5000)
    assert len(t.opened()) == t.limits.alerts_per_hour
    t.calls(0, 10, tool="late", ms=5000)
    assert "late" in {alert.fingerprint.tool for alert in t.opened()}


def test_windows_that_a_clock_days_ahead_moved_on_hold_the_calls_of_now_once_it_is_set_back(timeline):
    t = timeline()
    t.calls(3 * DAY, 5, tool="other")
    t.calls(60, 40, failed=40)
    assert "error_rate" in t.only().candidate.text


def test_messages_are_sent_again_at_once_when_the_clock_was_ahead_as_their_channel_paused(timeline):
    t = timeline()
    t.calls(0, 10, ms=5000)
    [entry] = [entry for entry in t.core.outbox.entries.values() if entry.channel == "chat"]
    t.step(MessageFailed(entry.key, "refused"), T0 + 3 * DAY_MS)
    now_ms = T0 + 1_000
    assert entry.key in {due.key for due in t.core.outbox.due("chat", now_ms)}
    t.step(MessageFailed(entry.key, "refused"), now_ms)
    assert t.core.outbox.due("chat", now_ms + 1) == []
