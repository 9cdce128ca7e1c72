"""`state/pipeline.json`: what the running pipeline is, for whoever finds it.

Written when a pipeline is started, removed when it ends in order. So a record without a living supervisord means that it was
killed: the sign for the gateways to start it again. It is read from the data directory, which may have come with a clone: it
names no command and no path, and nothing in it is believed while the supervisord lock is free.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from perfmon.paths import DataDirectory

#: A pipeline that a gateway started stops after this long without a gateway or a metric.
IDLE_STOP_S: Final = 24 * 3600
#: Longest record that is read.
_MAX_BYTES: Final = 4_096


@dataclass(frozen=True, slots=True)
class Record:
    """Who started which version, and after how much idleness it stops itself (None: never)."""

    version: str
    started_by: str
    started_ms: int
    password: str
    idle_stop_s: float | None = None


def record_path(data: DataDirectory) -> Path:
    """Where the record is."""
    return data.state / "pipeline.json"


def write_record(data: DataDirectory, record: Record) -> None:
    """Replace the record: temporary file, then rename, 0600."""
    descriptor, name = tempfile.mkstemp(dir=data.state, prefix=".pipeline-")
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(record_path(data))


def read_record(data: DataDirectory) -> Record | None:
    """The record; None when there is none or it is not one."""
    path = record_path(data)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        raw = file.read(_MAX_BYTES)
    try:
        return _parse(json.loads(raw))
    except (ValueError, KeyError, TypeError):
        return None


def remove_record(data: DataDirectory) -> None:
    """The pipeline has ended in order."""
    record_path(data).unlink(missing_ok=True)


def _parse(found: Any) -> Record:
    idle = found["idle_stop_s"]
    return Record(
        version=str(found["version"]),
        started_by=str(found["started_by"]),
        started_ms=int(found["started_ms"]),
        password=str(found["password"]),
        idle_stop_s=None if idle is None else float(idle),
    )
