"""A report as Markdown, for a terminal, an editor or a model's context.

Owns the words and tables; what is shown of each list is bounded by `Limits`, and what was cut is counted. Everything from
monitored servers goes through `markdown.escaped` or `markdown.fenced`.
"""

from __future__ import annotations

from collections.abc import Iterator

from services.reporter.core.anomaly_words import anomaly_expected, anomaly_kind, anomaly_value, anomaly_when
from services.reporter.core.answers import Alert, Anomaly, Stats
from services.reporter.core.card_times import when_words
from services.reporter.core.figures import (
    count_text,
    duration_text,
    minute_text,
    percent_text,
)
from services.reporter.core.incident_words import said_of
from services.reporter.core.incident_words import title as incident_title
from services.reporter.core.incident_words import when as incident_when
from services.reporter.core.markdown import escaped, fenced, sentence, table
from services.reporter.core.model import Limits, Ranked, Report, ServerRow, ToolRow
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.wording import (
    alert_value,
    alert_when,
    before_words,
    cut_note,
    health_words,
    held_back_words,
    messages_note,
    nothing_words,
    range_words,
)
from shared.conditions import spaced
from shared.timespan import iso


def render(report: Report, limits: Limits) -> str:
    """The report, ending in a newline."""
    blocks = [
        *_head(report),
        *_gaps(report),
        *_recommendations(report, limits),
        *_incidents(report, limits),
        *_worst(report, limits),
        *_servers(report, limits),
        *_trends(report),
        *_alerts(report, limits),
        *_anomalies(report, limits),
        *_errors(report, limits),
        *_sources(report),
    ]
    return "\n\n".join(blocks) + "\n"


def _head(report: Report) -> Iterator[str]:
    yield "# Performance report" + (f" of {escaped(report.server)}" if report.server else "")
    yield range_words(report.range)
    yield f"**Health: {health_words(report.health)}**" + "".join(f"\n- {sentence(r)}" for r in report.health.reasons)
    if report.summary is not None and report.has_calls:
        yield table(
            ("calls", "errors", "error rate", "avg", "p50", "p95", "p99"), [_summary(report.summary)], "abcdefg"
        )


def _summary(stats: Stats) -> list[str]:
    durations = (stats.avg, stats.p50, stats.p95, stats.p99)
    counts = [count_text(stats.count), count_text(stats.errors), percent_text(stats.error_rate)]
    return [*counts, *(duration_text(value) for value in durations)]


def _gaps(report: Report) -> Iterator[str]:
    if report.gaps:
        yield "## What this report does not know\n\n" + "\n".join(f"- {sentence(gap)}" for gap in report.gaps)


def _recommendations(report: Report, limits: Limits) -> Iterator[str]:
    if report.recommendations is None:
        return
    yield "## Recommendations"
    if not report.recommendations:
        yield nothing_words(report)
    for place, item in enumerate(report.recommendations[: limits.recommendations], 1):
        yield _recommendation(place, item)
    yield from _cut(len(report.recommendations), limits.recommendations, "recommendations")


def _recommendation(place: int, item: Recommendation) -> str:
    when = f", {when_words(item)}" if item.since_ms is not None else ""
    lines = [f"### {place}. {sentence(item.title)} ({item.severity}{when})", ""]
    lines += [f"- {sentence(said)}" for said in item.evidence]
    lines += ["", f"Do: {sentence(item.action)}"]
    if item.message:
        lines += ["", fenced(item.message)]
    return "\n".join(lines)


def _incidents(report: Report, limits: Limits) -> Iterator[str]:
    if not report.incidents:
        return
    yield "## Incidents"
    for story in report.incidents[: limits.incidents]:
        lines = [f"### {sentence(incident_title(story))} ({story.severity}, {incident_when(story)})", ""]
        yield "\n".join(lines + [f"- {sentence(said)}" for said in said_of(story, limits.members)])
    yield from _cut(len(report.incidents), limits.incidents, "incidents")


def _worst(report: Report, limits: Limits) -> Iterator[str]:
    if report.by_errors is not None and report.by_errors.rows:
        yield "## Tools that fail most"
        yield _tools(report.by_errors, limits)
        yield f"_{before_words(report.range)}_"
        yield from _cut(report.by_errors.total, limits.tools, "failing tools")
    if report.by_p95 is not None and report.by_p95.rows:
        yield "## Slowest tools"
        yield _tools(report.by_p95, limits)
        yield f"_{before_words(report.range)}_"
        yield from _cut(report.by_p95.total, limits.tools, "tools")


