"""An explanation as lines for a terminal or a model, no wider than asked. Names and messages are quoted and escaped."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.firing import MEANINGS
from services.detector.core.metrics import NAMED_METHODS
from services.detector.core.telling.explain import advice, ended
from services.detector.core.telling.levels import is_new_usual, kind_of, level_of
from services.detector.core.telling.narrative import is_quiet, is_silence, summary
from services.detector.core.telling.words import WORDS, brief, counted, lead_or_lag, measured, plain_type, quoted
from shared.names import shown

_TITLE: Final = 10
_FIGURE: Final = re.compile(r"(\d) (%|ms|MB|KB|calls/)")
#: Narrower text is not wrapped, only cut.
FEWEST_COLUMNS: Final = 20
#: What a terminal without Unicode shows instead.
_ASCII: Final = str.maketrans({"“": '"', "”": '"', "–": "-", "→": ">", "…": "...", "’": "'"})


def lines(
    event: Event, found: dict[str, Any], width: int, *, ascii_only: bool = False, now_ms: int | None = None
) -> list[str]:
    """The explanation `found` of an event, as of the time `now_ms`."""
    width = max(width, FEWEST_COLUMNS)
    head = [
        f"{event.id}  {event.severity}  {plain_type(kind_of(event))}  ({_state(event, now_ms)})",
        summary(event, short=True, now_ms=now_ms),
    ]
    body = [
        line for title, text in _parts(event, found, is_quiet(event, now_ms)) for line in _wrapped(title, text, width)
    ]
    chart = ["", *found["chart"]] if found["chart"] else []
    told = [*(line for text in head for line in _filled(text, width)), "", *body, *chart]
    return [_plain(shown(line, 4 * width), width) if ascii_only else shown(line, 4 * width) for line in told]


def _state(event: Event, now_ms: int | None) -> str:
    if event.end_ms is None:
        return "not surely over" if is_quiet(event, now_ms) else "going on"
    if is_new_usual(event):
        return "stayed: the new usual"
    how = ended(event)
    return f"over: {shown(how)}" if how else "over"


def _plain(line: str, width: int) -> str:
    return line.translate(_ASCII).encode("ascii", "backslashreplace").decode()[:width]


def _parts(event: Event, found: dict[str, Any], quiet: bool) -> Iterator[tuple[str, str]]:
    baseline, unit = found["baseline"], event.unit
    counts = f", in {event.points:,} of {counted(event.calls, 'call')}" if event.method == "auto" else ""
    level = level_of(event)
    if level is not None:
        told = f"level {brief(level.before)} → {measured(level.now, unit)}, {level.times:.3g}x of before"
        yield "value", f"{told}; worst {measured(event.value, unit)}{counts}"
    else:
        worst = "" if brief(event.value) == brief(event.typical) else f", worst {measured(event.value, unit)}"
        yield "value", f"{measured(event.typical, unit)}{worst}{counts}"
    usual = f"median {brief(event.median)}, {brief(event.lower)}–{measured(event.upper, unit)}"
    if event.since_first:
        usual = f"not known; of a tool that works no more than {measured(event.upper, unit)} of calls fail"
    elif baseline["calls"]:
        usual += f"; of {counted(baseline['calls'], 'call')} since {_short(baseline['since'])}"
    yield "usual", usual
    if found["bands"]:
        yield (
            "band",
            ", ".join(f"{name} > {brief(value)}" for name, value in reversed(found["bands"].items())) + f" {unit}",
        )
    yield "fired", f"{found['part']}: {found['partMeaning']}"
    if event.method not in NAMED_METHODS:
        yield "how sure", _how_sure(found)
    yield "when", _silence(found["timeline"]) if is_silence(event) else _when(found["timeline"], quiet)
    yield from _moved(found)
    yield from _incident(found)
    for place, one in enumerate(advice(event, beside_cause=bool(event.incident.get("id"))), 1):
        yield f"do {place}", one
    if found["unknown"]:
        yield "unknown", "; ".join(found["unknown"])


def _when(times: dict[str, Any], quiet: bool) -> str:
    start = times["start"]
    peak, seen, end = (_short(times[name], start) for name in ("peak", "lastSeen", "end"))
    last = f", last seen {seen}" if seen != end else ""
    state = f"ended {end}" if times["end"] else "not surely over" if quiet else "still going on"
    return f"began {_short(start)}, worst {peak}{last}, {state}"


def _silence(times: dict[str, Any]) -> str:
    start = times["start"]
    state = (
        f"ended {_short(times['end'], start)}"
        if times["end"]
        else f"none seen up to {_short(times['lastSeen'], start)}"
    )
    return f"last call {_short(start)}, {state}"


def _how_sure(found: dict[str, Any]) -> str:
    chance = f"; by chance {found['chance']}" if found["chance"] else ""
    if found["surer"]:
        return (
            f"confidence {found['confidence']:.4g} by {found['surer']} ({MEANINGS[found['surer']]}), which found it too"
        )
    return f"confidence {found['confidence']:.4g}{chance}"


def _moved(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for moved in found["moved"]:
        early = moved["leadS"]
        when = "" if early is None else f", {lead_or_lag(early * 1_000)}"
        since = f" since {_short(moved['since'])}{when}" if moved["since"] else ""
        word = WORDS.get(moved["figure"], moved["figure"])
        yield "moved", f"{word} rose from {brief(moved['before'])} to {measured(moved['during'], moved['unit'])}{since}"
    still = [WORDS.get(name, name) for name in found["unmoved"]]
    missing = [WORDS[name] for name in found["notMeasured"]]
    parts = [f"{', '.join(still)} as before"] if still else []
    parts += [f"{', '.join(missing)} not measured"] if missing else []
    if parts:
        yield "" if found["moved"] else "else", "; ".join(parts)
    if found["tools"]:
        failures = [f"{quoted(str(tool.get('tool')))} {tool.get('failures')}" for tool in found["tools"]]
        yield "tools", f"failures since it began, up to when it was surely over: {', '.join(failures)}"
    for said in found["said"]:
        new = ", not seen before it" if said.get("new") else ""
        yield (
            "said",
            f"{quoted(str(said.get('message')))} in {said.get('count')} of {said.get('of')} failures seen{new}",
        )


def _incident(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    incident = found["incident"]
    if not incident.get("id"):
        return
    members, servers = int(incident.get("members") or 1), int(incident.get("servers") or 1)
    size = f"{counted(members, 'anomaly')} of {counted(servers, 'server')}, since {_short(incident.get('since'))}"
    yield "incident", f"{shown(str(incident['id']))}, this one: {shown(str(incident.get('role')))}; {size}"
    cause = incident.get("likelyCause")
    ranked = found["causes"] or ([cause] if isinstance(cause, dict) else [])
    if not cause and ranked:
        yield "cause", "none stands out; the candidates:"
    for place, one in enumerate(ranked):
        sentence = f"({one.get('confidence')}) {shown(str(one.get('sentence')), 300)}"
        if cause and place == 0:
            yield "cause", f"likely {'this one ' if incident.get('role') == 'cause' else ''}{sentence}"
        else:
            yield "", f"or {sentence}" if place else sentence


def _short(text: object, near: object = None) -> str:
    """`2025-10-31 13:00:05Z` of an ISO time; without the day when it is that of another."""
    if not isinstance(text, str) or len(text) < 20:
        return "?"
    day = "" if isinstance(near, str) and near[:10] == text[:10] else f"{text[:10]} "
    return f"{day}{text[11:19]}Z"


def _wrapped(title: str, text: str, width: int) -> list[str]:
    return _filled(text, width, title.ljust(_TITLE), " " * _TITLE)


def _filled(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    """Lines of a text; a figure and its unit stay together."""
    joined = _FIGURE.sub("\\1\N{NO-BREAK SPACE}\\2", text)
    found = textwrap.wrap(joined, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in found]
