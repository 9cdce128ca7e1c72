"""get_metrics: the aggregator's rollup as an answer. Pure."""

from __future__ import annotations

from typing import Final

from services.gateway.core.arguments import DEFAULT_LIMIT, FULL_LIMIT, GetMetrics
from services.gateway.core.known_names import Known
from services.gateway.core.paging import Place, page_note, paged
from services.gateway.core.ranges import Range
from services.gateway.core.shaping import (
    COMPACT_BUDGET_CHARS,
    COMPACT_TABLE_CHARS,
    FULL_BUDGET_CHARS,
    FULL_TABLE_CHARS,
    Answer,
    Data,
    counted,
    figure,
    fit,
    printed,
    table,
    when,
)
from shared.names import shown
from shared.timespan import iso

#: aggregation → the rollup's field, and the unit of its value.
FIELDS: Final = {
    "avg": ("avg", "ms"),
    "p50": ("p50", "ms"),
    "p95": ("p95", "ms"),
    "p99": ("p99", "ms"),
    "min": ("min", "ms"),
    "max": ("max", "ms"),
    "count": ("count", "calls"),
    "error_rate": ("errorRate", "%"),
}
_MORE: Final = ("avg", "p50", "p95", "p99", "min", "max", "errors", "errorRate", "cpu", "memory", "diskIO")
#: Their columns in a full answer's text.
_HEADS: Final = {
    **{name: f"{name} ms" for name in ("avg", "p50", "p95", "p99", "min", "max")},
    "errors": "errors",
    "errorRate": "err %",
    "cpu": "cpu %",
    "memory": "MB",
    "diskIO": "disk KB",
}


def rollup_request(arguments: GetMetrics, found: Range, after_seq: int | None, place: Place) -> Data:
    """The parameters of the aggregator's `rollup`."""
    request: Data = {
        "startMs": found.start_ms,
        "endMs": found.end_ms,
        "by": "tool",
        "limit": place.offset + limit_of(arguments),
        "sort": "ts" if chronological(arguments) else FIELDS[arguments.aggregation][0],
        "descending": True,
    }
    optional = {
        "mcpServer": arguments.mcp_server,
        "toolName": arguments.tool_name,
        "groupBy": arguments.group_by,
        "afterSeq": after_seq,
    }
    return request | {name: value for name, value in optional.items() if value is not None}


def limit_of(arguments: GetMetrics) -> int:
    """How many rows are asked for."""
    if arguments.limit is not None:
        return arguments.limit
    return FULL_LIMIT if arguments.detail == "full" else DEFAULT_LIMIT


def chronological(arguments: GetMetrics) -> bool:
    """A time series of one tool is read in time's order; anything else worst first."""
    return arguments.group_by is not None and arguments.mcp_server is not None and arguments.tool_name is not None


def metrics_answer(arguments: GetMetrics, found: Range, reply: Data, place: Place) -> Answer:
    """The answer for a range that holds metrics."""
    field, unit = FIELDS[arguments.aggregation]
    full = arguments.detail == "full"
    received = [row for row in reply.get("rows", []) if isinstance(row, dict)]
    rows = [_row(row, field, full=full) for row in received[place.offset :]]
    # A limit that was asked for is kept even when the answer grows long.
    chosen = full or arguments.limit is not None
    fitted = fit(rows, FULL_BUDGET_CHARS if chosen else COMPACT_BUDGET_CHARS)
    if chronological(arguments):
        fitted.rows.reverse()
    rows_total = int(reply.get("rowsTotal", len(received)))
    data: Data = {
        "aggregation": arguments.aggregation,
        "unit": unit,
        "metrics": fitted.rows,
        "summary": _summary(reply.get("total")),
        "range": _range(found, reply),
        "source": str(reply.get("source", "")),
        "freshness": _freshness(reply.get("freshness")),
        "rowsTotal": rows_total,
        **paged(place, len(fitted.rows), rows_total),
    }
    narrower = "narrow by mcpServer or toolName"
    tail = page_note(place, data, len(fitted.rows), fitted=fitted.cut > 0, narrower=narrower)
    told = received[place.offset :][: len(fitted.rows)]
    text = _text(arguments, data, told[::-1] if chronological(arguments) else told, reply.get("total"), chosen=chosen)
    return Answer(text + tail, data)


