"""Samples a server's process tree with psutil.

CPU time comes from the process's own clock where the kernel has one (Linux, nanoseconds), else from its ticks. Which
processes there are is asked once a second, and at the end of a longer call: listing all processes of a machine is what costs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Final

import psutil

from perfmon.wrap.usage import ProcessSample, TreeSample

#: So many samples a second, and so many at once; beyond that the last one is used again, so that a flood of calls is not
#: met with a flood of samples.
SAMPLES_PER_S: Final = 100
SAMPLES_AT_ONCE: Final = 50
#: How old the list of processes may be.
MAX_TREE_AGE_NS: Final = 1_000_000_000
NS_PER_S: Final = 1_000_000_000
_GONE: Final = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)


class TreeSampler:
    """The tree below one process; `sample` is empty once it is gone."""

    def __init__(self, pid: int) -> None:
        self._root: psutil.Process | None = None
        with contextlib.suppress(*_GONE):
            self._root = psutil.Process(pid)
        self._tree: list[psutil.Process] = []
        self._listed_ns = -MAX_TREE_AGE_NS
        self._last = TreeSample(0, {})
        self._allowance = float(SAMPLES_AT_ONCE)
        self._allowed_ns = time.monotonic_ns()
        # The wall clock at the zero of the monotonic one: processes know when they began by the wall clock.
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._tick_ns = NS_PER_S // os.sysconf("SC_CLK_TCK") if sys.platform == "linux" else 1

    def sample(self, *, listed_since_ns: int | None = None) -> TreeSample:
        """The tree now; listed anew if the list is older than `listed_since_ns`."""
        now_ns = time.monotonic_ns()
        if not self._allowed(now_ns):
            return self._last
        if self._listed_ns < (listed_since_ns or 0) or now_ns - self._listed_ns > MAX_TREE_AGE_NS:
            self._list()
        at_ns = time.monotonic_ns()
        processes = {}
        for process in self._tree:
            with contextlib.suppress(*_GONE):
                processes[process.pid] = self._one(process)
        self._last = TreeSample(at_ns, processes)
        return self._last

    def kill(self) -> None:
        """End the root, if it is still the process it was."""
        if self._root is not None:
            with contextlib.suppress(*_GONE):
                self._root.kill()

    def wait_gone(self, timeout_s: float) -> bool:
        """Whether the root is gone within the time."""
        if self._root is None:
            return True
        try:
            self._root.wait(timeout_s)
        except psutil.TimeoutExpired:
            return False
        return True

    def _allowed(self, now_ns: int) -> bool:
        earned = (now_ns - self._allowed_ns) * SAMPLES_PER_S / NS_PER_S
        self._allowance = min(self._allowance + earned, SAMPLES_AT_ONCE)
        self._allowed_ns = now_ns
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _list(self) -> None:
        self._listed_ns = time.monotonic_ns()
        self._tree = []
        if self._root is not None:
            with contextlib.suppress(*_GONE):
                self._tree = [self._root, *self._root.children(recursive=True)]

    def _one(self, process: psutil.Process) -> ProcessSample:
        with process.oneshot():
            times = process.cpu_times()
            rss_bytes = process.memory_info().rss
            created_ns = int(process.create_time() * NS_PER_S) - self._epoch_ns
        children_ns = int((times.children_user + times.children_system) * NS_PER_S)
        own_ns, resolution_ns = _own_clock_ns(process.pid), 1
        if own_ns is None:
            own_ns, resolution_ns = int((times.user + times.system) * NS_PER_S), self._tick_ns
        return ProcessSample(own_ns + children_ns, resolution_ns, rss_bytes, _io_bytes(process), created_ns)


def _own_clock_ns(pid: int) -> int | None:
    """The CPU time of all threads of a process; clock ids of processes are made as in Linux's posix-timers.h."""
    if sys.platform != "linux":
        return None
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return None


def _io_bytes(process: psutil.Process) -> int | None:
    if not hasattr(process, "io_counters"):
        return None  # macOS does not tell
    try:
        counters = process.io_counters()
    except _GONE:
        return None
    return int(counters.read_bytes + counters.write_bytes)
