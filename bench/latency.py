"""How long a caller waits: one metric at the socket, `track_performance` and the queries over stdio.

At a fixed rate a sample's clock starts when the call was due, not when it could be sent (coordinated omission corrected).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import anyio
import zmq

from bench.figures import Result
from bench.line_client import LineClient
from bench.running import pipeline
from bench.schedule import spread_ms
from perfmon.paths import DataDirectory
from perfmon.wire import encode_rows

CALLS = 1_000
WARM_UP = 100
FIXED_RATE_PER_S = 2_000
FIXED_RATE_S = 5


def run(runs: int) -> Result:
    """All latencies, medians over several runs of their percentiles."""
    result = Result(
        "latency",
        f"{CALLS} calls one after the other; at a fixed rate {FIXED_RATE_PER_S}/s for {FIXED_RATE_S} s",
        "every write is fsynced in the journal before it is answered",
        runs,
    )
    measures: list[tuple[str, Callable[[DataDirectory], list[float]]]] = [
        ("one metric at the socket, idle", _socket_idle),
        (f"one metric at the socket, {FIXED_RATE_PER_S}/s, corrected", _socket_fixed_rate),
        ("track_performance, stdio, raw lines", _stdio_raw),
        ("track_performance, stdio, SDK client", _stdio_sdk),
        ("get_metrics, stdio, raw lines", lambda data: _stdio_raw(data, "get_metrics", {})),
        ("get_dashboard, stdio, raw lines", lambda data: _stdio_raw(data, "get_dashboard", {})),
    ]
    with pipeline() as data:
        for what, measure in measures:
            result.add_runs(what, [spread_ms(measure(data)) for _ in range(runs)])
    return result


def _metric() -> bytes:
    return encode_rows([{"mcpServer": "bench", "toolName": "one", "duration": 12.5, "success": True}])


def _connected(data: DataDirectory) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(data.endpoint("ingest.write"))
    return socket


def _socket_idle(data: DataDirectory) -> list[float]:
    with _connected(data) as socket:
        samples = []
        for _ in range(CALLS + WARM_UP):
            frame = _metric()
            started = time.perf_counter()
            socket.send(frame)
            socket.recv()
            samples.append(time.perf_counter() - started)
            time.sleep(0.001)
    return samples[WARM_UP:]


def _socket_fixed_rate(data: DataDirectory) -> list[float]:
    total = FIXED_RATE_PER_S * FIXED_RATE_S
    with _connected(data) as socket:
        samples: list[float] = []
        started, sent = time.perf_counter(), 0
        while len(samples) < total:
            now = time.perf_counter() - started
            while sent < total and sent / FIXED_RATE_PER_S <= now:
                socket.send(_metric())
                sent += 1
            # Acknowledgements come in order, so the n-th belongs to the call that was due n-th.
            if socket.poll(1):
                while socket.poll(0):
                    socket.recv()
                    samples.append(time.perf_counter() - started - len(samples) / FIXED_RATE_PER_S)
    return samples[total // 10 :]


def _stdio_raw(
    data: DataDirectory, tool: str = "track_performance", arguments: dict[str, Any] | None = None
) -> list[float]:
    arguments = _call() if arguments is None else arguments
    samples = []
    with LineClient(data) as client:
        client.handshake()
        for _ in range(CALLS + WARM_UP):
            started = time.perf_counter()
            client.call(tool, arguments)
            samples.append(time.perf_counter() - started)
    return samples[WARM_UP:]


def _stdio_sdk(data: DataDirectory) -> list[float]:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters

    async def calls() -> list[float]:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "perfmon", "mcp"],
            env={**os.environ, "PERFMON_DATA_DIR": str(data.root)},
        )
        samples = []
        async with Client(server) as client:
            for _ in range(CALLS + WARM_UP):
                started = time.perf_counter()
                answer = await client.call_tool("track_performance", _call())
                samples.append(time.perf_counter() - started)
                if answer.is_error:
                    raise RuntimeError(answer)
        return samples[WARM_UP:]

    return anyio.run(calls)


def _call() -> dict[str, Any]:
    return {"mcpServer": "bench", "toolName": "stdio", "duration": 12.5, "success": True}
