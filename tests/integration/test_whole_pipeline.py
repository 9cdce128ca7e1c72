"""The whole pipeline, as a user has it: real clients over stdio and HTTP call all eight tools of six supervised processes.

Every figure is compared with what the JSONL files say, read and worked out here without any code of the product.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from perfmon.http_access import load
from perfmon.paths import DataDirectory
from perfmon.pipeline import ensure_running, status, stop
from perfmon.rpc import RpcClient

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(180), pytest.mark.anyio]

TOOLS = {
    "track_performance",
    "get_metrics",
    "detect_anomalies",
    "set_alert_threshold",
    "get_active_alerts",
    "acknowledge_alert",
    "generate_report",
    "get_dashboard",
}
#: Percentiles from rollups are within this of the nearest-rank ones.
SKETCH_ERROR = 0.0101


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    directory = DataDirectory((tmp_path_factory.mktemp("whole") / "data").resolve())
    ensure_running(directory, started_by="test", wait_ready_s=90)
    yield directory
    stop(directory, timeout_s=60)


@asynccontextmanager
async def connected(data: DataDirectory, transport: str) -> AsyncIterator[Client]:
    if transport == "stdio":
        env = {**os.environ, "PERFMON_DATA_DIR": str(data.root)}
        server = StdioServerParameters(command=sys.executable, args=["-m", "perfmon", "mcp"], env=env)
        async with Client(server, read_timeout_seconds=30) as client:
            yield client
        return
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    access = load(data)
    assert access is not None
    headers = {"Authorization": f"Bearer {access.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{access.base_url}/mcp", http_client=http)) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content[0]
    assert isinstance(answer.structured_content, dict)
    return answer.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, answer.structured_content
    return str(answer.content[0].text)


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_real_client_calls_all_eight_tools_and_every_answer_is_right(
    data: DataDirectory, transport: str
) -> None:
    server = f"shop-{transport}"
    rng = random.Random(transport)
    async with connected(data, transport) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        for number in range(120):
            failing = number % 10 == 3
            stored = await call(
                client,
                "track_performance",
                mcpServer=server,
                toolName="search" if number % 2 else "checkout",
                duration=round(rng.lognormvariate(4, 0.4), 2),
                success=not failing,
                callId=f"{transport}-{number}",
                **({"errorMessage": "connection refused"} if failing else {}),
                resourceUsage={"cpu": 12.5, "memory": 256},
            )
            assert stored["success"] is True
            assert stored["stored"] is True
        for _ in range(10):
            await call(client, "track_performance", mcpServer=server, toolName="search", duration=9000.5, success=True)

        metrics = await call(client, "get_metrics", mcpServer=server, aggregation="p95")
        lines = read_lines(data, server)
        assert len(lines) == 130
        assert_metrics_match(metrics, lines)

        for aggregation in ("avg", "p50", "p99", "min", "max", "count", "error_rate"):
            assert_metrics_match(await call(client, "get_metrics", mcpServer=server, aggregation=aggregation), lines)
        slots = await call(client, "get_metrics", mcpServer=server, aggregation="count", groupBy="minute")
        assert sum(row["value"] for row in slots["metrics"]) == 130

        anomalies = await call(client, "detect_anomalies", mcpServer=server, lookbackWindow="1h")
        found = [a for a in anomalies["anomalies"] if a["anomalyType"] == "response_time_spike"]
        assert [a["toolName"] for a in found] == ["search"], "ten slow calls in a row are one event"

        threshold = await call(
            client,
            "set_alert_threshold",
            metric="response_time",
            threshold=5000,
            severity="critical",
            mcpServer=server,
            toolName="search",
        )
        assert threshold["success"] is True
        await call(client, "track_performance", mcpServer=server, toolName="search", duration=7500, success=True)
        alert = await eventually_alert(client, server, "response_time", severity="critical")
        assert alert["toolName"] == "search"
        assert alert["currentValue"] >= 5000

        acknowledged = await call(
            client, "acknowledge_alert", alertId=alert["alertId"], acknowledgedBy="ada", notes="on it"
        )
        assert acknowledged["alert"]["status"] == "acknowledged"
        again = await call(client, "acknowledge_alert", alertId=alert["alertId"], acknowledgedBy="bob")
        assert again["alert"]["acknowledgedBy"] == "ada"

        report = await call(client, "generate_report", period="hour", format="html", mcpServer=server)
        page = Path(report["path"])
        assert page.is_relative_to(data.reports)
        assert "search" in page.read_text()
        markdown = await call(client, "generate_report", period="hour", format="markdown", mcpServer=server)
        assert "131" in markdown["report"]

        dashboard = await call(client, "get_dashboard")
        card = next(card for card in dashboard["mcpServers"] if card["name"] == server)
        assert card["calls"] == 131
        expected_rate = 100 * sum(not entry["success"] for entry in read_lines(data, server)) / 131
        assert card["errorRate"] == pytest.approx(expected_rate, abs=0.01)
        assert card["activeAlerts"] >= 1


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_bad_input_is_refused_with_a_reason_and_stores_nothing(data: DataDirectory, transport: str) -> None:
    server = f"refused-{transport}"
    good = {"mcpServer": server, "toolName": "t", "duration": 5, "success": True}
    async with connected(data, transport) as client:
        for bad in (
            {"duration": -1},
            {"duration": "5"},
            {"duration": 1e300},
            {"success": "yes"},
            {"success": 1},
            {"durationMs": 5},
            {"toolName": ""},
            {"timestamp": "2001-01-01T00:00:00Z"},
            {"timestamp": (datetime.now(UTC) + timedelta(hours=1)).isoformat()},
            {"timestamp": "soon"},
            {"resourceUsage": {"cpu": -1}},
            {"resourceUsage": {"gpu": 1}},
        ):
            reason = await refused(client, "track_performance", **good | bad)
            assert len(reason) > 20
        assert "reversed" in await refused(client, "get_metrics", startTime="now", endTime="24h")
        await refused(client, "get_metrics", startTime="garbage")
        await refused(client, "get_metrics", aggregation="p42")
        await refused(client, "acknowledge_alert", alertId="alert-20200101-001", acknowledgedBy="me")
        await refused(client, "set_alert_threshold", metric="error_rate", threshold=-5, severity="warning")
        await call(client, "track_performance", **good)
        close = await refused(client, "get_metrics", mcpServer=server + "x")
        assert server in close, "the nearest names are offered"
    assert len(read_lines(data, server)) == 1


async def test_ten_concurrent_sessions_share_one_pipeline_and_leave_it_running(data: DataDirectory) -> None:
    before = {service.service: service.pid for service in status(data)}

    async def session(number: int) -> None:
        async with connected(data, "stdio") as client:
            for _ in range(5):
                await call(
                    client,
                    "track_performance",
                    mcpServer="crowd",
                    toolName=f"tool-{number}",
                    duration=number + 1,
                    success=True,
                )

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(session, number)
    assert len(read_lines(data, "crowd")) == 50
    assert {service.service: service.pid for service in status(data)} == before


async def test_resources_can_be_read(data: DataDirectory) -> None:
    async with connected(data, "stdio") as client:
        listed = {str(resource.uri) for resource in (await client.list_resources()).resources}
        assert {"perf://dashboard", "perf://reports/latest"} <= listed
        dashboard = await client.read_resource("perf://dashboard")
        assert "systemHealth" in dashboard.contents[0].text


def assert_metrics_match(answer: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    aggregation = answer["aggregation"]
    assert answer["summary"]["totalCalls"] == len(lines)
    for row in answer["metrics"]:
        mine = [line for line in lines if line["toolName"] == row["toolName"]]
        assert row["count"] == len(mine)
        assert row["value"] == pytest.approx(independent(aggregation, mine), rel=SKETCH_ERROR)
    assert len(answer["metrics"]) == len({line["toolName"] for line in lines})
    failed = sum(not line["success"] for line in lines)
    assert answer["summary"]["errorRate"] == pytest.approx(100 * failed / len(lines), abs=0.01)


def independent(aggregation: str, lines: list[dict[str, Any]]) -> float:
    durations = sorted(line["duration"] for line in lines)
    if aggregation.startswith("p"):
        return durations[math.ceil(int(aggregation[1:]) / 100 * len(durations)) - 1]
    return {
        "avg": statistics.fmean(durations),
        "min": durations[0],
        "max": durations[-1],
        "count": len(durations),
        "error_rate": 100 * sum(not line["success"] for line in lines) / len(lines),
    }[aggregation]


def read_lines(data: DataDirectory, server: str) -> list[dict[str, Any]]:
    with RpcClient(data.endpoint("ingest.write"), timeout_s=10) as ingest:
        ingest.call("flush")
    return [
        json.loads(line) for path in data.metrics.glob(f"*/{server}/*.jsonl") for line in path.read_text().splitlines()
    ]


async def eventually_alert(client: Client, server: str, metric: str, severity: str) -> dict[str, Any]:
    deadline = time.monotonic() + 15
    while True:
        answer = await call(client, "get_active_alerts", mcpServer=server, severity=severity)
        for alert in answer["alerts"]:
            if alert["condition"].startswith(metric):
                found: dict[str, Any] = alert
                return found
        assert time.monotonic() < deadline, answer
        await anyio.sleep(0.05)
