"""What the tools for thresholds and alerts ask the alerter for and what they answer."""

from answers_kit import MAX_DEFAULT_CHARS, size_of
from gateway_fakes import FakeBackends, alert, call

# thresholds and alerts


def test_a_threshold_is_passed_on_and_its_neighbours_are_named():
    backends = FakeBackends()
    result = call(
        backends,
        "set_alert_threshold",
        {
            "metric": "response_time",
            "threshold": 800,
            "severity": "warning",
            "mcpServer": "github",
            "aggregation": "p95",
            "window": "5m",
            "minCalls": 5,
        },
    )
    assert backends.asked[0][2] == {
        "metric": "response_time",
        "threshold": 800.0,
        "severity": "warning",
        "enabled": True,
        "mcpServer": "github",
        "aggregation": "p95",
        "windowMs": 300_000,
        "minCalls": 5,
    }
    assert result.structured_content["thresholdId"] == "response_time:warning:github"
    assert len(result.structured_content["alsoApply"]) == 1
    assert result.structured_content["openAlerts"] == ["alert-20251031-001"]
    assert result.structured_content["resolvedAlerts"] == ["alert-20251031-002"]


def test_a_threshold_for_a_name_without_metrics_is_set_with_a_warning():
    arguments = {"metric": "cpu", "threshold": 80, "severity": "warning", "mcpServer": "gitub"}
    result = call(FakeBackends(), "set_alert_threshold", arguments)
    assert not result.is_error
    assert 'Nearest: "github"' in result.structured_content["message"]


def test_alerts_come_critical_first_with_what_was_held_back():
    backends = FakeBackends()
    backends.replies["alerter", "alerts.list"] = {
        "alerts": [alert(1, severity="warning"), alert(2)],
        "total": 2,
        "summary": {"totalActive": 2, "bySeverity": {"critical": 1, "warning": 1}, "byMcp": {}, "suppressed": {"x": 4}},
    }
    result = call(backends, "get_active_alerts", {"severity": None})
    assert result.structured_content["alerts"][0]["alertId"] == "alert-20251031-002"
    assert "Held back: 4" in result.content[0].text


def test_many_alerts_are_cut():
    alerts = [alert(number, "a-server-with-a-rather-long-name") for number in range(1, 21)]
    summary = {"totalActive": 400, "bySeverity": {"critical": 400}, "byMcp": {f"s{n}": n for n in range(400)}}
    backends = FakeBackends()
    backends.replies["alerter", "alerts.list"] = {"alerts": alerts, "total": 400, "summary": summary}
    result = call(backends, "get_active_alerts")
    assert size_of(result) < MAX_DEFAULT_CHARS
    assert result.structured_content["cut"] == 400 - len(result.structured_content["alerts"])
    assert len(result.structured_content["summary"]["byMcp"]) == 10


def test_no_alerts_without_data_is_not_all_is_well():
    backends = FakeBackends(aggregator__series={"series": [], "overflow": 0})
    backends.replies["alerter", "alerts.list"] = {"alerts": [], "total": 0, "summary": {"totalActive": 0}}
    assert "no data" in call(backends, "get_active_alerts").content[0].text


def test_the_first_acknowledgement_stays():
    backends = FakeBackends()
    backends.replies["alerter", "alerts.acknowledge"] = {
        "alert": {**alert(), "acknowledgedBy": "bo"},
        "alreadyAcknowledged": True,
    }
    arguments = {"alertId": "alert-20251031-001", "acknowledgedBy": "ana", "notes": "n"}
    result = call(backends, "acknowledge_alert", arguments)
    assert backends.asked[0][2] == arguments
    assert result.structured_content["alert"]["acknowledgedBy"] == "bo"
    assert '"bo" before' in result.content[0].text


def test_an_alerts_line_has_units_and_what_it_is_judged_by():
    backends = FakeBackends()
    slow = {
        **alert(7),
        "condition": "response_time > 1000ms",
        "currentValue": 2400,
        "judgedBy": "p95 of 42 calls over 5 min",
    }
    listed = backends.replies["alerter", "alerts.list"]
    backends.replies["alerter", "alerts.list"] = {**listed, "alerts": [slow], "total": 1}
    result = call(backends, "get_active_alerts")
    text = result.content[0].text
    assert text.startswith("1 alert. Held back: 2 in 24 h (2 of servers that have had their alerts of the hour).")
    assert "2,400 ms" in text
    assert "p95 of 42 calls over 5 min" in text
    assert result.structured_content["alerts"][0]["judgedBy"] == "p95 of 42 calls over 5 min"


def test_the_time_of_an_anomalys_value_is_when_it_was_seen_and_not_when_somebody_was_told():
    backends = FakeBackends()
    times = {"lastTrue": "2025-10-31T13:02:10.000Z", "created": "2025-10-31T13:16:00.000Z"}
    rows = [alert(1) | times | {"condition": "resource_leak detected"}, alert(2) | times]
    backends.replies["alerter", "alerts.list"] = {"alerts": rows, "total": 2, "summary": {}}
    anomaly, threshold = call(backends, "get_active_alerts", {}).content[0].text.splitlines()[3:5]
    assert "seen 13:02Z" in anomaly
    assert "13:02Z" in threshold
    assert "seen" not in threshold
    assert "told" not in anomaly + threshold


def test_full_detail_is_in_the_alerts_text_too_with_what_is_held_back():
    backends = FakeBackends()
    held = {**alert(9, "busy"), "reason": "rate_limited", "since": "2025-10-31T12:10:00.000Z"}
    more = {**alert(1), "peakValue": 19.5, "acknowledgedBy": "ana", "notes": "on it"}
    listed = backends.replies["alerter", "alerts.list"]
    backends.replies["alerter", "alerts.list"] = {**listed, "alerts": [more], "heldBack": [held]}
    text = call(backends, "get_active_alerts", {"detail": "full"}).content[0].text
    for word in ("19.5 %", "ana", "on it", "Would be alerts", "rate_limited", "busy"):
        assert word in text
    assert "on it" not in call(backends, "get_active_alerts").content[0].text
