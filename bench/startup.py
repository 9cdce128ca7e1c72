"""How long until it answers: `perfmon mcp` to `tools/list`, with and without a pipeline; `perfmon up` to ready."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Result
from bench.line_client import LineClient
from bench.running import pipeline
from perfmon.paths import DataDirectory
from perfmon.pipeline import ensure_running, stop


def run(runs: int) -> Result:
    """Seconds, medians."""
    result = Result("startup", "from the start of the process to the answer", "nothing is written", runs)
    result.add_runs("perfmon mcp: tools/list, no pipeline yet", [_tools_list_cold() for _ in range(runs)])
    with pipeline() as data:
        result.add_runs("perfmon mcp: tools/list, pipeline runs", [_tools_list(data) for _ in range(runs)])
    result.add_runs("perfmon up: all ready, warm kernels", [_up() for _ in range(runs)])
    result.add_runs("perfmon up: all ready, first ever", [_up(first_ever=True) for _ in range(runs)])
    return result


def _tools_list_cold() -> dict[str, float]:
    data = DataDirectory(Path(tempfile.mkdtemp(prefix="perfmon-bench-")).resolve())
    try:
        return _tools_list(data)
    finally:
        # The session may be starting its pipeline right now: ask for the same one, then stop it.
        ensure_running(data, started_by="bench", wait_ready_s=120)
        stop(data, timeout_s=60)
        shutil.rmtree(data.root, ignore_errors=True)


def _tools_list(data: DataDirectory) -> dict[str, float]:
    started = time.perf_counter()
    with LineClient(data) as client:
        client.handshake()
        answer = client.ask("tools/list", {})
        elapsed = time.perf_counter() - started
    if len(answer["result"]["tools"]) != 8:
        raise RuntimeError("eight tools were expected")
    return {"seconds": elapsed}


def _up(*, first_ever: bool = False) -> dict[str, float]:
    root = Path(tempfile.mkdtemp(prefix="perfmon-bench-")).resolve()
    data = DataDirectory(root / "data")
    env = {**os.environ, "PERFMON_DATA_DIR": str(data.root)}
    if first_ever:
        env["XDG_CACHE_HOME"] = str(root / "cache")
    started = time.perf_counter()
    try:
        subprocess.run([sys.executable, "-m", "perfmon", "up"], env=env, check=True, capture_output=True, timeout=120)
        return {"seconds": time.perf_counter() - started}
    finally:
        stop(data, timeout_s=60)
        shutil.rmtree(root, ignore_errors=True)
