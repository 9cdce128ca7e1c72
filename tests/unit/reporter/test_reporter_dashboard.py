"""The dashboard says how things stand, from which window, and what to do next."""

from __future__ import annotations

import json
from typing import Any

import pytest
import reporter_samples as samples
from hostile import HOSTILE

from services.reporter.core.answered import Answered, read
from services.reporter.core.answers import Failure
from services.reporter.core.dashboard import Window, build, first_window, wider_window
from services.reporter.core.model import Range
from services.reporter.core.questions import for_baseline, for_dashboard

NOW = samples.END_MS
HOUR = 3_600_000


def answered(raw: dict[str, Any] | None = None) -> Answered:
    span = first_window(NOW).span
    return read(
        for_dashboard(span, NOW, None) | for_baseline(span, None), samples.raw_answers() if raw is None else raw
    )


def without_calls(**more: Any) -> dict[str, Any]:
    raw = samples.raw_answers() | {"alerts": {"alerts": [], "total": 0}}
    for name in ("servers", "tools", "servers_before", "tools_before"):
        raw[name] = samples.rollup([], {"count": 0})
    return raw | more


def dashboard(raw: dict[str, Any] | None = None, window: Window | None = None, **more: Any) -> dict[str, Any]:
    found = build(answered(raw), window or first_window(NOW), NOW, **more)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_servers_come_worst_first_with_their_figures() -> None:
    found = dashboard()
    names = [row["name"] for row in found["mcpServers"]]
    assert names[0] == "deployment-release-mcp"
    first = found["mcpServers"][0]
    assert first["status"] == "critical"
    assert set(first) == {
        "name", "healthScore", "status", "avgResponseTime", "p95", "errorRate", "calls", "activeAlerts", "note",
    }  # fmt: skip
    assert (first["calls"], first["activeAlerts"]) == (861, 1)
    assert found["worstTools"][0]["toolName"] == "deploy_application"
    assert found["activeAlerts"][0]["alertId"] == "alert-20251031-002"
    assert found["recentAnomalies"][0]["severity"] == "critical"
    assert found["mcpServersTotal"] == 6


def test_it_is_small_enough_for_a_models_context() -> None:
    assert len(json.dumps(dashboard(), separators=(",", ":"))) < 6_000


def test_more_servers_are_listed_when_asked_for_and_counted_when_not() -> None:
    found = dashboard(limit=2)
    assert len(found["mcpServers"]) == 2
    assert found["mcpServersTotal"] == 6


def test_freshness_lag_and_losses_are_given() -> None:
    found = dashboard(
        samples.raw_answers() | {"ingest": {"head": 81_240, "rejected_total": 12, "parked_total": 1, "pendingRows": 3}}
    )
    assert found["freshness"] == {"lastMetric": "2025-10-31T15:59:40.000Z", "age": "20 s", "lagEntries": 0}
    assert found["ingestLag"] == 7
    assert found["dropped"] == {"refused": 12, "parked": 1, "pendingRows": 3}


def test_a_known_server_without_calls_is_listed_as_no_data_since() -> None:
    raw = samples.raw_answers()
    raw["series"]["series"].append(["silent", "t", NOW - 90 * HOUR])
    row = next(row for row in dashboard(raw)["mcpServers"] if row["name"] == "silent")
    assert (row["healthScore"], row["status"], row["calls"]) == (None, "no_data", 0)
    assert row["note"] == "no data since 2025-10-27 22:00 UTC"


def test_nothing_recorded_ever_is_no_data_and_says_how_to_begin() -> None:
    found = dashboard(without_calls(series={"series": []}))
    assert found["systemHealth"]["status"] == "no_data"
    assert found["systemHealth"]["score"] is None
    assert "perfmon connect" in found["nextStep"]["why"]


def test_the_window_widens_from_the_hour_to_the_day_to_the_last_data_and_says_so() -> None:
    empty = answered(without_calls())
    hour = first_window(NOW)
    day = wider_window(hour, empty, NOW, None)
    assert day is not None
    assert (day.name, day.span, day.why) == ("last 24 h", Range(NOW - 24 * HOUR, NOW), "no calls in the last hour")
    last = wider_window(day, empty, NOW, None)
    assert last is not None
    assert last.name == "last data seen"
    assert last.span.end_ms == NOW - 20_000 + 1
    assert "no data since 2025-10-31 15:59 UTC" in last.why
    assert wider_window(last, empty, NOW, None) is None
    assert wider_window(hour, answered(), NOW, None) is None