def _tools(ranked: Ranked, limits: Limits) -> str:
    heads = ("server", "tool", "calls", "errors", "error rate", "p95", "p95 before")
    return table(heads, [_tool(row) for row in ranked.rows[: limits.tools]], "cdefg")


def _tool(row: ToolRow) -> list[str]:
    stats, before = row.stats, row.before
    return [
        escaped(stats.server),
        escaped(stats.tool),
        count_text(stats.count),
        count_text(stats.errors),
        percent_text(stats.error_rate),
        duration_text(stats.p95),
        duration_text(None if before is None else before.p95),
    ]


def _servers(report: Report, limits: Limits) -> Iterator[str]:
    if not report.servers:
        return
    yield "## Servers"
    heads = ("server", "health", "calls", "error rate", "avg", "p95", "open alerts")
    yield table(heads, [_server(row) for row in report.servers[: limits.servers]], "cdefg")
    yield from _cut(report.servers_total, limits.servers, "servers")


def _server(row: ServerRow) -> list[str]:
    stats = row.stats
    return [
        escaped(stats.server),
        health_words(row.health),
        count_text(stats.count),
        percent_text(stats.error_rate),
        duration_text(stats.avg),
        duration_text(stats.p95),
        count_text(row.open_alerts),
    ]


def _trends(report: Report) -> Iterator[str]:
    if report.trends:
        yield f"## Against the window before ({range_words(report.range.before)})"
        yield "\n".join(f"- {trend.label}: {trend.words}" for trend in report.trends)


def _alerts(report: Report, limits: Limits) -> Iterator[str]:
    section = report.alerts
    if section.active is not None:
        yield "## Alerts"
        yield f"{section.active_total} open now." if section.active else "No alert is open."
        if section.active:
            yield table(_ALERT_HEADS, [_alert(alert, report.generated_ms) for alert in section.active[: limits.alerts]])
            yield from _cut(section.active_total, limits.alerts, "open alerts")
        if section.suppressed:
            yield held_back_words(report)
    if section.raised is not None and section.resolved is not None:
        yield f"In this range {len(section.raised)} raised, {len(section.resolved)} resolved."


_ALERT_HEADS = ("alert", "severity", "status", "server", "tool", "condition", "value", "since")


def _alert(alert: Alert, now_ms: int) -> list[str]:
    texts = (alert.alert_id, alert.severity, alert.status, alert.server, alert.tool or "(all)", spaced(alert.condition))
    return [*(escaped(text) for text in texts), alert_value(alert), alert_when(alert, now_ms)]


def _anomalies(report: Report, limits: Limits) -> Iterator[str]:
    if report.anomalies is None:
        return
    yield "## Anomalies"
    if not report.anomalies:
        yield "None in this range."
        return
    heads = ("severity", "type", "server", "tool", "value", "expected", "when")
    yield table(heads, [_anomaly(anomaly) for anomaly in report.anomalies[: limits.anomalies]])
    yield from _cut(report.anomalies_total, limits.anomalies, "anomalies")


def _anomaly(anomaly: Anomaly) -> list[str]:
    texts = (anomaly.severity, anomaly_kind(anomaly), anomaly.server, anomaly.tool, anomaly_value(anomaly))
    return [*(escaped(text) for text in texts), escaped(anomaly_expected(anomaly)), anomaly_when(anomaly)]


def _errors(report: Report, limits: Limits) -> Iterator[str]:
    if not report.errors:
        return
    yield "## What the failures say"
    if messages_note(report):
        yield f"_{messages_note(report)}_"
    for group in report.errors[: limits.errors]:
        times = f"{count_text(group.count)}×, last {minute_text(group.last_ms)}"
        yield f"**{escaped(group.tool)}** of **{escaped(group.server)}**, {times}:\n\n{fenced(group.message)}"
    yield from _cut(len(report.errors), limits.errors, "messages")


def _sources(report: Report) -> Iterator[str]:
    listed = "; ".join(f"{source.service}: {source.detail}" for source in report.sources)
    last = report.freshness.last_metric_ms
    as_of = f" Last metric {iso(last)}." if last is not None else ""
    yield f"---\n\nGenerated {iso(report.generated_ms)}.{as_of} Sources: {listed or 'none'}."


def _cut(total: int, shown: int, what: str) -> Iterator[str]:
    note = cut_note(total, shown, what)
    if note:
        yield f"_{note}_"
