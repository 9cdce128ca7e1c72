"""In-process stand-ins for the services behind a gateway, with answers in the shapes that the services give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mcp import Client

from perfmon.rpc import RpcError, Unavailable
from services.gateway.gate import Gate, OpenGate
from services.gateway.mcp_server import McpServer
from services.gateway.tools import Stored, ToolContext

#: 2025-10-31T13:00:00.000Z
NOW_MS = 1_761_915_600_000
HOUR_MS = 3_600_000

Reply = Callable[[Mapping[str, Any]], Any] | BaseException | dict[str, Any]


def stats(server: str = "github", tool: str = "get_issue", p95: float = 900.0, count: int = 120) -> dict[str, Any]:
    return {
        "mcpServer": server,
        "toolName": tool,
        "count": count,
        "errors": 3,
        "errorRate": 2.5,
        "avg": 250.123456,
        "min": 10.0,
        "max": 1500.0,
        "p50": 200.0,
        "p95": p95,
        "p99": 1200.0,
        "cpu": None,
        "memory": 128.0,
        "diskIO": None,
        "firstTs": NOW_MS - HOUR_MS,
        "lastTs": NOW_MS - 1_000,
    }


def rollup(rows: list[dict[str, Any]], rows_total: int | None = None) -> dict[str, Any]:
    total = {**stats(), "count": sum(row["count"] for row in rows)} if rows else {"count": 0, "errors": 0, "avg": None}
    return {
        "rows": rows,
        "rowsTotal": len(rows) if rows_total is None else rows_total,
        "total": total,
        "source": "minute",
        "startMs": NOW_MS - 24 * HOUR_MS,
        "endMs": NOW_MS,
        "freshness": {"lastMetricMs": NOW_MS - 1_000, "seq": 7, "lagEntries": 0},
    }


def anomaly(server: str = "github", tool: str = "get_issue", severity: str = "warning") -> dict[str, Any]:
    return {
        "id": "anomaly-1",
        "timestamp": "2025-10-31T12:30:00.000Z",
        "mcpServer": server,
        "toolName": tool,
        "anomalyType": "response_time_spike",
        "severity": severity,
        "details": {
            "currentValue": 5000,
            "expectedRange": "100-500",
            "deviation": "10x",
            "confidence": 0.97,
            "method": "z-score",
            "metric": "response_time",
            "unit": "ms",
        },
        "recommendations": ["Errors rose at the same time: look at the last deployment first", "second"],
        "startTs": NOW_MS - HOUR_MS,
        "endTs": None,
        "peakTs": NOW_MS - HOUR_MS // 2,
        "points": 12,
    }


def alert(number: int = 1, server: str = "github", severity: str = "critical") -> dict[str, Any]:
    return {
        "alertId": f"alert-20251031-{number:03d}",
        "timestamp": "2025-10-31T12:05:00.000Z",
        "mcpServer": server,
        "toolName": "get_issue",
        "severity": severity,
        "condition": "error_rate > 5%",
        "currentValue": 7.5,
        "threshold": 5,
        "status": "active",
        "acknowledgedBy": None,
        "notes": None,
    }


def healthy_replies() -> dict[tuple[str, str], Reply]:
    """One good answer for every question that the tools ask."""
    return {
        ("aggregator", "rollup"): rollup([stats()]),
        ("aggregator", "series"): {"series": [["github", "get_issue", NOW_MS - 1_000]], "overflow": 0},
        ("detector", "anomalies"): {
            "anomalies": [anomaly()],
            "summary": {"total": 1, "bySeverity": {"warning": 1}, "byType": {"response_time_spike": 1}},
            "coverage": {"series": 1, "calls": 120},
            "freshness": {"lastMetricMs": NOW_MS, "seq": 7, "lagEntries": 0},
        },
        ("alerter", "thresholds.set"): {
            "thresholdId": "response_time:warning:github",
            "config": {"metric": "response_time", "threshold": 800.0, "severity": "warning", "mcpServer": "github"},
            "alsoApply": [{"thresholdId": "response_time:warning", "threshold": 500}],
            "openAlerts": ["alert-20251031-001"],
            "resolvedAlerts": ["alert-20251031-002"],
        },
        ("alerter", "alerts.list"): {
            "alerts": [alert()],
            "total": 1,
            "summary": {
                "totalActive": 1,
                "bySeverity": {"critical": 1},
                "byMcp": {"github": 1},
                "suppressed": {"rate_limited": 2},
            },
        },
        ("alerter", "alerts.acknowledge"): {
            "alert": {**alert(), "status": "acknowledged", "acknowledgedBy": "ana"},
            "alreadyAcknowledged": False,
        },
        ("reporter", "report"): {
            "report": "# Report\n\nEverything that matters.\n",
            "path": "/data/reports/report.md",
            "digest": {"sha256": "00", "bytes": 34, "text": "120 calls, 2.5 % errors."},
            "summary": {"totalCalls": 120},
            "recommendations": ["Look at github / get_issue first"],
        },
        ("reporter", "dashboard"): {
            "timestamp": "2025-10-31T13:00:00.000Z",
            "systemHealth": {"status": "degraded", "score": 71.5, "reason": "github / get_issue is slow"},
            "mcpServers": [
                {
                    "name": "github",
                    "healthScore": 71.5,
                    "status": "degraded",
                    "avgResponseTime": 250.1,
                    "p95": 900.0,
                    "errorRate": 2.5,
                    "calls": 120,
                    "activeAlerts": 1,
                }
            ],
            "window": {"name": "last hour", "start": "2025-10-31T12:00:00.000Z", "end": "2025-10-31T13:00:00.000Z"},
            "worstTools": [{"mcpServer": "github", "toolName": "get_issue", "p95": 900.0}],
            "slowestTools": [
                {
                    "mcpServer": "github",
                    "toolName": "get_issue",
                    "calls": 120,
                    "p95": 900.0,
                    "p95Before": 120.0,
                    "limit": None,
                    "why": "slower than before",
                }
            ],
            "activeAlerts": [alert()],
            "recentAnomalies": [anomaly()],
            "freshness": {"lastMetric": "2025-10-31T12:59:59.000Z", "lagEntries": 0},
            "ingestLag": 0,
            "dropped": 0,
            "nextStep": {"tool": "detect_anomalies", "arguments": {"mcpServer": "github"}, "why": "github is slow."},
        },
        ("reporter", "latest"): {"path": "/data/reports/report.md", "report": "# Report\n"},
    }


class FakeBackends:
    """Answers from a table; remembers what was asked and stored."""

    def __init__(self, **changed: Reply) -> None:
        self.replies = healthy_replies()
        for name, reply in changed.items():
            service, method = name.split("__")
            self.replies[service, method.replace("_dot_", ".")] = reply
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.stored: list[dict[str, Any]] = []
        self.store_outcome: BaseException | Stored = Stored("2d235f984ca249dc", 41, 3, duplicate=False)
        self.after_seq: int | None = None

    async def ask(
        self,
        service: str,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        patience_s: float = 1.0,
        mutation: bool = False,
    ) -> Any:
        self.asked.append((service, method, dict(params or {})))
        reply = self.replies[service, method]
        if isinstance(reply, BaseException):
            raise reply
        return reply(params or {}) if callable(reply) else reply

    async def store(self, row: Mapping[str, Any]) -> Stored:
        self.stored.append(dict(row))
        if isinstance(self.store_outcome, BaseException):
            raise self.store_outcome
        return self.store_outcome


def server_for(backends: FakeBackends, gate: Gate | None = None) -> McpServer:
    return McpServer(ToolContext(backends, lambda: NOW_MS), gate or OpenGate())


def call(backends: FakeBackends, tool: str, arguments: Mapping[str, Any] | None = None, *, mode: str = "auto") -> Any:
    """The tool's result as a real MCP client gets it."""

    async def run() -> Any:
        async with Client(server_for(backends).sdk, mode=mode) as client:
            return await client.call_tool(tool, dict(arguments or {}))

    return asyncio.run(run())


def refused(backends: FakeBackends, tool: str, arguments: Mapping[str, Any]) -> str:
    """The text of a call that must be refused."""
    result = call(backends, tool, arguments)
    assert result.is_error, result.structured_content
    assert result.structured_content is None
    return str(result.content[0].text)


def unavailable(service: str = "aggregator", method: str = "rollup") -> Unavailable:
    return Unavailable(f"ipc:///run/{service}", method, 1.0)


def refusal_of(code: str, message: str) -> RpcError:
    return RpcError(code, message)