def no_metrics_answer(arguments: GetMetrics, found: Range, reply: Data, known: Known) -> Answer:
    """The answer for a range that holds none: that is no sign of health."""
    if known.last_ms is None:
        message = "No data: no metric has been recorded yet."
    elif known.last_ms < found.start_ms:
        message = f"No data since {iso(known.last_ms)}, which is before the range asked for."
    else:
        message = f"No data in this range; the last metric is of {iso(known.last_ms)}."
    freshness = _freshness(reply.get("freshness"))
    if known.last_ms is not None:
        freshness["lastMetric"] = iso(known.last_ms)
    data: Data = {
        "aggregation": arguments.aggregation,
        "unit": FIELDS[arguments.aggregation][1],
        "metrics": [],
        "summary": _summary(reply.get("total")),
        "range": _range(found, reply),
        "source": str(reply.get("source", "")),
        "freshness": freshness,
        "rowsTotal": 0,
        "cut": 0,
        "message": message,
    }
    return Answer(f"{message}\nRange asked for: {iso(found.start_ms)} to {iso(found.end_ms)}.", data)


def _row(row: Data, field: str, *, full: bool) -> Data:
    shaped: Data = {
        "timestamp": when(row.get("ts", row.get("lastTs"))),
        "mcpServer": shown(str(row.get("mcpServer", ""))),
        "toolName": shown(str(row.get("toolName", ""))),
        "value": figure(row.get(field)),
        "count": row.get("count", 0),
    }
    if full:
        shaped |= {name: figure(row.get(name)) for name in _MORE}
        shaped["firstTimestamp"] = when(row.get("firstTs"))
        shaped["lastTimestamp"] = when(row.get("lastTs"))
    return shaped


def _summary(total: object) -> Data:
    stats = total if isinstance(total, dict) else {}
    return {
        "totalCalls": int(stats.get("count") or 0),
        "avgResponseTime": figure(stats.get("avg")),
        "p50": figure(stats.get("p50")),
        "p95": figure(stats.get("p95")),
        "p99": figure(stats.get("p99")),
        "errorRate": figure(stats.get("errorRate")),
    }


def _range(found: Range, reply: Data) -> Data:
    echoed: Data = dict(found.echo())
    start, end = when(reply.get("startMs")), when(reply.get("endMs"))
    if start and end and (start, end) != (echoed["startTime"], echoed["endTime"]):
        echoed["answered"] = {"startTime": start, "endTime": end}
    return echoed


def _freshness(freshness: object) -> Data:
    found = freshness if isinstance(freshness, dict) else {}
    return {"lastMetric": when(found.get("lastMetricMs")), "lagEntries": int(found.get("lagEntries") or 0)}


def source_words(source: str) -> str:
    """Which rollups answered, and how exact their percentiles are."""
    if not source:
        return "unknown"
    if source == "raw":
        return "raw calls (exact)"
    names = " and ".join("raw calls" if one == "raw" else one for one in source.split("+"))
    return f"{names} rollups (percentiles within 1 %)"


def _text(arguments: GetMetrics, data: Data, told: list[Data], total: object, *, chosen: bool) -> str:
    """The figures of the rows `told` and of their `total` are the aggregator's own, to be rounded once."""
    whole_range = total if isinstance(total, dict) else {}
    field = FIELDS[arguments.aggregation][0]
    full = arguments.detail == "full"
    order = "in time's order" if chronological(arguments) else "highest first"
    head = (
        f"{arguments.aggregation} ({data['unit']}), {order}: {len(data['metrics'])} of {counted(data['rowsTotal'], 'row')}, "
        f"{data['range']['startTime']} to {data['range']['endTime']}."
    )
    calls = data["summary"]["totalCalls"]
    whole = (
        f"{'The 1 call' if calls == 1 else f'All {calls:,} calls'}: avg {printed(whole_range.get('avg'), 'ms')}, "
        f"p50 {printed(whole_range.get('p50'), 'ms')}, p95 {printed(whole_range.get('p95'), 'ms')}, "
        f"p99 {printed(whole_range.get('p99'), 'ms')}, errors {printed(whole_range.get('errorRate'), '%')}. "
        f"Source: {source_words(data['source'])}; last metric {data['freshness']['lastMetric'] or 'unknown'}."
    )
    with_time = arguments.group_by is not None
    more = tuple(name for name in _MORE if name != field) if full else ()
    counts = arguments.aggregation == "count"
    header = [
        *(["time"] if with_time else []),
        f"{arguments.aggregation} {data['unit']}" if full and not counts else data["unit"],
        *([] if counts else ["calls"]),
        *(_HEADS[name] for name in more),
        "server",
        "tool",
    ]
    rows = [
        [
            *([str(row["timestamp"])[:16]] if with_time else []),
            printed(raw.get(field)),
            *([] if counts else [printed(raw.get("count"))]),
            *(printed(raw.get(name)) for name in more),
            row["mcpServer"],
            row["toolName"],
        ]
        for row, raw in zip(data["metrics"], told, strict=True)
    ]
    body = table(header, rows, FULL_TABLE_CHARS if chosen else COMPACT_TABLE_CHARS)
    return f"{head}\n{whole}\n{body}"
