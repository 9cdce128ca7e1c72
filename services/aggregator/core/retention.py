"""What is old enough to go. Pure: names, ages and the clock come in; what to remove comes out.

Only names that are exactly those this product writes are ever chosen; whatever else lies in a folder is somebody's and stays.
A day goes when its last moment is older than its retention, so that everything younger is whole. Minutes go only once the
hours made of them are on disk, and hours only once their day is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from services.aggregator.core.tiers import DAY, HOUR, Floors, Node, node_at
from shared.timespan import DAY_MS, HOUR_MS, BadTime, day_of, day_start, parse_iso

#: Reports are kept as long as anomalies by default.
REPORT_RETENTION_DAYS: Final = 90
#: Age after which a temp file of ours was left behind by a crash.
TEMPORARY_MAX_AGE_MS: Final = HOUR_MS

_DAY = r"(\d{4}-\d{2}-\d{2})"
_STAMP = r"\d{8}T\d{6}Z"
_FOLDER: Final = re.compile(_DAY)
_HOURLY: Final = re.compile(rf"{_DAY}-(\d{{2}})\.json")
_DAILY: Final = re.compile(rf"{_DAY}\.json")
_ANOMALIES: Final = re.compile(rf"{_DAY}\.jsonl")
_REPORT: Final = re.compile(rf"report-[a-z]{{1,20}}-{_STAMP}-{_STAMP}-({_STAMP})-[0-9a-f]{{6}}\.(?:md|json|html)")
_TEMPORARY: Final = re.compile(rf"\.{_DAY}(-\d{{2}})?\.json\.\d{{1,10}}\.[0-9a-f]{{8}}\.tmp")


class Retention(NamedTuple):
    """How long each kind is kept, ms."""

    raw_ms: int
    minute_ms: int
    hourly_ms: int
    daily_ms: int
    anomalies_ms: int
    reports_ms: int


def file_name(node: Node) -> str:
    """`2025-10-31-13.json` of an hour, `2025-10-31.json` of a day."""
    day = day_of(node.start_ms)
    return f"{day}.json" if node.level == DAY else f"{day}-{node.start_ms % DAY_MS // HOUR_MS:02d}.json"


def node_of(name: str) -> Node | None:
    """The hour or day that a file in `aggregates/` is named after; None for any other name."""
    hourly, daily = _HOURLY.fullmatch(name), _DAILY.fullmatch(name)
    found = hourly or daily
    start = None if found is None else _start_of(found.group(1))
    if start is None:
        return None
    if daily:
        return Node(DAY, start)
    hour = int(hourly.group(2)) if hourly else 24
    return Node(HOUR, start + hour * HOUR_MS) if hour < 24 else None


def expired_raw_days(folders: Iterable[str], now_ms: int, retention_ms: int) -> list[str]:
    """The day folders below `metrics/` whose last moment is older than that, oldest first."""
    return sorted(name for name in folders if _FOLDER.fullmatch(name) and _day_is_over(name, now_ms - retention_ms))


def expired_anomaly_files(names: Iterable[str], now_ms: int, retention_ms: int) -> list[str]:
    """Likewise of `anomalies/DATE.jsonl`."""
    matches = ((name, _ANOMALIES.fullmatch(name)) for name in names)
    return sorted(name for name, found in matches if found and _day_is_over(found.group(1), now_ms - retention_ms))


def expired_reports(names: Iterable[str], now_ms: int, retention_ms: int) -> list[str]:
    """The reports that were made longer ago than that, by the time in their names."""
    matches = ((name, _REPORT.fullmatch(name)) for name in names)
    return sorted(name for name, found in matches if found and _made_before(found.group(1), now_ms - retention_ms))


def expired_aggregates(names: Iterable[str], level: int, before_ms: int) -> list[str]:
    """The hourly or daily files that end at or before a moment, oldest first."""
    nodes = ((name, node_of(name)) for name in names)
    return sorted(name for name, node in nodes if node and node.level == level and node.end_ms <= before_ms)


def abandoned_temporaries(files: Iterable[tuple[str, int]], now_ms: int) -> list[str]:
    """Temp files of `aggregates/` left behind, among (name, time of last change in epoch ms)."""
    return sorted(name for name, at_ms in files if _TEMPORARY.fullmatch(name) and at_ms < now_ms - TEMPORARY_MAX_AGE_MS)


def raised_floors(floors: Floors, now_ms: int, retention: Retention, stale: Collection[Node]) -> Floors:
    """The floors after a clean-up: as high as retention says, no higher than what is not yet in its file, never lower. Coarser
    levels are kept at least as long as finer ones, whatever is set.
    """
    first_stale = {level: min((n.start_ms for n in stale if n.level == level), default=now_ms) for level in (HOUR, DAY)}
    minute = min(node_at(HOUR, now_ms - retention.minute_ms).start_ms, node_at(HOUR, first_stale[HOUR]).start_ms)
    minute = max(floors.minute_ms, minute)
    hour = min(node_at(DAY, now_ms - retention.hourly_ms).start_ms, first_stale[DAY], minute)
    hour = max(floors.hour_ms, node_at(DAY, hour).start_ms)
    day = max(floors.day_ms, node_at(DAY, min(now_ms - retention.daily_ms, hour)).start_ms)
    return Floors(minute, hour, day)


def _day_is_over(day: str, before_ms: int) -> bool:
    start = _start_of(day)
    return start is not None and start + DAY_MS <= before_ms


def _made_before(stamp: str, before_ms: int) -> bool:
    try:
        return parse_iso(f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:11]}:{stamp[11:13]}:{stamp[13:15]}Z") < before_ms
    except BadTime:
        return False


def _start_of(day: str) -> int | None:
    try:
        start = day_start(day)
    except BadTime:
        return None
    return start if start >= 0 else None
