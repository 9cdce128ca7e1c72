"""What an idle pipeline costs: proportional set size and processor time of supervisord and all it runs."""

from __future__ import annotations

import time

from bench.figures import Result
from bench.processes import cpu_s, processes_of, pss_mb
from bench.running import pipeline


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
        result.add_runs(name, [run[name] for run in found])
    return result


def _once(settle_s: float, window_s: float) -> dict[str, dict[str, float]]:
    with pipeline() as data:
        time.sleep(settle_s)
        processes = processes_of(data)
        before = {name: cpu_s(process) for name, process in processes.items()}
        time.sleep(window_s)
        figures = {
            name: {
                "pss_mb": pss_mb(process.pid),
                "cpu_percent": 100 * (cpu_s(process) - before[name]) / window_s,
            }
            for name, process in processes.items()
        }
    figures["all"] = {key: sum(figure[key] for figure in figures.values()) for key in ("pss_mb", "cpu_percent")}
    return figures
