"""Which threshold a series is held to, most specific first.

Reads the alerter's `thresholds.list`; without an answer the defaults of the product stand. Decides no alert: the alerter does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Key = tuple[str, str, str, str]

#: (metric, severity) → threshold for everything: ms at p95, percent.
DEFAULTS: Final[Mapping[tuple[str, str], float]] = {
    ("response_time", "warning"): 500.0,
    ("response_time", "critical"): 1000.0,
    ("error_rate", "warning"): 1.0,
    ("error_rate", "critical"): 5.0,
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds by (metric, severity, server, tool), "" = all; None = switched off there."""

    by_key: Mapping[Key, float | None] = field(default_factory=dict)

    def of(self, metric: str, severity: str, server: str = "", tool: str = "") -> float | None:
        """The threshold that applies: server and tool, then server, then tool, then all, then the default."""
        if not self.by_key:
            return DEFAULTS.get((metric, severity))
        for key in ((server, tool), (server, ""), ("", tool), ("", "")):
            if (metric, severity, *key) in self.by_key:
                return self.by_key[metric, severity, *key]
        return DEFAULTS.get((metric, severity))


def read_thresholds(raw: object) -> Thresholds:
    """The thresholds in an answer of the alerter; what is not one is left out."""
    rows = raw.get("thresholds") if isinstance(raw, Mapping) else None
    found: dict[Key, float | None] = {}
    for row in rows if isinstance(rows, list | tuple) else ():
        if not isinstance(row, Mapping):
            continue
        metric, severity, value = row.get("metric"), row.get("severity"), row.get("threshold")
        if not isinstance(metric, str) or not isinstance(severity, str) or isinstance(value, bool):
            continue
        if isinstance(value, int | float) and 0 <= value < math.inf:
            key = (metric, severity, str(row.get("mcpServer") or ""), str(row.get("toolName") or ""))
            found[key] = float(value) if row.get("enabled", True) else None
    return Thresholds(found)
