"""Which threshold holds for a metric, a severity and a series: the most specific one.

Scopes from narrow to wide: server and tool, server, tool, everything. A threshold at a narrower scope replaces the wider one
for that metric and severity; one with `enabled` false switches it off there. Knows nothing of values or alerts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.alerter.core.metrics import (
    DEFAULT_MIN_CALLS,
    DEFAULT_WINDOW_MS,
    ERROR_MIN_CALLS,
    ERROR_MIN_FAILURES,
    KINDS,
    Aggregation,
    Metric,
)
from services.alerter.core.model import Severity


class Scope(NamedTuple):
    """Where a threshold holds; None stands for every one."""

    server: str | None = None
    tool: str | None = None

    def covers(self, other: Scope) -> bool:
        """Whether every series of `other` is in this scope."""
        return self.server in (None, other.server) and self.tool in (None, other.tool)

    def meets(self, other: Scope) -> bool:
        """Whether a series can be in both."""
        servers = self.server is None or other.server is None or self.server == other.server
        return servers and (self.tool is None or other.tool is None or self.tool == other.tool)

    def breadth(self) -> int:
        """0 for the narrowest scope, 3 for everything: a server is narrower than a tool."""
        return (self.tool is None) + 2 * (self.server is None)


class Key(NamedTuple):
    """What one threshold is for: setting it again replaces it."""

    metric: Metric
    severity: Severity
    scope: Scope


@dataclass(frozen=True, slots=True)
class Threshold:
    """value: a breach is a value above it, in the metric's unit. window_ms: None judges every call as it arrives.

    min_calls, min_failures: a window's value counts from so many calls, or from so many failures (None: calls alone, however
    few fail: a user named the calls; else an error rate also takes the failures that `support` asks for).
    set_ms: when a user set it; None for a default.
    """

    key: Key
    value: float
    enabled: bool = True
    aggregation: Aggregation = Aggregation.CALL
    window_ms: int | None = None
    min_calls: int = 1
    min_failures: int | None = None
    set_ms: int | None = None

    @property
    def threshold_id(self) -> str:
        """A readable id, the same for the same metric, severity and scope."""
        metric, severity, scope = self.key
        prefix = "default" if self.set_ms is None else "threshold"
        if scope == Scope():
            return f"{prefix}-{metric}-{severity}"
        digest = hashlib.sha256(json.dumps(scope).encode()).hexdigest()[:12]
        return f"{prefix}-{metric}-{severity}-{digest}"

    @property
    def condition(self) -> str:
        """`error_rate > 5%`."""
        return f"{self.key.metric} > {self.value:.12g}{KINDS[self.key.metric].unit}"


def _default(metric: Metric, severity: Severity, value: float) -> Threshold:
    errors = metric is Metric.ERROR_RATE
    return Threshold(
        Key(metric, severity, Scope()),
        value,
        aggregation=KINDS[metric].window_default,
        window_ms=DEFAULT_WINDOW_MS,
        min_calls=ERROR_MIN_CALLS if errors else DEFAULT_MIN_CALLS,
        min_failures=ERROR_MIN_FAILURES if errors else None,
    )


#: What holds for everything until a user sets something. Memory and disk I/O have none: only a user knows what is much.
DEFAULTS: Final = (
    _default(Metric.RESPONSE_TIME, Severity.WARNING, 500.0),
    _default(Metric.RESPONSE_TIME, Severity.CRITICAL, 1000.0),
    _default(Metric.ERROR_RATE, Severity.WARNING, 1.0),
    _default(Metric.ERROR_RATE, Severity.CRITICAL, 5.0),
    _default(Metric.CPU, Severity.WARNING, 70.0),
    _default(Metric.CPU, Severity.CRITICAL, 90.0),
)


class Thresholds:
    """All thresholds, the defaults among them. revision: changes whenever they do."""

    def __init__(self, chosen: Iterable[Threshold] = ()) -> None:
        self.revision = 0
        self._by_kind: dict[tuple[Metric, Severity], dict[Scope, Threshold]] = {}
        self.replace(chosen)

    def __iter__(self) -> Iterator[Threshold]:
        return (threshold for scoped in self._by_kind.values() for threshold in scoped.values())

    def set(self, threshold: Threshold) -> None:
        """Add a threshold, or replace the one with the same metric, severity and scope."""
        metric, severity, scope = threshold.key
        self._by_kind.setdefault((metric, severity), {})[scope] = threshold
        self.revision += 1

    def replace(self, chosen: Iterable[Threshold]) -> None:
        """Let the defaults and these be all there are."""
        self._by_kind = {}
        for threshold in (*DEFAULTS, *chosen):
            self.set(threshold)

    def chosen(self) -> list[Threshold]:
        """What users set, oldest first."""
        mine = [threshold for threshold in self if threshold.set_ms is not None]
        return sorted(mine, key=lambda threshold: (threshold.set_ms or 0, threshold.threshold_id))

    def resolve(self, metric: Metric, severity: Severity, server: str, tool: str) -> Threshold | None:
        """The threshold that holds for one series, which may be a disabled one."""
        return _narrowest(self._by_kind.get((metric, severity), {}), server, tool)

    def holding(self, server: str, tool: str) -> list[Threshold]:
        """All thresholds that hold for one series: at most one a metric and severity."""
        found = (_narrowest(scoped, server, tool) for scoped in self._by_kind.values())
        return [threshold for threshold in found if threshold is not None]

    def related(self, threshold: Threshold) -> list[tuple[Threshold, str]]:
        """Other thresholds of the metric on series that this one covers or is covered by, each with how it stands to this
        one: `narrower` (replaces this one there), `wider` (replaced by this one here), `same scope` (the other severity),
        `overlapping`; narrowest first.
        """
        mine = threshold.key
        others = [t for t in self if t.key.metric is mine.metric and t.key != mine and t.key.scope.meets(mine.scope)]
        others.sort(key=lambda t: (t.key.scope.breadth(), t.key.severity, t.threshold_id))
        return [(other, _relation(mine.scope, other.key.scope)) for other in others]


def _narrowest(scoped: dict[Scope, Threshold], server: str, tool: str) -> Threshold | None:
    for scope in (Scope(server, tool), Scope(server), Scope(None, tool), Scope()):
        found = scoped.get(scope)
        if found is not None:
            return found
    return None


def _relation(mine: Scope, other: Scope) -> str:
    if mine == other:
        return "same scope"
    if mine.covers(other):
        return "narrower"
    return "wider" if other.covers(mine) else "overlapping"
