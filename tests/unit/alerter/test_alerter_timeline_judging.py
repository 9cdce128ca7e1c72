"""When a threshold is breached, told as timelines: over which calls, from how many, and for whom."""

from __future__ import annotations

import pytest
from alerter_timeline import DAY, T0, told

from services.alerter.core.events import ThresholdsReplaced
from services.alerter.core.model import Severity, Status, Told
from services.alerter.core.support import chance, supports_alert
from services.alerter.core.threshold_input import parse_threshold
from services.alerter.core.views import alert_view


def test_a_tool_whose_calls_all_fail_is_critical_after_five_failures(timeline):
    t = timeline()
    assert told(t.calls(0, 4, failed=4)) == []
    assert told(t.calls(1, 1, failed=1)) == [Told.RAISED]
    alert = t.only()
    assert alert.severity is Severity.CRITICAL
    assert alert.candidate.text == "error_rate > 5%"
    assert (alert.candidate.value, alert.candidate.threshold) == (100.0, 5.0)
    assert alert.alert_id == "alert-20251031-001"


def test_an_error_rate_counts_from_twenty_calls(timeline):
    t = timeline()
    assert told(t.calls(0, 19, failed=2)) == []
    assert t.core.suppression.totals() == {"not_enough_calls": 1}
    assert told(t.calls(1, 1)) == [Told.RAISED]
    alert = t.only()
    assert (alert.severity, alert.candidate.value) == (Severity.WARNING, 10.0)
    assert (alert.candidate.calls, alert.candidate.failures) == (20, 2)


def test_one_failure_in_a_hundred_calls_is_not_over_one_percent(timeline):
    t = timeline()
    t.calls(0, 100, failed=1)
    assert t.opened() == []
    t.calls(1, 2, failed=2)
    assert t.only().severity is Severity.WARNING
    assert t.only().candidate.text == "error_rate > 1%"


def test_response_time_is_judged_as_p95_over_five_minutes_with_five_calls(timeline):
    t = timeline()
    t.calls(0, 4, ms=800)
    assert t.opened() == []
    t.calls(10, 1, ms=800)
    alert = t.only()
    assert alert.candidate.text == "response_time > 500ms"
    assert alert.candidate.judged == "p95 of 5 calls over 5 min"
    assert (alert.severity, alert.candidate.value) == (Severity.WARNING, 800)


def test_one_slow_call_among_a_hundred_raises_nothing(timeline):
    t = timeline()
    t.calls(0, 100, ms=10)
    t.calls(1, 1, ms=60_000)
    assert t.opened() == []


def test_exactly_the_threshold_is_not_over_it(timeline):
    t = timeline()
    t.calls(0, 50, ms=500)
    assert t.opened() == []
    t.calls(400, 50, ms=500.5)
    assert len(t.opened()) == 1


def test_calls_leave_the_window_after_five_minutes(timeline):
    t = timeline()
    t.calls(0, 4, failed=4)
    t.calls(301, 1, failed=1)
    assert t.opened() == []


def test_cpu_is_judged_as_the_mean_of_measured_calls(timeline):
    t = timeline()
    t.calls(0, 10, cpu=50)
    t.calls(1, 10)
    assert t.opened() == []
    t.calls(2, 10, cpu=100)
    assert (t.only().candidate.text, t.only().candidate.value) == ("cpu > 70%", 75.0)


def test_memory_and_disk_io_have_no_threshold_until_one_is_set(timeline):
    t = timeline()
    t.calls(0, 30, memory=1e6, disk_io=1e9)
    assert t.opened() == []
    t.set(metric="memory", threshold=512, severity="warning")
    t.set(metric="disk_io", threshold=1024, severity="critical")
    t.calls(1, 1, memory=513, disk_io=1025)
    assert [alert.candidate.text for alert in t.opened()] == ["disk_io > 1024KB", "memory > 512MB"]


def test_a_response_time_threshold_that_a_user_sets_is_judged_on_every_call(timeline):
    t = timeline()
    t.set(metric="response_time", threshold=100, severity="critical", mcpServer="s")
    assert told(t.calls(0, 1, ms=101)) == [Told.RAISED]
    assert t.only().candidate.judged == "one call"
    assert told(t.calls(1, 1, ms=101, server="other")) == []


