"""Anomalies as alerts, told as timelines: on their own, and with thresholds that say the same."""

from __future__ import annotations

from dataclasses import replace

from alerter_timeline import FAILURES, HOUR, T0, told

from services.alerter.core.model import Severity, Told
from services.alerter.core.statement import judged_words, value_words
from services.alerter.core.views import alert_view
from shared.names import ALL_TOOLS


def test_the_limit_of_an_anomaly_is_the_end_that_it_passed(timeline):
    t = timeline()
    silence = {"currentValue": 0, "expectedRange": "90-120", "method": "gap", "metric": "calls", "unit": "calls/30 min"}
    t.anomaly(0, anomalyType="throughput_change", details=silence)
    alert = t.only()
    assert (alert.candidate.threshold, alert.candidate.unit) == (90, "calls/30 min")
    assert value_words(alert) == "0 calls/30 min, usual from 90 calls/30 min"
    assert judged_words(alert) == "anomaly; usual from 90 calls/30 min"


def test_of_a_tool_that_never_worked_no_usual_rate_is_told(timeline):
    t = timeline()
    rate = {"currentValue": 100, "expectedRange": "0-30", "method": "auto", "metric": "error_rate", "unit": "%"}
    t.anomaly(0, anomalyType="error_rate_spike", severity="critical", details=rate | {"usualKnown": False})
    usual = "usual not known (of a tool that works no more than 30 % of calls fail)"
    assert value_words(t.only()) == f"100 %, {usual}"
    assert judged_words(t.only()) == f"anomaly; {usual}"
    milder = rate | {"expectedRange": "0-40"}
    t.anomaly(60, anomalyType="error_rate_spike", id="anomaly-2", details=milder)
    view = alert_view(t.only())
    assert (view["threshold"], view["usualKnown"]) == (30, False)


def test_of_a_tool_that_worked_the_usual_rate_is_told(timeline):
    t = timeline()
    rate = {"currentValue": 100, "expectedRange": "0-30", "method": "auto", "metric": "error_rate", "unit": "%"}
    for said in ({}, {"usualKnown": True}, {"usualKnown": "no"}, {"usualKnown": None}):
        t.anomaly(0, anomalyType="error_rate_spike", details=rate | said)
        assert value_words(t.only()) == "100 %, usual up to 30 %"
        assert alert_view(t.only())["usualKnown"] is True


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


def test_an_anomaly_that_was_held_back_is_named_by_the_alert_that_opens_later(timeline):
    t = timeline()
    for tool in range(5):
        t.calls(tool, 10, tool=f"t{tool}", ms=600)
    t.anomaly(10, id="held")
    assert t.core.anomalies["held"].alert_id is None
    t.calls(HOUR + 60, 10, ms=600)
    alert = t.opened()[-1]
    assert (alert.fingerprint.tool, alert.anomaly_ids) == ("t", ("held",))
    assert t.core.anomalies["held"].alert_id == alert.alert_id
    assert told(t.anomaly(10, now_s=HOUR + 70, id="held")) == [], "and it is no news"


def test_an_anomaly_of_long_ago_or_of_something_else_is_not_named_by_a_new_alert(timeline):
    t = timeline()
    t.anomaly(0, now_s=HOUR, id="late")
    t.anomaly(0, now_s=HOUR, id="other", toolName="another")
    t.anomaly(0, now_s=HOUR, id="failures", **FAILURES)
    t.calls(3 * HOUR, 10, ms=600)
    assert t.only().anomaly_ids == ()
    t.anomaly(3 * HOUR - 1, now_s=4 * HOUR, id="at-one-time", toolName="another")
    t.calls(4 * HOUR, 10, ms=600, tool="another")
    assert t.opened()[-1].anomaly_ids == ("at-one-time",)


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
    assert judged_words(alert) == "p95 of 10 calls over 5 min; critical by an anomaly"
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
