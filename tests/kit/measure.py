"""What a process takes of the machine, from /proc."""

from __future__ import annotations

import re
from pathlib import Path


def resident_mb(pid: int, *, peak: bool = False) -> float:
    """Resident memory now, or its peak."""
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) / 1024


def forget_peak(pid: int) -> None:
    """Let the peak start from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(pid: int) -> int:
    """How many files and sockets it has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