def test_an_error_rate_is_critical_from_three_failures_or_when_it_is_surely_above(timeline):
    t = timeline()
    assert told(t.calls(0, 30, failed=2)) == [Told.RAISED]
    assert (t.only().severity, t.only().candidate.text) == (Severity.WARNING, "error_rate > 1%")
    assert told(t.calls(1, 1, failed=1)) == [Told.UPGRADED]
    assert t.only().severity is Severity.CRITICAL
    t.set(metric="error_rate", threshold=20, severity="critical", windowMs=300_000, minCalls=2, toolName="u")
    assert told(t.calls(2, 2, failed=2, tool="u")) == [Told.RAISED]
    assert t.opened()[1].severity is Severity.CRITICAL


def test_a_single_failure_among_many_calls_raises_nothing(timeline):
    t = timeline()
    assert told(t.calls(0, 53, failed=1)) == []
    assert told(t.calls(400, 20, failed=1)) == []
    assert told(t.calls(800, 100, failed=2)) == []
    assert set(t.core.suppression.totals()) == {"not_enough_calls"}
    assert told(t.calls(810, 1, failed=1)) == [Told.RAISED]
    t.set(metric="error_rate", threshold=1, severity="warning", toolName="u")
    assert told(t.calls(820, 53, failed=1, tool="u")) == []


def test_a_user_who_names_the_calls_that_are_enough_is_taken_at_their_word(timeline):
    t = timeline()
    t.set(metric="error_rate", threshold=1, severity="warning", minCalls=1, toolName="t")
    assert told(t.calls(0, 2, failed=1)) == [Told.RAISED]
    t.set(metric="error_rate", threshold=40, severity="critical", minCalls=1, toolName="u")
    assert told(t.calls(1, 2, failed=1, tool="u")) == [Told.RAISED]
    t.set(metric="error_rate", threshold=1, severity="warning", minCalls=50, toolName="v")
    assert told(t.calls(2, 53, failed=1, tool="v")) == [Told.RAISED]


def test_few_failures_bear_an_alert_when_the_limit_would_seldom_make_so_many():
    assert [supports_alert(*case) for case in [(2, 30, 1), (2, 37, 1), (1, 4, 1), (1, 6, 1), (1, 9, 0), (3, 900, 1)]] == [
        True, False, True, False, True, True,
    ]  # fmt: skip
    assert chance(2, 3, 0.5) == pytest.approx(0.5)
    assert chance(0, 0, 0.5) == chance(1, 5, 1.0) == 1.0


def test_what_happened_while_the_alerter_was_down_is_one_current_alert_a_condition(timeline):
    t = timeline()
    for second in range(0, 3600, 60):
        t.calls(second, 10, failed=10, now_s=second, live=False)
    assert t.opened() == []
    assert told(t.caught_up(3600)) == [Told.RAISED]
    assert t.only().ts_ms == T0 + 3540_000


def test_a_fault_that_was_over_when_the_alerter_came_back_raises_nothing(timeline):
    t = timeline()
    for second in range(0, 1800, 60):
        t.calls(second, 10, failed=10, live=False)
    for second in range(1800, 3600, 60):
        t.calls(second, 10, live=False)
    t.caught_up(3600)
    assert t.opened() == []


def test_stale_metrics_raise_nothing_but_keep_an_open_alert_true(timeline):
    t = timeline()
    assert told(t.calls(0, 10, failed=10, now_s=3600)) == []
    assert t.core.suppression.totals() == {"stale": 1}
    t.calls(4000, 10, failed=10)
    t.calls(4100, 10, failed=10, now_s=8000)
    assert t.only().last_true_ms == T0 + 4100_000


def test_a_call_over_a_users_threshold_longer_ago_than_five_minutes_raises_nothing(timeline):
    t = timeline()
    t.set(metric="response_time", threshold=100, severity="warning")
    t.calls(0, 1, ms=200, now_s=301, live=False)
    assert t.opened() == []
    t.calls(100, 1, ms=200, now_s=301, live=False)
    assert len(t.opened()) == 1


def test_a_producer_whose_clock_is_ahead_pushes_nobody_out_of_the_window(timeline):
    t = timeline()
    t.calls(0, 4, failed=4)
    t.calls(599, 1, server="ahead", now_s=10)
    t.calls(20, 1, failed=1)
    assert t.only().candidate.failures == 5


