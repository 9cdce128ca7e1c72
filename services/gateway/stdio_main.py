"""A gateway over stdio: what `perfmon mcp` runs, one for each client session.

Answers `tools/list` first and looks for a pipeline only then, or when the client has been silent for a moment, so that a client
never waits for processes that start. If it dies, nothing acknowledged is lost: it holds no state but writes under way.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from typing import Final

import structlog

from perfmon.paths import DataDirectory
from services.gateway.claim import Wire
from services.gateway.gate import PipelineGate
from services.gateway.stdio_transport import PipeTransport

#: How long after the client's first message a pipeline is looked for, when it does not list the tools.
SILENT_S: Final = 2.0
#: How long after `tools/list` was answered: the answer leaves first.
AFTER_LIST_S: Final = 0.05
#: How long one attempt to start a pipeline may take before it counts as failed.
READY_WITHIN_S: Final = 60.0


async def serve(data: DataDirectory, wire: Wire) -> None:
    """Serve one client until it closes its end or we are told to stop."""
    from services.gateway.clients import Services
    from services.gateway.mcp_server import McpServer
    from services.gateway.tools import ToolContext

    loop = asyncio.get_running_loop()
    services = Services(data)
    who = f"gateway-stdio-{os.getpid()}"
    gate = PipelineGate(lambda: _ensure(data), lambda: services.alive(who), services.ready, lambda: _died(data))
    context = ToolContext(services, lambda: time.time_ns() // 1_000_000)
    server = McpServer(context, gate, lambda: loop.call_later(AFTER_LIST_S, gate.begin)).sdk
    transport = PipeTransport(wire, lambda: loop.call_later(SILENT_S, gate.begin))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, transport.stop)
    await transport.open()
    # What is imported stays: the collector need not walk it again in the middle of a call.
    gc.freeze()
    try:
        await server.run(transport, transport, server.create_initialization_options())
    finally:
        await transport.flush_and_close()
        await gate.close()
        await services.close()


def run(data: DataDirectory, wire: Wire) -> int:
    """The exit code of a whole session."""
    asyncio.run(serve(data, wire))
    structlog.get_logger().debug("session_ended")
    sys.stderr.flush()
    return 0


def _ensure(data: DataDirectory) -> None:
    from perfmon.pipeline import ensure_running

    report = ensure_running(data, started_by="gateway", wait_ready_s=READY_WITHIN_S)
    for note in report.notes:
        structlog.get_logger().warning("pipeline_note", note=note)


def _died(data: DataDirectory) -> bool:
    from perfmon.pipeline import died

    return died(data)
