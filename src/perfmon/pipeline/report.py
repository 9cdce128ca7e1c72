"""What is told about a pipeline: plain values, no behaviour beyond reading them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Answer:
    """A service's answer to `ping`. `protocol` is (major, minor); `seq` the journal sequence it has, None without a place."""

    service: str
    pid: int
    ready: bool
    version: str
    protocol: tuple[int, int]
    started_ms: int
    epoch: str | None = None
    seq: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """What `ensure_running` found or did. `pid` is supervisord's, None when it is not one that this package started."""

    state: Literal["running", "started", "restarted"]
    data_root: Path
    pid: int | None
    version: str
    services: dict[str, Answer]
    http: str | None = None
    tcp: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One process as seen from outside; None is "not known". CPU is percent of one core, memory MB (PSS)."""

    service: str
    ready: bool
    state: str
    pid: int | None = None
    uptime_s: float | None = None
    pss_mb: float | None = None
    cpu_percent: float | None = None
    seq: int | None = None
    lag: int | None = None
    drops: int | None = None
    parked: int | None = None
    version: str | None = None
    epoch: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of `perfmon doctor`; `advice` is what to do, empty when all is well."""

    name: str
    verdict: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""
