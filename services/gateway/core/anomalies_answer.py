"""detect_anomalies: the detector's findings as an answer. Pure."""

from __future__ import annotations

import json
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
    TABLE_NAME_CHARS,
    Answer,
    Data,
    counted,
    cut_note,
    fenced,
    fit,
    harmless,
    printed,
    table,
    when,
)
from shared.names import shown
from shared.timespan import iso

#: Anomalies that a full answer's text explains, pieces of advice each, and characters of evidence.
EXPLAINED: Final = 20
ADVICE_EACH: Final = 3
EVIDENCE_CHARS: Final = 400
_SEVERITY_ORDER: Final = {"critical": 0, "warning": 1, "info": 2}
_COMPACT_KEYS: Final = ("timestamp", "mcpServer", "toolName", "anomalyType", "severity", "details", "recommendations")
_COMPACT_DETAILS: Final = (
    "currentValue",
    "expectedRange",
    "deviation",
    "confidence",
    "method",
    "metric",
    "unit",
    "direction",
)
#: Characters of an anomaly's sentence and of an incident's cause; the latter in a default answer; incidents that it names,
#: and servers of each.
SENTENCE_CHARS: Final = 400
CAUSE_CHARS: Final = 200
COMPACT_INCIDENTS: Final = 3
NAMED_SERVERS: Final = 5


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
    summary = _summary(reply.get("summary"), rows, None if full else COMPACT_INCIDENTS)
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
        data["message"] = _nothing(found, known, data["coverage"])
    return Answer(_text(arguments, data, chosen=chosen), data)


def _anomaly(raw: Data, *, full: bool) -> Data:
    if full:
        whole: Data = harmless(raw) | _remarks(raw)
        for name in ("startTs", "endTs", "peakTs"):
            if name in whole:
                whole[name] = when(raw.get(name))
        return whole
    kept: Data = harmless({key: raw.get(key) for key in _COMPACT_KEYS}, COMPACT_TEXT_CHARS)
    details = kept.get("details") or {}
    kept["details"] = {name: details[name] for name in _COMPACT_DETAILS if name in details}
    kept["recommendations"] = (kept.get("recommendations") or [])[:1]
    remarks = _remarks(raw)
    if "incident" in remarks:
        remarks["incident"] = {name: remarks["incident"].get(name) for name in ("id", "role")}
    return kept | remarks


def _remarks(raw: Data) -> Data:
    """The anomaly's id, sentence and incident, as far as the detector gives them."""
    told: Data = {"id": shown(str(raw["id"]))} if raw.get("id") else {}
    if raw.get("summary"):
        told["summary"] = shown(str(raw["summary"]), SENTENCE_CHARS)
    if isinstance(raw.get("incident"), dict):
        told["incident"] = harmless(raw["incident"], SENTENCE_CHARS)
    return told


def _summary(raw: object, rows: list[Data], incidents: int | None) -> Data:
    found = raw if isinstance(raw, dict) else {}
    summary: Data = {
        "total": int(found.get("total") or len(rows)),
        "bySeverity": harmless(found.get("bySeverity") or {}),
        "byType": harmless(found.get("byType") or {}),
    }
    if isinstance(found.get("autoFinds"), int):
        summary["autoFinds"] = found["autoFinds"]
    if isinstance(found.get("incidents"), list):
        known = [one for one in found["incidents"] if isinstance(one, dict)]
        summary["incidents"] = [
            _incident(one, SENTENCE_CHARS if incidents is None else CAUSE_CHARS) for one in known[:incidents]
        ]
    return summary


def _incident(raw: Data, cause_chars: int) -> Data:
    told: Data = harmless({**raw, "servers": []}, cause_chars)
    servers = raw.get("servers")
    known = [shown(str(server), TABLE_NAME_CHARS) for server in servers] if isinstance(servers, list) else []
    told["servers"] = known[:NAMED_SERVERS] + (["…"] if len(known) > NAMED_SERVERS else [])
    return told | {name: when(raw[name]) for name in ("since", "until") if name in raw}


def _nothing(found: Range, known: Known, coverage: Data) -> str:
    if known.last_ms is None:
        return "No data: no metric has been recorded yet, so there is nothing to judge."
    if known.last_ms < found.start_ms:
        return f"No data in the lookback window; the last metric is of {iso(known.last_ms)}."
    short, tools = _whole(coverage.get("seriesWithTooFewCalls")), _whole(coverage.get("series"))
    if tools and short == tools:
        return "Too little history to know what is usual, so nothing can be called abnormal yet."
    return "No anomaly found in this window."


