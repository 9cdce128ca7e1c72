"""Alerts, thresholds and summaries as people and files see them: the seed's objects plus fields.

Times are ISO-8601 with ms; `ts` repeats the alert's own time as epoch ms for programs. Pure spelling; decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from services.alerter.core.metrics import KINDS, Aggregation, Metric
from services.alerter.core.model import Alert, Reason, Status
from services.alerter.core.statement import judged_words
from services.alerter.core.support import FAILURES_MIN
from services.alerter.core.suppression import Held, Suppression
from services.alerter.core.thresholds import Scope, Threshold
from shared.conditions import spaced
from shared.names import shown
from shared.timespan import iso

#: Held-back conditions in one answer.
MAX_HELD_SHOWN: Final = 20
#: `resolvedReason` of an alert whose condition stayed clear.
CLEARED: Final = "cleared"


def alert_view(alert: Alert) -> dict[str, Any]:
    """The seed's alert, then ours."""
    candidate, taken, earlier = alert.candidate, alert.acknowledgement, alert.previous_acknowledgement
    return {
        "alertId": alert.alert_id,
        "timestamp": iso(alert.ts_ms),
        "mcpServer": candidate.fingerprint.server,
        "toolName": candidate.fingerprint.tool,
        "severity": alert.severity.value,
        "condition": candidate.text,
        "currentValue": candidate.value,
        "threshold": candidate.threshold,
        "status": alert.status.value,
        "acknowledgedBy": taken.by if taken else None,
        "notes": taken.notes if taken else None,
        "ts": alert.ts_ms,
        "metric": candidate.fingerprint.condition,
        "unit": candidate.unit,
        "judgedBy": judged_words(alert),
        "windowMs": candidate.window_ms,
        "calls": candidate.calls,
        "failures": candidate.failures,
        "peakValue": alert.peak_value,
        "lastTrue": iso(alert.last_true_ms),
        "created": iso(alert.created_ms),
        "acknowledgedAt": iso(taken.at_ms) if taken else None,
        "previouslyAcknowledgedBy": earlier.by if earlier else None,
        "upgradedAt": _time(alert.upgraded_ms),
        "escalatedAt": _time(alert.escalated_ms),
        "resolvedAt": _time(alert.resolved_ms),
        "resolvedReason": _resolved_reason(alert),
        "thresholdId": None if candidate.anomaly_id else candidate.source_id,
        "anomalyId": candidate.anomaly_id,
        "usualKnown": candidate.usual_known if candidate.anomaly_id else None,
        "anomalyIds": list(alert.anomaly_ids),
    }


def active_view(alerts: Iterable[Alert], now_ms: int) -> dict[str, Any]:
    """`alerts/active-alerts.json`: the open alerts."""
    return {"lastUpdated": iso(now_ms), "alerts": [alert_view(alert) for alert in alerts]}


def threshold_view(threshold: Threshold) -> dict[str, Any]:
    """A threshold with the fields that set it, as `threshold_input` reads them, and its id, unit and time."""
    metric, severity, scope = threshold.key
    whole_window = threshold.window_ms is not None
    return {
        "thresholdId": threshold.threshold_id,
        "metric": metric.value,
        "threshold": threshold.value,
        "unit": KINDS[metric].unit,
        "severity": severity.value,
        "mcpServer": scope.server,
        "toolName": scope.tool,
        "enabled": threshold.enabled,
        "aggregation": threshold.aggregation.value,
        "windowMs": threshold.window_ms,
        # None where failures count too (an error rate's default): setting it asks for calls alone
        "minCalls": threshold.min_calls if whole_window and threshold.min_failures is None else None,
        "set": _time(threshold.set_ms),
    }


def threshold_meaning(threshold: Threshold) -> str:
    """What a threshold does, in words."""
    metric, severity, scope = threshold.key
    where = {
        (True, True): "this tool of this server",
        (True, False): "any tool of this server",
        (False, True): "this tool of any server",
        (False, False): "any tool of any server",
    }[scope.server is not None, scope.tool is not None]
    if not threshold.enabled:
        return f"no {severity} alert about {metric} for {where}"
    condition = spaced(threshold.condition)
    if threshold.aggregation is Aggregation.CALL:
        return f"a {severity} alert when one call of {where} has {condition}"
    kind = "" if metric is Metric.ERROR_RATE else f"{threshold.aggregation} "
    minutes = f"{(threshold.window_ms or 0) / 60_000:g} min"
    told = f"a {severity} alert when {where} has {kind}{condition} over {minutes}, from {threshold.min_calls} calls"
    if threshold.min_failures is None:
        return told
    surely = f"fewer than {FAILURES_MIN} failures count only where the rate is surely above it"
    return f"{told} or {threshold.min_failures} failures on; {surely}"


def summary_view(alerts: Iterable[Alert], suppression: Suppression) -> dict[str, Any]:
    """The summary of open alerts, and what was held back in the last 24 h by reason."""
    opened = [alert for alert in alerts if alert.is_open]
    return {
        "totalActive": len(opened),
        "bySeverity": dict(Counter(alert.severity.value for alert in opened)),
        "byMcp": dict(Counter(alert.fingerprint.server for alert in opened)),
        "byStatus": dict(Counter(alert.status.value for alert in opened)),
        "suppressed": suppression.totals(),
    }


def held_view(held: Held) -> dict[str, Any]:
    """A condition that would be an alert and is held back."""
    candidate = held.candidate
    return {
        "mcpServer": candidate.fingerprint.server,
        "toolName": candidate.fingerprint.tool,
        "severity": candidate.severity.value,
        "condition": candidate.text,
        "currentValue": candidate.value,
        "reason": held.reason.value,
        "since": iso(held.first_ms),
        "lastTrue": iso(held.last_ms),
    }


def worst_first(alert: Alert) -> tuple[bool, int, int]:
    """Sorts critical ones first, then those nobody acknowledged, then the newest."""
    order = (Status.ESCALATED, Status.ACTIVE, Status.ACKNOWLEDGED, Status.RESOLVED)
    return alert.severity.value != "critical", order.index(alert.status), -alert.active_since_ms


def threshold_words(other: Threshold, mine: Threshold, relation: str) -> str:
    """Another threshold by its name and place, and how it stands to the one that was set. Names are untrusted: escaped."""
    metric, severity, scope = other.key
    owner = "the default" if other.set_ms is None else "a set"
    state = spaced(other.condition) if other.enabled else f"{metric} (switched off)"
    return f"{owner} {severity} threshold {state} for {_place(scope)}: {_standing(other, mine, relation)}"


def _place(scope: Scope) -> str:
    parts = [f"server '{shown(scope.server, 80)}'"] if scope.server is not None else []
    parts += [f"tool '{shown(scope.tool, 80)}'"] if scope.tool is not None else []
    return ", ".join(parts) or "everything"


def _standing(other: Threshold, mine: Threshold, relation: str) -> str:
    if other.key.severity is not mine.key.severity:
        return "of the other severity, so it holds as well" if other.enabled else "of the other severity"
    if relation == "narrower":
        return "holds there instead of the one you set"
    if relation == "wider":
        return "no longer holds where you set this one"
    return "where both apply, the one that names the server holds"


def _resolved_reason(alert: Alert) -> str | None:
    if alert.is_open:
        return None
    return Reason.THRESHOLD_CHANGED.value if alert.resolved_by_change else CLEARED


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)
