"""How an alert changes: raised, true again, joined, upgraded, restated, acknowledged, escalated,
resolved.

Every change of an alert is one of these functions; each returns the new alert and checks that it may happen. Deciding whether it
should is `engine`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from services.alerter.core.model import Acknowledgement, Alert, Candidate, Severity, Status

#: Anomalies that an alert names; an alert may stay open for days.
MAX_ANOMALY_IDS: Final = 20


def raised(alert_id: str, candidate: Candidate, now_ms: int) -> Alert:
    """A new, active alert."""
    return Alert(
        alert_id,
        candidate,
        candidate.severity,
        Status.ACTIVE,
        ts_ms=candidate.ts_ms,
        created_ms=now_ms,
        active_since_ms=now_ms,
        last_true_ms=candidate.ts_ms,
        peak_value=candidate.value,
        anomaly_ids=() if candidate.anomaly_id is None else (candidate.anomaly_id,),
    )


def true_again(alert: Alert, candidate: Candidate) -> Alert:
    """Still open, and its condition was seen true; late metrics move nothing back.

    While an alert is critical, a candidate that is a warning proves the condition but keeps the critical text.
    """
    _must_be_open(alert)
    alert = replace(alert, peak_value=_peak(alert, candidate), anomaly_ids=_anomaly_ids(alert, candidate))
    if candidate.ts_ms < alert.last_true_ms:
        return alert
    shown, worse_by = candidate, ""
    if alert.severity.worse_than(candidate.severity):
        kept, worse_by = alert.candidate, alert.worse_by
        shown = replace(
            candidate,
            severity=kept.severity,
            text=kept.text,
            threshold=kept.threshold,
            usual_known=kept.usual_known,
        )
    return replace(alert, candidate=shown, worse_by=worse_by, last_true_ms=candidate.ts_ms)


def joined(alert: Alert, candidate: Candidate) -> Alert:
    """Still open, and an anomaly or a threshold says the same of its signal. A threshold words it, being the more concrete."""
    _must_be_open(alert)
    shown, worse_by = alert.candidate, alert.worse_by
    if candidate.anomaly_id is None:
        worse = alert.severity.worse_than(candidate.severity)
        shown, worse_by = replace(candidate, severity=alert.severity), shown.judged if worse else ""
    return replace(
        alert,
        candidate=shown,
        worse_by=worse_by,
        last_true_ms=max(alert.last_true_ms, candidate.ts_ms),
        peak_value=_peak(alert, candidate),
        anomaly_ids=_anomaly_ids(alert, candidate),
    )


def covering(alert: Alert, candidate: Candidate) -> Alert:
    """Still open, and an anomaly of one of the server's tools is part of what it says: the value and the words stay its own."""
    _must_be_open(alert)
    return replace(
        alert,
        last_true_ms=max(alert.last_true_ms, candidate.ts_ms),
        anomaly_ids=_anomaly_ids(alert, candidate),
    )


def naming(alert: Alert, anomaly_id: str) -> Alert:
    """Still open, and an anomaly says the same, which came before it or is told of late: named, and nothing else."""
    _must_be_open(alert)
    return replace(alert, anomaly_ids=_with(alert, anomaly_id))


def upgraded(alert: Alert, candidate: Candidate, now_ms: int) -> Alert:
    """Worse than before: active again, whoever acknowledged the milder one."""
    _must_be_open(alert)
    if not candidate.severity.worse_than(alert.severity):
        raise ValueError("an upgrade is to a worse severity")
    shown, worse_by = candidate, ""
    if candidate.anomaly_id is not None and alert.candidate.anomaly_id is None:
        shown, worse_by = replace(alert.candidate, severity=candidate.severity), candidate.judged
    return replace(
        alert,
        candidate=shown,
        worse_by=worse_by,
        severity=candidate.severity,
        status=Status.ACTIVE,
        active_since_ms=now_ms,
        last_true_ms=max(alert.last_true_ms, candidate.ts_ms),
        peak_value=_peak(alert, candidate),
        anomaly_ids=_anomaly_ids(alert, candidate),
        acknowledgement=None,
        previous_acknowledgement=alert.acknowledgement or alert.previous_acknowledgement,
        upgraded_ms=now_ms,
    )


def acknowledged(alert: Alert, by: str, notes: str | None, now_ms: int) -> Alert:
    """Taken on by someone; an alert that is acknowledged already keeps its first acknowledgement."""
    _must_be_open(alert)
    if alert.acknowledgement is not None:
        return alert
    return replace(alert, status=Status.ACKNOWLEDGED, acknowledgement=Acknowledgement(by, notes, now_ms))


def escalation_due(alert: Alert, after_ms: int, now_ms: int) -> bool:
    """Whether nobody acknowledged it for too long."""
    return alert.status is Status.ACTIVE and now_ms - alert.active_since_ms >= after_ms


def escalated(alert: Alert, now_ms: int) -> Alert:
    """Nobody acknowledged it."""
    if alert.status is not Status.ACTIVE:
        raise ValueError(f"{alert.status} alerts do not escalate")
    return replace(alert, status=Status.ESCALATED, escalated_ms=now_ms)


def resolution_due(alert: Alert, after_ms: int, now_ms: int) -> bool:
    """Whether its condition stayed clear for long enough."""
    return alert.is_open and now_ms - alert.last_true_ms >= after_ms


def resolved(alert: Alert, now_ms: int, *, by_change: bool = False) -> Alert:
    """Over; by_change: because a threshold was changed."""
    _must_be_open(alert)
    return replace(alert, status=Status.RESOLVED, resolved_ms=now_ms, resolved_by_change=by_change)


def restated(alert: Alert, severity: Severity, text: str, threshold: float, source_id: str) -> Alert:
    """The thresholds changed, and by those that now hold this is what it says; never a worse severity."""
    _must_be_open(alert)
    if severity.worse_than(alert.severity):
        raise ValueError("a change of thresholds makes no alert worse")
    shown = replace(alert.candidate, severity=severity, text=text, threshold=threshold, source_id=source_id)
    return replace(alert, candidate=shown, severity=severity, worse_by="")


def _peak(alert: Alert, candidate: Candidate) -> float:
    """The worst value in the alert's unit; a threshold that words an anomaly's alert anew may bring a unit of its own."""
    if candidate.unit == alert.candidate.unit:
        return max(alert.peak_value, candidate.value)
    return alert.peak_value if candidate.anomaly_id is not None else candidate.value


def _anomaly_ids(alert: Alert, candidate: Candidate) -> tuple[str, ...]:
    return alert.anomaly_ids if candidate.anomaly_id is None else _with(alert, candidate.anomaly_id)


def _with(alert: Alert, anomaly_id: str) -> tuple[str, ...]:
    if anomaly_id in alert.anomaly_ids:
        return alert.anomaly_ids
    return (*alert.anomaly_ids, anomaly_id)[-MAX_ANOMALY_IDS:]


def _must_be_open(alert: Alert) -> None:
    if not alert.is_open:
        raise ValueError(f"{alert.alert_id} is resolved")
