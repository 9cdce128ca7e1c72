"""Words for an anomaly: recommendations that follow from its evidence, and the seed's object.

Names of servers and tools come from what is monitored: they are escaped and quoted wherever they stand in a sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.incidents.evidence import Evidence
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    NAMED_METHODS,
    RESOURCE_LEAK,
    RESOURCE_SPIKE,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
    SENSITIVITIES,
    THROUGHPUT_CHANGE,
)
from services.detector.core.telling.levels import NEW_USUAL, is_new_usual, kind_of, level_of
from services.detector.core.telling.narrative import cause_of, summary
from services.detector.core.telling.phrases import is_of_server, tool_name
from services.detector.core.telling.rules import failing, fell, hungry, leaking, pace, slow
from services.detector.core.telling.surety import confidence_of
from services.detector.core.telling.words import (
    begun,
    number,
    plain,
    plain_type,
    quoted,
)
from shared.timespan import iso, span_text

#: Recommendations an anomaly carries.
MAX_RECOMMENDATIONS: Final = 4
#: How the recommendation ends that names the likely cause.
_CAUSE: Final = re.compile(r"\. Likely the cause \(confidence [^)]*\): start there\.$")


def recommendations(event: Event, evidence: Evidence) -> list[str]:
    """What to do, most telling first; at most MAX_RECOMMENDATIONS."""
    by_type = {
        RESPONSE_TIME_SPIKE: slow,
        RESPONSE_TIME_SHIFT: slow,
        ERROR_RATE_SPIKE: failing,
        RESOURCE_SPIKE: hungry,
        RESOURCE_LEAK: leaking,
        THROUGHPUT_CHANGE: pace,
    }
    if event.direction == "below" and event.type != THROUGHPUT_CHANGE:
        return [*fell(event, evidence)]
    # Whatever a named method finds beside it is in no book.
    company = () if event.method in NAMED_METHODS else _company(event, evidence)
    return [*by_type[event.type](event, evidence), *company][:MAX_RECOMMENDATIONS]


def advice(event: Event, *, beside_cause: bool = False) -> list[str]:
    """The event's recommendations with its likely cause as it is known now: what was stored may name it with other figures.
    `beside_cause`: without it, where it is told.
    """
    cause = cause_of(event)
    told = [one for one in event.recommendations if not _CAUSE.search(one)]
    if beside_cause or cause is None or len(told) == len(event.recommendations):
        return told
    place = next(place for place, one in enumerate(event.recommendations) if _CAUSE.search(one))
    return [*told[:place], _of_cause(cause), *told[place:]]


def _of_cause(cause: dict[str, Any]) -> str:
    return f"{begun(str(cause.get('sentence')))}. Likely the cause (confidence {cause.get('confidence')}): start there."


def anomaly(event: Event, *, full: bool = False, iso_times: bool = False, now_ms: int | None = None) -> dict[str, Any]:
    """The seed's anomaly plus id and times (epoch ms, or ISO text for files). The current value of a lasting change is its level,
    `usual` the level before; `usualKnown` is False of a tool that failed from its first call on. `full` adds the evidence and the
    baseline. `now_ms`: as `narrative.summary` says.
    """
    when = _iso_or_none if iso_times else _same
    level = level_of(event)
    found: dict[str, Any] = {
        "id": event.id,
        "timestamp": iso(event.start_ms),
        "mcpServer": event.server,
        "toolName": tool_name(event),
        "anomalyType": event.type,
        "severity": event.severity,
        "details": {
            "currentValue": number(event.value if level is None else level.now),
            "expectedRange": f"{plain(event.lower)}-{plain(event.upper)}",
            "deviation": deviation(event),
            "confidence": confidence_of(event),
            "method": event.method,
            "metric": event.metric,
            "unit": event.unit,
            "direction": event.direction,
            "sensitivity": SENSITIVITIES[event.level - 1],
        },
        "recommendations": advice(event),
        "ended": ended(event),
        "summary": summary(event, now_ms=now_ms),
        "incident": event.incident,
        "startTs": when(event.start_ms),
        "endTs": when(event.end_ms),
        "peakTs": when(event.peak_ms),
        "lastSeenTs": when(event.last_ms),
        "points": event.points,
        "calls": event.calls,
    }
    if is_of_server(event):
        found["scope"] = "server"
    if level is not None:
        found["details"] |= {"usual": number(level.before), "worstValue": number(event.value)}
    if event.since_first:
        found["details"]["usualKnown"] = False
    if kind_of(event) != event.type:
        found["details"]["kind"] = kind_of(event)
    if full:
        found["evidence"] = event.evidence
        found["foundIn"] = event.tool
        median = None if event.since_first else number(event.median)
        found["baseline"] = {"median": median, "lower": number(event.lower), "upper": number(event.upper)}
        found["typicalValue"] = number(event.typical)
        found["foundAs"] = event.found_as or None
    return found


def ended(event: Event) -> str | None:
    """How it ended; what went back soon after its level was taken for the usual one did not stay."""
    if event.ended == NEW_USUAL and level_of(event) is not None and not is_new_usual(event):
        return "back inside"
    return event.ended or None


def deviation(event: Event) -> str:
    """`10x`: the worst value over the end of the expected range it passed; of a lasting change, its level over that before.
    Of calls that come no more `stopped`, of another figure that fell to nothing `to 0`.
    """
    level = level_of(event)
    if level is not None:
        return f"{level.times:.0f}x" if level.times >= 10 else f"{level.times:.2g}x"
    if event.type == THROUGHPUT_CHANGE and event.value == 0:
        return "stopped"
    if event.type == THROUGHPUT_CHANGE and event.value < event.lower:
        return f"{event.value / event.lower:.2g}x"
    if event.value < event.lower and event.lower > 0:
        return f"{event.value / event.lower:.2g}x" if event.value > 0 else "to 0"
    times = event.value / event.upper if event.upper > 0 else math.inf
    if not math.isfinite(times):
        return "from 0"
    return f"{times:.0f}x" if times >= 10 else f"{times:.2g}x"


def _company(event: Event, evidence: Evidence) -> Iterator[str]:
    cause = cause_of(event)
    if cause is not None and (cause.get("anomaly") or cause.get("kind") in ("server", "shared")):
        yield _of_cause(cause)
        return
    if is_of_server(event):
        yield f"Several tools fail together: look at {quoted(event.server)} itself or what all of them depend on."
        return
    if not evidence.siblings:
        if evidence.tools and event.type != THROUGHPUT_CHANGE and event.method == "auto":
            yield "Only this tool of its server is affected: look at what it alone depends on."
        return
    first = evidence.siblings[0]
    count = len(evidence.siblings)
    if evidence.first:
        yield f"{count} other tool{'s' * (count > 1)} of the server followed: start here, this one was first."
    else:
        began = span_text(max(1, event.start_ms - first.start_ms))
        what = f"{quoted(first.tool)} of the same server was abnormal {began} before ({plain_type(first.type)})"
        yield f"Tool {what}: start there."


def _iso_or_none(ts_ms: int | None) -> str | None:
    return None if ts_ms is None else iso(ts_ms)


def _same(ts_ms: int | None) -> int | None:
    return ts_ms