def test_a_clock_that_was_set_back_does_not_silence_the_alerter(timeline):
    t = timeline()
    t.calls(7 * DAY, 10)
    t.calls(0, 10, failed=10)
    assert t.only().candidate.text == "error_rate > 5%"


def test_a_disabled_threshold_holds_back_and_says_so(timeline):
    t = timeline()
    t.set(metric="error_rate", threshold=5, severity="critical", mcpServer="s", enabled=False)
    t.set(metric="error_rate", threshold=1, severity="warning", mcpServer="s", enabled=False)
    t.calls(0, 10, failed=10)
    assert t.opened() == []
    assert t.core.suppression.totals() == {"disabled": 1}
    t.calls(1, 10, failed=10, server="other")
    assert len(t.opened()) == 1


def test_a_narrower_threshold_replaces_the_wider_one_for_its_metric_and_severity_alone(timeline):
    t = timeline()
    t.set(metric="response_time", threshold=5000, severity="critical", mcpServer="s", toolName="t")
    t.calls(0, 10, ms=2000)
    assert (t.only().severity, t.only().candidate.text) == (Severity.WARNING, "response_time > 500ms")


def test_a_window_that_a_user_names_is_judged_over_that_window(timeline):
    t = timeline()
    t.set(metric="response_time", threshold=100, severity="warning", aggregation="avg", windowMs=60_000, minCalls=3)
    t.calls(0, 2, ms=200)
    t.calls(70, 2, ms=200)
    assert t.opened() == []
    t.calls(80, 1, ms=200)
    assert t.only().candidate.judged == "avg of 3 calls over 1 min"


MINE = {"metric": "response_time", "mcpServer": "s", "toolName": "t"}


def test_an_alert_ends_when_none_of_the_thresholds_that_now_hold_is_breached(timeline):
    t = timeline()
    t.calls(0, 10, ms=1500)
    t.set(**MINE, threshold=2000, severity="warning")
    assert (t.only().severity, t.only().candidate.text) == (Severity.CRITICAL, "response_time > 1000ms")
    assert told(t.set(**MINE, threshold=1000, severity="critical", enabled=False)) == [Told.RESOLVED]
    (alert,) = t.core.book.closed()
    assert alert_view(alert)["resolvedReason"] == "threshold_changed"
    assert t.core.decided_total["threshold_changed"] == 1
    assert "its threshold was changed" in next(iter(t.core.outbox.entries.values())).message.body
    t.calls(1, 10, ms=1500)
    assert t.opened() == []
    assert told(t.calls(2, 1, ms=2500)) == [Told.RAISED]  # not held back as recently resolved


def test_an_alert_of_which_only_the_milder_threshold_still_holds_becomes_a_warning(timeline):
    t = timeline()
    t.calls(0, 10, ms=1500)
    t.acknowledge(1, t.only().alert_id)
    assert told(t.set(**MINE, threshold=3000, severity="critical")) == []
    alert = t.only()
    assert (alert.severity, alert.candidate.text) == (Severity.WARNING, "response_time > 500ms")
    assert (alert.candidate.threshold, alert.status) == (500, Status.ACKNOWLEDGED)
    assert told(t.calls(2, 1, ms=3500)) == [Told.UPGRADED]


def test_an_alert_whose_new_threshold_is_breached_as_well_stays_and_names_it(timeline):
    t = timeline()
    t.calls(0, 10, ms=1500)
    t.set(**MINE, threshold=1200, severity="critical")
    assert (t.only().severity, t.only().candidate.text) == (Severity.CRITICAL, "response_time > 1200ms")


def test_a_threshold_elsewhere_or_of_another_metric_touches_no_open_alert(timeline):
    t = timeline()
    t.calls(0, 10, ms=1500)
    t.anomaly(1, toolName="u")
    before = t.opened()
    t.set(metric="response_time", threshold=9000, severity="critical", toolName="u")
    t.set(metric="error_rate", threshold=90, severity="critical")
    assert t.opened() == before


def test_an_edited_file_judges_open_alerts_anew_too(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    t.step(ThresholdsReplaced((parse_threshold({**MINE, "threshold": 700, "severity": "warning"}, T0),)), T0)
    assert t.opened() == []
