"""What track_performance and get_metrics ask for and what they answer: right, small, paged, and never healthy without data."""

from typing import Any

import pytest
from answers_kit import MAX_DEFAULT_CHARS, size_of
from gateway_fakes import HOUR_MS, NOW_MS, FakeBackends, alert, anomaly, call, rollup, stats

from services.gateway.core.arguments import DetectAnomalies
from services.gateway.core.paging import Place, question_of
from services.gateway.tools import Stored


def many(count: int, name: str = "tool_with_a_long_descriptive_name_") -> list[dict[str, Any]]:
    return [stats("a-server-with-a-long-name", f"{name}{number}", 10_000.5 - number) for number in range(count)]


# track_performance


def test_a_metric_is_passed_on_with_the_seeds_field_names():
    backends = FakeBackends()
    result = call(
        backends,
        "track_performance",
        {
            "mcpServer": "github",
            "toolName": "get_issue",
            "duration": 12.5,
            "success": False,
            "errorMessage": "boom",
            "resourceUsage": {"cpu": 1.5, "diskIO": 3},
            "timestamp": "2025-10-31T12:00:00+02:00",
            "callId": "toolu_1",
        },
    )
    assert backends.stored == [
        {
            "mcpServer": "github",
            "toolName": "get_issue",
            "duration": 12.5,
            "success": False,
            "error": "boom",
            "resource": {"cpu": 1.5, "diskIO": 3.0},
            "timestamp": NOW_MS - 3 * HOUR_MS,
            "callId": "toolu_1",
        }
    ]
    assert result.structured_content == {
        "success": True,
        "metricId": "m-2d235f98-41-3",
        "timestamp": "2025-10-31T10:00:00.000Z",
        "stored": True,
        "duplicate": False,
    }


def test_a_metric_without_a_timestamp_is_of_now_and_what_was_not_measured_is_left_out():
    backends = FakeBackends()
    call(backends, "track_performance", {"mcpServer": "a", "toolName": "b", "duration": 1, "success": True})
    assert backends.stored == [
        {"mcpServer": "a", "toolName": "b", "duration": 1.0, "success": True, "timestamp": NOW_MS}
    ]


def test_a_known_call_id_is_told_as_a_duplicate():
    backends = FakeBackends()
    backends.store_outcome = Stored("2d235f984ca249dc", 0, 0, duplicate=True)
    arguments = {"mcpServer": "a", "toolName": "b", "duration": 1, "success": True, "callId": "toolu_1"}
    result = call(backends, "track_performance", arguments)
    assert result.structured_content["duplicate"] is True
    assert result.structured_content["stored"] is True
    assert result.structured_content["metricId"] is None
    assert "nothing was added" in result.content[0].text


# get_metrics


def test_the_defaults_ask_for_the_average_of_the_last_day_worst_first():
    backends = FakeBackends()
    result = call(backends, "get_metrics")
    assert backends.asked == [
        (
            "aggregator",
            "rollup",
            {
                "startMs": NOW_MS - 24 * HOUR_MS,
                "endMs": NOW_MS,
                "by": "tool",
                "limit": 20,
                "sort": "avg",
                "descending": True,
            },
        )
    ]
    answer = result.structured_content
    assert answer["range"] == {"startTime": "2025-10-30T13:00:00.000Z", "endTime": "2025-10-31T13:00:00.000Z"}
    assert answer["metrics"] == [
        {
            "timestamp": "2025-10-31T12:59:59.000Z",
            "mcpServer": "github",
            "toolName": "get_issue",
            "value": 250.123,
            "count": 120,
        }
    ]
    assert answer["summary"]["totalCalls"] == 120
    assert answer["source"] == "minute"


@pytest.mark.parametrize(
    ("aggregation", "field", "value"),
    [("p95", "p95", 900), ("error_rate", "errorRate", 2.5), ("count", "count", 120), ("max", "max", 1500)],
)
def test_value_is_the_figure_that_was_asked_for(aggregation, field, value):
    backends = FakeBackends()
    result = call(backends, "get_metrics", {"aggregation": aggregation})
    assert backends.asked[0][2]["sort"] == field
    assert result.structured_content["metrics"][0]["value"] == value