def from_a_clock_ahead(ahead_ms: int) -> dict[str, Any]:
    """Answers of a machine whose every call is dated ahead of ours: the windows up to now hold none of them."""
    return without_calls(series={"series": [["time", "now", NOW + ahead_ms]]})


def test_calls_of_a_clock_that_is_ahead_are_said_to_be_dated_ahead_and_are_judged() -> None:
    ahead = answered(from_a_clock_ahead(300_000))
    window = wider_window(Window(Range(NOW - 24 * HOUR, NOW), "last 24 h"), ahead, NOW, None)
    assert window is not None
    assert window.why == "the newest calls are dated 5 min ahead of this machine's clock"
    found = dashboard(samples.raw_answers() | {"series": from_a_clock_ahead(300_000)["series"]}, window)
    assert found["systemHealth"]["message"].startswith(window.why)
    assert found["systemHealth"]["score"] is not None
    assert "no data since" not in json.dumps(found)
    assert "Nothing is being recorded" not in found["nextStep"]["why"]


@pytest.mark.parametrize("ahead_ms", [1, 999, 1_000, 600_000])
def test_no_server_and_no_system_has_no_data_since_a_time_to_come(ahead_ms: int) -> None:
    now_ms = NOW - 1  # the minute after begins with the next millisecond
    raw = without_calls(series={"series": [["time", "now", now_ms + ahead_ms]]})
    raw["servers"] = raw["servers"] | {"freshness": {"lastMetricMs": now_ms + ahead_ms}}
    found = build(answered(raw), first_window(now_ms), now_ms)
    for said in (found["systemHealth"]["message"], found["mcpServers"][0]["note"]):
        assert ("ahead of this machine's clock" in said) == (ahead_ms >= 1_000)
        assert ("no data since 2025-10-31 15:59 UTC" in said) == (ahead_ms < 1_000)


def test_old_figures_are_shown_without_a_score() -> None:
    window = Window(
        Range(NOW - 50 * HOUR, NOW - 49 * HOUR), "last data seen", "no data since then: these figures are old"
    )
    found = dashboard(None, window)
    assert found["systemHealth"]["score"] is None
    assert found["systemHealth"]["status"] == "no_data"
    assert found["window"]["name"] == "last data seen"
    assert found["summary"]["calls"] > 0


def test_no_window_is_tried_after_one_that_was_not_answered() -> None:
    raw = samples.raw_answers() | {"servers": Failure("aggregator", "unavailable", "x")}
    assert wider_window(first_window(NOW), answered(raw), NOW, None) is None


@pytest.mark.parametrize("dead", ["aggregator", "detector", "alerter", "ingest"])
def test_a_service_that_does_not_answer_is_named_and_the_rest_is_there(dead: str) -> None:
    span = first_window(NOW).span
    asked = for_dashboard(span, NOW, None) | for_baseline(span, None)
    raw = {
        name: Failure(dead, "unavailable", "x") if asked[name].service == dead else samples.raw_answers()[name]
        for name in asked
    }
    found = build(read(asked, raw), first_window(NOW), NOW)
    assert any(dead in text for text in found["missing"])
    assert (found["summary"] is None) == (dead == "aggregator")
    assert (found["systemHealth"]["status"] == "unknown") == (dead == "aggregator")
    assert (found["activeAlerts"] is None) == (dead == "alerter")
    assert (found["recentAnomalies"] is None) == (dead == "detector")
    assert (found["dropped"] is None) == (dead == "ingest")
    if dead == "aggregator":
        assert "perfmon doctor" in found["nextStep"]["why"]


