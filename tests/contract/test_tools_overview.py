"""What generate_report and get_dashboard ask the reporter for and what they answer."""

import pytest
from answers_kit import MAX_DEFAULT_CHARS, size_of
from gateway_fakes import HOUR_MS, FakeBackends, alert, anomaly, call, refused, stats

# reports and dashboard


@pytest.mark.parametrize(
    ("arguments", "span_ms"),
    [({}, 24 * HOUR_MS), ({"period": "week"}, 7 * 24 * HOUR_MS), ({"startTime": "6h"}, 6 * HOUR_MS)],
)
def test_a_report_covers_the_period_that_was_asked_for(arguments, span_ms):
    backends = FakeBackends()
    result = call(backends, "generate_report", arguments)
    request = backends.asked[-1][2]
    assert request["endMs"] - request["startMs"] == span_ms
    assert result.structured_content["path"] == "/data/reports/report.md"
    assert "Everything that matters" in result.content[0].text


def test_a_long_markdown_report_is_cut_and_says_where_the_rest_is():
    backends = FakeBackends()
    report = "# Report\n" + "| a | b |\n" * 5_000
    backends.replies["reporter", "report"] = {**backends.replies["reporter", "report"], "report": report}
    result = call(backends, "generate_report")
    inline = result.structured_content["report"]
    assert len(inline) < 6_400
    assert "the whole report is in /data/reports/report.md" in inline


def test_html_is_a_path_and_a_digest_never_the_page():
    backends = FakeBackends()
    page = {**backends.replies["reporter", "report"], "report": "<!doctype html>" + "x" * 90_000, "path": "/d/r.html"}
    backends.replies["reporter", "report"] = page
    result = call(backends, "generate_report", {"format": "html"})
    assert result.structured_content["report"] is None
    assert result.structured_content["path"] == "/d/r.html"
    assert "120 calls" in result.structured_content["digest"]
    assert "doctype" not in result.content[0].text
    assert size_of(result) < MAX_DEFAULT_CHARS


def test_a_json_report_is_an_object_with_its_long_lists_shortened():
    backends = FakeBackends()
    report = {"summary": {"totalCalls": 5}, "tools": [{"name": f"tool{n}", "p95": n} for n in range(2_000)]}
    backends.replies["reporter", "report"] = {**backends.replies["reporter", "report"], "report": report}
    inline = call(backends, "generate_report", {"format": "json"}).structured_content["report"]
    assert inline["summary"] == {"totalCalls": 5}
    assert 0 < len(inline["tools"]) <= 20


def test_a_dashboard_of_500_servers_stays_small():
    backends = FakeBackends()
    dashboard = dict(backends.replies["reporter", "dashboard"])
    one = dashboard["mcpServers"][0]
    dashboard["mcpServers"] = [{**one, "name": f"a-server-with-a-long-name-{n}"} for n in range(500)]
    dashboard["worstTools"] = [stats("a-server-with-a-long-name", f"tool_{n}") for n in range(50)]
    dashboard["slowestTools"] = [{**dashboard["slowestTools"][0], "mcpServer": "a-server-with-a-long-name"}] * 3
    dashboard["activeAlerts"] = [alert(n) for n in range(50)]
    dashboard["recentAnomalies"] = [anomaly("s", f"t{n}") for n in range(50)]
    backends.replies["reporter", "dashboard"] = dashboard
    result = call(backends, "get_dashboard")
    assert size_of(result) < MAX_DEFAULT_CHARS
    assert result.structured_content["cut"]["mcpServers"] > 400
    assert "degraded" in result.content[0].text


def test_the_dashboards_text_says_what_got_slow_in_which_window_and_which_alert_to_take():
    text = call(FakeBackends(), "get_dashboard").content[0].text
    first = text.splitlines()[0]
    assert first.startswith("System health 71.5 of 100, degraded, last hour, 2025-10-31T13:00:00.000Z: ")
    assert "120 ms → 900 ms, slower than before, 120 calls  github / get_issue" in text
    assert "alert-20251031-001 critical error_rate > 5 %" in text