def test_relative_times_and_yesterday_are_resolved_against_the_clock_and_echoed():
    echo = {"startMs": NOW_MS - 37 * HOUR_MS, "endMs": NOW_MS - HOUR_MS // 4}
    backends = FakeBackends(aggregator__rollup={**rollup([stats()]), **echo})
    result = call(backends, "get_metrics", {"startTime": "yesterday", "endTime": "15m"})
    assert result.structured_content["range"] == {
        "startTime": "2025-10-30T00:00:00.000Z",
        "endTime": "2025-10-31T12:45:00.000Z",
    }


def test_a_gateways_own_writes_are_asked_for_in_its_reads():
    backends = FakeBackends()
    backends.after_seq = 41
    call(backends, "get_metrics")
    assert backends.asked[0][2]["afterSeq"] == 41


def test_one_tool_over_time_is_answered_in_times_order_newest_kept():
    rows = [{**stats(), "ts": NOW_MS - hour * HOUR_MS} for hour in range(3)]
    backends = FakeBackends(aggregator__rollup=rollup(rows, rows_total=24))
    result = call(
        backends, "get_metrics", {"mcpServer": "github", "toolName": "get_issue", "groupBy": "hour", "limit": 3}
    )
    assert backends.asked[0][2]["sort"] == "ts"
    times = [row["timestamp"] for row in result.structured_content["metrics"]]
    assert times == sorted(times)
    assert result.structured_content["cut"] == 21
    assert 'Showing 3 of 24: ask again with cursor="3-1761915600000-' in result.content[0].text


def test_calls_that_are_counted_are_told_once():
    backends = FakeBackends(aggregator__rollup=rollup([stats()]))
    text = call(backends, "get_metrics", {"aggregation": "count"}).content[0].text
    assert "\ncalls  server  tool\n120    github  get_issue\n" in text


def test_a_default_answer_over_500_tools_is_small_and_says_what_was_cut():
    backends = FakeBackends(aggregator__rollup=rollup(many(20), rows_total=500))
    result = call(backends, "get_metrics", {"aggregation": "p95"})
    assert size_of(result) < MAX_DEFAULT_CHARS
    answer = result.structured_content
    assert len(answer["metrics"]) >= 15
    assert answer["rowsTotal"] == 500
    assert answer["cut"] == 500 - len(answer["metrics"])
    assert f"Showing {len(answer['metrics'])} of 500, cut to fit: ask again with cursor=" in result.content[0].text


@pytest.mark.parametrize(
    ("tool", "service", "method", "listed"),
    [
        ("get_metrics", "aggregator", "rollup", "metrics"),
        ("detect_anomalies", "detector", "anomalies", "anomalies"),
        ("get_active_alerts", "alerter", "alerts.list", "alerts"),
    ],
)
@pytest.mark.parametrize("arguments", [{}, {"detail": "full"}, {"limit": 7}])
def test_cursors_page_through_all_there_is_once(tool, service, method, listed, arguments):
    everything = {
        "get_metrics": [stats(tool=f"tool_{n}") for n in range(45)],
        "detect_anomalies": [{**anomaly(tool=f"tool_{n}"), "summary": "s" * 200} for n in range(45)],
        "get_active_alerts": [{**alert(), "toolName": f"tool_{n}"} for n in range(45)],
    }[tool]

    def reply(params: Any) -> dict[str, Any]:
        rows = everything[params.get("offset", 0) :][: params["limit"]]
        if tool == "get_metrics":
            return rollup(rows, rows_total=45)
        more = {"total": 45, "bySeverity": {}, "byType": {}}
        return {"anomalies": rows, "summary": more} if tool == "detect_anomalies" else {"alerts": rows, "total": 45}

    backends = FakeBackends(**{f"{service}__{method.replace('.', '_dot_')}": reply})
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    for _ in range(45):
        answer = call(backends, tool, arguments | cursor).structured_content
        seen += [row["toolName"] for row in answer[listed]]
        assert answer["cut"] == 45 - len(seen)
        if "nextCursor" not in answer:
            break
        cursor = {"cursor": answer["nextCursor"]}
    assert seen == [f"tool_{n}" for n in range(45)]


def test_a_cursor_keeps_the_range_of_the_first_page():
    backends = FakeBackends()
    cursor = Place(20, NOW_MS - HOUR_MS, question_of(DetectAnomalies())).after(0)
    call(backends, "detect_anomalies", {"cursor": cursor})
    assert backends.asked[0][2]["endMs"] == NOW_MS - HOUR_MS
    assert backends.asked[0][2]["offset"] == 20
    refused = call(backends, "detect_anomalies", {"cursor": "next"})
    assert refused.is_error
    assert "accepted: the nextCursor of an answer" in refused.content[0].text
    refused = call(backends, "detect_anomalies", {"cursor": cursor, "sensitivity": "high"})
    assert refused.is_error
    assert "another question" in refused.content[0].text


def test_a_limit_that_was_asked_for_is_kept():
    backends = FakeBackends(aggregator__rollup=rollup(many(100), rows_total=500))
    result = call(backends, "get_metrics", {"limit": 100})
    assert len(result.structured_content["metrics"]) == 100


def test_full_detail_gives_every_figure_and_more_rows():
    backends = FakeBackends(aggregator__rollup=rollup(many(100), rows_total=500))
    result = call(backends, "get_metrics", {"detail": "full"})
    assert backends.asked[0][2]["limit"] == 100
    row = result.structured_content["metrics"][0]
    assert {"avg", "p50", "p95", "p99", "errors", "cpu", "memory", "firstTimestamp"} <= set(row)
    assert row["cpu"] is None
    assert size_of(result) < 100_000


def test_full_detail_is_in_the_text_too_and_stays_bounded():
    rows = [{**stats("a-server-with-a-long-name" * 4, f"tool_{n}" * 10), "min": 7.25} for n in range(500)]
    backends = FakeBackends(aggregator__rollup=rollup(rows))
    result = call(backends, "get_metrics", {"detail": "full", "aggregation": "p95", "limit": 500})
    text = result.content[0].text
    assert "p95 ms" in text
    assert "p50 ms" in text
    assert "7.25" in text
    assert "7.25" not in call(backends, "get_metrics").content[0].text
    assert size_of(result) < 75_000  # 25,000 tokens of names and numbers


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("minute", "Source: minute rollups (percentiles within 1 %)"),
        ("raw", "Source: raw calls (exact)"),
        ("minute+hourly", "Source: minute and hourly rollups (percentiles within 1 %)"),
    ],
)
def test_the_source_says_how_exact_the_figures_are(source, words):
    backends = FakeBackends(aggregator__rollup={**rollup([stats(count=1)]), "source": source})
    text = call(backends, "get_metrics").content[0].text
    assert words in text
    assert "1 of 1 row," in text
    assert "The 1 call:" in text


def test_no_data_at_all_is_said_and_is_no_error():
    backends = FakeBackends(aggregator__rollup=rollup([]), aggregator__series={"series": [], "overflow": 0})
    result = call(backends, "get_metrics")
    assert not result.is_error
    assert result.structured_content["metrics"] == []
    assert "no metric has been recorded yet" in result.structured_content["message"]
    assert "healthy" not in result.content[0].text


def test_no_data_in_the_range_names_the_last_metric():
    backends = FakeBackends(
        aggregator__rollup=rollup([]),
        aggregator__series={"series": [["github", "get_issue", NOW_MS - 48 * HOUR_MS]], "overflow": 0},
    )
    result = call(backends, "get_metrics", {"mcpServer": "github"})
    assert "No data since 2025-10-29T13:00:00.000Z" in result.content[0].text
    assert result.structured_content["freshness"]["lastMetric"] == "2025-10-29T13:00:00.000Z"
