"""What is said of an event in an answer: the anomaly itself, its incident, and, when asked, why it is one.

Only reads; an event that is in no incident yet is told which one it belongs to.
"""

from __future__ import annotations

from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.incidents.candidates import Cause
from services.detector.core.incidents.causes import likely, rank
from services.detector.core.metrics import NAMED_METHODS
from services.detector.core.telling.explain import anomaly
from services.detector.core.telling.explanation import Points, asked_for, explanation
from services.detector.core.telling.explanation_text import lines
from services.detector.core.telling.narrative import summary
from services.detector.core.telling.phrases import tool_name
from services.detector.core.watch import Watch
from shared.names import shown

#: Anomalies of one answer whose minutes are drawn, the worst first: each chart takes about 700 characters.
CHARTS: Final = 3
#: Columns of a chart in an answer.
ANSWER_WIDTH: Final = 72
#: What a row says already, and what is told of the worst anomalies alone.
_IN_THE_ROW: Final = frozenset({"metric", "unit", "typical", "incident", "said", "tools"})
_OF_THE_WORST: Final = frozenset({"chart", "unknown", "causes"})


def remark(watch: Watch, event: Event, *, full: bool, place: int) -> dict[str, Any]:
    """The row of an event in an answer, the `place`-th of it."""
    if not event.incident and _may_belong(watch, event):
        event.incident = watch.incidents.place(event)
    now_ms = watch.engine.newest_ts
    row = anomaly(event, full=full, now_ms=now_ms)
    if not full:
        row["summary"] = summary(event, short=True, now_ms=now_ms)
    if full:
        row["evidence"] = {name: value for name, value in event.evidence.items() if name != "fired"}
        drawn = place < CHARTS
        told = why(watch, event, width=ANSWER_WIDTH if drawn else 0)
        left_out = _IN_THE_ROW if drawn else _IN_THE_ROW | _OF_THE_WORST
        row["explanation"] = {name: value for name, value in told.items() if name not in left_out}
    return row


def _may_belong(watch: Watch, event: Event) -> bool:
    """What a named method finds is part of an incident only where the detector itself found something of that metric: it finds
    something near everything.
    """
    of_metric = watch.book.about(event.series, event.metric, event.start_ms, event.last_ms)
    return event.method not in NAMED_METHODS or any(of_metric)


def why(
    watch: Watch, event: Event, *, points: Points | None = None, width: int = 80, ascii_only: bool = False
) -> dict[str, Any]:
    """The explanation of an event, as `core.explanation` says."""
    series = watch.engine.series.get(event.series)
    return explanation(
        event,
        series,
        points=points,
        causes=_causes(watch, event),
        width=width,
        ascii_only=ascii_only,
        until_ms=watch.engine.newest_ts,
    )


def whole(
    watch: Watch, event: Event, *, points: Points | None = None, width: int = 80, ascii_only: bool = False
) -> dict[str, Any]:
    """{anomaly, explanation, text, wanted}: all of it for one event. `wanted`: the rollup that would show the minutes around it,
    None when they are shown.
    """
    now_ms = watch.engine.newest_ts
    row = remark(watch, event, full=False, place=0) | anomaly(event, full=True, now_ms=now_ms)
    found = why(watch, event, points=points, width=width, ascii_only=ascii_only)
    return {
        "anomaly": row,
        "explanation": found,
        "text": lines(event, found, width, ascii_only=ascii_only, now_ms=now_ms),
        "wanted": None if found["chart"] else asked_for(event),
    }


def listed_ids(events: list[Event]) -> list[dict[str, Any]]:
    """A line an event, for a reader who has to choose."""
    return [
        {
            "id": e.id,
            "mcpServer": shown(e.server),
            "toolName": shown(tool_name(e)),
            "anomalyType": e.type,
            "startTs": e.start_ms,
        }
        for e in events
    ]


def _causes(watch: Watch, event: Event) -> list[Cause]:
    """The candidates, likeliest first, the event itself only as the likely cause; none when the incident's members are no longer
    in the book.
    """
    members = watch.incidents.members(str(event.incident.get("id") or ""))
    if all(member.id != event.id for member in members):
        members = [*members, event]
    if len(members) < int(event.incident.get("members") or 1):
        return []
    ranked = rank(members)
    named = likely(ranked)
    return [cause for cause in ranked if cause is named or cause.anomaly != event.id]
