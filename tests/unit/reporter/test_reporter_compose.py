"""A report is composed of what was answered, and says what was not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import reporter_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from services.reporter.core.answers import Failure
from services.reporter.core.compose import compose
from services.reporter.core.model import IN_FILE, Range
from services.reporter.core.questions import MAX_TIMELINES, bucket_of, for_report, more_for_report
from services.reporter.core.reading import read_alerts, read_anomalies, read_rollup, read_series
from services.reporter.core.render_html import render as render_html
from services.reporter.core.render_json import render as render_json
from services.reporter.core.render_markdown import render as render_markdown
from services.reporter.core.reply import MAX_INLINE_CHARS, answer, digest_text, inline
from services.reporter.core.requests import BadRequest, parse_dashboard, parse_report
from services.reporter.core.text import plain
from services.reporter.core.wording import alert_value, alert_when, held_back_words, nothing_words

HOUR = 3_600_000
DAY = 24 * HOUR

JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def sample(**raw: Any) -> Any:
    return compose(samples.answered(samples.raw_answers() | raw), samples.SPAN, samples.END_MS, errors=samples.errors())


def gaps(**raw: Any) -> list[str]:
    return [plain(gap) for gap in sample(**raw).gaps]


@given(JSONISH)
def test_whatever_a_service_answers_reading_it_does_not_fail(raw: object) -> None:
    for reader in (read_rollup, read_alerts, read_anomalies, read_series):
        reader(raw)


@given(st.data())
def test_odd_fields_cost_themselves_and_not_the_report(data: st.DataObject) -> None:
    raw = samples.raw_answers()
    for _ in range(3):
        name = data.draw(
            st.sampled_from(["tools", "servers", "timeline", "anomalies", "alerts", "history", "series", "ingest"])
        )
        found = raw[name] if isinstance(raw[name], dict) else {}
        rows = next((value for value in found.values() if isinstance(value, list) and value), None)
        if rows and isinstance(rows[0], dict) and data.draw(st.booleans()):
            row = data.draw(st.sampled_from(rows))
            row[data.draw(st.sampled_from(sorted(row)))] = data.draw(JSONISH)
        else:
            raw[name] = data.draw(JSONISH)
    report = compose(samples.answered(raw), samples.SPAN, samples.END_MS)
    for render in (render_html, render_json, render_markdown):
        assert render(report, IN_FILE)


def test_worst_tools_are_ranked_by_what_their_sample_supports() -> None:
    rows = [
        samples.stats("s", "once", 1, 1.0, 5, 5),
        samples.stats("s", "often", 1000, 0.9, 5, 5),
        samples.stats("s", "ok", 9, 0, 1, 1),
    ]
    report = sample(tools=samples.rollup(rows))
    assert [row.stats.tool for row in report.by_errors.rows] == ["often", "once"]


def test_anomalies_after_the_range_are_left_out_and_the_severe_come_first() -> None:
    later = samples.anomaly("x", "s", "t", "critical", samples.END_MS + 5, None)
    listed = samples.anomalies()
    report = sample(anomalies={"anomalies": [*listed["anomalies"], later], "total": 5})
    assert len(report.anomalies) == report.anomalies_total == 4
    assert report.anomalies[0].severity == "critical"


def test_alerts_are_active_raised_and_resolved() -> None:
    section = sample().alerts
    assert [alert.alert_id[-1] for alert in section.active] == ["2", "1"]
    assert len(section.raised) == 3
    assert [alert.alert_id[-1] for alert in section.resolved] == ["3"]
    assert dict(section.suppressed) == {"deduplicated": 41, "rate_limited": 2}


def test_gaps_are_said_plainly() -> None:
    assert gaps(ingest={}) == []
    assert any("12 messages or rows refused at the door" in gap for gap in gaps())
    late = samples.together(samples.tool_rows()) | {"firstTs": samples.SPAN.start_ms + 6 * HOUR}
    assert any(
        "Calls begin at 2025-10-30 22:00 UTC" in gap for gap in gaps(timeline=samples.rollup(samples.hours(), late))
    )
    early = samples.together(samples.tool_rows()) | {"lastTs": samples.END_MS - 6 * HOUR}
    assert any(
        "Calls end at 2025-10-31 10:00 UTC" in gap for gap in gaps(timeline=samples.rollup(samples.hours(), early))
    )
    lag = samples.rollup(samples.hours(), freshness={"lastMetricMs": 1, "seq": 1, "lagEntries": 9})
    assert any("9 journal entries" in gap for gap in gaps(timeline=lag))
    part = samples.rollup(samples.tool_rows(), rowsTotal=9000)
    assert any("ranked over the 13 that fail" in gap and "of 9,000" in gap for gap in gaps(tools=part))
    many = samples.rollup(samples.server_rows(), rowsTotal=700)
    assert any("Only the 6 servers with most calls are judged, of 700" in gap for gap in gaps(servers=many))
    empty = samples.rollup([], {"count": 0})
    assert any("no calls in this range" in gap for gap in gaps(timeline=empty, servers=empty, tools=empty))


def test_a_refusal_is_told_from_silence() -> None:
    found = gaps(anomalies=Failure("detector", "unknown_method", "unknown method; known: ping"))
    assert any(
        'The detector refused ("unknown method; known: ping"); missing here: the anomalies.' in gap for gap in found
    )


def test_one_sentence_names_all_that_one_service_did_not_answer() -> None:
    silent = Failure("alerter", "unavailable", "x")
    found = [gap for gap in gaps(alerts=silent, history=silent, thresholds=silent) if "alerter" in gap]
    assert len(found) == 1
    assert "the active alerts, the alerts raised and resolved, the thresholds" in found[0]


@pytest.mark.parametrize(
    ("span_ms", "bucket", "period"),
    [
        (HOUR, "minute", "hour"),
        (DAY, "hour", "day"),
        (7 * DAY, "hour", "week"),
        (30 * DAY, "day", "month"),
        (5 * HOUR, "hour", "range"),
    ],
)
def test_ranges_are_drawn_by_the_minute_the_hour_or_the_day(span_ms: int, bucket: str, period: str) -> None:
    span = Range(0, span_ms)
    assert bucket_of(span)[0] == bucket
    assert span.period == period


def test_the_window_before_is_as_long_and_ends_where_the_range_starts() -> None:
    asked = for_report(Range(10 * DAY, 11 * DAY), "s", 77)
    assert asked["tools_before"].params | {} == asked["tools_before"].params
    assert (asked["before"].params["startMs"], asked["before"].params["endMs"]) == (9 * DAY, 10 * DAY)
    assert all(
        q.params.get("mcpServer") == "s" for name, q in asked.items() if name not in {"series", "thresholds", "ingest"}
    )
    assert asked["timeline"].params["afterSeq"] == 77
    assert "afterSeq" not in asked["before"].params


def test_only_the_biggest_servers_and_sendable_names_get_a_line() -> None:
    asked = more_for_report(samples.SPAN, None, ["\ud800", *(f"s{n}" for n in range(50))], all_tools=False)
    assert sum(name.startswith("timeline ") for name in asked) == MAX_TIMELINES - 1
    assert {"slowest", "busiest"} <= set(asked)


@pytest.mark.parametrize("wanted", ["markdown", "json"])
def test_a_report_in_an_answer_is_short_whatever_it_holds(wanted: Any) -> None:
    rows = [samples.stats("s" * 60 + str(n), "t" * 60, 100, 0.5, 10, 20) for n in range(300)]
    report = sample(tools=samples.rollup(rows), servers=samples.rollup(rows))
    found = inline(report, wanted)
    assert found is not None
    assert len(str(found)) < MAX_INLINE_CHARS * 1.5
    found = answer(report, wanted, "/x", {"sha256": "0", "bytes": 1})
    assert len(found["recommendations"]) <= 5
    assert found["summary"]["calls"] == 46_599


def test_a_page_is_never_inline_but_has_a_digest_in_words() -> None:
    found = answer(sample(), "html", "/x", {"sha256": "0", "bytes": 1})
    assert found["report"] is None
    assert "46,599 calls, 256 failed (0.55 %)" in found["digest"]["text"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "startMs"),
        ({"startMs": 5, "endMs": 5}, "before"),
        ({"startMs": 9, "endMs": 5}, "before"),
        ({"startMs": True, "endMs": 5}, "startMs"),
        ({"startMs": 1.5, "endMs": 5}, "startMs"),
        ({"startMs": -1, "endMs": 5}, "startMs"),
        ({"startMs": 0, "endMs": 10**18}, "endMs"),
        ({"startMs": 0, "endMs": 4000 * DAY}, "ten years"),
        ({"startMs": 0, "endMs": 5, "format": "pdf"}, "markdown, json, html"),
        ({"startMs": 0, "endMs": 5, "format": ["html"]}, "markdown, json, html"),
        ({"startMs": 0, "endMs": 5, "includeRecommendations": "yes"}, "true or false"),
        ({"startMs": 0, "endMs": 5, "mcpServer": ""}, "mcpServer"),
        ({"startMs": 0, "endMs": 5, "mcpServer": "\ud800"}, "mcpServer"),
        ({"startMs": 0, "endMs": 5, "mcpServer": "x" * 2000}, "mcpServer"),
        ({"startMs": 0, "endMs": 5, "afterSeq": -1}, "afterSeq"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_is_accepted(params: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_report(params)


@pytest.mark.parametrize("limit", [0, 201, "5", True, 1.0])
def test_a_dashboards_limit_is_checked(limit: object) -> None:
    with pytest.raises(BadRequest, match="1 to 200"):
        parse_dashboard({"limit": limit})


def test_a_service_that_was_started_just_now_is_told_as_such() -> None:
    found = gaps(alerts=Failure("alerter", "starting", "x"), history=Failure("alerter", "starting", "y"))
    assert any(
        gap.startswith("The alerter is still starting, ask again in a few seconds; missing here: the active alerts, ")
        for gap in found
    )


def test_one_of_a_thing_is_not_told_as_many() -> None:
    found = gaps(ingest={"rejected_total": 1, "parked_total": 2})
    assert any("1 message or row refused at the door, 2 batches parked" in gap for gap in found)
    one = {**samples.alerts(), "alerts": samples.alerts()["alerts"][:1], "total": 1}
    listed = samples.anomalies()
    report = sample(alerts=one, anomalies={"anomalies": listed["anomalies"][:1], "total": 1})
    assert digest_text(report).endswith("; 1 alert open; 1 anomaly.")


def test_an_alerts_value_has_its_unit() -> None:
    rows = read_alerts({"alerts": [
        samples.alert(1, "s", "t", "warning", "active", "response_time > 500ms", currentValue=5_200, threshold=500),
        samples.alert(2, "s", "t", "warning", "active", "error_rate > 5%"),
        samples.alert(3, "s", "t", "warning", "active", "resource_spike detected", unit="MB", threshold=30, anomalyId="a"),
        samples.alert(4, "s", "t", "warning", "active", "x detected", unit="calls/h", threshold=75.6, anomalyId="a")
        | {"currentValue": 0},
        samples.alert(5, "s", "t", "warning", "active", "error_rate > 1%", threshold=1, currentValue=1.0034),
    ]}).rows  # fmt: skip
    assert [alert_value(row) for row in rows] == [
        "5.2 s (threshold 500 ms)",
        "34.4 % (threshold 5 %)",
        "34.4 MB (usual up to 30 MB)",
        "0 calls/h (usual from 75.6 calls/h)",
        "1.003 % (threshold 1 %)",
    ]


def test_an_alert_of_a_tool_that_never_worked_names_no_usual_rate() -> None:
    row = samples.alert(1, "s", "t", "critical", "active", "error_rate_spike detected", unit="%", anomalyId="a")
    (first,) = read_alerts({"alerts": [row | {"currentValue": 100, "threshold": 30, "usualKnown": False}]}).rows
    assert alert_value(first) == "100 % (usual not known; of a tool that works no more than 30 % fail)"


def test_a_value_that_is_not_that_of_now_is_told_with_its_time() -> None:
    def listed(**more: Any) -> str:
        row = samples.alert(1, "s", "t", "warning", "active", "error_rate > 5%", **more)
        return alert_when(read_alerts({"alerts": [row]}).rows[0], samples.END_MS)

    assert listed() == listed(lastTrue="2025-10-31T15:59:00.000Z") == "2025-10-31 14:00 UTC"
    assert listed(lastTrue="2025-10-31T14:00:40.000Z") == "2025-10-31 14:00 UTC", "as it was raised"
    assert listed(lastTrue="2025-10-31T14:12:00.000Z") == "2025-10-31 14:00 UTC, last true 14:12Z"


def silent_git(severity: str = "info") -> dict[str, Any]:
    """Answers in which git was last called forty minutes ago, which the detector finds unusual; nothing else is wrong."""
    since = samples.END_MS - 40 * 60_000
    details = {"currentValue": 0, "expectedRange": "90-120", "metric": "calls", "unit": "calls/h"}
    rows = [
        samples.anomaly("throughput_change", "git", t, severity, since, None, **details)
        for t in ("git_log", "git_diff")
    ]
    raw = samples.raw_answers() | {"anomalies": {"anomalies": rows, "total": 2}, "alerts": {"alerts": [], "total": 0}}
    for name in ("servers", "tools"):
        kept = [row for row in raw[name]["rows"] if row["mcpServer"] in ("git", "project-management-mcp")]
        raw[name] = samples.rollup([r | ({"lastTs": since} if r["mcpServer"] == "git" else {}) for r in kept])
    return raw


def test_a_report_up_to_now_says_which_server_is_called_no_more_and_what_to_do() -> None:
    report = sample(**silent_git())
    row = next(row for row in report.servers if row.stats.server == "git")
    assert (row.health.score, row.health.status) == (None, "no_data")
    assert report.health.status == "degraded"
    assert plain(report.health.reasons[0]) == '"git" has had no calls since 15:20Z'
    card = next(one for one in report.recommendations if one.metric == "throughput_change")
    assert plain(card.title) == '2 tools of "git" are called no more'
    assert "no call since 2025-10-31 15:20 UTC, usual 90–120 calls/h" in plain(card.evidence[0])
    text = render_markdown(report, IN_FILE)
    assert "has had no calls since 15:20Z" in text
    assert "Check that the server runs" in text


def test_a_silent_server_without_calls_in_the_range_is_in_the_report_all_the_same() -> None:
    raw = silent_git()
    for name in ("servers", "tools"):
        raw[name] = samples.rollup([row for row in raw[name]["rows"] if row["mcpServer"] != "git"])
    assert [row.stats.server for row in sample(**raw).servers] == ["project-management-mcp", "git"]


def test_a_silent_server_without_calls_in_the_range_is_named_before_a_silent_tool() -> None:
    raw = silent_git()
    for name in ("servers", "tools"):
        raw[name] = samples.rollup([row for row in raw[name]["rows"] if row["mcpServer"] != "git"])
    details = {"currentValue": 0, "expectedRange": "9-12", "metric": "calls", "unit": "calls/h"}
    longer = samples.anomaly(
        "throughput_change", "project-management-mcp", "gone", "info", samples.END_MS - 2 * HOUR, None, **details
    )
    raw["anomalies"] = {"anomalies": [*raw["anomalies"]["anomalies"], longer], "total": 3}
    assert any(plain(reason) == '"git" has had no calls since 15:20Z' for reason in sample(**raw).health.reasons)


def test_what_is_silent_now_was_healthy_in_a_range_long_ago() -> None:
    later = samples.END_MS + 6 * HOUR
    report = compose(samples.answered(samples.raw_answers() | silent_git()), samples.SPAN, later)
    assert next(row for row in report.servers if row.stats.server == "git").health.status == "healthy"


@pytest.mark.parametrize("render", [render_markdown, render_html])
def test_a_report_says_what_before_stands_for_and_of_how_many_tools_the_messages_are(render: Any) -> None:
    page = render(sample(), IN_FILE)
    assert "Before: the 1 d before this range." in page or "Before: the 24 h before this range." in page
    failed = sum(1 for row in samples.tool_rows() if row["errors"])
    assert f"Messages of 2 of the {failed} tools that failed." in page


def test_that_nothing_stands_out_says_what_was_not_judged_and_what_is_open() -> None:
    none = {"alerts": {"alerts": [], "total": 0}}
    report = replace(sample(**none), recommendations=())
    assert nothing_words(report).endswith("and no anomaly asks for attention.")
    assert nothing_words(replace(report, anomalies=None)).endswith("; anomalies are not known.")
    few = replace(report, health=replace(report.health, few_calls=True), summary=replace(report.summary, count=1))
    assert nothing_words(few) == "None: 1 call is too few to judge by."
    opened = replace(report, alerts=replace(report.alerts, active_total=2))
    assert nothing_words(opened).startswith("Nothing stands out beside 2 open alerts: ")


def test_what_was_held_back_is_counted_for_all_servers_and_says_so() -> None:
    assert held_back_words(sample()).startswith("Held back: 41 ")
    assert held_back_words(replace(sample(), server="git")).startswith("Held back of all servers: 41 ")
    assert held_back_words(sample(alerts={"alerts": [], "total": 0})) == ""
