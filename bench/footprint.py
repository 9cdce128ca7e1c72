"""What an idle pipeline costs: proportional set size and processor time of supervisord and all it runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from bench.figures import Result, medians
from bench.running import pipeline
from perfmon.paths import SERVICES, DataDirectory
from perfmon.rpc import RpcClient


def run(runs: int, *, settle_s: float = 60.0, window_s: float = 30.0) -> Result:
    """PSS and CPU of every process on an empty data directory, `settle_s` after all were ready."""
    result = Result(
        "footprint",
        f"empty data directory, no stdio gateway, {settle_s:g} s after ready, CPU over {window_s:g} s",
        "nothing is written while idle",
        runs,
    )
    found = [_once(settle_s, window_s) for _ in range(runs)]
    for name in found[0]:
        result.add(name, **medians([run[name] for run in found]))
    return result


def _once(settle_s: float, window_s: float) -> dict[str, dict[str, float]]:
    with pipeline() as data:
        time.sleep(settle_s)
        processes = _processes(data)
        before = {name: _cpu_s(process) for name, process in processes.items()}
        time.sleep(window_s)
        figures = {
            name: {
                "pss_mb": pss_mb(process.pid),
                "cpu_percent": 100 * (_cpu_s(process) - before[name]) / window_s,
            }
            for name, process in processes.items()
        }
    figures["all"] = {key: sum(figure[key] for figure in figures.values()) for key in ("pss_mb", "cpu_percent")}
    return figures


def _processes(data: DataDirectory) -> dict[str, psutil.Process]:
    found = {}
    for service in SERVICES:
        endpoint = data.endpoint("ingest.write" if service == "ingest" else service)
        with RpcClient(endpoint, timeout_s=5) as client:
            found[service] = psutil.Process(client.call("ping")["pid"])
    supervisor = found["ingest"].parent()
    assert supervisor is not None
    known = {process.pid for process in found.values()}
    for child in supervisor.children(recursive=True):
        if child.pid not in known:
            found[f"other: {' '.join(child.cmdline()[-2:])}"] = child
    return {"supervisord": supervisor, **found}


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def pss_mb(pid: int) -> float:
    """Proportional set size of a process: shared pages count for their share."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.exists():
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    with os.fdopen(os.open(rollup, os.O_RDONLY)) as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
