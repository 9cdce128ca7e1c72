"""A silent tool among the others of its server: whether those are called, or the whole server is silent.

One tool that is called no more is often the caller's choice; a server that was called every few minutes and of which no tool
is any more has most likely stopped. Its busiest tool speaks for it, so that it is told once. Pure; nothing here remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np

from services.detector.core.metrics import MINUTE_MS, THROUGHPUT_CHANGE
from services.detector.core.state.series import SeriesState
from services.detector.core.sweeps.silence import (
    LEAST_CALLED,
    LEAST_KNOWN_MS,
    LEAST_MS,
    PAUSE_MINUTES,
    TIRELESS_MINUTES,
    YOUNG_LEAST_MS,
    called_minutes,
)
from shared.timespan import DAY_MS

#: Tools that one knows enough of when they are silent together; what one tool's silence says is `silence`'s matter.
SEVERAL_TOOLS: Final = 2
#: Where it stands in an event's evidence.
KEY: Final = "silence"


class Company(NamedTuple):
    """tools: those of the server that were called in the day before; called: how many of the others are called still; whole: that
    none is, of a server that was called without a pause; leads: whether the tool is the busiest of them.
    """

    tools: int
    called: int
    whole: bool
    leads: bool

    def as_map(self) -> dict[str, Any]:
        """Plain values for an event's evidence."""
        return {"tools": self.tools, "called": self.called, "wholeServer": self.whole}


def company(series: SeriesState, of_server: Iterable[SeriesState], now_ms: int) -> Company:
    """What the other tools of its server do while a tool is silent until `now_ms`; `of_server`: all of them, itself included."""
    known = [one for one in of_server if one.newest_ts >= series.newest_ts - DAY_MS]
    called = [one for one in known if one.newest_ts > max(now_ms - LEAST_MS, series.newest_ts)]
    busiest = max(known, key=lambda one: (one.calls_total, one.key.tool), default=series)
    whole = len(known) >= SEVERAL_TOOLS and _has_stopped(known, now_ms)
    return Company(len(known), len(called), whole, busiest is series)


def is_silence(kind: str, value: float) -> bool:
    """Whether an anomaly of a type and value is that no calls come."""
    return kind == THROUGHPUT_CHANGE and value == 0


def _has_stopped(tools: list[SeriesState], now_ms: int) -> bool:
    """Whether no tool is called, of a server of which always one was: in all of the hours before, or of those known."""
    last_ms = max(one.newest_ts for one in tools)
    since_ms = max(min(one.first_ts for one in tools), last_ms - TIRELESS_MINUTES * MINUTE_MS)
    if now_ms - last_ms < YOUNG_LEAST_MS or last_ms - since_ms < LEAST_KNOWN_MS:
        return False
    minutes = np.unique(np.concatenate([called_minutes(one) for one in tools]))
    minutes = minutes[minutes >= since_ms // MINUTE_MS]
    edges = np.concatenate(([since_ms // MINUTE_MS], minutes, [last_ms // MINUTE_MS]))
    return len(minutes) >= LEAST_CALLED and int(np.diff(edges).max()) <= PAUSE_MINUTES
