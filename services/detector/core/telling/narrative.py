"""An anomaly in one sentence, as a colleague would say it: what, since when, compared with what, how sure, what else moved.

Never more certain than the detector: causes and kinds are “likely”, confidence is a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from services.detector.core.answers.methods import limit_words
from services.detector.core.events import Event
from services.detector.core.incidents.evidence import Change, changes_in
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    MINUTE_MS,
    NAMED_METHODS,
    RESOURCE_LEAK,
    RESOURCE_SPIKE,
    RESPONSE_TIME_SHIFT,
    RESPONSE_TIME_SPIKE,
    SENSITIVITIES,
    THROUGHPUT_CHANGE,
)
from services.detector.core.telling.levels import is_lasting, is_new_usual, is_step, level_of
from services.detector.core.telling.phrases import effect_words, happened, who
from services.detector.core.telling.surety import confidence_of, little_history
from services.detector.core.telling.words import (
    UNITS,
    WORDS,
    begun,
    brief,
    clock,
    counted,
    lead_or_lag,
    listed,
    measured,
)
from shared.names import shown
from shared.timespan import span_text

#: What else moved that is named, and characters of a cause.
MAX_MOVED: Final = 2
MAX_CAUSE_CHARS: Final = 300
#: From here on an event that is open is not said to be going on.
QUIET_MS: Final = 30 * MINUTE_MS
_NOUNS: Final = {
    RESPONSE_TIME_SPIKE: "a spike",
    RESPONSE_TIME_SHIFT: "a lasting change",
    ERROR_RATE_SPIKE: "a real rise and no bad luck",
    RESOURCE_SPIKE: "a spike",
    RESOURCE_LEAK: "a leak",
    THROUGHPUT_CHANGE: "a real change of use",
}


def summary(event: Event, *, short: bool = False, now_ms: int | None = None) -> str:
    """The sentence; `short`: without what did not move, and without the incident, where that is told beside it. `now_ms`: the
    latest time that anything is known of, by which an event may have been quiet for long.
    """
    parts = [f"{begun(_happened(event))} {_when(event, now_ms)}: {_compared(event)}", _sure(event), *_moved(event)]
    if not short:
        parts += [*_unmoved(event), *_company(event)]
    return "; ".join(parts) + "."


def _happened(event: Event) -> str:
    if event.method in NAMED_METHODS and event.points < 2:
        slow_or_fast = "was fast" if event.direction == "below" else "was slow"
        return f"one call of {who(event)} {slow_or_fast if event.type == RESPONSE_TIME_SPIKE else effect_words(event)}"
    if event.since_first and event.end_ms is None:
        return f"{who(event)} has failed since its first calls"
    return happened(event, who(event))


def cause_of(event: Event) -> dict[str, Any] | None:
    """The likely cause of its incident, if one stands out and it is another than the event itself."""
    cause = event.incident.get("likelyCause")
    return cause if isinstance(cause, dict) and cause.get("anomaly") != event.id else None


def is_quiet(event: Event, now_ms: int | None) -> bool:
    """Whether an event that is not surely over was last seen long ago."""
    if now_ms is None or event.end_ms is not None or event.type == THROUGHPUT_CHANGE:
        return False
    return now_ms - event.last_ms >= QUIET_MS


def is_silence(event: Event) -> bool:
    """Whether it is that no calls come: nothing else can move with it."""
    return event.type == THROUGHPUT_CHANGE and event.value == 0


def _when(event: Event, now_ms: int | None = None) -> str:
    if is_quiet(event, now_ms):
        return f"at {clock(event.start_ms)}, last seen at {clock(event.last_ms, event.start_ms)} and not surely over"
    if event.end_ms is not None and is_new_usual(event):
        return f"at {clock(event.start_ms)}, the new usual since {clock(event.end_ms, event.start_ms)}"
    if event.end_ms is None:
        return f"{'since' if event.type == RESOURCE_LEAK else 'at'} {clock(event.start_ms)}, still going on"
    until = clock(event.end_ms, event.start_ms)
    same = event.end_ms // MINUTE_MS == event.start_ms // MINUTE_MS
    return f"at {clock(event.start_ms)}" if same else f"from {clock(event.start_ms)} to {until}"


def _compared(event: Event) -> str:
    if event.type == ERROR_RATE_SPIKE:
        failed = f"{event.points:,} of {counted(event.calls, 'call')} failed ({measured(event.value, '%')})"
        return failed if event.since_first else f"{failed}, usual is {measured(event.median, '%')}"
    if is_silence(event):
        if event.end_ms is None:
            return f"no call since, usual are {measured(event.median, event.unit)}"
        silent_ms = max(MINUTE_MS, (event.end_ms - event.start_ms) // MINUTE_MS * MINUTE_MS)
        return f"no call for {span_text(silent_ms)}, usual are {measured(event.median, event.unit)}"
    usual = f"{brief(event.lower)}–{measured(event.upper, event.unit)}"
    level = level_of(event)
    if level is not None:
        still = "still " if is_new_usual(event) else ""
        times = f"{still}{level.times:.2g}x of before" if level.times < 100 else f"{still}{level.times:,.0f}x of before"
        return f"level {brief(level.before)} → {measured(level.now, event.unit)}, {times}; usual were {usual}"
    worst = "" if abs(event.value - event.typical) <= 0.1 * abs(event.typical) else f", at worst {brief(event.value)}"
    return f"{measured(event.typical, event.unit)}{worst}, usual are {usual} (median {brief(event.median)})"


def _sure(event: Event) -> str:
    if event.method in NAMED_METHODS:
        return f"by {event.method}: {limit_words(event.method, SENSITIVITIES[event.level - 1])}"
    noun = "a lasting step" if is_step(event) else _NOUNS[RESPONSE_TIME_SHIFT if is_lasting(event) else event.type]
    noun = "a tool that does not work and no bad luck" if event.since_first else noun
    noun = "a real stop" if is_silence(event) else noun
    noun = "a drop" if event.direction == "below" and event.type != THROUGHPUT_CHANGE else noun
    confidence, little = confidence_of(event) or 0.0, little_history(event)
    word = "likely" if confidence >= 0.9 else "possibly"
    return f"{word} {noun} (confidence {confidence:.4g}{f', {little}' if little else ''})"


def _moved(event: Event) -> Iterator[str]:
    moved = [(name, change) for name, change in others(event) if change.moved(name)]
    for name, change in moved[:MAX_MOVED]:
        early = event.start_ms - change.since_ms if change.since_ms is not None else 0
        moment = lead_or_lag(early)
        when = f" {moment}" if moment == "with it" else f" from {moment}"
        unit = UNITS.get(name, "a minute")
        yield f"{WORDS[name]} rose{when}, {brief(change.before)} → {brief(change.during)} {unit}"


def _unmoved(event: Event) -> Iterator[str]:
    known = others(event)
    if is_silence(event):
        return  # without calls nothing can rise
    if known and not any(change.rose(name) for name, change in known):
        yield f"{listed([WORDS[name] for name, _ in known])} did not rise with it"


def others(event: Event) -> list[tuple[str, Change]]:
    """The figures besides the event's own, before and during."""
    own = "calls_per_minute" if event.metric == "calls" else event.metric
    return [(name, change) for name, change in changes_in(event.evidence).items() if name != own]


def _company(event: Event) -> Iterator[str]:
    others = event.incident.get("members", 1) - 1 if type(event.incident.get("members")) is int else 0
    cause = cause_of(event)
    if cause is not None:
        yield f"likely cause ({cause.get('confidence')}): {shown(str(cause.get('sentence')), MAX_CAUSE_CHARS)}"
    elif others > 0:
        role = "likely the cause of" if event.incident.get("role") == "cause" else "one incident with"
        yield f"{role} {counted(others, 'other anomaly')}"