def test_the_dashboards_text_names_three_alerts_whatever_the_structured_content_has_room_for():
    backends = FakeBackends()
    backends.replies["reporter", "dashboard"]["activeAlerts"] = [alert(n) for n in range(1, 6)]
    result = call(backends, "get_dashboard")
    text = result.content[0].text
    assert [n for n in range(1, 6) if f"alert-20251031-{n:03d}" in text] == [1, 2, 3]
    assert "Open alerts, 2 more with get_active_alerts:" in text
    assert "acknowledgedBy" not in result.structured_content["activeAlerts"][0]


def test_the_dashboards_text_calls_no_tool_slow_or_worst_that_is_neither():
    backends = FakeBackends()
    reply = backends.replies["reporter", "dashboard"]
    well = {"mcpServer": "time", "toolName": "now", "calls": 275, "errorRate": 0, "p95": 11.5}
    slow = {**well, "toolName": "slow", "p95": 1_269, "limit": 1_000, "why": "over its threshold"}
    reply["slowestTools"] = [slow, well]
    reply["worstTools"] = [{**well, "toolName": "fails", "errorRate": 35.1}, {**well, "toolName": "slow"}, well]
    reply["recentAnomalies"] = [anomaly() | {"currentValue": 100, "unit": "%"}]
    text = call(backends, "get_dashboard").content[0].text
    assert "1,269 ms, over its threshold (1,000 ms), 275 calls  time / slow" in text
    assert "time / fails" in text
    assert "time / now" not in text
    assert "response_time_spike 100 %" in text
    reply["recentAnomalies"][0] |= {"kind": "resource_step", "usual": 200.3, "currentValue": 421, "unit": "MB"}
    assert "warning resource_step 200 → 421 MB" in call(backends, "get_dashboard").content[0].text
    reply["worstTools"] = [well]
    assert "Worst tools" not in call(backends, "get_dashboard").content[0].text


def test_the_dashboards_text_says_since_when_a_server_is_not_called():
    backends = FakeBackends()
    servers = backends.replies["reporter", "dashboard"]["mcpServers"]
    assert "Not called now" not in call(backends, "get_dashboard").content[0].text
    servers[0] |= {
        "note": "no calls since 12:31Z; 0.94 % of calls fail (1 of 106)",
        "healthScore": None,
        "status": "no_data",
    }
    assert f"no calls since 12:31Z  {servers[0]['name']}" in call(backends, "get_dashboard").content[0].text


def test_a_dashboard_with_parts_missing_says_which():
    backends = FakeBackends()
    parts = {"worstTools": None, "recentAnomalies": None, "missing": ["the detector did not answer"]}
    backends.replies["reporter", "dashboard"] = {**backends.replies["reporter", "dashboard"], **parts}
    result = call(backends, "get_dashboard")
    assert "the detector did not answer" in result.content[0].text
    assert result.structured_content["recentAnomalies"] is None


def test_the_dashboard_of_a_server_that_was_just_stored_waits_for_it_to_be_counted():
    backends = FakeBackends()
    backends.after_seq = 41
    fresh = {"series": [["github", "get_issue", 1]]}

    def counted(params):
        if params.get("afterSeq") == 41:
            fresh["series"] = [["github", "get_issue", 1], ["demo", "x", 2]]
        return {"rows": []}

    backends.replies["aggregator", "series"] = lambda _: fresh
    backends.replies["aggregator", "rollup"] = counted
    assert not call(backends, "get_dashboard", {"mcpServer": "demo"}).is_error
    (asked,) = [params for service, method, params in backends.asked if (service, method) == ("reporter", "dashboard")]
    assert (asked["mcpServer"], asked["afterSeq"]) == ("demo", 41)
    assert "has no metrics" in refused(backends, "get_dashboard", {"mcpServer": "never"})
