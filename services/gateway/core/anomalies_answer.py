"""detect_anomalies: the detector's findings as an answer. Pure. Its words are in `anomalies_text`."""

from __future__ import annotations

from typing import Final

from services.gateway.core.anomalies_text import anomalies_text
from services.gateway.core.arguments import DEFAULT_LIMIT, FULL_LIMIT, DetectAnomalies
from services.gateway.core.known_names import Known
from services.gateway.core.paging import Place, page_note, paged
from services.gateway.core.ranges import LOOKBACKS_MS, Range
from services.gateway.core.shaping import (
    COMPACT_TEXT_CHARS,
    FULL_BUDGET_CHARS,
    TABLE_NAME_CHARS,
    Answer,
    Data,
    begun,
    fit,
    fit_told,
    harmless,
    when,
    whole_number,
)
from shared.names import shown
from shared.timespan import iso

_SEVERITY_ORDER: Final = {"critical": 0, "warning": 1, "info": 2}
_COMPACT_KEYS: Final = ("timestamp", "mcpServer", "toolName", "anomalyType", "severity", "details", "recommendations")
#: Of a row that tells the least: the figures of the seed's object.
_LEAN_DETAILS: Final = ("currentValue", "expectedRange", "deviation", "confidence", "method", "unit", "usual", "kind")
_COMPACT_DETAILS: Final = (*_LEAN_DETAILS, "metric", "direction")
#: What a default answer leaves out of the coverage: said by its range, or of no use to a reader.
_COVERAGE_IN_FULL: Final = ("startMs", "endMs", "sinceMs", "callsOneByOne", "callsByMinutes", "seriesExact")
#: Characters of JSON that a default answer's rows may take: there is little beside them.
ROWS_CHARS: Final = 3_400
#: An anomaly that was not seen for so long is not said to be going on.
QUIET_MS: Final = 30 * 60_000
#: Characters of an anomaly's sentence and of an incident's cause; the latter in a default answer; incidents that it names,
#: and servers of each.
SENTENCE_CHARS: Final = 400
CAUSE_CHARS: Final = 240
COMPACT_INCIDENTS: Final = 3
NAMED_SERVERS: Final = 5


def anomalies_request(arguments: DetectAnomalies, found: Range, place: Place) -> Data:
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
    if place.offset:
        request["offset"] = place.offset
    optional = {"mcpServer": arguments.mcp_server, "toolName": arguments.tool_name}
    return request | {name: value for name, value in optional.items() if value is not None}


def anomalies_answer(
    arguments: DetectAnomalies, found: Range, reply: Data, known: Known | None, place: Place
) -> Answer:
    """The answer; `known` is given when nothing was found, and tells no anomaly from no data."""
    full = arguments.detail == "full"
    ranked = sorted(
        (one for one in reply.get("anomalies", []) if isinstance(one, dict)),
        key=lambda one: _SEVERITY_ORDER.get(str(one.get("severity")), 3),
    )
    budget = FULL_BUDGET_CHARS if full or arguments.limit is not None else ROWS_CHARS
    whole = [(_whole(one) if full else _anomaly(one)) | _quiet(one, found.end_ms) for one in ranked]
    fitted = fit(whole, budget) if full else fit_told(whole, [_lean(row) for row in whole], budget)
    summary = _summary(reply.get("summary"), len(ranked), None if full else COMPACT_INCIDENTS)
    coverage: Data = harmless(reply.get("coverage") or {})
    data: Data = {
        "anomalies": fitted.rows,
        "summary": summary,
        "range": found.echo(),
        "method": arguments.method,
        "sensitivity": arguments.sensitivity,
        "coverage": coverage if full else {k: v for k, v in coverage.items() if k not in _COVERAGE_IN_FULL},
        **paged(place, len(fitted.rows), summary.get("rows") or summary["total"]),
    }
    if known is not None:
        data["message"] = _nothing(found, known, data["coverage"])
    narrower = "narrow by mcpServer or toolName"
    note = page_note(place, data, len(fitted.rows), fitted=fitted.cut > 0, narrower=narrower)
    return Answer(anomalies_text(arguments, data, note), data)


