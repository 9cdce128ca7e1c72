"""Whether a service that does not answer does anything: the processor time it uses, and the journal that ingest writes.

Read from the outside, on Linux from /proc; elsewhere processor time is not known and counts as none. No psutil: the watchdog is
small.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from perfmon.paths import DataDirectory
from perfmon.pipeline.locks import holder

#: Processor time between two rounds (5 s) from which on a service works: an idle one uses a tenth of it.
WORKING_S: Final = 0.25


class _Done(NamedTuple):
    """What one process has done so far. `cpu_s` is None where the system does not tell."""

    pid: int | None
    cpu_s: float | None
    committed_ns: int


class Work:
    """What the silent services of one data directory had done at the last round."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._before: dict[str, _Done] = {}

    def since_last_round(self, silent: Collection[str]) -> frozenset[str]:
        """Those of `silent` that were silent the last time too and have done something since."""
        before, self._before = self._before, {name: self._done(name) for name in silent}
        return frozenset(name for name, now in self._before.items() if name in before and _worked(before[name], now))

    def _done(self, name: str) -> _Done:
        pid = holder(self._data.locks / f"{name}.lock")
        committed_ns = _changed_ns(self._data.journal) if name == "ingest" else 0
        return _Done(pid, None if pid is None else _cpu_s(pid), committed_ns)


def _worked(before: _Done, now: _Done) -> bool:
    if before.pid != now.pid:
        return False
    if now.committed_ns > before.committed_ns:
        return True
    return before.cpu_s is not None and now.cpu_s is not None and now.cpu_s - before.cpu_s >= WORKING_S


def _cpu_s(pid: int) -> float | None:
    """User and system time of a process so far."""
    try:
        # After the last bracket, since a command's name may hold anything: the fields from the third on.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _changed_ns(folder: Path) -> int:
    """When anything in a folder changed last; 0 when that cannot be seen."""
    try:
        with os.scandir(folder) as entries:
            return max((entry.stat(follow_symlinks=False).st_mtime_ns for entry in entries), default=0)
    except OSError:
        return 0
