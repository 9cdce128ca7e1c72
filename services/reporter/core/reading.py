"""From rpc results to `answers`: whatever is missing, of the wrong type or not finite becomes None or is left out, so that one
odd field costs itself and not the report. Knows no socket and no method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.reporter.core.answers import (
    MAX_TS_MS,
    SEVERITIES,
    Alert,
    Alerts,
    Anomalies,
    Anomaly,
    Freshness,
    Incident,
    Rollup,
    Series,
    Stats,
)
from shared.timespan import BadTime, parse_iso

#: Rows of one answer that are read; services are asked for fewer.
MAX_ROWS: Final = 20_000
#: The largest whole number that is read: those of the wire have 64 bits.
MAX_INT: Final = 2**63 - 1
#: The figures of a row as the wire names them.
_FIGURES: Final = ("avg", "min", "max", "p50", "p95", "p99", "cpu", "memory", "diskIO")


def read_rollup(raw: object) -> Rollup:
    """The aggregator's `rollup`."""
    body = _map(raw)
    rows = tuple(read_stats(row) for row in _list(body.get("rows"))[:MAX_ROWS])
    return Rollup(
        rows,
        max(_int(body.get("rowsTotal")) or 0, len(rows)),
        read_stats(body.get("total")),
        _str(body.get("source")),
        read_freshness(body.get("freshness")),
    )


def read_stats(raw: object) -> Stats:
    """One row of a rollup."""
    body = _map(raw)
    count = max(0, _int(body.get("count")) or 0)
    avg, low, high, p50, p95, p99, cpu, memory, disk_io = [_float(body.get(name)) for name in _FIGURES]
    return Stats(
        server=_str(body.get("mcpServer")),
        tool=_str(body.get("toolName")),
        ts=_ts(body.get("ts")),
        count=count,
        errors=min(count, max(0, _int(body.get("errors")) or 0)),
        avg=avg,
        min=low,
        max=high,
        p50=p50,
        p95=p95,
        p99=p99,
        cpu=cpu,
        memory=memory,
        disk_io=disk_io,
        first_ts=_ts(body.get("firstTs")),
        last_ts=_ts(body.get("lastTs")),
    )


def read_freshness(raw: object) -> Freshness:
    """The `freshness` of an answer."""
    body = _map(raw)
    return Freshness(_ts(body.get("lastMetricMs")), _int(body.get("seq")), _int(body.get("lagEntries")))


def read_series(raw: object) -> Series:
    """The aggregator's `series`."""
    known: dict[tuple[str, str], int | None] = {}
    for row in _list(_map(raw).get("series")):
        if isinstance(row, list | tuple) and len(row) >= 2 and isinstance(row[0], str) and isinstance(row[1], str):
            known[row[0], row[1]] = _ts(row[2]) if len(row) > 2 else None
    return Series(known)


def read_anomalies(raw: object) -> Anomalies:
    """The detector's `recent`."""
    body = _map(raw)
    rows = tuple(_anomaly(_map(row)) for row in _list(body.get("anomalies"))[:MAX_ROWS])
    return Anomalies(rows, max(_int(body.get("total")) or 0, len(rows)))


def read_counters(raw: object) -> dict[str, int]:
    """The whole numbers of a service's `stats`, by name."""
    return {str(name): number for name, value in _map(raw).items() if (number := _int(value)) is not None}


def read_alerts(raw: object) -> Alerts:
    """The alerter's `alerts.list` or `alerts.history`."""
    body = _map(raw)
    rows = tuple(_alert(_map(row)) for row in _list(body.get("alerts"))[:MAX_ROWS])
    suppressed = _map(_map(body.get("summary")).get("suppressed"))
    held = tuple((str(reason), _int(n) or 0) for reason, n in suppressed.items() if _int(n))
    return Alerts(rows, max(_int(body.get("total")) or 0, len(rows)), held)


def _anomaly(body: Mapping[Any, Any]) -> Anomaly:
    details = _map(body.get("details"))
    return Anomaly(
        _str(body.get("id") or body.get("anomalyId")),
        _str(body.get("mcpServer")),
        _str(body.get("toolName")),
        _str(body.get("anomalyType")),
        _severity(body.get("severity")),
        _first_ts(body, "startTs", "timestamp"),
        _ts(body.get("endTs")),
        _float(details.get("currentValue")),
        _str(details.get("expectedRange")),
        _str(details.get("deviation")),
        _str(details.get("metric")),
        _str(details.get("unit")),
        _str(details.get("method")),
        _float(details.get("confidence")),
        tuple(text for text in _list(body.get("recommendations")) if isinstance(text, str)),
        _float(details.get("usual")),
        _str(details.get("kind")),
        _str(body.get("ended")),
        _incident(_map(body.get("incident"))),
    )


def _incident(body: Mapping[Any, Any]) -> Incident | None:
    incident_id, cause = _str(body.get("id")), _map(body.get("likelyCause"))
    if not incident_id:
        return None
    return Incident(
        incident_id,
        max(1, _int(body.get("members")) or 1),
        _str(cause.get("sentence")),
        _float(cause.get("confidence")),
        _ts(body.get("since")),
        _str(cause.get("anomaly")),
    )


def _alert(body: Mapping[Any, Any]) -> Alert:
    return Alert(
        _str(body.get("alertId")),
        _str(body.get("mcpServer")),
        _str(body.get("toolName")),
        _severity(body.get("severity")),
        _str(body.get("status")),
        _str(body.get("condition")),
        _float(body.get("currentValue")),
        _float(body.get("threshold")),
        _first_ts(body, "raisedMs", "raisedTs", "timestamp"),
        _first_ts(body, "resolvedMs", "resolvedTs", "resolvedAt"),
        _str(body.get("acknowledgedBy")),
        _str(body.get("unit")),
        _str(body.get("judgedBy")),
        tuple(one for one in _list(body.get("anomalyIds")) if isinstance(one, str)),
        bool(_str(body.get("anomalyId"))),
        _first_ts(body, "lastTrue"),
        body.get("usualKnown") is not False,
    )


def _severity(value: object) -> str:
    return value if isinstance(value, str) and value in SEVERITIES else "info"


def _first_ts(body: Mapping[Any, Any], *names: str) -> int | None:
    return next((ts for name in names if (ts := _ts(body.get(name))) is not None), None)


def _map(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _float(value: object) -> float | None:
    # The types as msgpack gives them, looked at exactly: this runs a dozen times a row.
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _int(value: object) -> int | None:
    if type(value) is int:
        return value if -MAX_INT <= value <= MAX_INT else None
    number = _float(value)
    return None if number is None else _int(int(number))


def _ts(value: object) -> int | None:
    """Epoch ms of a number or an ISO text that is a date from 1970 to 9999."""
    if isinstance(value, str):
        try:
            moment: int | None = parse_iso(value)
        except BadTime:
            return None
    else:
        moment = _int(value)
    return moment if moment is not None and 0 <= moment <= MAX_TS_MS else None
