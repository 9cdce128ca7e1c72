"""What the operating system knows of a process: parent, command line, memory, CPU. psutil, imported when asked.

None where the system does not tell: the process is gone, or another user's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: How long CPU use is measured for one figure.
CPU_WINDOW_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Usage:
    """Uptime in s, PSS in MB (RSS where the system has no PSS), CPU in percent of one core over a short window."""

    uptime_s: float
    pss_mb: float
    cpu_percent: float


def parent_of(pid: int) -> int | None:
    """The parent's pid."""
    try:
        # After the last bracket, since a command's name may hold anything: state, then the parent.
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return _parent_elsewhere(pid)


def command_of(pid: int) -> list[str]:
    """The command line; empty when not known."""
    import psutil

    try:
        found: list[str] = psutil.Process(pid).cmdline()
    except psutil.Error:
        return []
    return found


def is_supervisord(pid: int) -> bool:
    """Whether a process is a supervisord, started as ours or by hand."""
    return any("supervisord" in Path(word).name or word == "perfmon.pipeline.daemon" for word in command_of(pid)[:4])


def child_running(parent: int, module: str) -> int | None:
    """The pid of the child that runs `python -m module`; None when there is none."""
    import psutil

    try:
        children = psutil.Process(parent).children()
    except psutil.Error:
        return None
    return next((child.pid for child in children if module in command_of(child.pid)), None)


def usage_of(pids: Iterable[int], now_s: float) -> dict[int, Usage]:
    """The use of several processes, measured over the same window; those that are gone are left out."""
    import time

    import psutil

    watched = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            process.cpu_percent(None)
            watched.append(process)
        except psutil.Error:
            continue
    if watched:
        time.sleep(CPU_WINDOW_S)
    found = {}
    for process in watched:
        try:
            found[process.pid] = Usage(
                uptime_s=max(0.0, now_s - process.create_time()),
                pss_mb=_pss_mb(process.pid, process.memory_info().rss),
                cpu_percent=process.cpu_percent(None),
            )
        except psutil.Error:
            continue
    return found


def _parent_elsewhere(pid: int) -> int | None:
    import psutil

    try:
        found: int = psutil.Process(pid).ppid()
    except psutil.Error:
        return None
    return found


def _pss_mb(pid: int, rss_bytes: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return rss_bytes / 1e6
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return rss_bytes / 1e6
