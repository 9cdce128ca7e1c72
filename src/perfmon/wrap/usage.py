"""What of a server's resource use belongs to one call. Pure: two samples of its process tree in, three figures out.

A figure that would be wrong is None: CPU and disk of calls that overlap, for nothing says which of them used it; CPU of a call
shorter than the kernel's clock tick, or of which a good part went by before the first or after the call before the second
sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

NS_PER_MS: Final = 1_000_000
#: Calls below this have no CPU figure: the tick of the kernel's clock.
MIN_CPU_NS: Final = 10 * NS_PER_MS
#: How late a sample may be, as a part of the call.
MAX_LATENESS: Final = 0.2
BYTES_PER_MB: Final = 1024 * 1024
BYTES_PER_KB: Final = 1024


class ProcessSample(NamedTuple):
    """One process: CPU time of it and of the children it waited for, bytes it read and wrote (None = not known), and when it
    began; `cpu_resolution_ns` is how fine the CPU time is.
    """

    cpu_ns: int
    cpu_resolution_ns: int
    rss_bytes: int
    io_bytes: int | None
    created_ns: int


class TreeSample(NamedTuple):
    """A server's process and all below it by process id, at `at_ns` of the monotonic clock."""

    at_ns: int
    processes: Mapping[int, ProcessSample]


class Usage(NamedTuple):
    """cpu in percent of one core, memory in MB, disk_io in KB; None = not known."""

    cpu: float | None = None
    memory: float | None = None
    disk_io: float | None = None


def attribute(
    before: TreeSample | None, after: TreeSample | None, *, started_ns: int, ended_ns: int, overlapped: bool
) -> Usage:
    """The resources of a call between two samples."""
    memory = max((_rss_mb(sample) for sample in (before, after) if sample and sample.processes), default=None)
    if overlapped or before is None or after is None or not before.processes or not after.processes:
        return Usage(memory=memory)
    duration_ns = ended_ns - started_ns
    if before.at_ns < started_ns or after.at_ns < ended_ns:
        return Usage(memory=memory)  # shared with a neighbouring call
    late_ns = max(before.at_ns - started_ns, after.at_ns - ended_ns)
    disk_io = _disk_kb(before, after) if before.at_ns <= ended_ns else None
    if duration_ns < MIN_CPU_NS or late_ns > MAX_LATENESS * duration_ns:
        return Usage(memory=memory, disk_io=disk_io)
    return Usage(_cpu_percent(before, after), memory, disk_io)


def _rss_mb(sample: TreeSample) -> float:
    return round(sum(one.rss_bytes for one in sample.processes.values()) / BYTES_PER_MB, 3)


def _cpu_percent(before: TreeSample, after: TreeSample) -> float | None:
    used_ns = sum(one.cpu_ns for one in _comparable(before, after).values())
    used_ns -= sum(one.cpu_ns for one in before.processes.values())
    window_ns = after.at_ns - before.at_ns
    resolution_ns = max(one.cpu_resolution_ns for one in after.processes.values())
    if used_ns < 0 or (used_ns < resolution_ns and window_ns < 10 * resolution_ns):
        return None
    return round(100.0 * used_ns / window_ns, 1)


def _disk_kb(before: TreeSample, after: TreeSample) -> float | None:
    ended, begun = _comparable(before, after).values(), before.processes.values()
    if any(one.io_bytes is None for one in (*ended, *begun)):
        return None
    used_bytes = sum(one.io_bytes or 0 for one in ended) - sum(one.io_bytes or 0 for one in begun)
    return round(used_bytes / BYTES_PER_KB, 3) if used_bytes >= 0 else None


def _comparable(before: TreeSample, after: TreeSample) -> dict[int, ProcessSample]:
    """The processes of `after` without those that were there at `before` but not seen: what they used until then is not known.

    One that vanished in between left its use to the parent that waited for it.
    """
    return {
        pid: one for pid, one in after.processes.items() if pid in before.processes or one.created_ns >= before.at_ns
    }
