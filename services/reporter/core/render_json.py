"""A report as JSON: the same facts, rounded, with names made harmless. `report_schema` describes it.

Bounded by `Limits` like the other formats; each list that can be cut has its total beside it.
"""

from __future__ import annotations

import json
from typing import Any, Final

from services.reporter.core.answers import Alert, Anomaly, Stats
from services.reporter.core.figures import DIGITS, rounded
from services.reporter.core.health import Health
from services.reporter.core.incident_stories import IncidentStory
from services.reporter.core.model import Limits, Ranked, Report, ServerRow
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.text import plain, spoken, visible
from services.reporter.core.trends import Trend
from services.reporter.core.wording import alert_unit
from shared.timespan import iso

#: The version of the JSON report: a field added keeps it, a meaning changed raises it.
VERSION: Final = 1


def render(report: Report, limits: Limits) -> str:
    """The report as JSON text: ASCII, with `<` escaped, so that it is inert wherever it is pasted."""
    text = json.dumps(as_object(report, limits), indent=2, allow_nan=False)
    return text.replace("<", "\\u003c") + "\n"


def as_object(report: Report, limits: Limits) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "version": VERSION,
        "generated": iso(report.generated_ms),
        "range": {"start": iso(report.range.start_ms), "end": iso(report.range.end_ms), "period": report.range.period},
        "mcpServer": None if report.server is None else visible(report.server),
        "health": health_object(report.health),
        "summary": summary_object(report.summary),
        "before": summary_object(report.before),
        "trends": [_trend(trend) for trend in report.trends],
        "servers": None if report.servers is None else [_server(row) for row in report.servers[: limits.servers]],
        "serversTotal": report.servers_total,
        "worstByErrorRate": _ranked(report.by_errors, limits),
        "worstByP95": _ranked(report.by_p95, limits),
        "anomalies": None
        if report.anomalies is None
        else [anomaly_object(a) for a in report.anomalies[: limits.anomalies]],
        "anomaliesTotal": report.anomalies_total,
        "incidents": [incident_object(story) for story in report.incidents[: limits.incidents]],
        "incidentsTotal": len(report.incidents),
        "alerts": _alerts(report, limits),
        "errors": [_error(group) for group in report.errors[: limits.errors]],
        "errorsTotal": len(report.errors),
        "recommendations": recommendation_objects(report, limits),
        "recommendationsTotal": len(report.recommendations or ()),
        "gaps": [plain(gap) for gap in report.gaps],
        "sources": [{"service": s.service, "answered": s.answered, "detail": s.detail} for s in report.sources],
        "freshness": {
            "lastMetric": _iso(report.freshness.last_metric_ms),
            "seq": report.freshness.seq,
            "lagEntries": report.freshness.lag_entries,
        },
    }


def health_object(health: Health) -> dict[str, Any]:
    """Score, status and reasons."""
    reasons = [plain(reason) for reason in health.reasons]
    return {"score": health.score, "status": health.status, "fewCalls": health.few_calls, "reasons": reasons}


def summary_object(stats: Stats | None) -> dict[str, Any] | None:
    """Calls, errors and durations in ms; None when they could not be had."""
    if stats is None:
        return None
    return {
        "calls": stats.count,
        "errors": stats.errors,
        "errorRate": rounded(stats.error_rate),
        "avgResponseTime": rounded(stats.avg),
        "p50": rounded(stats.p50),
        "p95": rounded(stats.p95),
        "p99": rounded(stats.p99),
    }


def recommendation_objects(report: Report, limits: Limits) -> list[dict[str, Any]] | None:
    """The recommendations; None when they were not asked for."""
    if report.recommendations is None:
        return None
    return [_recommendation(item) for item in report.recommendations[: limits.recommendations]]


def alert_object(alert: Alert, digits: int = DIGITS) -> dict[str, Any]:
    """The seed's alert; figures to so many significant digits."""
    return {
        "alertId": visible(alert.alert_id),
        "timestamp": _iso(alert.raised_ms),
        "mcpServer": visible(alert.server),
        "toolName": visible(alert.tool) if alert.tool else None,
        "severity": alert.severity,
        "condition": visible(alert.condition),
        "currentValue": rounded(alert.value, digits),
        "threshold": rounded(alert.threshold, digits),
        "unit": alert_unit(alert) or None,
        "lastTrue": _iso(alert.last_true_ms),
        "judgedBy": visible(alert.judged) if alert.judged else None,
        "status": visible(alert.status),
    }


