"""What happens to the alerter (events) and what it orders its shell to do (actions)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.alerter.core.model import Alert, Told
from services.alerter.core.thresholds import Threshold
from shared.batch import Batch


@dataclass(frozen=True, slots=True)
class BatchCommitted:
    """An entry of the journal. live: False while catching up."""

    batch: Batch
    committed_ms: int
    live: bool


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The head of the journal is reached: what is true now is judged."""


@dataclass(frozen=True, slots=True)
class Tick:
    """About a second of the clock went by."""


@dataclass(frozen=True, slots=True)
class ThresholdSet:
    """A user set a threshold."""

    threshold: Threshold


@dataclass(frozen=True, slots=True)
class ThresholdsReplaced:
    """A user edited the file: these, and the defaults, are all there are."""

    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Someone takes an open alert on."""

    alert_id: str
    by: str
    notes: str | None


@dataclass(frozen=True, slots=True)
class AnomalyFound:
    """The detector found something, or it became worse; the map is as it came. `key`: what is said once has one; None: the
    anomaly's id.
    """

    raw: Any
    key: str | None = None


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """A channel took a message."""

    key: str


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """A channel did not; `error` is redacted."""

    key: str
    error: str


Event = (
    BatchCommitted
    | CaughtUp
    | Tick
    | ThresholdSet
    | ThresholdsReplaced
    | Acknowledged
    | AnomalyFound
    | MessageDelivered
    | MessageFailed
)


@dataclass(frozen=True, slots=True)
class Announce:
    """An alert changed and people are to be told: save, write the views, then send."""

    alert: Alert
    told: Told


@dataclass(frozen=True, slots=True)
class WriteAlerts:
    """Open alerts changed, and nobody is told: save and write the view."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An alert was resolved: save and add it to the history of its day."""

    alert: Alert


@dataclass(frozen=True, slots=True)
class WriteThresholds:
    """The thresholds changed: save and write their view."""


@dataclass(frozen=True, slots=True)
class SaveSoon:
    """Something worth keeping changed that no file shows."""


Action = Announce | WriteAlerts | Archive | WriteThresholds | SaveSoon
