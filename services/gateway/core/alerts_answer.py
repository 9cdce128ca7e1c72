"""Thresholds and alerts as answers. Pure."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.core.alerts_text import UNITS, alerts_text, related_text
from services.gateway.core.arguments import (
    DEFAULT_LIMIT,
    FULL_LIMIT,
    AcknowledgeAlert,
    GetActiveAlerts,
    SetAlertThreshold,
)
from services.gateway.core.known_names import Known
from services.gateway.core.paging import Place, page_note, paged
from services.gateway.core.refusals import quoted
from services.gateway.core.shaping import (
    COMPACT_BUDGET_CHARS,
    COMPACT_TEXT_CHARS,
    FULL_BUDGET_CHARS,
    Answer,
    Data,
    counted,
    fit,
    harmless,
    printed,
    whole_number,
)
from shared.conditions import spaced
from shared.names import shown
from shared.timespan import iso

_SEVERITY_ORDER: Final = {"critical": 0, "warning": 1}
_COMPACT_KEYS: Final = (
    "alertId",
    "timestamp",
    "mcpServer",
    "toolName",
    "severity",
    "condition",
    "currentValue",
    "threshold",
    "status",
    "acknowledgedBy",
)
#: Kept where they are known: an alert from an anomaly is judged by other means.
_COMPACT_IF_KNOWN: Final = ("unit", "judgedBy", "lastTrue", "anomalyIds")


def threshold_request(arguments: SetAlertThreshold, window_ms: int | None) -> Data:
    """The parameters of the alerter's `thresholds.set`."""
    request: Data = {
        "metric": arguments.metric,
        "threshold": arguments.threshold,
        "severity": arguments.severity,
        "enabled": arguments.enabled,
    }
    optional = {
        "mcpServer": arguments.mcp_server,
        "toolName": arguments.tool_name,
        "aggregation": arguments.aggregation,
        "windowMs": window_ms,
        "minCalls": arguments.min_calls,
    }
    return request | {name: value for name, value in optional.items() if value is not None}


def threshold_answer(arguments: SetAlertThreshold, reply: Data, note: str | None) -> Answer:
    """The answer once the threshold is on disk."""
    data: Data = {
        "success": True,
        "thresholdId": str(reply.get("thresholdId", "")),
        "config": harmless(reply.get("config") or {}),
        "alsoApply": harmless(list(reply.get("alsoApply") or [])[:DEFAULT_LIMIT]),
        "openAlerts": harmless(list(reply.get("openAlerts") or [])[:DEFAULT_LIMIT]),
        "resolvedAlerts": harmless(list(reply.get("resolvedAlerts") or [])[:DEFAULT_LIMIT]),
    }
    if note is not None:
        data["message"] = note
    scope = " / ".join(quoted(name) for name in (arguments.mcp_server, arguments.tool_name) if name) or "every tool"
    value = printed(arguments.threshold, UNITS[arguments.metric])
    meaning = spaced(shown(str(reply.get("meaning") or f"{arguments.severity} when {arguments.metric} > {value}"), 400))
    text = f"Threshold {'set' if arguments.enabled else 'switched off'} for {scope}: {meaning}."
    ended = [quoted(alert_id) for alert_id in data["resolvedAlerts"]]
    if ended:
        text += f" {counted(len(ended), 'alert')} ended by this: {', '.join(ended)}."
    text += f" {note}" if note else ""
    return Answer(text + related_text(data["alsoApply"], len(reply.get("alsoApply") or [])), data)


def alerts_request(arguments: GetActiveAlerts, place: Place) -> Data:
    """The parameters of the alerter's `alerts.list`."""
    full = arguments.detail == "full"
    optional = {"severity": arguments.severity, "mcpServer": arguments.mcp_server, "status": arguments.status}
    request: Data = {"limit": place.offset + (arguments.limit or (FULL_LIMIT if full else DEFAULT_LIMIT))}
    return request | {name: value for name, value in optional.items() if value is not None}


def alerts_answer(arguments: GetActiveAlerts, reply: Data, known: Known | None, place: Place) -> Answer:
    """The answer; `known` is given when there is no alert, and tells quiet from no data."""
    full = arguments.detail == "full"
    ranked = sorted(
        (one for one in reply.get("alerts", []) if isinstance(one, dict)),
        key=lambda one: _SEVERITY_ORDER.get(str(one.get("severity")), 2),
    )
    rows = [_alert(one, full=full) for one in ranked[place.offset :]]
    chosen = full or arguments.limit is not None
    fitted = fit(rows, FULL_BUDGET_CHARS if chosen else COMPACT_BUDGET_CHARS)
    summary: Data = reply.get("summary") or {}
    total = int(reply.get("total") or len(ranked))
    data: Data = {
        "alerts": fitted.rows,
        "total": total,
        "summary": {
            "totalActive": int(summary.get("totalActive") or 0),
            "bySeverity": harmless(summary.get("bySeverity") or {}),
            "byMcp": _largest(harmless(summary.get("byMcp") or {})),
            "suppressed": harmless(summary.get("suppressed") or {}),
        },
        **paged(place, len(fitted.rows), total),
    }
    if full:
        data["heldBack"] = harmless(list(reply.get("heldBack") or []))
    if known is not None:
        opened = reply.get("openTotal", data["summary"]["totalActive"])
        data["message"] = _quiet(known, whole_number(opened), filtered=_filtered(arguments))
    narrower = "filter by severity or mcpServer"
    note = page_note(place, data, len(fitted.rows), fitted=fitted.cut > 0, narrower=narrower)
    return Answer(alerts_text(data, note, chosen=chosen, full=full, filtered=_filtered(arguments)), data)


def acknowledged_answer(arguments: AcknowledgeAlert, reply: Data) -> Answer:
    """The answer to an acknowledgement; the first one stays."""
    alert = _alert(reply.get("alert") or {}, full=True)
    already = bool(reply.get("alreadyAcknowledged"))
    data: Data = {"success": True, "alert": alert, "alreadyAcknowledged": already}
    name = quoted(arguments.alert_id)
    if already:
        first = quoted(alert.get("acknowledgedBy") or "someone")
        return Answer(f"Alert {name} was acknowledged by {first} before; that stays.", data)
    return Answer(f"Alert {name} is acknowledged by {quoted(arguments.acknowledged_by)}; it will not escalate.", data)


def _alert(raw: Data, *, full: bool) -> Data:
    if full:
        whole: Data = harmless(raw)
        return whole
    known = {key: raw[key] for key in _COMPACT_IF_KNOWN if raw.get(key) not in (None, [])}
    kept: Data = harmless({key: raw.get(key) for key in _COMPACT_KEYS} | known, COMPACT_TEXT_CHARS)
    return kept


def _largest(counted: dict[str, Any], keep: int = 10) -> dict[str, Any]:
    ranked = sorted(counted.items(), key=lambda item: -(item[1] if isinstance(item[1], int) else 0))
    return dict(ranked[:keep])


def _filtered(arguments: GetActiveAlerts) -> bool:
    return any((arguments.severity, arguments.mcp_server, arguments.status))


def _quiet(known: Known, opened: int, *, filtered: bool) -> str:
    if known.last_ms is None:
        return "No alerts, and no data either: no metric has been recorded yet."
    others = "no other is open" if not opened else f"{opened:,} {'other is' if opened == 1 else 'others are'} open"
    none = f"No open alert matches; {others}." if filtered else "No alert is open."
    return f"{none} Last metric: {iso(known.last_ms)}."
