"""Answers stay harmless and small whatever the services say: deceiving names, figures that are none, nothing at all."""

import json

import pytest
from answers_kit import HOSTILE, MAX_DEFAULT_CHARS, size_of
from gateway_fakes import NOW_MS, FakeBackends, alert, anomaly, call, rollup, stats, unavailable

# untrusted text


@pytest.mark.parametrize(
    ("tool", "service", "method", "reply"),
    [
        ("get_metrics", "aggregator", "rollup", rollup([stats(HOSTILE, HOSTILE)] * 20)),
        (
            "detect_anomalies",
            "detector",
            "anomalies",
            {"anomalies": [anomaly(HOSTILE, HOSTILE)] * 20, "summary": {"total": 20, "byType": {HOSTILE: 3}}},
        ),
        (
            "get_active_alerts",
            "alerter",
            "alerts.list",
            {
                "alerts": [{**alert(1, HOSTILE), "condition": HOSTILE, "notes": HOSTILE}] * 20,
                "total": 20,
                "summary": {"totalActive": 20, "byMcp": {HOSTILE: 20}},
            },
        ),
        (
            "get_dashboard",
            "reporter",
            "dashboard",
            {
                "systemHealth": {"status": "degraded", "reason": HOSTILE},
                "mcpServers": [{"name": HOSTILE, "status": "critical"}] * 20,
                "worstTools": [{"toolName": HOSTILE}] * 20,
                "activeAlerts": [alert(1, HOSTILE)] * 20,
                "recentAnomalies": [anomaly(HOSTILE, HOSTILE)] * 20,
            },
        ),
    ],
)
def test_hostile_names_are_escaped_cut_and_fenced_and_the_answer_stays_small(tool, service, method, reply):
    backends = FakeBackends()
    backends.replies[service, method] = reply
    result = call(backends, tool)
    everything = result.content[0].text + json.dumps(result.structured_content, ensure_ascii=False)
    for bad in ("\x1b", "\u202e", "\r", "\x00"):
        assert bad not in everything
    assert "🙂" * 200 not in everything
    assert "\n# Ignore" not in result.content[0].text
    fences = [line for line in result.content[0].text.splitlines() if "```" in line]
    assert set(fences) <= {"```untrusted", "```"}
    assert fences[::2] == ["```untrusted"] * (len(fences) // 2)
    assert size_of(result) < MAX_DEFAULT_CHARS


def test_a_name_that_was_never_valid_unicode_does_not_break_the_answer():
    backends = FakeBackends(aggregator__rollup=rollup([stats("a\udcff", "b\udc00")]))
    result = call(backends, "get_metrics")
    assert result.structured_content["metrics"][0]["mcpServer"] == "a\\udcff"


def test_figures_that_are_no_numbers_are_null():
    backends = FakeBackends(aggregator__rollup=rollup([{**stats(), "avg": float("nan")}]))
    assert call(backends, "get_metrics").structured_content["metrics"][0]["value"] is None


# with one service away


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("detect_anomalies", {"mcpServer": "github"}),
        ("get_active_alerts", {"mcpServer": "github"}),
        ("set_alert_threshold", {"metric": "cpu", "threshold": 80, "severity": "warning", "mcpServer": "github"}),
        ("generate_report", {"mcpServer": "github"}),
        ("get_dashboard", {"mcpServer": "github"}),
    ],
)
def test_what_does_not_need_the_aggregator_is_answered_without_it(tool, arguments):
    backends = FakeBackends(
        aggregator__series=unavailable("aggregator", "series"),
        detector__anomalies={"anomalies": [], "summary": {"total": 0}, "freshness": {"lastMetricMs": NOW_MS - 1}},
        alerter__alerts_dot_list={"alerts": [], "total": 0, "summary": {}},
    )
    assert not call(backends, tool, arguments).is_error
