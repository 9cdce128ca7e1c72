"""Made-up answers of the other services, shaped as the real ones are: a day in which one tool starts to fail, one server gets
slow and one leaks.
"""

from __future__ import annotations

import math
from typing import Any

from services.reporter.core.answered import Answered, read
from services.reporter.core.answers import ErrorGroup
from services.reporter.core.model import Range
from services.reporter.core.questions import for_report, more_for_report
from shared.timespan import DAY_MS, HOUR_MS, iso

END_MS = 1_761_926_400_000  # 2025-10-31T16:00:00Z
SPAN = Range(END_MS - DAY_MS, END_MS)

#: server, tool, calls, error share, p50, p95; then the same before.
TOOLS = [
    ("project-management-mcp", "create_potential_goal", 4210, 0.004, 118, 240, 4100, 0.005, 120, 236),
    ("project-management-mcp", "evaluate_goal", 2980, 0.002, 310, 720, 3010, 0.003, 305, 701),
    ("project-management-mcp", "list_goals", 9120, 0.0, 14, 38, 8870, 0.0, 14, 37),
    ("deployment-release-mcp", "deploy_application", 212, 0.344, 4100, 12800, 190, 0.01, 2300, 5200),
    ("deployment-release-mcp", "rollback_release", 9, 0.0, 1900, 2600, 4, 0.0, 1800, 2500),
    ("deployment-release-mcp", "release_notes", 640, 0.012, 180, 420, 655, 0.01, 182, 431),
    ("security-compliance-mcp", "scan_for_credentials", 1330, 0.021, 640, 1540, 1290, 0.02, 220, 510),
    ("security-compliance-mcp", "check_licenses", 480, 0.0, 810, 2100, 475, 0.0, 260, 610),
    ("security-compliance-mcp", "audit_dependencies", 395, 0.0, 1900, 5200, 401, 0.0, 700, 1500),
    ("git", "git_log", 15400, 0.0, 6, 18, 15100, 0.0, 6, 18),
    ("git", "git_diff", 8700, 0.001, 9, 44, 8600, 0.001, 9, 42),
    ("fetch", "fetch", 3120, 0.037, 420, 1480, 2980, 0.034, 410, 1460),
    ("time", "convert_time", 3, 0.0, 2, 3, 2, 0.0, 2, 3),
]


def stats(server: str, tool: str, calls: int, share: float, p50: float, p95: float, **more: Any) -> dict[str, Any]:
    """One row of a rollup."""
    errors = round(calls * share)
    return {
        "mcpServer": server,
        "toolName": tool,
        "count": calls,
        "errors": errors,
        "errorRate": 100 * errors / calls if calls else None,
        "avg": p50 * 1.2,
        "min": p50 / 4,
        "max": p95 * 2.2,
        "p50": p50,
        "p95": p95,
        "p99": p95 * 1.6,
        "cpu": 12.0,
        "memory": 140.0,
        "diskIO": None,
        "firstTs": SPAN.start_ms + 60_000,
        "lastTs": END_MS - 20_000,
        **more,
    }


def freshness() -> dict[str, Any]:
    return {"lastMetricMs": END_MS - 20_000, "seq": 81_233, "lagEntries": 0}


