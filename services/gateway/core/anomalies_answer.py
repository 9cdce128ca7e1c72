"""detect_anomalies: the detector's findings as an answer. Pure."""

from __future__ import annotations

from typing import Any, Final

from services.gateway.core.arguments import DEFAULT_LIMIT, FULL_LIMIT, DetectAnomalies
from services.gateway.core.known_names import Known
from services.gateway.core.ranges import LOOKBACKS_MS, Range
from services.gateway.core.shaping import (
    COMPACT_BUDGET_CHARS,
    COMPACT_TABLE_CHARS,
    COMPACT_TEXT_CHARS,
    FULL_BUDGET_CHARS,
    FULL_TABLE_CHARS,
    Answer,
    Data,
    fit,
    harmless,
    printed,
    table,
    when,
)
from shared.timespan import iso

_SEVERITY_ORDER: Final = {"critical": 0, "warning": 1, "info": 2}
_COMPACT_KEYS: Final = ("timestamp", "mcpServer", "toolName", "anomalyType", "severity", "details", "recommendations")
_COMPACT_DETAILS: Final = ("currentValue", "expectedRange", "deviation", "confidence", "method", "metric", "unit")


def anomalies_request(arguments: DetectAnomalies, found: Range) -> Data:
    """The parameters of the detector's `anomalies`."""
    full = arguments.detail == "full"
    request: Data = {
        "lookbackMs": LOOKBACKS_MS[arguments.lookback_window],
        "endMs": found.end_ms,
        "sensitivity": arguments.sensitivity,
        "method": arguments.method,
        "limit": arguments.limit or (FULL_LIMIT if full else DEFAULT_LIMIT),
        "detail": "full" if full else "compact",
    }
    optional = {"mcpServer": arguments.mcp_server, "toolName": arguments.tool_name}
    return request | {name: value for name, value in optional.items() if value is not None}


def anomalies_answer(arguments: DetectAnomalies, found: Range, reply: Data, known: Known | None) -> Answer:
    """The answer; `known` is given when nothing was found, and tells no anomaly from no data."""
    full = arguments.detail == "full"
    ranked = sorted(
        (one for one in reply.get("anomalies", []) if isinstance(one, dict)),
        key=lambda one: _SEVERITY_ORDER.get(str(one.get("severity")), 3),
    )
    chosen = full or arguments.limit is not None
    rows = [_anomaly(one, full=full) for one in ranked]
    fitted = fit(rows, FULL_BUDGET_CHARS if chosen else COMPACT_BUDGET_CHARS)
    summary = _summary(reply.get("summary"), rows)
    data: Data = {
        "anomalies": fitted.rows,
        "summary": summary,
        "range": found.echo(),
        "method": arguments.method,
        "sensitivity": arguments.sensitivity,
        "coverage": harmless(reply.get("coverage") or {}),
        "cut": max(summary["total"] - len(fitted.rows), 0),
    }
    if known is not None:
        data["message"] = _nothing(found, known)
    return Answer(_text(arguments, data, chosen=chosen), data)


def _anomaly(raw: Data, *, full: bool) -> Data:
    if full:
        whole: Data = harmless(raw)
        for name in ("startTs", "endTs", "peakTs"):
            if name in whole:
                whole[name] = when(raw.get(name))
        return whole
    kept: Data = harmless({key: raw.get(key) for key in _COMPACT_KEYS}, COMPACT_TEXT_CHARS)
    details = kept.get("details") or {}
    kept["details"] = {name: details[name] for name in _COMPACT_DETAILS if name in details}
    kept["recommendations"] = (kept.get("recommendations") or [])[:1]
    return kept


def _summary(raw: object, rows: list[Data]) -> Data:
    found = raw if isinstance(raw, dict) else {}
    return {
        "total": int(found.get("total") or len(rows)),
        "bySeverity": harmless(found.get("bySeverity") or {}),
        "byType": harmless(found.get("byType") or {}),
    }


def _nothing(found: Range, known: Known) -> str:
    if known.last_ms is None:
        return "No data: no metric has been recorded yet, so there is nothing to judge."
    if known.last_ms < found.start_ms:
        return f"No data in the lookback window; the last metric is of {iso(known.last_ms)}."
    return "No anomaly found in this window."


def _text(arguments: DetectAnomalies, data: Data, *, chosen: bool) -> str:
    span = f"{data['range']['startTime']} to {data['range']['endTime']}"
    how = f"method {arguments.method}, sensitivity {arguments.sensitivity}"
    if not data["anomalies"]:
        return f"{data.get('message', 'No anomaly found.')} Looked at {span}; {how}."
    head = f"{data['summary']['total']} anomalies, {span}; {how}. Worst first:"
    rows = [_line(one) for one in data["anomalies"]]
    body = table(
        ["severity", "since", "type", "value", "expected", "server", "tool"],
        rows,
        FULL_TABLE_CHARS if chosen else COMPACT_TABLE_CHARS,
    )
    tail = f"\n{data['cut']} were cut: narrow by mcpServer, or raise limit." if data["cut"] else ""
    return f"{head}\n{body}{tail}"


def _line(one: Data) -> list[str]:
    details: dict[str, Any] = one.get("details") or {}
    unit = str(details.get("unit") or "")
    return [
        str(one.get("severity")),
        str(one.get("timestamp"))[:16],
        str(one.get("anomalyType")),
        printed(details.get("currentValue"), unit),
        str(details.get("expectedRange", "–")),
        str(one.get("mcpServer")),
        str(one.get("toolName")),
    ]
