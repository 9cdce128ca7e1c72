"""The anomaly files `anomalies/DATE.jsonl` (day of an event's start: a line when it opens, one when it closes) and their index
`index/anomalies-index.json`. Lines come at least once from the outbox and are written once: an id and phase that a file has
already is passed over.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from perfmon.paths import DataDirectory
from services.detector.core.events import SEVERITIES, Event, event_id, from_record
from services.detector.core.metrics import LEVELS
from services.detector.core.telling.explain import anomaly
from shared.batch import Series
from shared.store.appends import append_lines
from shared.store.atomic import read_json, write_json
from shared.timespan import BadTime, day_of, iso, parse_iso

INDEX_VERSION: Final = "1.0.0"
#: Bytes of an anomaly file that are read back: about 50,000 lines.
MAX_FILE_BYTES: Final = 64 * 1024 * 1024

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

Owed = tuple[str, str, str, bytes]


def line_of(event: Event, phase: str) -> Owed:
    """(id, phase, day, line) of an event."""
    record = anomaly(event, full=True, iso_times=True) | {"phase": phase}
    return event.id, phase, day_of(event.start_ms), json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")


class AnomalyFiles:
    """The only writer of both."""

    def __init__(self, data: DataDirectory) -> None:
        self._folder = data.anomalies
        self._index_path = data.index / "anomalies-index.json"
        self._written: dict[str, set[tuple[str, str]]] = {}

    def append(self, lines: Sequence[Owed], now_ms: int) -> None:
        """Append what the files do not have yet, synced, and bring the index up to date.

        Raises: OSError; what was appended before it is recognised the next time.
        """
        days = sorted({day for _, _, day, _ in lines})
        for day in days:
            known = self._known(day)
            new = [(name, phase, body) for name, phase, d, body in lines if d == day and (name, phase) not in known]
            if new:
                append_lines(self._path(day), [body for _, _, body in new])
                known.update((name, phase) for name, phase, _ in new)
        self.update_index(now_ms, days)

    def update_index(self, now_ms: int, days: Sequence[str] = ()) -> None:
        """Count anew the days named and those whose file changed or went; everything when the index is missing or damaged."""
        found = read_json(self._index_path) if self._index_path.exists() else None
        index, sizes = _read_index(found)
        present = {day: path.stat().st_size for day, path in self._files()}
        stale = {day for day, size in present.items() if sizes.get(day) != size or day in days or day not in index}
        if not stale and sizes.keys() == present.keys() and found is not None:
            return
        counted = {day: _count(self._records(day)) for day in sorted(stale)}
        kept = {day: index[day] for day in present if day not in stale}
        write_json(
            self._index_path,
            {
                "version": INDEX_VERSION,
                "lastUpdated": iso(now_ms),
                "index": dict(sorted((kept | counted).items())),
                "files": {f"anomalies/{day}.jsonl": present[day] for day in sorted(present)},
            },
        )

    def events(self, since_ms: int) -> Iterator[Event]:
        """The events in the files of the days since a time, each in its latest phase; what cannot be read is passed over."""
        for day, _ in self._files():
            if day < day_of(since_ms):
                continue
            latest = {str(record["id"]): record for record in self._records(day)}
            for record in latest.values():
                event = _event_of(record)
                if event is not None:
                    yield event

    def _known(self, day: str) -> set[tuple[str, str]]:
        if day not in self._written:
            self._written = {d: known for d, known in self._written.items() if d >= day}
            self._written[day] = {(str(r["id"]), str(r.get("phase"))) for r in self._records(day)}
        return self._written[day]

    def _path(self, day: str) -> Path:
        return self._folder / f"{day}.jsonl"

    def _files(self) -> list[tuple[str, Path]]:
        found = [(path.stem, path) for path in self._folder.glob("*.jsonl") if _DAY.fullmatch(path.stem)]
        return sorted((day, path) for day, path in found if path.is_file() and not path.is_symlink())

    def _records(self, day: str) -> Iterator[dict[str, Any]]:
        try:
            descriptor = os.open(self._path(day), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_FILE_BYTES)
        for line in data.split(b"\n"):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and isinstance(record.get("id"), str):
                yield record


def _count(records: Iterator[dict[str, Any]]) -> dict[str, Any]:
    latest = {str(record["id"]): record for record in records}
    servers: dict[str, Any] = {}
    for record in latest.values():
        one = servers.setdefault(
            str(record.get("mcpServer")),
            {"count": 0, "bySeverity": dict.fromkeys(SEVERITIES, 0), "byType": {}, "tools": []},
        )
        one["count"] += 1
        severity, kind, tool = record.get("severity"), str(record.get("anomalyType")), str(record.get("toolName"))
        if severity in one["bySeverity"]:
            one["bySeverity"][severity] += 1
        one["byType"][kind] = one["byType"].get(kind, 0) + 1
        stamp = str(record.get("timestamp"))
        one["firstTimestamp"] = min(one.get("firstTimestamp", stamp), stamp)
        one["lastTimestamp"] = max(one.get("lastTimestamp", stamp), stamp)
        if tool not in one["tools"]:
            one["tools"].append(tool)
    return servers


def _read_index(found: object) -> tuple[dict[str, Any], dict[str, int]]:
    if not isinstance(found, dict) or found.get("version") != INDEX_VERSION:
        return {}, {}
    index, files = found.get("index"), found.get("files")
    if not isinstance(index, dict) or not isinstance(files, dict):
        return {}, {}
    sizes = {Path(str(name)).stem: size for name, size in files.items() if type(size) is int}
    return index, sizes


def _event_of(record: dict[str, Any]) -> Event | None:
    """The event of a line; None when it is not one of ours."""
    try:
        details, baseline = record["details"], record["baseline"]
        event = from_record(
            {
                "id": record["id"],
                "server": record["mcpServer"],
                "tool": record.get("foundIn") or record["toolName"],
                "type": record["anomalyType"],
                "metric": details["metric"],
                "unit": details["unit"],
                "method": details["method"],
                "start_ms": parse_iso(record["startTs"]),
                "last_ms": parse_iso(record["lastSeenTs"]),
                "peak_ms": parse_iso(record["peakTs"]),
                "end_ms": None if record["endTs"] is None else parse_iso(record["endTs"]),
                "value": details["currentValue"],
                "typical": record["typicalValue"],
                "median": baseline["median"],
                "lower": baseline["lower"],
                "upper": baseline["upper"],
                "points": record["points"],
                "calls": record["calls"],
                "level": LEVELS[details["sensitivity"]],
                "confidence": details["confidence"],
                "severity": record["severity"],
                "ended": record["ended"] or "",
                "recommendations": record["recommendations"],
                "found_as": record["foundAs"] or "",
                "evidence": record["evidence"],
                "incident": record.get("incident") or {},
                "written": record["phase"],
                # Who could not be told before will not be told now.
                "raised": record["severity"],
            }
        )
    except (KeyError, TypeError, ValueError, BadTime):
        return None
    return (
        event
        if event.id == event_id(Series(event.server, event.tool), event.origin, event.metric, event.start_ms)
        else None
    )