def anomaly_object(anomaly: Anomaly, digits: int = DIGITS) -> dict[str, Any]:
    """The seed's anomaly, with its end (None = still going on); figures to so many significant digits."""
    return {
        **({"id": visible(anomaly.anomaly_id)} if anomaly.anomaly_id else {}),
        "timestamp": _iso(anomaly.start_ms),
        "end": _iso(anomaly.end_ms),
        "mcpServer": visible(anomaly.server),
        "toolName": visible(anomaly.tool) if anomaly.tool else None,
        "anomalyType": visible(anomaly.kind),
        **({"kind": visible(anomaly.shape)} if anomaly.shape else {}),
        "severity": anomaly.severity,
        "currentValue": rounded(anomaly.value, digits),
        **({} if anomaly.usual is None else {"usual": rounded(anomaly.usual, digits)}),
        "expectedRange": visible(anomaly.expected) if anomaly.expected else None,
        "deviation": visible(anomaly.deviation) if anomaly.deviation else None,
        "unit": visible(anomaly.unit) if anomaly.unit else None,
        **({"ended": visible(anomaly.ended)} if anomaly.ended else {}),
    }


def incident_object(story: IncidentStory) -> dict[str, Any]:
    """An incident, with the ids of its anomalies in the range and of its alerts."""
    incident = story.incident
    return {
        "id": visible(incident.incident_id),
        "severity": story.severity,
        "since": iso(story.since_ms),
        "until": _iso(story.until_ms),
        "mcpServers": [visible(server) for server in story.servers],
        "tools": [{"mcpServer": visible(server), "toolName": visible(tool)} for server, tool in story.tools],
        "members": story.members,
        "anomalies": [visible(one.anomaly_id) for one in story.anomalies],
        "alerts": [visible(alert.alert_id) for alert in story.alerts],
        "likelyCause": spoken(incident.cause) or None,
        "confidence": incident.confidence,
        "lookAt": spoken(story.look_at) or None,
    }


def _trend(trend: Trend) -> dict[str, Any]:
    return {
        "metric": trend.metric,
        "now": rounded(trend.now),
        "before": rounded(trend.before),
        "changePercent": rounded(trend.change_percent, 3),
        "direction": trend.direction,
        "words": trend.words,
        "callsNow": trend.calls_now,
        "callsBefore": trend.calls_before,
    }


def _server(row: ServerRow) -> dict[str, Any]:
    head = {"name": visible(row.stats.server), "health": health_object(row.health), "openAlerts": row.open_alerts}
    return {**head, **(summary_object(row.stats) or {})}


def _ranked(ranked: Ranked | None, limits: Limits) -> dict[str, Any] | None:
    if ranked is None:
        return None
    rows = [
        {
            "mcpServer": visible(row.stats.server),
            "toolName": visible(row.stats.tool),
            **(summary_object(row.stats) or {}),
            "p95Before": rounded(None if row.before is None else row.before.p95),
            "errorRateBefore": rounded(None if row.before is None else row.before.error_rate),
        }
        for row in ranked.rows[: limits.tools]
    ]
    return {"tools": rows, "total": ranked.total}


def _alerts(report: Report, limits: Limits) -> dict[str, Any]:
    section, most = report.alerts, limits.alerts
    listed = {
        name: None if rows is None else [alert_object(alert) for alert in rows[:most]]
        for name, rows in (("active", section.active), ("raised", section.raised), ("resolved", section.resolved))
    }
    totals = {
        "activeTotal": section.active_total,
        "raisedTotal": len(section.raised or ()),
        "resolvedTotal": len(section.resolved or ()),
    }
    return {**listed, **totals, "suppressed": {visible(reason): n for reason, n in section.suppressed}}


def _error(group: Any) -> dict[str, Any]:
    return {
        "mcpServer": visible(group.server),
        "toolName": visible(group.tool),
        "message": visible(group.message),
        "count": group.count,
        "first": _iso(group.first_ms),
        "last": _iso(group.last_ms),
    }


def _recommendation(item: Recommendation) -> dict[str, Any]:
    return {
        "severity": item.severity,
        "metric": visible(item.metric),
        "mcpServer": visible(item.server) if item.server else None,
        "toolName": visible(item.tool) if item.tool else None,
        "title": plain(item.title),
        "evidence": [plain(said) for said in item.evidence],
        "action": plain(item.action),
        "since": _iso(item.since_ms),
        "until": _iso(item.until_ms),
        "message": visible(item.message) if item.message else None,
    }


def _iso(ts_ms: int | None) -> str | None:
    return None if ts_ms is None else iso(ts_ms)