def _whole(raw: Data) -> Data:
    whole: Data = harmless(raw) | _remarks(raw)
    for name in ("startTs", "endTs", "peakTs", "lastSeenTs"):
        if name in whole:
            whole[name] = when(raw.get(name))
    return whole


def _anomaly(raw: Data) -> Data:
    kept: Data = harmless({key: raw.get(key) for key in _COMPACT_KEYS}, COMPACT_TEXT_CHARS)
    details = kept.get("details") or {}
    kept["details"] = {name: details[name] for name in _COMPACT_DETAILS if name in details}
    kept["recommendations"] = (kept.get("recommendations") or [])[:1]
    remarks = _remarks(raw)
    if "incident" in remarks:
        remarks["incident"] = {name: remarks["incident"].get(name) for name in ("id", "role")}
    return kept | remarks | _course(raw)


def _lean(whole: Data) -> Data:
    """A row without sentence and advice, which `detail="full"` and `perfmon explain` have."""
    row = {name: value for name, value in whole.items() if name not in {"summary", "incident"}}
    details = {name: row["details"][name] for name in _LEAN_DETAILS if name in row["details"]}
    return row | {"details": details, "recommendations": []}


def _course(raw: Data) -> Data:
    """Until when, of an event; of one that stands for several of its tool how many and the last."""
    if "events" in raw:
        found: Data = harmless({name: raw.get(name) for name in ("events", "expectedByChance")})
        return found | {"lastEventTs": when(raw.get("lastEventTs"))}
    if "endTs" not in raw:
        return {}
    return {"endTs": when(raw.get("endTs"))} | ({"ended": shown(str(raw["ended"]))} if raw.get("ended") else {})


def _quiet(raw: Data, end_ms: int) -> Data:
    """When it was last seen, of an anomaly that is not surely over and was not seen for long; it is not said to be going on."""
    seen = raw.get("lastSeenTs")
    quiet = "endTs" in raw and raw["endTs"] is None and isinstance(seen, int) and end_ms - seen >= QUIET_MS
    # That no calls come is seen as long as none do.
    return {"quietSince": when(seen)} if quiet and raw.get("anomalyType") != "throughput_change" else {}


def _remarks(raw: Data) -> Data:
    """The anomaly's id, sentence and incident, as far as the detector gives them."""
    told: Data = {"id": shown(str(raw["id"]))} if raw.get("id") else {}
    if raw.get("summary"):
        told["summary"] = begun(str(raw["summary"]), SENTENCE_CHARS)
    if isinstance(raw.get("incident"), dict) and raw["incident"].get("id"):
        told["incident"] = harmless(raw["incident"], SENTENCE_CHARS)
    return told


def _summary(raw: object, rows: int, incidents: int | None) -> Data:
    found = raw if isinstance(raw, dict) else {}
    summary: Data = {
        "total": int(found.get("total") or rows),
        "bySeverity": harmless(found.get("bySeverity") or {}),
        "byType": harmless(found.get("byType") or {}),
    }
    for name in ("rows", "autoFinds", "expectedByChance"):
        if isinstance(found.get(name), int):
            summary[name] = found[name]
    if isinstance(found.get("limit"), str):
        summary["limit"] = shown(found["limit"])
    if isinstance(found.get("incidents"), list):
        known = [one for one in found["incidents"] if isinstance(one, dict) and _tells_more(one)]
        summary["incidents"] = [
            _incident(one, SENTENCE_CHARS if incidents is None else CAUSE_CHARS) for one in known[:incidents]
        ]
    return summary


def _tells_more(incident: Data) -> bool:
    """Whether it says more than its anomaly: it has several, or a likely cause."""
    return whole_number(incident.get("members")) > 1 or bool(incident.get("cause"))


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
    short, tools = whole_number(coverage.get("seriesWithTooFewCalls")), whole_number(coverage.get("series"))
    if tools and short == tools:
        return "Too little history to know what is usual, so nothing can be called abnormal yet."
    return "No anomaly found in this window."
