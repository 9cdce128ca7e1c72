"""kill -9 right after the last acknowledgement: what of all that was acknowledged is found again after a start.

Every process of the pipeline is killed at once, supervisord too; it is started again on the same directory and the lines of its
files are counted. The same for VictoriaMetrics when it is asked for.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import psutil

from bench import victoria_metrics
from bench.child import Child
from bench.disk import check_room
from bench.figures import Result
from bench.generator import Config
from bench.ingest import ROOM_BYTES
from bench.options import Options
from bench.processes import processes_of
from bench.running import metric_files, pipeline, wait_caught_up
from bench.versus import CONNECTIONS, PEERS, peers
from bench.vm_generator import Config as VmConfig
from perfmon.pipeline import ensure_running

#: A load as long as this is what the kill comes after; longer ones show nothing more.
LOAD_S = 5.0
#: Frames and bodies of a ring.
RING = 20


def run(options: Options) -> Result:
    """Acknowledged before, found after; medians over several runs."""
    against = peers(options)
    seconds = min(options.seconds, LOAD_S)
    check_room(int(ROOM_BYTES * 1_500_000 * seconds))
    result = Result(
        "survival",
        f"{seconds:g} s in batches of {options.batch:,}, kill -9 of all processes within ms of the last acknowledgement",
        "ours: acknowledged = fsynced in the journal; VictoriaMetrics: acknowledged = in memory",
        options.runs,
    )
    ours, theirs = [], {peer.name: list[dict[str, float]]() for peer in against}
    for _ in range(options.runs):
        ours.append(_ours(options.batch, seconds, options))
        for name, found in theirs.items():
            found.append(_theirs(name, options.batch, seconds))
    result.add_runs("perfmon", ours)
    for name, found in theirs.items():
        result.add_runs(name, found)
    return result


def _ours(rows: int, seconds: float, options: Options) -> dict[str, float]:
    with pipeline() as data:
        config = Config(data.endpoint("ingest.write"), "batch", rows, RING, options.window_bytes)
        with Child("bench.generator", asdict(config)) as generator:
            processes = processes_of(data)
            acknowledged = generator.do("closed", seconds=seconds)["stored"]
            _kill(processes)
        ensure_running(data, started_by="bench", wait_ready_s=120)
        wait_caught_up(data)
        return _figures(acknowledged, metric_files(data).lines)


def _theirs(name: str, rows: int, seconds: float) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="perfmon-bench-vm-"))
    try:
        with victoria_metrics.server(folder) as server:
            config = VmConfig(server.port, PEERS[name], rows, RING // CONNECTIONS, CONNECTIONS)
            with Child("bench.vm_generator", asdict(config)) as generator:
                acknowledged = generator.do("closed", seconds=seconds)["stored"]
                server.kill()
        with victoria_metrics.server(folder) as server:
            return _figures(acknowledged, server.held(acknowledged))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _kill(processes: dict[str, psutil.Process]) -> None:
    """supervisord first, so that it starts nothing again."""
    for process in processes.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes.values()), timeout=30)


def _figures(acknowledged: float, found: float) -> dict[str, float]:
    lost = acknowledged - found
    return {
        "acknowledged": float(acknowledged),
        "found": float(found),
        "lost": float(lost),
        "lost %": 100 * lost / acknowledged,
    }
