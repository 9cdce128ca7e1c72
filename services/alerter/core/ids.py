"""Ids of alerts, `alert-20251031-001`: the UTC day of creation and a number within it that is never given out again."""

from __future__ import annotations

import re

from shared.timespan import day_of

_ID = re.compile(r"alert-(\d{8})-(\d{3,9})")


class AlertIds:
    """The highest number given out on each day, `YYYYMMDD`."""

    def __init__(self, last: dict[str, int] | None = None) -> None:
        self.last = dict(last or {})

    def next(self, now_ms: int) -> str:
        """A new id."""
        day = day_of(now_ms).replace("-", "")
        self.last[day] = self.last.get(day, 0) + 1
        return f"alert-{day}-{self.last[day]:03d}"

    def skip(self, alert_id: str) -> None:
        """Never give out this id, or a lower one of its day; text that is no id is passed over."""
        match = _ID.fullmatch(alert_id)
        if match:
            day, number = match.group(1), int(match.group(2))
            self.last[day] = max(self.last.get(day, 0), number)