def test_the_next_step_is_the_waiting_alert_then_the_worst_server_then_a_report() -> None:
    waiting = dashboard()["nextStep"]
    assert waiting["tool"] == "get_metrics"
    assert waiting["arguments"]["toolName"] == "deploy_application"
    quiet = dashboard(samples.raw_answers() | {"alerts": {"alerts": [], "total": 0}})["nextStep"]
    assert quiet["arguments"]["mcpServer"] == "deployment-release-mcp"
    raw = samples.raw_answers() | {"alerts": {"alerts": [], "total": 0}}
    for name in ("servers", "tools"):
        raw[name] = samples.rollup([samples.stats("git", "git_log" if name == "tools" else "", 100, 0, 6, 18)])
    assert dashboard(raw)["nextStep"]["tool"] == "generate_report"


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_hostile_names_are_harmless_and_never_arguments_of_the_next_step(text: str) -> None:
    raw = samples.raw_answers()
    raw["servers"] = samples.rollup([samples.stats(text, "", 50, 0.9, 1, 2)])
    raw["tools"] = samples.rollup([samples.stats(text, text, 50, 0.9, 1, 2)])
    raw["alerts"] = {"alerts": [samples.alert(1, text, text, "critical", "active", text)], "total": 1}
    found = dashboard(raw)
    page = json.dumps(found, ensure_ascii=False)
    assert len(page) < 30_000
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2066\u200b\ufeff" for c in page)
    for value in found["nextStep"]["arguments"].values():
        assert len(value) <= 200


def a_tool(tool: str, calls: int, share: float, p95: float) -> dict[str, Any]:
    return samples.stats("s", tool, calls, share, p95 / 2, p95)


def with_tools(now: list[dict[str, Any]], before: list[dict[str, Any]]) -> dict[str, Any]:
    return samples.raw_answers() | {"tools": samples.rollup(now), "tools_before": samples.rollup(before)}


def test_one_failed_call_of_a_hardly_used_tool_does_not_stand_before_real_trouble() -> None:
    now = [a_tool("once", 1, 1.0, 5), a_tool("failing", 200, 0.2, 50), a_tool("slow", 100, 0.0, 9_000)]
    found = dashboard(with_tools(now, []))
    assert [row["toolName"] for row in found["worstTools"]] == ["failing", "slow", "once"]


def test_what_got_slow_comes_first_among_the_slow_with_its_p95_before() -> None:
    now = [a_tool("always", 100, 0, 9_000), a_tool("rose", 100, 0, 700), a_tool("rare", 2, 0, 20_000)]
    before = [a_tool("always", 100, 0, 8_900), a_tool("rose", 100, 0, 120)]
    found = dashboard(with_tools(now, before))["slowestTools"]
    assert [(row["toolName"], row["why"]) for row in found] == [
        ("rose", "slower than before"),
        ("always", "over its threshold"),
    ]
    assert (found[0]["p95Before"], found[0]["p95"]) == (120, 700)
    assert found[1]["limit"] == 1000


def test_without_anything_slow_the_slowest_is_given_without_a_reason() -> None:
    found = dashboard(with_tools([a_tool("a", 100, 0, 80)], []))["slowestTools"]
    assert [(row["toolName"], row["why"], row["p95Before"]) for row in found] == [("a", None, None)]


def silent_from(raw: dict[str, Any], server: str, last_ms: int, **more: Any) -> dict[str, Any]:
    """The answers with a server that was last called then."""
    rows = [row | {"lastTs": last_ms} if row["mcpServer"] == server else row for row in raw["servers"]["rows"]]
    return raw | {"servers": raw["servers"] | {"rows": rows}} | more


def row_of(found: dict[str, Any], server: str) -> dict[str, Any]:
    return next(row for row in found["mcpServers"] if row["name"] == server)


def test_a_server_that_is_called_no_more_has_no_health_and_says_since_when() -> None:
    raw = samples.raw_answers() | {"alerts": {"alerts": [], "total": 0}}
    healthy = next(r for r in dashboard(raw)["mcpServers"] if r["status"] == "healthy" and r["calls"] > 100)
    found = dashboard(silent_from(raw, healthy["name"], NOW - 20 * 60_000))
    row = row_of(found, healthy["name"])
    assert (row["healthScore"], row["status"]) == (None, "no_data")
    assert row["note"].startswith("no calls since ")
    assert f'"{healthy["name"]}" has had no calls since' in found["systemHealth"]["message"]
    assert row["calls"] == healthy["calls"]


def test_a_server_that_fails_and_is_called_no_more_says_both() -> None:
    raw = silent_from(samples.raw_answers(), "deployment-release-mcp", NOW - 20 * 60_000)
    row = row_of(dashboard(raw), "deployment-release-mcp")
    assert row["status"] == "critical"
    assert "no calls since" in row["note"]


def test_a_few_minutes_without_calls_are_nothing_to_speak_of() -> None:
    raw = samples.raw_answers()
    name = dashboard(raw)["mcpServers"][-1]["name"]
    assert row_of(dashboard(silent_from(raw, name, NOW - 5 * 60_000)), name) == row_of(dashboard(raw), name)


