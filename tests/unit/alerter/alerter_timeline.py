"""A timeline for the alerter's core, in the manner of Alertmanager's acceptance tests: push at t, expect at t.

Times are plain seconds after `T0`; the clock goes with them. No mocks: the real core, optionally saved to a real database and
loaded again before every step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from services.alerter.core.engine import Core
from services.alerter.core.events import (
    Acknowledged,
    Action,
    Announce,
    AnomalyFound,
    BatchCommitted,
    CaughtUp,
    Event,
    ThresholdSet,
    Tick,
)
from services.alerter.core.limits import Limits
from services.alerter.core.messages import Style
from services.alerter.core.model import Alert, Severity, Told
from services.alerter.core.outbox import ChannelRule
from services.alerter.core.threshold_input import parse_threshold
from services.alerter.shell.database import AlerterDatabase
from shared.batch import build
from shared.consumer import Position

#: 2025-10-31T13:00:00Z.
T0 = 1_761_915_600_000
HOUR = 3600.0
DAY = 24 * HOUR
#: An anomaly of which every threshold of failures says the same.
FAILURES = {
    "anomalyType": "error_rate_spike",
    "severity": "critical",
    "details": {"currentValue": 100, "expectedRange": "0-1", "method": "auto", "metric": "error_rate", "unit": "%"},
}
RULES = (
    ChannelRule("chat", Style.CHAT, Severity.WARNING),
    ChannelRule("mail", Style.PLAIN, Severity.CRITICAL),
)


class Timeline:
    """The core at work. restart_in: a folder; the core is then saved and loaded anew before every step."""

    def __init__(self, *, restart_in: Path | None = None, channels: bool = True, **limits: int) -> None:
        self.limits = replace(Limits(), **limits)
        self.told: list[tuple[str, str]] = []
        self.steps = 0
        self.database = None if restart_in is None else AlerterDatabase(restart_in / "alerter.db")
        self.rules = RULES if channels else ()
        self.core = Core(self.limits)
        self.core.outbox.configure(self.rules)

    def calls(
        self,
        at_s: float,
        n: int = 1,
        *,
        server: str = "s",
        tool: str = "t",
        ms: float = 10.0,
        failed: int = 0,
        now_s: float | None = None,
        live: bool = True,
        cpu: float | None = None,
        memory: float | None = None,
        disk_io: float | None = None,
    ) -> list[Action]:
        """`n` calls at one moment, the first `failed` of them failing; arriving at `now_s` (the same moment)."""
        ts = T0 + int(at_s * 1000)
        rows = [(server, tool, ts, ms, i >= failed) for i in range(n)]
        measured = {
            name: [value] * n
            for name, value in (("cpu", cpu), ("memory", memory), ("disk_io", disk_io))
            if value is not None
        }
        arrived = ts if now_s is None else T0 + int(now_s * 1000)
        return self.step(BatchCommitted(build(rows, **measured), arrived, live), arrived)

    def tick(self, at_s: float) -> list[Action]:
        """The clock stands at `at_s`."""
        return self.step(Tick(), T0 + int(at_s * 1000))

    def caught_up(self, at_s: float) -> list[Action]:
        """The head of the journal is reached."""
        return self.step(CaughtUp(), T0 + int(at_s * 1000))

    def set(self, **fields: Any) -> list[Action]:
        """A user sets a threshold."""
        return self.step(ThresholdSet(parse_threshold(fields, T0)), T0)

    def acknowledge(self, at_s: float, alert_id: str, by: str = "ada", notes: str | None = None) -> list[Action]:
        """Someone acknowledges."""
        return self.step(Acknowledged(alert_id, by, notes), T0 + int(at_s * 1000))

    def anomaly(self, at_s: float, now_s: float | None = None, **fields: Any) -> list[Action]:
        """The detector raises an anomaly."""
        now_ms = T0 + int((at_s if now_s is None else now_s) * 1000)
        return self.step(AnomalyFound(anomaly(T0 + int(at_s * 1000), **fields)), now_ms)

    def step(self, event: Event, now_ms: int) -> list[Action]:
        """Anything happens."""
        if self.database is not None:
            self._restart(now_ms)
        actions = self.core.handle(event, now_ms)
        self.core.validate()
        self.steps += 1
        self.told += [(a.told.value, a.alert.alert_id) for a in actions if isinstance(a, Announce)]
        return actions

    def opened(self) -> list[Alert]:
        """Open alerts, oldest first."""
        return self.core.book.opened()

    def only(self) -> Alert:
        """The one open alert."""
        (alert,) = self.opened()
        return alert

    def waiting(self, channel: str) -> list[str]:
        """What waits for a channel."""
        return [entry.told.value for entry in self.core.outbox.entries.values() if entry.channel == channel]

    def _restart(self, now_ms: int) -> None:
        assert self.database is not None
        self.database.save(self.core, Position("epoch", self.steps), {})
        fresh = Core(self.limits)
        assert self.database.load(fresh, now_ms).position == Position("epoch", self.steps)
        fresh.outbox.configure(self.rules)
        self.core = fresh


def anomaly(ts_ms: int, **fields: Any) -> dict[str, Any]:
    """The detector's anomaly, with fields replaced."""
    from shared.timespan import iso

    return {
        "id": "anomaly-1",
        "timestamp": iso(ts_ms),
        "mcpServer": "s",
        "toolName": "t",
        "anomalyType": "response_time_spike",
        "severity": "warning",
        "details": {
            "currentValue": 5000,
            "expectedRange": "100-500",
            "deviation": "10x",
            "confidence": 0.95,
            "method": "z-score",
            "metric": "response_time",
            "unit": "ms",
        },
        "recommendations": [],
        "startTs": ts_ms,
        "endTs": None,
        "peakTs": ts_ms,
    } | fields


def told(actions: list[Action]) -> list[Told]:
    """What people are told by these actions."""
    return [action.told for action in actions if isinstance(action, Announce)]
