"""The life of alerts, told as timelines: push at t, expect at t."""

from __future__ import annotations

from dataclasses import replace

import pytest
from alerter_timeline import T0, told

from services.alerter.core.engine import CannotDo
from services.alerter.core.events import ThresholdsReplaced
from services.alerter.core.model import Severity, Status, Told
from services.alerter.core.statement import judged_words, value_words
from services.alerter.core.support import chance, supports_alert
from services.alerter.core.threshold_input import parse_threshold
from services.alerter.core.views import alert_view
from shared.names import ALL_TOOLS

HOUR = 3600.0
DAY = 24 * HOUR


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


def test_a_worse_severity_upgrades_the_open_alert_and_tells_again_once(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    t.acknowledge(10, "alert-20251031-001")
    assert told(t.calls(20, 100, ms=2000)) == [Told.UPGRADED]
    alert = t.only()
    assert (alert.severity, alert.status, alert.acknowledgement) == (Severity.CRITICAL, Status.ACTIVE, None)
    assert alert.previous_acknowledgement.by == "ada"
    assert alert.alert_id == "alert-20251031-001"
    assert told(t.calls(30, 100, ms=2000)) == []


def test_a_critical_alert_stays_critical_while_the_condition_is_a_warning(timeline):
    t = timeline()
    t.calls(0, 10, ms=2000)
    t.calls(600, 10, ms=600)
    alert = t.only()
    assert (alert.severity, alert.candidate.text) == (Severity.CRITICAL, "response_time > 1000ms")
    assert (alert.candidate.value, alert.peak_value) == (600, 2000)
    assert alert.last_true_ms == T0 + 600_000


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


def test_a_value_that_has_come_down_is_told_beside_what_it_was(timeline):
    t = timeline()
    t.calls(0, 41, failed=3)
    assert judged_words(t.only()) == "3 of 41 calls failed over 5 min"
    assert value_words(t.only()) == "7.31707%, threshold 5%"
    t.calls(20, 70)
    alert = t.only()
    assert (alert.severity, alert.candidate.text) == (Severity.CRITICAL, "error_rate > 5%")
    assert value_words(alert) == "was 7.32%, now 2.7%, limit 5%"
    assert judged_words(alert) == "was 7.32%, now 2.7%, limit 5%; 3 of 111 calls failed over 5 min"


def test_what_made_an_alert_worse_than_its_threshold_says_stays_told(timeline):
    t = timeline()
    t.anomaly(0, id="errors", **FAILURES)
    t.calls(1, 30, failed=2)
    for second in (2, 3):
        t.calls(second, 1)
        alert = t.only()
        assert (alert.severity, alert.candidate.text) == (Severity.CRITICAL, "error_rate > 1%")
        assert judged_words(alert).endswith("calls failed over 5 min; critical by an anomaly found by auto")
    t.calls(4, 10, failed=10)
    assert t.only().worse_by == ""


def test_the_limit_of_an_anomaly_is_the_end_that_it_passed(timeline):
    t = timeline()
    silence = {"currentValue": 0, "expectedRange": "90-120", "method": "gap", "metric": "calls", "unit": "calls/30 min"}
    t.anomaly(0, anomalyType="throughput_change", details=silence)
    alert = t.only()
    assert (alert.candidate.threshold, alert.candidate.unit) == (90, "calls/30 min")
    assert value_words(alert) == "0 calls/30 min, usual from 90 calls/30 min"


def test_a_condition_that_stays_true_is_one_alert(timeline):
    t = timeline()
    for second in range(0, 600, 20):
        t.calls(second, 5, failed=5)
    assert [entry for entry, _ in t.told] == ["raised"]
    assert t.core.suppression.totals() == {"deduplicated": 1}
    t.calls(3600, 5, failed=5)
    assert t.core.suppression.totals() == {"deduplicated": 2}


def test_an_alert_nobody_acknowledges_escalates_after_an_hour_once(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    assert told(t.tick(HOUR - 1)) == []
    assert told(t.tick(HOUR)) == [Told.ESCALATED]
    assert told(t.tick(HOUR + 60)) == []
    assert t.only().status is Status.ESCALATED


def test_an_acknowledged_alert_neither_escalates_nor_tells(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    assert t.waiting("chat") == ["raised"]
    t.acknowledge(60, "alert-20251031-001", notes="on it")
    assert t.waiting("chat") == t.waiting("mail") == []
    assert told(t.tick(2 * HOUR)) == []
    t.calls(2 * HOUR, 5, failed=5)
    assert t.waiting("chat") == []
    assert t.only().status is Status.ACKNOWLEDGED


def test_an_escalated_alert_can_be_acknowledged(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    t.tick(HOUR)
    t.acknowledge(HOUR + 1, "alert-20251031-001")
    assert t.only().status is Status.ACKNOWLEDGED


def test_an_upgraded_alert_can_escalate_again(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    t.tick(HOUR)
    t.calls(HOUR + 1, 10, ms=2000)
    assert told(t.tick(2 * HOUR)) == []
    assert told(t.tick(2 * HOUR + 1)) == [Told.ESCALATED]
    assert t.waiting("mail") == ["upgraded", "escalated"]


def test_acknowledging_twice_keeps_the_first(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    t.acknowledge(10, "alert-20251031-001", "ada", "looking")
    assert t.acknowledge(20, "alert-20251031-001", "bob", "me too") == []
    taken = t.only().acknowledgement
    assert (taken.by, taken.notes, taken.at_ms) == ("ada", "looking", T0 + 10_000)


def test_acknowledging_what_is_unknown_or_resolved_is_refused(timeline):
    t = timeline()
    with pytest.raises(CannotDo, match="no alert"):
        t.acknowledge(0, "alert-20251031-001")
    t.calls(0, 5, failed=5)
    t.tick(DAY + 1)
    with pytest.raises(CannotDo, match="resolved"):
        t.acknowledge(DAY + 2, "alert-20251031-001")


def test_an_alert_resolves_when_its_condition_stayed_clear_for_a_day(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    t.acknowledge(1, "alert-20251031-001")
    t.calls(600, 5, failed=5)
    assert told(t.tick(DAY + 599)) == []
    assert told(t.tick(DAY + 600)) == [Told.RESOLVED]
    (alert,) = t.core.book.closed()
    assert (alert.status, alert.resolved_ms, alert.last_true_ms) == (
        Status.RESOLVED,
        T0 + int(DAY + 600) * 1000,
        T0 + 600_000,
    )
    assert t.waiting("chat") == ["resolved"]


def test_the_resolve_time_can_be_set(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 5, failed=5)
    assert told(t.tick(60)) == [Told.RESOLVED]


def test_after_it_resolves_there_is_none_for_an_hour_but_a_worse_one(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 10, ms=600)
    t.tick(60)
    t.calls(70, 10, ms=600)
    assert t.opened() == []
    assert t.core.suppression.totals()["recently_resolved"] == 1
    assert told(t.calls(80, 40, ms=2000)) == [Told.RAISED]
    assert t.only().alert_id == "alert-20251031-002"


def test_the_same_condition_is_a_new_alert_an_hour_after_it_resolved(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 10, ms=600)
    t.tick(60)
    t.calls(60 + HOUR - 1, 10, ms=600)
    assert t.opened() == []
    t.calls(60 + HOUR, 10, ms=600)
    assert t.only().alert_id == "alert-20251031-002"


def test_at_most_five_new_alerts_a_server_an_hour_and_what_is_held_back_is_listed(timeline):
    t = timeline()
    for tool in range(8):
        t.calls(tool, 10, tool=f"t{tool}", ms=600)
    assert len(t.opened()) == 5
    assert t.core.suppression.totals() == {"rate_limited": 3}
    assert [held.candidate.fingerprint.tool for held in t.core.suppression.listed.values()] == ["t5", "t6", "t7"]
    t.calls(8, 10, server="another", ms=600)
    assert len(t.opened()) == 6


def test_a_condition_held_back_by_the_rate_limit_is_raised_when_the_hour_is_over_and_it_is_still_true(timeline):
    t = timeline()
    for tool in range(6):
        t.calls(tool, 10, tool=f"t{tool}", ms=600)
    t.calls(HOUR - 1, 10, tool="t5", ms=600)
    assert len(t.opened()) == 5
    t.calls(HOUR, 10, tool="t5", ms=600)
    assert len(t.opened()) == 6
    assert not t.core.suppression.listed


def test_critical_breaks_through_while_the_five_were_not_all_critical(timeline):
    t = timeline()
    for tool in range(5):
        t.calls(tool, 10, tool=f"warning{tool}", ms=600)
    for tool in range(7):
        t.calls(10 + tool, 10, tool=f"critical{tool}", ms=2000)
    severities = [alert.severity for alert in t.opened()]
    assert (severities.count(Severity.WARNING), severities.count(Severity.CRITICAL)) == (5, 5)


def test_the_worst_are_raised_first_when_many_come_at_once(timeline):
    t = timeline()
    from services.alerter.core.events import BatchCommitted
    from shared.batch import build

    rows = [("s", f"w{i}", T0, 600.0, True) for i in range(5) for _ in range(5)]
    rows += [("s", f"c{i}", T0, 2000.0, True) for i in range(5) for _ in range(5)]
    t.step(BatchCommitted(build(rows), T0, live=True), T0)
    assert {alert.severity for alert in t.opened()} == {Severity.CRITICAL}
    assert len(t.opened()) == 5


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


def test_ids_count_within_the_utc_day_of_creation(timeline):
    t = timeline()
    t.calls(11 * HOUR - 1, 10, tool="a", ms=600)
    t.calls(11 * HOUR - 1, 10, tool="b", ms=600)
    t.calls(11 * HOUR, 10, tool="c", ms=600)
    assert [a.alert_id for a in t.opened()] == ["alert-20251031-001", "alert-20251031-002", "alert-20251101-001"]


def test_resolved_alerts_stay_readable_for_thirty_days_and_ids_are_not_reused(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.calls(0, 10, ms=600)
    t.tick(60)
    t.tick(29 * DAY)
    assert len(t.core.book.closed()) == 1
    t.tick(31 * DAY)
    assert len(t.core.book) == 0
    t.calls(10, 10, ms=600, now_s=20)
    assert t.only().alert_id == "alert-20251031-002"


def test_an_anomaly_of_warning_is_one_alert_with_the_seeds_condition(timeline):
    t = timeline()
    assert told(t.anomaly(0)) == [Told.RAISED]
    alert = t.only()
    assert (alert.candidate.text, alert.candidate.threshold) == ("response_time_spike detected", 500.0)
    assert alert.candidate.value == 5000
    t.anomaly(1)
    assert len(t.opened()) == 1
    assert t.core.anomalies["anomaly-1"].alert_id == alert.alert_id


def test_the_same_anomaly_is_never_a_second_alert_even_after_its_alert_resolved(timeline):
    t = timeline(resolve_after_ms=60_000)
    t.anomaly(0)
    t.tick(60)
    t.anomaly(0, now_s=3 * HOUR)
    assert t.opened() == []


def test_an_anomaly_of_info_or_of_yesterday_is_no_alert(timeline):
    t = timeline()
    t.anomaly(0, severity="info")
    t.anomaly(0, now_s=7 * HOUR, id="anomaly-2")
    assert t.opened() == []
    assert [o.reason.value for o in t.core.anomalies.values()] == ["below_warning", "stale"]


def test_anomalies_share_dedup_and_rate_limit_with_thresholds(timeline):
    t = timeline()
    for tool in range(5):
        t.calls(tool, 10, tool=f"t{tool}", ms=600)
    t.anomaly(10)
    assert t.core.anomalies["anomaly-1"].reason.value == "rate_limited"
    t.anomaly(11, id="anomaly-2", severity="critical")
    t.anomaly(12, id="anomaly-3", severity="critical")
    assert [o.reason.value for o in t.core.anomalies.values()] == ["rate_limited", "raised", "deduplicated"]


def test_a_warning_is_told_to_the_chat_and_a_critical_alert_to_the_mail_too(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    assert (t.waiting("chat"), t.waiting("mail")) == (["raised"], [])
    t.calls(1, 100, ms=2000)
    assert (t.waiting("chat"), t.waiting("mail")) == (["raised", "upgraded"], ["upgraded"])


FAILURES = {
    "anomalyType": "error_rate_spike",
    "severity": "critical",
    "details": {"currentValue": 100, "expectedRange": "0-1", "method": "auto", "metric": "error_rate", "unit": "%"},
}


def test_an_anomaly_about_what_a_threshold_already_says_joins_its_alert(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    assert told(t.anomaly(0.001, id="errors", **FAILURES)) == []
    alert = t.only()
    assert (alert.candidate.text, alert.anomaly_ids) == ("error_rate > 5%", ("errors",))
    assert t.core.anomalies["errors"].reason.value == "same_cause"
    assert t.core.anomalies["errors"].alert_id == alert.alert_id
    assert t.core.suppression.totals() == {"same_cause": 1}


def test_an_anomaly_told_of_late_is_named_by_the_alert_that_is_open_and_changes_nothing_else(timeline):
    t = timeline()
    t.calls(10, 5, failed=5)
    before = t.only()
    assert told(t.anomaly(20, now_s=HOUR, id="late", **FAILURES)) == []
    assert t.only() == replace(before, anomaly_ids=("late",))
    assert t.core.anomalies["late"].alert_id == before.alert_id
    t.anomaly(5, now_s=HOUR, id="of-another-time", **FAILURES)
    assert t.only().anomaly_ids == ("late",)


def test_a_breach_of_what_an_anomaly_already_says_joins_its_alert_and_words_it(timeline):
    t = timeline()
    t.anomaly(0, id="errors", **FAILURES)
    assert told(t.calls(1, 5, failed=5)) == []
    alert = t.only()
    assert (alert.candidate.text, alert.severity, alert.anomaly_ids) == (
        "error_rate > 5%",
        Severity.CRITICAL,
        ("errors",),
    )
    assert t.core.suppression.totals() == {"same_cause": 1}
    t.calls(2, 5, failed=5)
    assert t.core.suppression.totals() == {"deduplicated": 1, "same_cause": 1}


def test_anomalies_of_tools_are_part_of_the_alert_about_their_whole_server(timeline):
    t = timeline()
    t.anomaly(0, id="server", toolName=ALL_TOOLS, **FAILURES)
    of_tool = FAILURES | {"details": FAILURES["details"] | {"currentValue": 40}}
    for n in range(3):
        assert told(t.anomaly(1 + n, id=f"tool-{n}", toolName=f"t{n}", **of_tool)) == []
    alert = t.only()
    assert (alert.fingerprint.tool, alert.candidate.value, alert.peak_value) == (ALL_TOOLS, 100, 100)
    assert alert.anomaly_ids == ("server", "tool-0", "tool-1", "tool-2")
    assert alert.last_true_ms == T0 + 3_000
    assert t.core.anomalies["tool-1"].alert_id == alert.alert_id
    assert told(t.anomaly(9, id="elsewhere", mcpServer="another", toolName="t1", **FAILURES)) == [Told.RAISED]
    assert told(t.calls(10, 20, failed=10, tool="t1")) == [Told.RAISED], "a threshold of the tool's says so itself"


def test_the_worse_of_an_anomaly_and_a_threshold_upgrades_the_alert_they_share(timeline):
    t = timeline()
    t.calls(0, 10, ms=600)
    assert told(t.anomaly(1, severity="critical", anomalyType="response_time_shift")) == [Told.UPGRADED]
    alert = t.only()
    assert (alert.severity, alert.candidate.text) == (Severity.CRITICAL, "response_time > 500ms")
    assert judged_words(alert) == "p95 of 10 calls over 5 min; critical by an anomaly found by z-score"
    assert (alert.anomaly_ids, alert.peak_value) == (("anomaly-1",), 5000)
    t.anomaly(2, id="anomaly-2", toolName="u")
    assert told(t.calls(3, 10, ms=2000, tool="u")) == [Told.UPGRADED]
    other = t.opened()[1]
    assert (other.severity, other.candidate.text, other.anomaly_ids) == (
        Severity.CRITICAL,
        "response_time > 1000ms",
        ("anomaly-2",),
    )


def test_a_slow_tool_that_fails_has_two_alerts_and_another_tool_has_its_own(timeline):
    t = timeline()
    t.calls(0, 10, ms=4000, failed=10)
    t.anomaly(1)
    t.anomaly(1, id="errors", **FAILURES)
    t.anomaly(1, id="other", toolName="u", **FAILURES)
    assert [alert.candidate.text for alert in t.opened()] == [
        "error_rate > 5%",
        "response_time > 1000ms",
        "error_rate_spike detected",
    ]


def test_an_anomaly_that_no_threshold_says_has_an_alert_of_its_own(timeline):
    t = timeline()
    t.calls(0, 10, cpu=95)
    t.anomaly(1, anomalyType="resource_spike")
    assert [alert.candidate.text for alert in t.opened()] == ["cpu > 90%", "resource_spike detected"]


LEAK = {
    "anomalyType": "resource_leak",
    "severity": "critical",
    "details": {"currentValue": 620, "expectedRange": "210-230", "metric": "memory", "unit": "MB"},
}


def test_a_leak_and_a_threshold_of_memory_are_one_alert_whichever_comes_first(timeline):
    t = timeline()
    t.set(metric="memory", threshold=600, severity="critical")
    t.calls(0, 1, memory=610)
    assert told(t.anomaly(1, id="leak", **LEAK)) == []
    assert (t.only().candidate.text, t.only().anomaly_ids) == ("memory > 600MB", ("leak",))
    t.anomaly(2, id="other", toolName="u", **LEAK)
    assert told(t.calls(3, 1, tool="u", memory=640)) == []
    assert [(a.candidate.text, a.peak_value) for a in t.opened()] == [("memory > 600MB", 620), ("memory > 600MB", 640)]
    cpu = LEAK | {"anomalyType": "resource_spike", "details": LEAK["details"] | {"metric": "cpu", "unit": "%"}}
    assert told(t.anomaly(4, id="cpu", **cpu)) == [Told.RAISED]


def test_an_alert_names_the_latest_twenty_anomalies_it_covers(timeline):
    t = timeline()
    t.calls(0, 5, failed=5)
    for number in range(25):
        t.anomaly(number, id=f"errors-{number}", **FAILURES)
    assert t.only().anomaly_ids == tuple(f"errors-{number}" for number in range(5, 25))


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