def test_a_silence_that_the_detector_finds_unusual_is_no_healthy_system() -> None:
    raw = samples.raw_answers() | {"alerts": {"alerts": [], "total": 0}}
    kept = [r for r in raw["servers"]["rows"] if r["mcpServer"] in ("git", "time", "project-management-mcp")]
    names = {r["mcpServer"] for r in kept}
    tools = [r for r in raw["tools"]["rows"] if r["mcpServer"] in names]
    raw |= {"servers": raw["servers"] | {"rows": kept}, "tools": raw["tools"] | {"rows": tools}}
    silent = "git"
    raw = silent_from(raw, silent, NOW - 30 * 60_000)
    stopped = raw["anomalies"]["anomalies"][0] | {
        "mcpServer": silent,
        "anomalyType": "throughput_change",
        "endTs": None,
    }
    stopped["details"] = stopped["details"] | {"currentValue": 0}
    before = dashboard(raw | {"anomalies": {"anomalies": [], "total": 0}})["systemHealth"]
    after = dashboard(raw | {"anomalies": {"anomalies": [stopped], "total": 1}})["systemHealth"]
    assert before["status"] == "healthy"
    assert after["status"] == "degraded"
    assert after["message"].startswith(f'"{silent}" has had no calls since')


def stopped_tool(raw: dict[str, Any], server: str, *tools: str, since_ms: int = NOW - 40 * 60_000) -> dict[str, Any]:
    """The answers with tools of a server that the detector finds silent."""
    details = {"currentValue": 0, "expectedRange": "90-120", "metric": "calls", "unit": "calls/h"}
    rows = [samples.anomaly("throughput_change", server, tool, "info", since_ms, None, **details) for tool in tools]
    now = [row | {"lastTs": since_ms - 1} if row["toolName"] in tools else row for row in raw["tools"]["rows"]]
    return raw | {"anomalies": {"anomalies": rows, "total": len(rows)}, "tools": raw["tools"] | {"rows": now}}


def well(*servers: str) -> dict[str, Any]:
    """The answers with some servers alone, and no alert."""
    raw = samples.raw_answers() | {"alerts": {"alerts": [], "total": 0}, "anomalies": {"anomalies": [], "total": 0}}
    for name in ("servers", "tools"):
        raw[name] = samples.rollup([row for row in raw[name]["rows"] if row["mcpServer"] in servers])
    return raw


def test_a_tool_that_is_called_no_more_is_told_while_its_server_is_called() -> None:
    raw = well("git", "project-management-mcp")
    before, found = dashboard(raw), dashboard(stopped_tool(raw, "project-management-mcp", "list_goals"))
    assert (before["systemHealth"]["status"], before["nextStep"]["tool"]) == ("healthy", "generate_report")
    row = row_of(found, "project-management-mcp")
    assert row["note"] == 'no calls since 15:20Z of "list_goals"'
    assert row["status"] == "healthy"
    assert '"list_goals" of "project-management-mcp" has had no calls since 15:20Z' in found["systemHealth"]["message"]
    assert found["nextStep"]["tool"] == "detect_anomalies"
    assert found["nextStep"]["arguments"]["toolName"] == "list_goals"


def test_a_server_of_which_half_of_the_tools_are_called_no_more_is_not_healthy_though_one_is_called() -> None:
    raw = stopped_tool(well("git", "project-management-mcp"), "project-management-mcp", "list_goals", "evaluate_goal")
    found = dashboard(raw)
    row = row_of(found, "project-management-mcp")
    assert (row["healthScore"], row["status"]) == (89, "degraded")
    assert row["note"] == "no calls since 15:20Z of 2 tools"
    assert found["systemHealth"]["message"].count("no calls since") == 1
    assert "All is well" not in found["nextStep"]["why"]


def test_a_tool_that_was_called_again_is_not_silent_though_its_anomaly_is_open_still() -> None:
    raw = well("git")
    silent = stopped_tool(raw, "git", "git_log")
    found = dashboard(silent | {"tools": raw["tools"]})
    assert row_of(found, "git")["note"] is None
    assert found["nextStep"]["tool"] == "generate_report"