def _looked_at(arguments: DetectAnomalies, data: Data) -> str:
    """What could be seen: calls and tools, since when, and whether that is enough to judge by."""
    coverage = data["coverage"]
    calls, tools, short = (_whole(coverage.get(name)) for name in ("calls", "series", "seriesWithTooFewCalls"))
    if not tools:
        return ""
    since = str(coverage.get("since") or data["range"]["startTime"])
    text = f" Looked at {counted(calls, 'call')} of {counted(tools, 'tool')} since {since[:16]}Z"
    needed = _whole(coverage.get("minCalls"))
    if short:
        who = (
            "it has"
            if tools == 1
            else "all have"
            if short == tools
            else f"{short:,} of them {'has' if short == 1 else 'have'}"
        )
        text += f"; {who} too little history to know what is usual ({arguments.method} needs {needed} calls a tool)"
    if part := _whole(coverage.get("seriesSeenInPart")):
        text += f"; {counted(part, 'tool')} could be seen only in part"
    return f"{text}."


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(arguments: DetectAnomalies, data: Data, *, chosen: bool) -> str:
    span = f"{data['range']['startTime']} to {data['range']['endTime']}"
    how = f"method {arguments.method}, sensitivity {arguments.sensitivity}"
    seen = _looked_at(arguments, data)
    if not data["anomalies"]:
        return f"{data.get('message', 'No anomaly found.')}{seen}{_auto_finds(data)} Range {span}; {how}."
    full = arguments.detail == "full"
    total = data["summary"]["total"]
    head = f"{counted(total, 'anomaly', 'anomalies')}, {span}; {how}.{seen}{' Worst first:' if total != 1 else ''}"
    header = ["severity", "since", "type", "value", "expected", *(_MORE if full else ()), "server", "tool"]
    rows = [_line(one, full=full) for one in data["anomalies"]]
    body = table(header, rows, FULL_TABLE_CHARS if chosen else COMPACT_TABLE_CHARS)
    tail = cut_note(data["cut"], "anomaly", "narrow by mcpServer, or raise limit", "anomalies")
    explained = _explained(data["anomalies"]) if full else ""
    return f"{head}\n{body}{_incidents(data['summary'])}{explained}{tail}"


def _auto_finds(data: Data) -> str:
    """A named method that finds nothing is no clean bill of health."""
    found = _whole(data["summary"].get("autoFinds"))
    return f" The method auto finds {counted(found, 'anomaly', 'anomalies')} in it." if found else ""


def _incidents(summary: Data) -> str:
    """What belongs together, and the likely cause: those of several anomalies, or of which a cause is likely."""
    lines = []
    for one in summary.get("incidents") or []:
        members, cause = _whole(one.get("members")), one.get("cause")
        if members < 2 and not cause:
            continue
        servers = ", ".join(str(server) for server in one.get("servers") or [])
        told = f"; likely cause ({printed(one.get('confidence'))}): {cause}" if cause else "; no cause stands out"
        since = str(one.get("since"))[:16]
        lines.append(f"{one.get('id')}: {counted(members, 'anomaly', 'anomalies')} of {servers} since {since}Z{told}")
    return f"\nWhat belongs together:\n{fenced(chr(10).join(lines))}" if lines else ""


_MORE: Final = ("until", "off by", "sure", "method")


def _line(one: Data, *, full: bool) -> list[str]:
    details: dict[str, Any] = one.get("details") or {}
    unit = str(details.get("unit") or "")
    more = [
        "going on" if one.get("endTs") is None else str(one["endTs"])[:16],
        str(details.get("deviation") or "–"),
        printed(details.get("confidence")),
        str(details.get("method") or "–"),
    ]
    return [
        str(one.get("severity")),
        str(one.get("timestamp"))[:16],
        str(one.get("anomalyType")),
        printed(details.get("currentValue"), unit),
        str(details.get("expectedRange", "–")),
        *(more if full else ()),
        str(one.get("mcpServer")),
        str(one.get("toolName")),
    ]


def _explained(anomalies: list[Data]) -> str:
    """What to do about the worst, and why we think so: the detector's words and evidence."""
    lines: list[str] = []
    for place, one in enumerate(anomalies[:EXPLAINED], 1):
        evidence = {**(one.get("evidence") or {}), **((one.get("details") or {}).get("evidence") or {})}
        said = f" - {one['summary']}" if one.get("summary") else ""
        lines.append(f"{place}. {one.get('mcpServer')} / {one.get('toolName')}: {one.get('anomalyType')}{said}")
        lines += [f"   do: {advice}" for advice in (one.get("recommendations") or [])[:ADVICE_EACH]]
        if evidence:
            lines.append(f"   evidence: {shown(json.dumps(evidence, ensure_ascii=False), EVIDENCE_CHARS)}")
    return f"\nWhat to do, and why:\n{fenced(chr(10).join(lines))}"
