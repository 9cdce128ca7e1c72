"""One recommendation an incident: what failed together is looked at together. Pure; what belongs together the detector says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.reporter.core.answers import SEVERITIES, Anomaly, Incident
from services.reporter.core.evidence import Evidence
from services.reporter.core.recommendation import Recommendation
from services.reporter.core.text import Said, Text, Untrusted

#: Others of the incident that a recommendation names.
NAMED: Final = 3
#: What is told as part of another recommendation of its incident; else only what is of the same metric.
_ASIDE: Final = "resource_spike"


def one_an_incident(found: Sequence[Recommendation], evidence: Evidence) -> list[Recommendation]:
    """The recommendations, those of one incident and metric as one, the first of them; each with what is likely its cause."""
    kept: list[Recommendation] = []
    others: list[list[Recommendation]] = []
    incidents = [incident_behind(card, evidence) for card in found]
    places: dict[tuple[str, str], int] = {}
    first: dict[str, int] = {}
    for card, incident in zip(found, incidents, strict=True):
        name = "" if incident is None or incident.members < 2 else incident.incident_id
        place = places.get((name, card.metric), first.get(name) if card.metric == _ASIDE else None) if name else None
        if place is not None:
            others[place].append(card)
            continue
        if name:
            places[name, card.metric] = len(kept)
            first.setdefault(name, len(kept))
        kept.append(card if incident is None else replace(card, evidence=(*card.evidence, *_cause(incident))))
        others.append([])
    return [_with_others(card, same) for card, same in zip(kept, others, strict=True)]


def incident_behind(card: Recommendation, evidence: Evidence) -> Incident | None:
    """The incident of the worst anomaly that a recommendation is about, the latest of equals."""
    about = [one for one in evidence.anomalies if one.incident is not None and is_about(card, one)]
    worst = min(about, key=lambda one: (SEVERITIES.index(one.severity), -(one.start_ms or 0)), default=None)
    return None if worst is None else worst.incident


def is_about(card: Recommendation, anomaly: Anomaly) -> bool:
    """Whether a recommendation is about an anomaly: its metric, of its tool or of any tool of its server."""
    return (
        bool(card.server)
        and anomaly.server == card.server
        and card.tool in {"", anomaly.tool}
        and anomaly.kind.startswith(card.metric)
    )


def _cause(incident: Incident) -> tuple[Text, ...]:
    if not incident.cause:
        return ()
    sure = "" if incident.confidence is None else f" (confidence {incident.confidence:.2g})"
    return ((f"likely cause{sure}: ", Said(incident.cause)),)


def _with_others(card: Recommendation, others: Sequence[Recommendation]) -> Recommendation:
    if not others:
        return card
    names: list[str | Untrusted] = []
    for other in others[:NAMED]:
        names += [", " if names else "", Untrusted(other.tool or other.server)]
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    said: Text = ("in one incident with ", *names, more)
    return replace(card, evidence=(*card.evidence, said), message=card.message or _message(others))


def _message(others: Sequence[Recommendation]) -> str | None:
    return next((other.message for other in others if other.message), None)
