"""The tables of a report's page: tools, servers, alerts, anomalies, messages. Columns of class `opt` go on a phone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.reporter.core.anomaly_words import anomaly_expected, anomaly_kind, anomaly_value, anomaly_when
from services.reporter.core.answers import Alert, Anomaly, Stats
from services.reporter.core.elements import Child, Markup, el, fragment, name
from services.reporter.core.figures import count_text, counted, duration_text, minute_text, percent_text
from services.reporter.core.model import Limits, Ranked, Report, ServerRow, ToolRow
from services.reporter.core.sampling import MIN_CALLS
from services.reporter.core.svg import share_bar, sparkline
from services.reporter.core.text import visible
from services.reporter.core.wording import (
    STATUS_WORDS,
    alert_value,
    alert_when,
    cut_note,
    messages_note,
)
from shared.conditions import spaced


def tools_table(ranked: Ranked, limits: Limits, title: str, figure: str, before: str = "") -> Markup:
    """Tools ranked by `error_rate` or `p95`, with a bar for the ranking figure. `before`: what the column of that name is of."""
    if not ranked.rows:
        words = "No call failed." if figure == "error_rate" else "No tool was called."
        return el("section", el("h2", title), el("p", words, class_="none"))
    shown = ranked.rows[: limits.tools]
    largest = max((value for row in shown if (value := _figure(row.stats, figure))), default=1.0)
    last = "Failed" if figure == "error_rate" else "p95"
    heads = (("Tool", ""), ("Calls", "n"), ("Before", "n opt"), (last, "n"))
    rows = [_tool(row, figure, largest) for row in shown]
    note = el("p", before, class_="lead") if before else None
    return el("section", el("h2", title), note, _table(heads, rows), _cut(ranked.total, limits.tools, "tools"))


def servers_table(report: Report, limits: Limits) -> Iterator[Markup]:
    """Every server with its health, worst first."""
    if not report.servers:
        return
    heads = (
        ("Server", ""), ("Health", ""), ("Calls over time", "opt"), ("Calls", "n opt"), ("Failed", "n"), ("Mean", "n opt"),
        ("p95", "n"), ("Alerts", "n opt"),
    )  # fmt: skip
    rows = [_server(row, report) for row in report.servers[: limits.servers]]
    note = _cut(report.servers_total, limits.servers, "servers")
    yield el("section", el("h2", "Servers"), _table(heads, rows), note)


def alerts_table(report: Report, limits: Limits) -> Markup:
    """Open alerts, then those that were resolved in the range."""
    section = report.alerts
    active, resolved = section.active or (), section.resolved or ()
    if not active and not resolved:
        return el("p", "No alert is open.", class_="none")
    heads = (("Alert", ""), ("Condition", ""), ("Value", "n opt"), ("Since", "opt when"))
    listed = [*active[: limits.alerts], *resolved[: limits.alerts]]
    note = fragment(
        _cut(section.active_total, limits.alerts, "open alerts"), _cut(len(resolved), limits.alerts, "resolved")
    )
    return fragment(_table(heads, [_alert(alert, report.generated_ms) for alert in listed]), note)


def anomalies_table(report: Report, limits: Limits) -> Markup:
    """What was abnormal, the most severe first."""
    if not report.anomalies:
        return el("p", "None in this range.", class_="none")
    heads = (("Severity", ""), ("What", ""), ("Value", "n opt"), ("Expected", "n opt"), ("When", "opt when"))
    rows = [_anomaly(anomaly) for anomaly in report.anomalies[: limits.anomalies]]
    return fragment(_table(heads, rows), _cut(report.anomalies_total, limits.anomalies, "anomalies"))


def error_list(report: Report, limits: Limits) -> Iterator[Markup]:
    """What the failures of the worst tools say, grouped."""
    if not report.errors:
        return
    said = []
    for group in report.errors[: limits.errors]:
        times = f" · {counted(group.count, 'time')}, last {minute_text(group.last_ms)}"
        head = el("div", name(group.tool), " of ", name(group.server), times)
        said.append(el("div", head, el("pre", visible(group.message)), class_="said"))
    words = "Messages of the tools that fail most, as those servers wrote them; alike ones together. "
    lead = el("p", words + messages_note(report), class_="lead")
    note = _cut(len(report.errors), limits.errors, "messages")
    yield el("section", el("h2", "What the failures say"), lead, *said, note)


def _tool(row: ToolRow, figure: str, largest: float) -> list[tuple[Child, str]]:
    stats, before = row.stats, row.before
    value = _figure(stats, figure) or 0.0
    share = share_bar(value / largest if largest else 0.0, "errors" if figure == "error_rate" else "calls")
    few = el("span", "few calls", class_="sub") if stats.count < MIN_CALLS else None
    if figure == "error_rate":
        was = percent_text(None if before is None else before.error_rate)
        now = fragment(percent_text(stats.error_rate), el("span", counted(stats.errors, "call"), class_="sub"))
    else:
        was = duration_text(None if before is None else before.p95)
        now = fragment(duration_text(stats.p95), el("span", f"p50 {duration_text(stats.p50)}", class_="sub"))
    on = fragment(name(stats.tool), el("span", name(stats.server), class_="sub"))
    return [(on, ""), (fragment(count_text(stats.count), few), "n"), (was, "n opt"), (fragment(now, share), "n")]


def _server(row: ServerRow, report: Report) -> list[tuple[Child, str]]:
    stats, health = row.stats, row.health
    words = STATUS_WORDS[health.status]
    said: Child = words if health.score is None else fragment(str(health.score), el("span", f" {words}", class_="opt"))
    pill = el("span", said, class_=f"pill {health.status}")
    few = el("span", "few calls", class_="sub") if health.few_calls else None
    line = sparkline(row.timeline, report.range, report.bucket_ms) if row.timeline else None
    rate = stats.error_rate or 0.0
    hot = "n hot" if rate >= 5 else "n warm" if rate >= 1 else "n"
    alerts = (count_text(row.open_alerts), "n opt hot" if row.open_alerts else "n opt")
    figures: list[tuple[Child, str]] = [
        (count_text(stats.count), "n opt"),
        (percent_text(stats.error_rate), hot),
        (duration_text(stats.avg), "n opt"),
        (duration_text(stats.p95), "n"),
        alerts,
    ]
    return [(name(stats.server), ""), (fragment(pill, few), ""), (line, "opt"), *figures]


def _alert(alert: Alert, now_ms: int) -> list[tuple[Child, str]]:
    who = f"{visible(alert.alert_id)}" + (f", by {visible(alert.acknowledged_by)}" if alert.acknowledged_by else "")
    status = alert.status if alert.is_open else "resolved"
    pills = fragment(
        _pill(alert.severity), " ", el("span", status, class_=f"pill {status}") if status != "active" else None
    )
    return [
        (fragment(pills, el("span", who, class_="sub")), ""),
        (fragment(name(spaced(alert.condition)), _judged(alert), _on(alert.server, alert.tool)), ""),
        (alert_value(alert), "n opt" if alert.usual_known else "opt"),
        (alert_when(alert, now_ms), "opt when"),
    ]


def _judged(alert: Alert) -> Markup | None:
    return el("span", visible(alert.judged), class_="sub") if alert.judged else None


def _anomaly(anomaly: Anomaly) -> list[tuple[Child, str]]:
    return [
        (_pill(anomaly.severity), ""),
        (fragment(name(anomaly_kind(anomaly).replace("_", " ")), _on(anomaly.server, anomaly.tool)), ""),
        (visible(anomaly_value(anomaly)), "n opt"),
        (visible(anomaly_expected(anomaly)), "n opt"),
        (anomaly_when(anomaly), "opt when"),
    ]


def _on(server: str, tool: str) -> Markup:
    return el("span", name(tool) if tool else "all tools", " of ", name(server), class_="sub")


def _pill(severity: str) -> Markup:
    return el("span", severity, class_=f"pill {severity}")


def _table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[tuple[Child, str]]]) -> Markup:
    top = el("tr", [el("th", label, scope="col", class_=kind or None) for label, kind in heads])
    body = [el("tr", [el("td", cell, class_=kind or None) for cell, kind in row]) for row in rows]
    return el("div", el("table", el("thead", top), el("tbody", body)), class_="scroll")


def _cut(total: int, shown: int, what: str) -> Markup | None:
    note = cut_note(total, shown, what)
    return el("p", note, class_="note") if note else None


def _figure(stats: Stats, figure: str) -> float | None:
    value: float | None = getattr(stats, figure)
    return value
