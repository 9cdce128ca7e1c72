"""The metrics in the JSONL files, read with nothing of ours: every line must be JSON, every file must end with a newline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perfmon.paths import DataDirectory
from shared.consumer import Position, StoreSnapshot


def stored_by_file(data: DataDirectory | Path) -> dict[str, list[dict[str, Any]]]:
    """Path below `metrics/` → its records, in order. Fails on a torn or unparsable line."""
    root = data.metrics if isinstance(data, DataDirectory) else data
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(path for path in root.rglob("*.jsonl") if path.is_file()):
        text = path.read_bytes()
        assert not text or text.endswith(b"\n"), f"{path} ends in a torn line"
        found[str(path.relative_to(root))] = [_record(path, raw) for raw in text.splitlines()]
    return found


def stored(data: DataDirectory | Path) -> list[dict[str, Any]]:
    """Every record of every file."""
    return [record for records in stored_by_file(data).values() for record in records]


def line(server: str, tool: str, timestamp: str, duration: float = 1.0) -> bytes:
    """A line of the seed's form, as somebody else might have written it."""
    record = {
        "timestamp": timestamp,
        "mcpServer": server,
        "toolName": tool,
        "duration": duration,
        "success": True,
        "error": None,
        "resource": None,
    }
    return json.dumps(record).encode() + b"\n"


def _record(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        record = json.loads(raw, parse_constant=_refuse)
    except ValueError as error:
        raise AssertionError(f"{path} holds an unparsable line {raw[:200]!r}") from error
    assert isinstance(record, dict), f"{path} holds {raw[:200]!r}"
    return record


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def store_snapshot(data: DataDirectory, epoch: str, seq: int) -> StoreSnapshot:
    """The store as it lies, as ingest's `snapshot` would tell it."""
    files = data.metrics.rglob("*.jsonl")
    sizes = {str(path.relative_to(data.metrics)): path.stat().st_size for path in files}
    return StoreSnapshot(Position(epoch, seq), sizes)