def rollup(rows: list[dict[str, Any]], total: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """One answer of the aggregator."""
    return {
        "rows": rows,
        "rowsTotal": len(rows),
        "total": total or together(rows),
        "source": "minute+hourly",
        "startMs": SPAN.start_ms,
        "endMs": SPAN.end_ms,
        "freshness": freshness(),
        **more,
    }


def together(rows: list[dict[str, Any]], server: str = "") -> dict[str, Any]:
    """Rows as one (percentiles roughly: these are made up)."""
    calls = sum(row["count"] for row in rows)
    errors = sum(row["errors"] for row in rows)

    def weigh(key: str) -> float | None:
        return sum(row[key] * row["count"] for row in rows) / calls if calls else None

    whole = {key: weigh(key) for key in ("avg", "p50", "p95", "p99")}
    return {
        "mcpServer": server,
        "count": calls,
        "errors": errors,
        "firstTs": min((row["firstTs"] for row in rows), default=None),
        "lastTs": max((row["lastTs"] for row in rows), default=None),
        **whole,
    }


def tool_rows(*, before: bool = False) -> list[dict[str, Any]]:
    rows = []
    for server, tool, *figures in TOOLS:
        calls, share, p50, p95 = figures[4:] if before else figures[:4]
        more = {"memory": 410.0} if tool == "audit_dependencies" and not before else {}
        if before:
            more |= {"firstTs": SPAN.before.start_ms + 1000, "lastTs": SPAN.start_ms - 1}
        rows.append(stats(server, tool, calls, share, p50, p95, **more))
    return rows


def server_rows(*, before: bool = False) -> list[dict[str, Any]]:
    rows = tool_rows(before=before)
    names = dict.fromkeys(row["mcpServer"] for row in rows)
    return [together([row for row in rows if row["mcpServer"] == name], name) for name in names]


def hours(scale: float = 1.0) -> list[dict[str, Any]]:
    """A day's course: quiet nights, a failure from 13:00 on, slowness from 10:00 on."""
    rows = []
    for hour in range(24):
        ts = SPAN.start_ms + hour * HOUR_MS
        clock = (ts // HOUR_MS) % 24
        calls = int(scale * (500 + 2600 * max(0.0, math.sin((clock - 5) / 18 * math.pi)) + 130 * (hour * 7 % 5)))
        share = 0.045 if clock in {13, 14, 15} and hour > 12 else 0.004
        slow = 2.6 if clock >= 10 and hour > 12 else 1.0
        rows.append(stats("", "", calls, share, 60 * slow + hour % 3, 480 * slow + 30 * (hour % 4), ts=ts))
    return rows


def anomaly(
    kind: str, server: str, tool: str, severity: str, start: int, end: int | None, **details: Any
) -> dict[str, Any]:
    return {
        "id": f"{kind}-{tool}-{start}",
        "timestamp": iso(start),
        "mcpServer": server,
        "toolName": tool,
        "anomalyType": kind,
        "severity": severity,
        "startTs": start,
        "endTs": end,
        "details": {"confidence": 0.99, "method": "z-score", **details},
        "recommendations": ["Compare with the deployment of that hour"],
    }


def anomalies() -> dict[str, Any]:
    slow = {
        "currentValue": 5200,
        "expectedRange": "600-1600",
        "deviation": "3.3x",
        "metric": "response_time",
        "unit": "ms",
    }
    fail = {"currentValue": 34.4, "expectedRange": "0-2", "deviation": "17x", "metric": "error_rate", "unit": "%"}
    leak = {"currentValue": 410, "expectedRange": "120-160", "deviation": "2.6x", "metric": "memory", "unit": "MB"}
    rows = [
        anomaly(
            "error_rate_spike",
            "deployment-release-mcp",
            "deploy_application",
            "critical",
            END_MS - 3 * HOUR_MS,
            None,
            **fail,
        ),
        anomaly(
            "response_time_shift",
            "security-compliance-mcp",
            "audit_dependencies",
            "warning",
            END_MS - 6 * HOUR_MS,
            None,
            **slow,
        ),
        anomaly(
            "resource_leak",
            "security-compliance-mcp",
            "audit_dependencies",
            "warning",
            END_MS - 5 * HOUR_MS,
            None,
            **leak,
        ),
        anomaly(
            "response_time_spike",
            "fetch",
            "fetch",
            "info",
            END_MS - 15 * HOUR_MS,
            END_MS - 15 * HOUR_MS + 420_000,
            **slow,
        ),
    ]
    return {"anomalies": rows, "total": len(rows)}


def alert(
    number: int, server: str, tool: str, severity: str, status: str, condition: str, **more: Any
) -> dict[str, Any]:
    return {
        "alertId": f"alert-20251031-{number:03d}",
        "timestamp": iso(END_MS - (number + 1) * HOUR_MS),
        "mcpServer": server,
        "toolName": tool,
        "severity": severity,
        "condition": condition,
        "currentValue": 34.4,
        "threshold": 5,
        "status": status,
        "acknowledgedBy": None,
        "notes": None,
        **more,
    }


def alerts() -> dict[str, Any]:
    rows = [
        alert(2, "deployment-release-mcp", "deploy_application", "critical", "active", "error_rate > 5%"),
        alert(
            1, "security-compliance-mcp", "audit_dependencies", "warning", "acknowledged", "response_time > 500ms",
            currentValue=5200, threshold=500, acknowledgedBy="Ada",
        ),
    ]  # fmt: skip
    summary = {"totalActive": 2, "bySeverity": {}, "byMcp": {}, "suppressed": {"deduplicated": 41, "rate_limited": 2}}
    return {"alerts": rows, "total": 2, "summary": summary}


def history() -> dict[str, Any]:
    done = alert(
        3, "fetch", "fetch", "warning", "resolved", "response_time > 500ms",
        currentValue=1480, threshold=500, resolvedAt=iso(END_MS - HOUR_MS),
    )  # fmt: skip
    return {"alerts": [*alerts()["alerts"], done], "total": 3}


def raw_answers() -> dict[str, Any]:
    """By question."""
    last = END_MS - 20_000
    servers = [name for name, *_ in TOOLS]
    lines = {
        f"timeline {name}": rollup(hours(0.05 + 0.1 * place))
        for place, name in enumerate(dict.fromkeys(servers))
        if name != "time"
    }
    return {
        "timeline": rollup(hours(), together(tool_rows())),
        "servers": rollup(server_rows()),
        "tools": rollup(tool_rows()),
        "before": rollup([], together(tool_rows(before=True))),
        "servers_before": rollup(server_rows(before=True)),
        "tools_before": rollup(tool_rows(before=True)),
        "series": {"series": [[server, tool, last] for server, tool, *_ in TOOLS], "overflow": 0},
        "anomalies": anomalies(),
        "alerts": alerts(),
        "history": history(),
        "thresholds": {"thresholds": []},
        "ingest": {"rejected_total": 12, "head": 81_233, "epoch": "e", "pendingRows": 0},
        **lines,
    }


def answered(raw: dict[str, Any] | None = None) -> Answered:
    """The answers as the shell reads them."""
    servers = list(dict.fromkeys(name for name, *_ in TOOLS))
    asked = for_report(SPAN, None) | more_for_report(SPAN, None, servers, all_tools=True)
    return read(asked, raw_answers() if raw is None else raw)


def errors() -> list[ErrorGroup]:
    first, last = END_MS - 3 * HOUR_MS, END_MS - 60_000
    refused = "connect ECONNREFUSED 10.0.4.17:6443: the cluster's API server did not answer"
    return [
        ErrorGroup("deployment-release-mcp", "deploy_application", refused, 64, first, last),
        ErrorGroup("deployment-release-mcp", "deploy_application", "timed out waiting for rollout", 9, first, last),
        ErrorGroup("fetch", "fetch", "HTTP 503 from upstream", 81, SPAN.start_ms, last),
    ]
