"""The other services' answers as typed values; `reading` makes them. Names stay as they came: renderers escape them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

#: The largest epoch ms that is a date (9999-12-31).
MAX_TS_MS: Final = 253_402_300_799_999
SEVERITIES: Final = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Stats:
    """Calls of one tool, server or everything, in one window or bucket.

    Durations in ms, error_rate and cpu in percent, memory in MB, disk_io in KB; None = not measured or no calls.
    """

    server: str = ""
    tool: str = ""
    ts: int | None = None
    count: int = 0
    errors: int = 0
    avg: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    cpu: float | None = None
    memory: float | None = None
    disk_io: float | None = None
    first_ts: int | None = None
    last_ts: int | None = None

    @property
    def error_rate(self) -> float | None:
        """Percent of the calls that failed; None without calls."""
        return 100.0 * self.errors / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far the figures are: last metric's time, journal sequence, entries not yet folded in."""

    last_metric_ms: int | None = None
    seq: int | None = None
    lag_entries: int | None = None


@dataclass(frozen=True, slots=True)
class Rollup:
    """One answer of the aggregator; `rows` may be fewer than `rows_total`."""

    rows: tuple[Stats, ...] = ()
    rows_total: int = 0
    total: Stats = field(default_factory=Stats)
    source: str = ""
    freshness: Freshness = field(default_factory=Freshness)


@dataclass(frozen=True, slots=True)
class Incident:
    """What an anomaly is part of; `members`: anomalies in all, `cause`: the sentence of its likely cause, empty when none stands
    out; `by`: the anomaly that is the cause, if one is.
    """

    incident_id: str
    members: int
    cause: str = ""
    confidence: float | None = None
    since_ms: int | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One event that the detector stored; `end_ms` None = still going on. `usual`: the level before a lasting change; `shape`:
    what it is called where its kind says less; `ended`: how it ended.
    """

    anomaly_id: str
    server: str
    tool: str
    kind: str
    severity: str
    start_ms: int | None
    end_ms: int | None
    value: float | None
    expected: str
    deviation: str
    metric: str
    unit: str
    method: str
    confidence: float | None
    advice: tuple[str, ...]
    usual: float | None = None
    shape: str = ""
    ended: str = ""
    incident: Incident | None = None

    @property
    def is_silence(self) -> bool:
        """Whether it says that a tool is called no more."""
        return self.kind == "throughput_change" and self.value == 0 and self.end_ms is None


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as the alerter keeps it. `of_anomaly`: its value is an anomaly's, `threshold` the end of what is usual;
    `last_true_ms`: when the value was seen. `usual_known`: False where `threshold` is what any tool that works stays within.
    """

    alert_id: str
    server: str
    tool: str
    severity: str
    status: str
    condition: str
    value: float | None
    threshold: float | None
    raised_ms: int | None
    resolved_ms: int | None
    acknowledged_by: str
    unit: str = ""
    judged: str = ""
    anomaly_ids: tuple[str, ...] = ()
    of_anomaly: bool = False
    last_true_ms: int | None = None
    usual_known: bool = True

    @property
    def is_open(self) -> bool:
        """Not yet resolved or archived."""
        return self.status in {"active", "acknowledged", "escalated"}


@dataclass(frozen=True, slots=True)
class Alerts:
    """What the alerter listed, how many there are in all, and what it held back, by reason."""

    rows: tuple[Alert, ...] = ()
    total: int = 0
    suppressed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Anomalies:
    """What the detector listed, and how many there are in all."""

    rows: tuple[Anomaly, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """Every series that the aggregator knows: (server, tool) → last call, None = not known."""

    last_ms: Mapping[tuple[str, str], int | None] = field(default_factory=dict)

    def last_of(self, server: str | None) -> int | None:
        """The last call of a server, or of all for None."""
        times = (ts for (name, _), ts in self.last_ms.items() if ts is not None and server in {None, name})
        return max(times, default=None)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failures of one tool that say the same thing (figures and ids left aside)."""

    server: str
    tool: str
    message: str
    count: int
    first_ms: int | None
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that was not answered: which service, and why in its own or our words."""

    service: str
    code: str
    message: str
