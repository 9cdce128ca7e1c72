"""`alerts/history/DATE.jsonl`: every resolved alert, once, in the file of the UTC day on which it was resolved.

The files are the archive for good; the database forgets resolved alerts after 30 days.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from services.alerter.core.model import Alert
from services.alerter.core.views import alert_view
from shared.store.appends import append_lines
from shared.timespan import DAY_MS, BadTime, day_of, day_start, parse_iso

#: Lines read from one day's file; a day with more was not written by us.
MAX_DAY_LINES: Final = 1_000_000

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def archive(folder: Path, alerts: Iterable[Alert]) -> None:
    """Add resolved alerts to their days; one that is there already (a crash came before it was noted) is not added again.

    Raises: OSError.
    """
    by_day: dict[str, list[Alert]] = {}
    for alert in alerts:
        by_day.setdefault(day_of(alert.resolved_ms or 0), []).append(alert)
    for day, resolved in by_day.items():
        path = folder / f"{day}.jsonl"
        known = {str(row.get("alertId")) for row in _rows(path)}
        lines = [_line(alert) for alert in resolved if alert.alert_id not in known]
        if lines:
            append_lines(path, lines)


def read_history(folder: Path, start_ms: int, end_ms: int) -> Iterator[dict[str, Any]]:
    """The alerts that were open at some time in [start_ms, end_ms) and are archived, by the day they were resolved on."""
    for day in days(folder):
        if day_start(day) + DAY_MS <= start_ms:
            continue
        for row in _rows(folder / f"{day}.jsonl"):
            span = _span(row)
            if span is not None and span[0] < end_ms and span[1] >= start_ms:
                yield row


def days(folder: Path) -> list[str]:
    """The days that have a file, ascending."""
    try:
        names = [path.stem for path in folder.iterdir() if path.suffix == ".jsonl" and _DAY.fullmatch(path.stem)]
    except OSError:
        return []
    return sorted(name for name in names if _is_day(name))


def ids_in(folder: Path) -> Iterator[str]:
    """Every alert id that the archive names."""
    for day in days(folder):
        for row in _rows(folder / f"{day}.jsonl"):
            yield str(row.get("alertId"))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file; lines that are none are passed over."""
    try:
        if path.is_symlink():
            return
        with path.open("rb") as file:
            for _, line in zip(range(MAX_DAY_LINES), file, strict=False):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict):
                    yield row
    except OSError:
        return


def _span(row: dict[str, Any]) -> tuple[int, int] | None:
    try:
        return parse_iso(row["timestamp"]), parse_iso(row["resolvedAt"])
    except (KeyError, TypeError, BadTime):
        return None


def _line(alert: Alert) -> bytes:
    return json.dumps(alert_view(alert), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _is_day(name: str) -> bool:
    try:
        day_start(name)
    except BadTime:
        return False
    return True
