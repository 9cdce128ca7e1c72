"""`state/pipeline.json`: what the running pipeline is, for whoever finds it.

Written when a pipeline is started, removed when it ends in order. So a record without a living supervisord means that it was
killed: the sign for the gateways to start it again. It is read from the data directory, which may have come with a clone: it
names no command and no path, and nothing in it is believed while the supervisord lock is free.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from perfmon.paths import DataDirectory
from perfmon.private_file import read_private, write_whole

#: A pipeline that a gateway started stops after this long without a gateway or a metric.
IDLE_STOP_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Record:
    """Who started which version with which settings, and after how much idleness it stops itself (None: never)."""

    version: str
    started_by: str
    started_ms: int
    password: str
    idle_stop_s: float | None = None
    settings: dict[str, Any] | None = None


def record_path(data: DataDirectory) -> Path:
    """Where the record is."""
    return data.state / "pipeline.json"


def write_record(data: DataDirectory, record: Record) -> None:
    """Replace the record whole, 0600."""
    write_whole(record_path(data), json.dumps(asdict(record)).encode())


def read_record(data: DataDirectory) -> Record | None:
    """The record; None when there is none, it is not one, or others could have written it."""
    raw = read_private(record_path(data))
    try:
        return None if raw is None else _parse(json.loads(raw))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def remove_record(data: DataDirectory) -> None:
    """The pipeline has ended in order."""
    record_path(data).unlink(missing_ok=True)


def _parse(found: Any) -> Record:
    idle, settings = found["idle_stop_s"], found.get("settings")
    return Record(
        version=str(found["version"]),
        started_by=str(found["started_by"]),
        started_ms=int(found["started_ms"]),
        password=str(found["password"]),
        idle_stop_s=None if idle is None else float(idle),
        settings=settings if isinstance(settings, dict) else None,
    )
