"""The dashboard in words."""

from typing import Any

from services.gateway.core.arguments import GetDashboard
from services.gateway.core.dashboard_answer import dashboard_answer
from services.gateway.core.shaping import Answer


def dashboard(**reply: Any) -> Answer:
    return dashboard_answer(GetDashboard(), reply, "2025-10-31T13:00:00.000Z")


def test_a_value_of_zero_is_a_value():
    stopped = {
        "kind": "throughput_change",
        "severity": "info",
        "mcpServer": "billing",
        "toolName": "charge",
        "currentValue": 0,
        "unit": "calls/h",
    }
    assert "info throughput_change 0 calls/h  billing / charge" in dashboard(recentAnomalies=[stopped]).text
    unknown = stopped | {"currentValue": None}
    assert "info throughput_change  billing / charge" in dashboard(recentAnomalies=[unknown]).text


def test_how_things_are_is_said_to_its_end_with_one_full_stop():
    why = '2 of 9 servers critical; worst "a-server-with-a-rather-long-name": 3 critical alerts open; 12.5 % of calls fail'
    why += '; "billing" has had no calls since 14:56Z'
    health = {"status": "critical", "message": why}
    assert dashboard(systemHealth=health).text.splitlines()[0].endswith("no calls since 14:56Z.")
    endless = health | {"message": f"{why}; " * 5}
    assert dashboard(systemHealth=endless).text.splitlines()[0].endswith("…")


def test_what_to_do_next_is_said_whole_with_its_call():
    why = "An alert waits that nobody has taken: " + "see how it developed, then take it; " * 6
    step = {"why": why, "tool": "get_metrics", "arguments": {"mcpServer": "x" * 120, "toolName": "y" * 120}}
    text = dashboard(nextStep=step).text
    assert why.rstrip() in text
    assert "yyy" in text


def test_anomalies_and_alerts_say_since_when_and_whether_they_are_over():
    at = {"severity": "info", "currentValue": 5, "mcpServer": "s", "toolName": "t"}
    anomaly = at | {"anomalyType": "response_time_spike", "unit": "ms", "timestamp": "2025-10-31T12:29:54.489Z"}
    alert = at | {"alertId": "alert-1", "condition": "cpu > 50%", "timestamp": "2025-10-30T22:01:00.000Z"}
    text = dashboard(
        recentAnomalies=[anomaly, anomaly | {"end": "2025-10-31T12:44:59.000Z"}], activeAlerts=[alert]
    ).text
    assert "response_time_spike 5 ms since 12:29Z  s / t" in text
    assert "response_time_spike 5 ms 12:29Z to 12:44Z  s / t" in text
    assert "cpu > 50 % now 5 % since 2025-10-30T22:01Z  s / t" in text


def test_an_alerts_value_is_that_of_now_only_when_it_was_seen_now():
    alert = {
        "alertId": "alert-1",
        "severity": "warning",
        "condition": "cpu > 50%",
        "currentValue": 60.0,
        "threshold": 50,
    }
    recent = alert | {"lastTrue": "2025-10-31T12:57:00.000Z"}
    assert "cpu > 50 % now 60 %" in dashboard(activeAlerts=[recent]).text
    assert (
        "cpu > 50 % was 60 % at 12:10Z,"
        in dashboard(activeAlerts=[alert | {"lastTrue": "2025-10-31T12:10:00.000Z"}]).text
    )
    assert "cpu > 50 % now 60 %" in dashboard(activeAlerts=[alert | {"lastTrue": "never"}]).text


def test_what_slowest_is_compared_with_is_said():
    slow = {"mcpServer": "s", "toolName": "t", "p95": 488.0, "p95Before": 354.0}
    assert "Slowest (p95, the day before → now):" in dashboard(slowestTools=[slow]).text
    assert "Slowest (p95):" in dashboard(slowestTools=[slow | {"p95Before": None}]).text
    over = slow | {"why": "over its threshold"}
    assert "Slow (p95, the day before → now):" in dashboard(slowestTools=[over]).text


def test_a_level_that_stayed_is_not_told_as_over():
    shift = {
        "anomalyType": "response_time_shift",
        "severity": "info",
        "currentValue": 337.0,
        "usual": 200.0,
        "unit": "ms",
    }
    times = {"timestamp": "2025-10-31T11:44:00.000Z", "end": "2025-10-31T12:25:00.000Z", "ended": "the new normal"}
    text = dashboard(recentAnomalies=[shift | times | {"mcpServer": "s", "toolName": "t"}]).text
    assert "200 → 337 ms since 11:44Z, the usual by now  s / t" in text


def test_that_an_alert_is_taken_is_said():
    alert = {
        "alertId": "alert-1",
        "severity": "critical",
        "condition": "cpu > 50%",
        "currentValue": 60.0,
        "status": "acknowledged",
    }
    assert "alert-1 critical acknowledged cpu > 50 % now 60 %" in dashboard(activeAlerts=[alert]).text
    assert "alert-1 critical cpu > 50 %" in dashboard(activeAlerts=[alert | {"status": "active"}]).text


def test_the_time_of_a_value_is_told_once():
    told = {"timestamp": "2025-10-31T12:04:10.000Z", "lastTrue": "2025-10-31T12:04:40.000Z"}
    alert = {
        "alertId": "alert-1",
        "condition": "throughput_change detected",
        "currentValue": 0,
        "unit": "calls/h",
        **told,
    }
    assert "throughput_change detected 0 calls/h, since 12:04Z" in dashboard(activeAlerts=[alert]).text


def test_a_server_that_was_hardly_called_is_said_to_be():
    row = {"name": "demo", "status": "critical", "healthScore": 4, "calls": 1, "fewCalls": True}
    text = dashboard(mcpServers=[row | {"note": "no calls since 12:41Z"}]).text
    assert "critical (few calls)  4" in text
    assert "Not called now" not in text


def test_servers_that_are_left_out_are_counted():
    rows = [
        {"name": f"server-{n}", "status": "healthy", "healthScore": 99, "calls": 5, "note": "x" * 90} for n in range(30)
    ]
    found = dashboard(mcpServers=rows, mcpServersTotal=40)
    assert f"{40 - len(found.data['mcpServers'])} more servers: ask for one with mcpServer." in found.text
    assert "more server" not in dashboard(mcpServers=rows[:2], mcpServersTotal=2).text
