"""Sentences that all formats of a report share. Ours alone: nothing untrusted passes through here."""

from __future__ import annotations

from typing import Final

from services.reporter.core.anomaly_words import UNITS
from services.reporter.core.answers import Alert
from services.reporter.core.figures import DASH, clock_text, count_text, counted, minute_text, with_unit
from services.reporter.core.health import Health
from services.reporter.core.model import Range, Report
from shared.conditions import told_apart
from shared.held_back import held_back
from shared.timespan import MINUTE_MS, iso_seconds, span_text

#: A value that was seen so recently is that of now: windows are five minutes long unless they are set.
CURRENT_MS: Final = 5 * MINUTE_MS
#: The units of what alerts are about.
ALERT_UNITS: Final = {
    "response_time": "ms",
    "error_rate": "%",
    "cpu": "%",
    "memory": "MB",
    "disk_io": "KB",
    "throughput": "calls/min",
}
STATUS_WORDS: Final = {
    "healthy": "healthy",
    "degraded": "degraded",
    "critical": "critical",
    "no_data": "no data",
    "unknown": "not known",
}


def nothing_words(report: Report) -> str:
    """What no recommendation means, and what it does not."""
    if not report.has_calls:
        return "None: without calls there is nothing to go by."
    if report.health.few_calls and report.summary is not None:
        calls = report.summary.count
        return f"None: {counted(calls, 'call')} {'is' if calls == 1 else 'are'} too few to judge by."
    opened = report.alerts.active_total
    beside = f" beside {counted(opened, 'open alert')}" if opened else ""
    checked = "no tool fails beyond its threshold, got slower than before or is over its critical threshold"
    judged = ", and no anomaly asks for attention" if report.anomalies is not None else "; anomalies are not known"
    return f"Nothing stands out{beside}: {checked}{judged}."


def range_words(span: Range) -> str:
    """`2025-10-31T13:00:00Z to 2025-10-31T14:00:00Z (1 h, UTC)`."""
    return f"{iso_seconds(span.start_ms)} to {iso_seconds(span.end_ms)} ({span_text(span.span_ms)}, UTC)"


def short_range(span: Range) -> str:
    """`2025-10-31 13:00 – 14:00 UTC`, with the second date when it differs."""
    start, end = minute_text(span.start_ms)[:16], minute_text(span.end_ms)[:16]
    return f"{start} – {end[11:] if start[:10] == end[:10] else end} UTC"


def health_words(health: Health) -> str:
    """`87, degraded`, `no data`."""
    word = STATUS_WORDS[health.status]
    if health.score is None:
        return word
    return f"{health.score}, {word}{' (few calls)' if health.few_calls else ''}"


def cut_note(total: int, shown: int, what: str) -> str:
    """`Shown: 10 of 34 tools.`; empty when nothing was cut."""
    return f"Shown: {shown} of {count_text(total)} {what}." if total > shown else ""


def before_words(span: Range) -> str:
    """What `before` stands for beside the figures of a range."""
    return f"Before: the {span_text(span.before.span_ms)} before this range."


def messages_note(report: Report) -> str:
    """`Messages of 5 of the 12 tools that failed.`; empty when those of all of them are told."""
    told = len({(group.server, group.tool) for group in report.errors})
    failed = 0 if report.by_errors is None else report.by_errors.total
    return f"Messages of {told} of the {count_text(failed)} tools that failed." if failed > told else ""


def held_back_words(report: Report) -> str:
    """How many alerts were held back, by reason, which is counted for all servers together; empty when none was."""
    if not report.alerts.suppressed:
        return ""
    return f"Held back{' of all servers' if report.server else ''}: {held_back(report.alerts.suppressed)}."


def alert_value(alert: Alert) -> str:
    """`7.5 % (threshold 5 %)`, `5.2 s (threshold 500 ms)`; of an anomaly `742 MB (usual up to 227 MB)`."""
    if alert.value is None:
        return DASH
    unit = alert_unit(alert)
    limit = f" ({_limit_words(alert, unit)})" if alert.threshold is not None else ""
    apart = told_apart(alert.value, alert.threshold, lambda value: with_unit(value, unit))
    return (with_unit(alert.value, unit) if apart is None else f"{apart} {unit}".rstrip()) + limit


def _limit_words(alert: Alert, unit: str) -> str:
    limit = with_unit(alert.threshold, unit)
    if not alert.of_anomaly:
        return f"threshold {limit}"
    if not alert.usual_known:
        return f"usual not known; of a tool that works no more than {limit} fail"
    return f"usual {'from' if (alert.value or 0.0) < (alert.threshold or 0.0) else 'up to'} {limit}"


def alert_when(alert: Alert, now_ms: int) -> str:
    """`2025-10-31 13:05 UTC`, with when the value was seen unless that is now."""
    began = minute_text(alert.raised_ms)
    if alert.last_true_ms is None or now_ms - alert.last_true_ms < CURRENT_MS:
        return began
    if minute_text(alert.last_true_ms) == began:
        return began
    seen = clock_text(alert.last_true_ms, alert.raised_ms or now_ms)
    return f"{began}, {'value of' if alert.of_anomaly else 'last true'} {seen}"


def alert_unit(alert: Alert) -> str:
    """The unit of an alert's value: its own, when it is one we know, else that of the metric its condition is about."""
    if alert.unit in UNITS:
        return alert.unit
    return next((unit for metric, unit in ALERT_UNITS.items() if alert.condition.startswith(metric)), "")


def source_words(source: str) -> str:
    """Which rollups answered, and how exact their percentiles are."""
    if source == "raw":
        return "raw calls (exact)"
    names = " and ".join("raw calls" if one == "raw" else one for one in source.split("+") if one)
    return f"{names} rollups (percentiles within 1 %)" if names else "rollups (percentiles within 1 %)"
