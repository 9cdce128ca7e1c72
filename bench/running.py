"""A pipeline of our own on a temporary data directory, for the time of a benchmark."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from perfmon.paths import CONSUMERS, DataDirectory
from perfmon.pipeline import ensure_running, stop
from perfmon.rpc import RpcClient, RpcError

#: How long consumers may take to reach the head before a run counts as failed.
CATCH_UP_LIMIT_S: Final = 120.0
#: How long a count of everything may take.
ROLLUP_LIMIT_S: Final = 30.0
HOUR_MS: Final = 3_600_000


@contextlib.contextmanager
def pipeline() -> Iterator[DataDirectory]:
    """A ready pipeline; stopped and removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="perfmon-bench-")).resolve()
    data = DataDirectory(root)
    before = os.environ.get("PERFMON_DATA_DIR")
    os.environ["PERFMON_DATA_DIR"] = str(root)
    try:
        ensure_running(data, started_by="bench", wait_ready_s=120)
        yield data
    finally:
        if before is None:
            del os.environ["PERFMON_DATA_DIR"]
        else:
            os.environ["PERFMON_DATA_DIR"] = before
        stop(data, timeout_s=60)
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(data.runtime, ignore_errors=True)


def stats(data: DataDirectory, service: str) -> dict[str, Any]:
    """A service's counters."""
    endpoint = data.endpoint("ingest.write" if service == "ingest" else service)
    with RpcClient(endpoint, timeout_s=10) as client:
        found: dict[str, Any] = client.call("stats")
        return found


def wait_caught_up(data: DataDirectory) -> float:
    """Wait until detector, alerter and aggregator stand at ingest's head and the JSONL is complete; the seconds it took.

    Raises: TimeoutError.
    """
    started = time.perf_counter()
    with contextlib.ExitStack() as stack:
        ingest = stack.enter_context(RpcClient(data.endpoint("ingest.write"), timeout_s=10))
        clients = [stack.enter_context(RpcClient(data.endpoint(name), timeout_s=10)) for name in CONSUMERS]
        head = ingest.call("flush", timeout_s=CATCH_UP_LIMIT_S)["seq"]
        for client in clients:
            while True:
                with contextlib.suppress(RpcError):
                    if client.call("ping")["seq"] >= head:
                        break
                if time.perf_counter() - started > CATCH_UP_LIMIT_S:
                    raise TimeoutError(f"{client.endpoint} is behind {head}")
                time.sleep(0.005)
    return time.perf_counter() - started


class MetricFiles(NamedTuple):
    """What all JSONL files hold."""

    lines: int
    size_bytes: int


def metric_files(data: DataDirectory) -> MetricFiles:
    """Lines and bytes of all JSONL files, counted."""
    lines = size = 0
    for path in data.metrics.rglob("*.jsonl"):
        with path.open("rb") as file:
            for chunk in iter(lambda: file.read(1 << 20), b""):
                lines += chunk.count(b"\n")
                size += len(chunk)
    return MetricFiles(lines, size)


def rolled_up(data: DataDirectory) -> int:
    """Metrics that the aggregator has counted."""
    end_ms = time.time_ns() // 1_000_000 + HOUR_MS
    with RpcClient(data.endpoint("aggregator"), timeout_s=ROLLUP_LIMIT_S) as client:
        answer = client.call("rollup", {"startMs": end_ms - 3 * HOUR_MS, "endMs": end_ms, "by": "all"})
    return int(answer["total"]["count"])
