"""An incident in words, for every format of a report: its title, whom it struck, its likely cause, what to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from services.reporter.core.anomaly_words import anomaly_expected, anomaly_kind, anomaly_value, figure_text
from services.reporter.core.answers import Alert, Anomaly
from services.reporter.core.figures import clock_text, counted, minute_text
from services.reporter.core.incident_stories import IncidentStory
from services.reporter.core.text import Said, Text, Untrusted, term
from shared.conditions import spaced

#: Servers, tools and alerts of an incident that are named.
NAMED: Final = 5


def title(story: IncidentStory) -> Text:
    """`incident-20251031-1f3a of weather`."""
    return (Untrusted(story.incident.incident_id), " of ", *_names(story.servers))


def when(story: IncidentStory) -> str:
    """`2025-10-31 13:05 UTC, going on`; of one that is over `2025-10-31 13:05 UTC to 13:16Z`."""
    began = minute_text(story.since_ms)
    return (
        f"{began}, going on" if story.until_ms is None else f"{began} to {clock_text(story.until_ms, story.since_ms)}"
    )


def said_of(story: IncidentStory, most: int) -> Iterator[Text]:
    """What is told of it, a line each, with the first anomalies of it."""
    incident, inside = story.incident, len(story.anomalies)
    some = "" if inside == story.members else f", {inside} of them in this range"
    tools = _names([tool or server for server, tool in story.tools])
    yield (f"{counted(story.members, 'anomaly', 'anomalies')}{some}, of ", *tools)
    if incident.cause:
        sure = "" if incident.confidence is None else f" (confidence {incident.confidence:.2g})"
        yield (f"likely cause{sure}: ", Said(incident.cause))
    else:
        yield ("no cause stands out",)
    if story.look_at:
        yield ("look at: ", Said(story.look_at))
    shown = story.anomalies[:most]
    yield from (_anomaly(one) for one in shown)
    if inside > len(shown):
        yield (f"and {counted(inside - len(shown), 'more anomaly', 'more anomalies')}",)
    if story.alerts:
        yield (f"{'alert' if len(story.alerts) == 1 else 'alerts'}: ", *_alerts(story.alerts))


def _anomaly(one: Anomaly) -> Text:
    usual: Text = (
        "" if not one.expected else ", usual ",
        figure_text(one, anomaly_expected(one) if one.expected else ""),
    )
    value = figure_text(one, anomaly_value(one))
    began = minute_text(one.start_ms)[11:]
    tail: Text = (" (", Untrusted(one.anomaly_id), ")") if one.anomaly_id else ()
    of = (Untrusted(one.tool or one.server),)
    return (f"{began}: ", term(anomaly_kind(one)), " of ", *of, ", ", value, *(usual if one.expected else ()), *tail)


def _alerts(alerts: Sequence[Alert]) -> Text:
    parts: list[str | Untrusted | Said] = []
    for place, alert in enumerate(alerts[:NAMED]):
        condition = Said(spaced(alert.condition))
        parts += ["; " if place else "", Untrusted(alert.alert_id), f" ({alert.severity}, ", condition, ")"]
    more = f" and {len(alerts) - NAMED} more" if len(alerts) > NAMED else ""
    return (*parts, more)


def _names(names: Sequence[str]) -> Text:
    parts: list[str | Untrusted] = []
    for place, name in enumerate(names[:NAMED]):
        parts += [", " if place else "", Untrusted(name)]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (*parts, more)
