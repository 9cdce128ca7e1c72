"""Find a supervisord that was started by hand: `supervisord -c supervisord.conf` takes no lock of ours, but its services do.

The orphans of a killed supervisord hold locks too, for a moment; their parent is no supervisord.
"""

from __future__ import annotations

from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline.locks import holder, is_held, supervisor_lock
from perfmon.pipeline.processes import is_supervisord, parent_of


def supervisord_by_hand(data: DataDirectory) -> int | None:
    """The pid of the supervisord whose services hold this data directory's locks; None while ours lives, or there is none."""
    if is_held(supervisor_lock(data)):
        return None
    for name in SERVICES:
        path = data.locks / f"{name}.lock"
        pid = holder(path) if is_held(path) else None
        parent = None if pid is None else parent_of(pid)
        if parent is not None and is_supervisord(parent):
            return parent
    return None
