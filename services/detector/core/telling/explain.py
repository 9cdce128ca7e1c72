"""Words for an anomaly: recommendations that follow from its evidence, and the seed's object.

Names of servers and tools come from what is monitored: they are escaped and quoted wherever they stand in a sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.incidents.evidence import Change, Evidence
from services.detector.core.incidents.messages import said_in
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
from services.detector.core.sweeps.silent_servers import KEY as SILENCE
from services.detector.core.telling.levels import NEW_USUAL, is_new_usual, kind_of, level_of
from services.detector.core.telling.narrative import cause_of, summary
from services.detector.core.telling.phrases import is_of_server, tool_name
from services.detector.core.telling.surety import confidence_of
from services.detector.core.telling.words import (
    RESOURCES,
    UNITS,
    WORDS,
    begun,
    counted,
    listed,
    number,
    plain,
    plain_type,
    quoted,
)
from shared.timespan import iso, iso_seconds, span_text

#: Recommendations an anomaly carries.
MAX_RECOMMENDATIONS: Final = 4
#: How the recommendation ends that names the likely cause.
_CAUSE: Final = re.compile(r"\. Likely the cause \(confidence [^)]*\): start there\.$")


def recommendations(event: Event, evidence: Evidence) -> list[str]:
    """What to do, most telling first; at most MAX_RECOMMENDATIONS."""
    by_type = {
        RESPONSE_TIME_SPIKE: _slow,
        RESPONSE_TIME_SHIFT: _slow,
        ERROR_RATE_SPIKE: _failing,
        RESOURCE_SPIKE: _hungry,
        RESOURCE_LEAK: _leaking,
        THROUGHPUT_CHANGE: _pace,
    }
    if event.direction == "below" and event.type != THROUGHPUT_CHANGE:
        return [*_fell(event, evidence)]
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
    `usual` the level before. `full` adds the evidence and the baseline. `now_ms`: as `narrative.summary` says.
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


def _slow(event: Event, evidence: Evidence) -> Iterator[str]:
    failures = _moved(evidence, "error_rate")
    if failures:
        yield (
            f"Failures rose with it, {_from_to(failures, 'error_rate')}: read the error messages of these calls first; slow "
            "calls that fail are often time-outs."
        )
    moved = [name for name in RESOURCES if _moved(evidence, name)]
    for name in moved:
        yield f"{begun(WORDS[name])} rose in the same calls, {_from_to(evidence.changes[name], name)}: {_TO_DO[name]}"
    load = _moved(evidence, "calls_per_minute")
    if load:
        yield f"Calls came {load.times:.2g} times as often as before: check for a caller that retries or loops."
    if not (failures or moved or load):
        yield _unexplained(evidence)
    if event.type == RESPONSE_TIME_SHIFT:
        yield f"The level changed for good at about {iso_seconds(event.start_ms)}: compare what was deployed or configured then."


def _fell(event: Event, evidence: Evidence) -> Iterator[str]:
    """Only the z-score finds these: it asks for the distance from the mean, whichever the side."""
    name = begun(WORDS.get(event.metric, event.metric))
    usual = f"{plain(event.lower)}-{plain(event.upper)} {event.unit}"
    yield f"{name} fell below its usual range, to {plain(event.value)} {event.unit} (usual: {usual}): rarely trouble by itself."
    failures = _moved(evidence, "error_rate")
    if failures:
        yield f"Failures rose with it, {_from_to(failures, 'error_rate')}: these calls may be refused early."
    elif event.metric == "response_time":
        yield "Check that these calls did their whole work: empty or cached results return early."


def _failing(event: Event, evidence: Evidence) -> Iterator[str]:
    if event.evidence.get("scope") == "server":
        yield _together(event.evidence)
    share = 100.0 * event.points / max(event.calls, 1)
    said = next(
        iter(evidence.said or said_in(event.evidence)), None
    )  # after a restart what was said is in the event alone
    if said is not None and 2 * said.count > said.of:
        new = "all new since it began" if said.new else "seen before too"
        yield f"{said.count} of the latest {said.of} failures say {quoted(said.message)}, {new}: look there first."
    elif event.points == event.calls:
        began = iso_seconds(event.start_ms)
        yield f"All {event.calls} calls since {began} failed: read the error messages; try one call by hand."
    else:
        yield f"{event.points} of {event.calls} calls failed ({share:.3g} %): compare arguments of failing and working calls."
    if event.since_first:
        yield "It was never known to work: check its configuration, its credentials and what it depends on."
    slow = evidence.changes.get("response_time")
    if slow and slow.times >= 1.5 and slow.during - slow.before >= 20:
        yield f"Calls are slower too, {_from_to(slow, 'response_time')}: look for a dependency that times out."
    elif slow and slow.times <= 0.5:
        change = _from_to(slow, "response_time")
        yield f"Calls return faster, {change}: they are refused early, as by missing credentials or bad input."
    load = _moved(evidence, "calls_per_minute")
    if load:
        yield f"Calls came {load.times:.2g} times as often as before: a rate limit or a retrying caller may be the cause."


def _together(evidence: dict[str, Any]) -> str:
    tools = listed([quoted(str(tool["tool"])) for tool in evidence.get("tools", [])[:3]])
    several = counted(int(evidence.get("toolsAffected", 0)), "tool")
    return f"{several} of this server fail more than usual together, most of all {tools}: look first at what they all stand on."


def _hungry(event: Event, evidence: Evidence) -> Iterator[str]:
    level = level_of(event)
    if level is not None:
        rose = f"went from {plain(level.before)} to {plain(level.now)} {event.unit} at {iso_seconds(event.start_ms)}"
        what = begun(WORDS.get(event.metric, event.metric))
        yield f"{what} {rose} and stayed: compare what was deployed, configured or loaded then."
    yield f"{begun(WORDS.get(event.metric, event.metric))} rose: {_TO_DO[event.metric]}"
    load = _moved(evidence, "calls_per_minute")
    if load:
        yield f"Calls came {load.times:.2g} times as often as before: the load explains it, at least in part."
    slow = _moved(evidence, "response_time")
    if slow:
        yield f"Calls are slower at the same time, {_from_to(slow, 'response_time')}: the resource is likely the bottleneck."
    elif "response_time" in evidence.changes:
        yield "Response times did not suffer so far."


def _leaking(event: Event, evidence: Evidence) -> Iterator[str]:
    per_hour = float(event.evidence.get("perHour", 0.0) or 0.0)
    span = span_text(event.last_ms - event.start_ms)
    yield (
        f"Memory grew without cease for {span}, from {plain(event.median)} to {plain(event.value)} MB (about "
        f"{plain(per_hour)} MB an hour): look for caches without a limit and objects kept between calls."
    )
    if per_hour > 0:
        yield f"At this pace it doubles again in {span_text(event.value / per_hour * 3_600_000)}: restart the server before then."
    load = _moved(evidence, "calls_per_minute")
    if load:
        yield f"Calls came {load.times:.2g} times as often as before: compare memory per call."


def _stopped(event: Event) -> str:
    """By what the other tools of its server do."""
    beside = event.evidence.get(SILENCE)
    beside = beside if isinstance(beside, dict) else {}
    called, server = beside.get("called"), quoted(event.server)
    if type(called) is int and called > 0:
        others = f"{counted(called, 'other tool')} of {server} {'is' if called == 1 else 'are'} called still"
        return f"No calls arrive any more, while {others}: the server runs; look at what calls this tool."
    if beside.get("wholeServer") is True:
        return f"No tool of {server} is called any more: check that the server runs and that its callers still know it."
    return "No calls arrive any more: check that the server runs and that its caller still knows it."


def _pace(event: Event, evidence: Evidence) -> Iterator[str]:
    if event.value == 0:
        yield _stopped(event)
        return
    if event.value < event.median:
        yield "Far fewer calls than usual: check whether callers fail before they reach this tool."
    else:
        yield "Far more calls than usual: check for a caller that retries or loops."
    failures = _moved(evidence, "error_rate")
    if failures:
        yield f"Failures rose with it, {_from_to(failures, 'error_rate')}: retries may feed on them."


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


def _unexplained(evidence: Evidence) -> str:
    if "error_rate" not in evidence.changes:
        return "No calls from before it are known to compare with: whether failures, resources or load moved cannot be told."
    missing = [WORDS[name] for name in RESOURCES if name not in evidence.measured]
    unknown = [WORDS[name] for name in RESOURCES if name in evidence.measured and name not in evidence.changes]
    still = [WORDS[name] for name in RESOURCES if name in evidence.changes]
    if not missing and not unknown and "calls_per_minute" in evidence.changes:
        return (
            "Neither failures, resources nor load moved with it: the time is spent waiting, most likely for a network, a "
            "database or a lock outside this process."
        )
    load = ["load"] if "calls_per_minute" in evidence.changes else []
    *others, last = ["failures", *still, *load]
    said = f"Neither {', '.join(others)} nor {last} moved with it" if others else "Failures did not rise with it"
    if not load:
        said += "; whether load did is not known yet"
    if not missing:
        return f"{said}; {listed(unknown)} cannot be compared with before." if unknown else f"{said}."
    if len(missing) == len(RESOURCES):
        return f"{said}; resources were not measured here: record them to tell waiting from work."
    was, them = ("was", "it") if len(missing) == 1 else ("were", "them")
    return f"{said}; {listed(missing)} {was} not measured here: record {them} to tell waiting from work."


_TO_DO: Final = {
    "cpu": "profile what the tool computes, and look for other work on the machine.",
    "memory": "look at the size of inputs and results, and for swapping.",
    "disk_io": "look for large files, missing caches or a full disk.",
}


def _moved(evidence: Evidence, name: str) -> Change | None:
    change = evidence.changes.get(name)
    return change if change is not None and change.moved(name) else None


def _from_to(change: Change, name: str) -> str:
    return f"from {plain(change.before)} to {plain(change.during)} {UNITS[name]}"


def _iso_or_none(ts_ms: int | None) -> str | None:
    return None if ts_ms is None else iso(ts_ms)


def _same(ts_ms: int | None) -> int | None:
    return ts_ms
