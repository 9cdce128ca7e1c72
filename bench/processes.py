"""What the processes of a pipeline cost: CPU seconds, memory and written bytes of each, and what the machine did besides.

CPU is user and system time of all threads as the kernel counts it (10 ms steps). What the machine was busy with and no process
of ours was charged for (writing pages back to the disk, other people's programs) is `elsewhere`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import psutil

from perfmon.paths import CONSUMERS, SERVICES, DataDirectory
from perfmon.rpc import RpcClient

#: Pause between two looks at the memory of all processes; a look costs some ms a process.
LOOK_EVERY_S: Final = 2.0
#: Processes that every metric passes; all others of the pipeline are `rest`.
ON_THE_WAY: Final = ("ingest", *CONSUMERS)


class Usage(NamedTuple):
    """CPU seconds so far by name, and the machine's busy CPU seconds (all cores, kernel threads too)."""

    cpu_s: Mapping[str, float]
    busy_s: float


class Pipeline:
    """The processes of a running pipeline by name."""

    def __init__(self, data: DataDirectory) -> None:
        self.processes = processes_of(data)

    def usage(self) -> Usage:
        """CPU so far, with everything that is not on a metric's way summed up as `rest`."""
        cpu = {name: cpu_s(self.processes[name]) for name in ON_THE_WAY}
        cpu["rest"] = sum(cpu_s(process) for name, process in self.processes.items() if name not in ON_THE_WAY)
        return Usage(cpu, _busy_s())

    def written_bytes(self) -> int | None:
        """What ingest has handed to the kernel in write calls so far; None where that isn't counted."""
        counters = getattr(self.processes["ingest"], "io_counters", None)
        return None if counters is None else int(counters().write_chars)


class PeakMemory:
    """Peak memory of processes: RSS as the kernel remembers it, PSS as seen by looking every two seconds."""

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self._processes = processes
        self._pss_mb: dict[str, float] = {}
        self._rss_mb: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def figures(self) -> dict[str, dict[str, float]]:
        """Peak RSS and PSS in MB by process."""
        return {name: {"rss_mb": self._rss_mb[name], "pss_mb": self._pss_mb[name]} for name in self._processes}

    def _watch(self) -> None:
        while True:
            for name, process in self._processes.items():
                self._look(name, process)
            if self._stop.wait(LOOK_EVERY_S):
                return

    def _look(self, name: str, process: psutil.Process) -> None:
        try:
            pss, rss = pss_mb(process.pid), _peak_rss_mb(process)
        except (psutil.Error, OSError):
            pss = rss = 0.0  # it has ended
        self._pss_mb[name] = max(self._pss_mb.get(name, 0.0), pss)
        self._rss_mb[name] = max(self._rss_mb.get(name, 0.0), rss)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def processes_of(data: DataDirectory) -> dict[str, psutil.Process]:
    """supervisord and all that it runs, by service or, for the others, by command."""
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
            with contextlib.suppress(psutil.Error):  # it has just ended
                found[f"other: {' '.join(child.cmdline()[-2:])}"] = child
    return {"supervisord": supervisor, **found}


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process so far, 0 when it has ended."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def pss_mb(pid: int) -> float:
    """Proportional set size of a process: shared pages count for their share. RSS where the kernel doesn't tell it."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.exists():
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    return _kb_of(rollup, "Pss:") / 1024


def _peak_rss_mb(process: psutil.Process) -> float:
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        return float(process.memory_info().rss) / 2**20
    return _kb_of(status, "VmHWM:") / 1024


def _kb_of(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _busy_s() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted as user time already
    return float(sum(times) - idle - guests)
