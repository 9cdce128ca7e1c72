"""Run the demo: start a pipeline, call wrapped public servers, and show what the running system says of it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from rich.console import Console
from rich.panel import Panel

from bench.demo.traffic import FAULT_FROM_S, FAULT_UNTIL_S, LASTS_S, Traffic
from perfmon.paths import DataDirectory
from perfmon.pipeline import ensure_running, stop

#: How long the alert and the anomaly may take after the calls ended.
FINDINGS_LIMIT_S = 30.0


def main() -> int:
    """0 when the alert was raised, the anomaly found and the report written."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--servers", type=Path, required=True, help="environment that holds the mcp-server-* commands")
    parser.add_argument("--directory", type=Path, default=Path(".demo"), help="where the demo keeps its data")
    arguments = parser.parse_args()
    console = Console()
    started = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.1f} s[/dim]  {text}")

    home = arguments.directory.resolve()
    data = DataDirectory(home / "data")
    stop(data, timeout_s=30)
    for leftover in (data.root, home / "work"):
        shutil.rmtree(leftover, ignore_errors=True)
    data.create()
    os.environ["PERFMON_DATA_DIR"] = str(data.root)
    try:
        report = ensure_running(data, started_by="demo", wait_ready_s=120)
        say(f"pipeline {report.state}; {len(report.services)} services ready on {data.root}")
        say(f"calling mcp-server-time, mcp-server-git and mcp-server-fetch for {LASTS_S:.0f} s")
        say(f"a fault comes from {FAULT_FROM_S:.0f} to {FAULT_UNTIL_S:.0f} s of it")
        traffic = Traffic(data, arguments.servers.resolve(), home / "work" / "repository", say)
        anyio.run(traffic.run)
        for name, calls in sorted(traffic.calls.items()):
            say(f"{name}: {calls} calls, {traffic.failures[name]} failed")
        return anyio.run(_findings, data, console)
    finally:
        stop(data, timeout_s=30)
        say("pipeline stopped")


async def _findings(data: DataDirectory, console: Console) -> int:
    env = {**os.environ, "PERFMON_DATA_DIR": str(data.root)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "perfmon", "mcp"], env=env)
    async with Client(server) as client:
        deadline = time.monotonic() + FINDINGS_LIMIT_S
        while True:
            alerts = await _ask(client, "get_active_alerts", {})
            anomalies = await _ask(client, "detect_anomalies", {"lookbackWindow": "1h"})
            found = bool(alerts.structured_content["alerts"]) and bool(anomalies.structured_content["anomalies"])
            if found or time.monotonic() > deadline:
                break
            await anyio.sleep(0.5)
        dashboard = await _ask(client, "get_dashboard", {})
        report = await _ask(client, "generate_report", {"period": "hour", "format": "html"})
    for title, answer in (
        ("Dashboard", dashboard),
        ("Active alerts", alerts),
        ("Anomalies", anomalies),
        ("Report", report),
    ):
        console.print(Panel(answer.content[0].text, title=title, title_align="left"), markup=False, highlight=False)
    path = Path(str(report.structured_content["path"]))
    console.print(f"HTML report: {path}", soft_wrap=True, highlight=False)
    return 0 if found and path.is_file() else 1


async def _ask(client: Client, tool: str, arguments: dict[str, Any]) -> Any:
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise RuntimeError(f"{tool}: {answer.content[0]}")
    return answer


if __name__ == "__main__":
    sys.exit(main())
