"""The likely cause of an incident: candidates ranked by evidence, and whether one stands out.

A candidate is a member of the incident, a figure that moved with a member without being an anomaly itself (a resource, load,
failures), or what members share: a server, a moment on several servers, a message of failures that is new. Each gets a score
from 0 to 1; the first two out of what began first, what a cause is likely to be, and how far it reaches. Only one that stands
out is called likely, and none is ever called more: that things happen one after the other proves nothing. Pure; looks at events
and their evidence alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.detector.core.events import Event
from services.detector.core.incidents.candidates import Cause, since_of
from services.detector.core.incidents.candidates_members import among_members
from services.detector.core.incidents.candidates_moved import among_moved
from services.detector.core.incidents.candidates_shared import among_shared, said_alike

#: A candidate is the likely cause from this score on, and when it leads the next by so much.
LIKELY: Final = 0.5
LEAD: Final = 0.05
#: Members that are looked at, earliest first: what came later caused nothing.
MAX_LOOKED_AT: Final = 30
#: Candidates that are named, and the score that each but the first needs for it.
NAMED: Final = 4
LEAST: Final = 0.15


def rank(members: Sequence[Event]) -> list[Cause]:
    """The candidates, likeliest first, at most NAMED."""
    chosen = sorted(members, key=lambda e: (since_of(e), e.id))[:MAX_LOOKED_AT]
    said = said_alike(chosen)
    alike = set() if said is None else {event.id for event in said.new_to}
    found = [*among_members(chosen, alike), *among_moved(chosen), *among_shared(chosen)]
    found.sort(key=lambda cause: (-cause.score, cause.since_ms, cause.anomaly))
    found = [cause for place, cause in enumerate(found) if place == 0 or cause.score >= LEAST]
    total = [cause.score for cause in found[:2]]
    ranked = []
    for place, cause in enumerate(found[:NAMED]):
        rival = total[1 - place] if place < 2 and len(total) == 2 else total[0] if place else 0.0
        doubt = 0.5 * min(1.0, rival / cause.score) ** 2 if cause.score else 0.0
        ranked.append(replace(cause, score=round(cause.score, 3), confidence=round(cause.score * (1.0 - doubt), 2)))
    return ranked


def likely(ranked: Sequence[Cause]) -> Cause | None:
    """The one that stands out, if one does."""
    if not ranked or ranked[0].score < LIKELY:
        return None
    return ranked[0] if len(ranked) == 1 or ranked[0].score - ranked[1].score >= LEAD else None
