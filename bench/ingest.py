"""Metrics a second: sent, fsynced and acknowledged, then everywhere: JSONL complete, every consumer caught up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import zmq

from bench.figures import Result, medians
from bench.running import metric_lines, pipeline, stats, wait_caught_up
from perfmon.paths import DataDirectory
from perfmon.wire import encode_rows, pack, unpack

SERVERS, TOOLS = 14, 14
#: Messages sent but not yet acknowledged.
IN_FLIGHT = 8


def run(runs: int, *, metrics: int = 400_000) -> Result:
    """Full metrics (duration, success, cpu, memory, disk I/O) over 196 series, as record batches and as rows."""
    result = Result(
        "ingest",
        f"{metrics:,} full metrics, {SERVERS * TOOLS} series, {IN_FLIGHT} messages in flight, generator on the same machine",
        "acknowledged = fsynced in the journal; complete = also in the JSONL files and in every consumer",
        runs,
    )
    for what, rows, make in (
        ("batches of 5,000", 5_000, _batch),
        ("batches of 500", 500, _batch),
        ("rows, 500 a message", 500, _rows),
    ):
        found = [_once(metrics, rows, make) for _ in range(runs)]
        result.add(what, **medians(found))
    return result


def _once(metrics: int, rows: int, make: Callable[[int, int, int], bytes]) -> dict[str, float]:
    with pipeline() as data:
        now_ms = time.time_ns() // 1_000_000
        messages = [make(rows, seq, now_ms) for seq in range(1, metrics // rows + 1)]
        started = time.perf_counter()
        stored = _send(data, messages)
        acknowledged_s = time.perf_counter() - started
        wait_caught_up(data)
        complete_s = time.perf_counter() - started
        lines = metric_lines(data)
        gaps = sum(stats(data, name)["gaps_total"] for name in ("detector", "alerter", "aggregator"))
        return {
            "acked/s": stored / acknowledged_s,
            "complete/s": stored / complete_s,
            "lost": float(metrics - lines),
            "gaps refilled": float(gaps),
        }


def _send(data: DataDirectory, messages: list[bytes]) -> int:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    stored = waiting = 0
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 60_000)
        socket.connect(data.endpoint("ingest.write"))
        for message in messages:
            socket.send(message)
            waiting += 1
            if waiting >= IN_FLIGHT:
                stored += _stored(socket.recv())
                waiting -= 1
        for _ in range(waiting):
            stored += _stored(socket.recv())
    return stored


def _stored(frame: bytes) -> int:
    ack: dict[str, Any] = unpack(frame)
    if "error" in ack:
        raise RuntimeError(ack["error"])
    count: int = ack["stored"]
    return count


def _columns(rows: int, seq: int, now_ms: int) -> dict[str, Any]:
    rng = np.random.default_rng(seq)
    return {
        "series": rng.integers(0, SERVERS * TOOLS, rows),
        "ts": np.full(rows, now_ms, np.int64) - rng.integers(0, 30_000, rows),
        "duration": np.round(rng.lognormal(4.5, 0.6, rows), 3),
        "ok": (rng.random(rows) > 0.002).astype(np.uint8),
        "cpu": np.round(rng.uniform(1, 60, rows), 1),
        "memory": np.round(rng.uniform(50, 500, rows), 1),
        "disk_io": np.round(rng.uniform(0, 4096, rows), 0),
    }


def _dictionary() -> list[list[str]]:
    return [[f"bench-server-{s:02d}", f"tool_{t:02d}"] for s in range(SERVERS) for t in range(TOOLS)]


def _batch(rows: int, seq: int, now_ms: int) -> bytes:
    c = _columns(rows, seq, now_ms)
    return pack(
        {
            "v": 1,
            "kind": "batch",
            "producer": "bench",
            "seq": seq,
            "n": rows,
            "dictionary": _dictionary(),
            "series": c["series"].astype("<u2").tobytes(),
            "ts": c["ts"].astype("<i8").tobytes(),
            "duration": c["duration"].astype("<f8").tobytes(),
            "ok": c["ok"].tobytes(),
            "cpu": c["cpu"].astype("<f8").tobytes(),
            "memory": c["memory"].astype("<f8").tobytes(),
            "diskIO": c["disk_io"].astype("<f8").tobytes(),
        }
    )


def _rows(rows: int, seq: int, now_ms: int) -> bytes:
    c = {name: column.tolist() for name, column in _columns(rows, seq, now_ms).items()}
    names = _dictionary()
    listed = [
        {
            "mcpServer": names[c["series"][i]][0],
            "toolName": names[c["series"][i]][1],
            "timestamp": c["ts"][i],
            "duration": c["duration"][i],
            "success": bool(c["ok"][i]),
            "resource": {"cpu": c["cpu"][i], "memory": c["memory"][i], "diskIO": c["disk_io"][i]},
        }
        for i in range(rows)
    ]
    return encode_rows(listed, producer="bench", seq=seq)
