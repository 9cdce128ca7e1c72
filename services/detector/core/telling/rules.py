"""What to do about an anomaly of each type, by its evidence: sentences, most telling first.

Names of servers and tools come from what is monitored: they are escaped and quoted wherever they stand in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.incidents.evidence import Change, Evidence
from services.detector.core.incidents.messages import said_in
from services.detector.core.metrics import (
    RESPONSE_TIME_SHIFT,
)
from services.detector.core.sweeps.silent_servers import KEY as SILENCE
from services.detector.core.telling.levels import level_of
from services.detector.core.telling.words import (
    RESOURCES,
    UNITS,
    WORDS,
    begun,
    counted,
    listed,
    plain,
    quoted,
)
from shared.timespan import iso_seconds, span_text


def slow(event: Event, evidence: Evidence) -> Iterator[str]:
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


def fell(event: Event, evidence: Evidence) -> Iterator[str]:
    """Only the z-score finds these: it asks for the distance from the mean, whichever the side."""
    name = begun(WORDS.get(event.metric, event.metric))
    usual = f"{plain(event.lower)}-{plain(event.upper)} {event.unit}"
    yield f"{name} fell below its usual range, to {plain(event.value)} {event.unit} (usual: {usual}): rarely trouble by itself."
    failures = _moved(evidence, "error_rate")
    if failures:
        yield f"Failures rose with it, {_from_to(failures, 'error_rate')}: these calls may be refused early."
    elif event.metric == "response_time":
        yield "Check that these calls did their whole work: empty or cached results return early."


def failing(event: Event, evidence: Evidence) -> Iterator[str]:
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


def hungry(event: Event, evidence: Evidence) -> Iterator[str]:
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


def leaking(event: Event, evidence: Evidence) -> Iterator[str]:
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


def pace(event: Event, evidence: Evidence) -> Iterator[str]:
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
