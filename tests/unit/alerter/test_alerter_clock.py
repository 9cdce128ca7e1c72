"""A clock that was wrong for a while, and what it leaves behind."""

from __future__ import annotations

from dataclasses import replace

from services.alerter.core.dedup import MAX_AHEAD_MS, dedup
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