def test_of_one_silent_server_nobody_is_told_that_nothing_is_recorded_while_others_are() -> None:
    raw = silent_from(well("git"), "git", NOW - 40 * 60_000)
    raw["series"] = {"series": [["git", "git_log", NOW - 40 * 60_000], ["time", "convert_time", NOW - 1_000]]}
    for name in ("servers", "tools", "servers_before", "tools_before"):
        raw[name] = raw[name] | {"freshness": samples.freshness() | {"lastMetricMs": NOW - 40 * 60_000}}
    found = dashboard(raw, server="git")
    assert found["systemHealth"]["status"] == "no_data"
    assert found["systemHealth"]["message"].startswith("no calls since 15:20Z")
    assert (found["nextStep"]["tool"], found["nextStep"]["arguments"]["mcpServer"]) == ("detect_anomalies", "git")
    assert "Nothing is being recorded" not in found["nextStep"]["why"]


@pytest.mark.parametrize(
    ("condition", "tool", "asked"),
    [
        ("memory > 600MB", "detect_anomalies", {"mcpServer": "git", "toolName": "git_log", "lookbackWindow": "24h"}),
        (
            "resource_leak detected",
            "detect_anomalies",
            {"mcpServer": "git", "toolName": "git_log", "lookbackWindow": "24h"},
        ),
        ("throughput_change detected", "detect_anomalies", {}),
        ("response_time > 500ms", "get_metrics", {"aggregation": "p95"}),
        ("error_rate > 5%", "get_metrics", {"aggregation": "error_rate"}),
    ],
)
def test_the_next_step_of_an_alert_shows_what_the_alert_is_about(
    condition: str, tool: str, asked: dict[str, str]
) -> None:
    waiting = [samples.alert(1, "git", "git_log", "critical", "active", condition)]
    step = dashboard(well("git") | {"alerts": {"alerts": waiting, "total": 1}})["nextStep"]
    assert step["tool"] == tool
    assert asked.items() <= step["arguments"].items()


def test_a_server_that_was_hardly_called_is_neither_counted_as_critical_nor_listed_first() -> None:
    rows = [samples.stats("try", "", 1, 1.0, 5, 5), samples.stats("bad", "", 500, 0.3, 20, 60)]
    rows += [samples.stats("good", "", 500, 0.0, 20, 60)]
    tools = [row | {"toolName": "t"} for row in rows]
    raw = well() | {"servers": samples.rollup(rows), "tools": samples.rollup(tools), "series": {"series": []}}
    found = dashboard(raw)
    assert [row["name"] for row in found["mcpServers"]] == ["bad", "good", "try"]
    assert found["systemHealth"]["message"].startswith('1 of 2 judged servers critical; worst "bad"')


def test_a_window_begins_with_a_whole_minute_so_that_all_figures_count_the_same_calls() -> None:
    window = first_window(NOW + 31_234)
    assert window.span == Range(NOW - HOUR, NOW + 31_234)
    wider = wider_window(window, answered(without_calls()), NOW + 31_234, None)
    assert wider is not None
    assert wider.span.start_ms == NOW - 24 * HOUR


def test_a_silent_server_that_has_an_alert_is_named_before_a_silent_tool() -> None:
    since = NOW - 40 * 60_000
    raw = stopped_tool(well("git", "project-management-mcp", "time"), "project-management-mcp", "list_goals")
    both = stopped_tool(raw, "git", "git_log", "git_diff", since_ms=since)
    rows = [*raw["anomalies"]["anomalies"], *both["anomalies"]["anomalies"]]
    raw = silent_from(both, "git", since, anomalies={"anomalies": rows, "total": 3})
    waiting = [samples.alert(1, "git", "git_log", "warning", "active", "throughput_change detected")]
    raw["alerts"] = {"alerts": waiting, "total": 1}
    assert '"git" has had no calls since 15:20Z' in dashboard(raw)["systemHealth"]["message"]
    alone = dashboard(raw, server="git")["systemHealth"]["message"]
    assert "no calls since 15:20Z" in alone


def test_of_a_first_call_it_is_not_said_that_all_is_well() -> None:
    rows = [samples.stats("first", "t", 1, 0.0, 20, 60)]
    raw = well() | {"servers": samples.rollup(rows), "tools": samples.rollup(rows), "series": {"series": []}}
    found = dashboard(raw)
    assert found["systemHealth"]["message"] == "1 server with calls, 1 call in all: a first impression"
    assert "too few calls to judge" in found["nextStep"]["why"]
    assert found["nextStep"]["tool"] == "get_metrics"
