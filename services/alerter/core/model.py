"""The terms of the alerter: severity, status, reasons, alerts, and the decisions about them.

Values only. How an alert changes is `lifecycle`; how it is spelled in files and answers is `views`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad; `worse_than` orders them."""

    WARNING = "warning"
    CRITICAL = "critical"

    def worse_than(self, other: Severity) -> bool:
        """Whether this one is worse."""
        return self is Severity.CRITICAL and other is Severity.WARNING


class Status(StrEnum):
    """Where an alert stands; all but resolved are open."""

    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    ESCALATED = "escalated"
    RESOLVED = "resolved"


class Reason(StrEnum):
    """Why a condition did or did not become an alert."""

    RAISED = "raised"
    UPGRADED = "upgraded"
    DEDUPLICATED = "deduplicated"  # its alert is open already
    SAME_CAUSE = "same_cause"  # an alert of the same signal by other means, or of its whole server, is open already
    RECENTLY_RESOLVED = "recently_resolved"  # its alert was resolved less than an hour ago
    RATE_LIMITED = "rate_limited"  # the server has had its five new alerts within the hour
    NOT_ENOUGH_CALLS = "not_enough_calls"  # the value is over the threshold, but says too little
    STALE = "stale"  # it happened, but longer ago than its window: nothing current
    DISABLED = "disabled"  # its threshold is switched off for this scope
    THRESHOLD_CHANGED = "threshold_changed"  # resolved: none of the thresholds that now hold is breached
    BELOW_WARNING = "below_warning"  # an anomaly of severity info
    ALREADY_SEEN = "already_seen"  # this anomaly was decided before


class Told(StrEnum):
    """What people are told about an alert."""

    RAISED = "raised"
    UPGRADED = "upgraded"
    ESCALATED = "escalated"
    RESOLVED = "resolved"


class Fingerprint(NamedTuple):
    """One condition of one series, whatever its severity: at most one alert of it is open.

    condition: a metric's name, also for an anomaly about that metric; else `anomaly:` and the anomaly's type.
    """

    condition: str
    server: str
    tool: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A condition that is true now and asks to be an alert.

    text: as shown, `error_rate > 5%`. value, threshold: in `unit`. ts_ms: the metrics' own time at which it was true.
    judged: how the value came about, for people. source_id: the threshold's or the anomaly's id. usual_known: False of a tool
    that failed from its first call on, where the threshold is what one that works stays within.
    """

    fingerprint: Fingerprint
    severity: Severity
    text: str
    value: float
    threshold: float
    unit: str
    ts_ms: int
    judged: str
    source_id: str
    anomaly_id: str | None = None
    calls: int | None = None
    failures: int | None = None
    window_ms: int | None = None
    usual_known: bool = True


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who took an alert on, when (clock) and with which notes."""

    by: str
    notes: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `ts_ms` and `last_true_ms` are the metrics' own time; the other times are the clock's.

    candidate: the condition when it was last true. peak_value: the worst value seen. active_since_ms: since when people have
    been asked to look (raised, or upgraded). previous_acknowledgement: the one an upgrade ended. anomaly_ids: the anomalies that
    it covers, the latest last. worse_by: what made it worse than the threshold that words it says, if anything did.
    resolved_by_change: a changed threshold ended it, not a quiet day.
    """

    alert_id: str
    candidate: Candidate
    severity: Severity
    status: Status
    ts_ms: int
    created_ms: int
    active_since_ms: int
    last_true_ms: int
    peak_value: float
    acknowledgement: Acknowledgement | None = None
    previous_acknowledgement: Acknowledgement | None = None
    upgraded_ms: int | None = None
    escalated_ms: int | None = None
    resolved_ms: int | None = None
    resolved_by_change: bool = False
    anomaly_ids: tuple[str, ...] = ()
    worse_by: str = ""

    @property
    def fingerprint(self) -> Fingerprint:
        """The condition and series."""
        return self.candidate.fingerprint

    @property
    def is_open(self) -> bool:
        """Whether it still asks for something."""
        return self.status is not Status.RESOLVED


class Decision(NamedTuple):
    """What became of a candidate, and the alert it concerns, if one."""

    reason: Reason
    alert: Alert | None = None


@dataclass(frozen=True, slots=True)
class AnomalyOutcome:
    """What became of an anomaly."""

    reason: Reason
    alert_id: str | None
    at_ms: int
