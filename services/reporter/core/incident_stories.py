"""The incidents of a report: which tools and servers, since when, the likely cause, what to look at, what alerts and anomalies.

Owns which incidents are told and what of them. What belongs together, and why, the detector says; renderers word it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.reporter.core.answers import SEVERITIES, Alert, Anomaly, Incident


@dataclass(frozen=True, slots=True)
class IncidentStory:
    """One incident, epoch ms UTC. `anomalies`: those of the range, in order of time; `members`: of all of them; `until_ms` None =
    one goes on; `look_at`: a sentence of the detector's, empty when it has none.
    """

    incident: Incident
    severity: str
    since_ms: int
    until_ms: int | None
    anomalies: tuple[Anomaly, ...]
    alerts: tuple[Alert, ...]
    look_at: str

    @property
    def members(self) -> int:
        """Anomalies in all, those outside of the range too."""
        return max(self.incident.members, len(self.anomalies))

    @property
    def servers(self) -> list[str]:
        """The servers, the one struck first first."""
        return list(dict.fromkeys(one.server for one in self.anomalies))

    @property
    def tools(self) -> list[tuple[str, str]]:
        """(server, tool), the one struck first first."""
        return list(dict.fromkeys((one.server, one.tool) for one in self.anomalies))


def stories(anomalies: Sequence[Anomaly], alerts: Iterable[Alert]) -> tuple[IncidentStory, ...]:
    """The incidents that say more than their anomalies do by themselves, the severe first, then those that go on, the latest
    first.
    """
    found: dict[str, list[Anomaly]] = defaultdict(list)
    for one in anomalies:
        if one.incident is not None and one.start_ms is not None:
            found[one.incident.incident_id].append(one)
    known = list({alert.alert_id: alert for alert in alerts}.values())
    told = [_story(members, known) for members in found.values()]
    ranked = sorted((story for story in told if _tells_more(story)), key=_order)
    return tuple(ranked)


def _story(members: list[Anomaly], alerts: Sequence[Alert]) -> IncidentStory:
    members.sort(key=lambda one: (one.start_ms or 0, one.anomaly_id))
    incident = max((one.incident for one in members if one.incident), key=lambda one: one.members)
    starts = [one.start_ms for one in members if one.start_ms is not None]
    ends = [one.end_ms for one in members]
    over = [end for end in ends if end is not None]
    return IncidentStory(
        incident,
        min((one.severity for one in members), key=SEVERITIES.index),
        min(starts if incident.since_ms is None else [*starts, incident.since_ms]),
        max(over) if len(over) == len(ends) else None,
        tuple(members),
        tuple(alert for alert in alerts if any(_tells_of(alert, one) for one in members)),
        _look_at(members, incident),
    )


def _tells_of(alert: Alert, anomaly: Anomaly) -> bool:
    """Whether an alert names an anomaly, or is about the same metric of its tool and was raised while it went on."""
    if anomaly.anomaly_id and anomaly.anomaly_id in alert.anomaly_ids:
        return True
    if (alert.server, alert.tool) != (anomaly.server, anomaly.tool) or not anomaly.metric:
        return False
    raised_ms, start_ms, end_ms = alert.raised_ms, anomaly.start_ms, anomaly.end_ms
    if not alert.condition.startswith(anomaly.metric) or raised_ms is None or start_ms is None:
        return False
    return start_ms <= raised_ms and (end_ms is None or raised_ms <= end_ms)


def _look_at(members: Sequence[Anomaly], incident: Incident) -> str:
    """The first advice for the anomaly that is the likely cause, else for the worst, the first of equals."""
    cause = [one for one in members if one.advice and one.anomaly_id == incident.by]
    worst = sorted((one for one in members if one.advice), key=lambda one: SEVERITIES.index(one.severity))
    return next((one.advice[0] for one in (*cause, *worst)), "")


def _tells_more(story: IncidentStory) -> bool:
    return story.members > 1 or bool(story.incident.cause)


def _order(story: IncidentStory) -> tuple[int, bool, int, str]:
    return (
        SEVERITIES.index(story.severity),
        story.until_ms is not None,
        -story.since_ms,
        story.incident.incident_id,
    )
