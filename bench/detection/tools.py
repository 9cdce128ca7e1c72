"""Simulated tools: how often each is called, how long its calls take, what they use. Nothing here goes wrong (`faults`).

Latencies are mixtures; a component's logarithm is `centre + sigma·N(0, 1) + tail·Exp(1)`: lognormal for tail 0, with a Pareto
tail of index 1/tail else. The constants imitate what tool servers show: fast and slow tools, cache hits and misses, few that
are busy and many that are quiet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.batch import Series

Pace = Literal["busy", "steady", "slow", "quiet"]

#: Calls a minute, from and to, by pace; quiet tools are called ten to forty times a day.
PACES: Final[dict[Pace, tuple[float, float]]] = {
    "busy": (30.0, 90.0),
    "steady": (4.0, 15.0),
    "slow": (0.3, 1.0),
    "quiet": (10 / 1440, 40 / 1440),
}
#: Of every server's tools in turn.
_TURNS: Final[tuple[Pace, ...]] = ("steady", "slow", "quiet", "busy", "steady", "quiet", "slow", "steady")
#: Share of tools that measure their resources.
MEASURED_SHARE: Final = 0.7
#: Calls drawn to learn the spread of a mixture.
_SPREAD_DRAWS: Final = 8192


class Component(NamedTuple):
    """A part of a latency mixture: its share of calls, and its logarithm (of ms)."""

    share: float
    centre: float
    sigma: float
    tail: float = 0.0


@dataclass(frozen=True)
class Tool:
    """One tool.

    per_minute: calls on a weekday's average. day_swing, weekend: the rate's daily amplitude (0 … 1) and weekend factor;
    peak_hour: of both rate and latency. bursts: shape of the gamma noise on the rate every five minutes (0 = none).
    latency_swing, drift: daily amplitude and slow wandering of the log latency. failing: share of calls that always fail.
    cold_times: how much slower a call is after twenty idle minutes. cpu in %, memory in MB, disk in KB.
    saw: share of memory that is collected every `saw_minutes`. warm_up: share by which memory grows after a restart.
    """

    key: Series
    pace: Pace
    per_minute: float
    day_swing: float
    weekend: float
    peak_hour: float
    bursts: float
    mixture: tuple[Component, ...]
    latency_swing: float
    drift: float
    failing: float
    cold_times: float
    measured: bool
    cpu: float
    memory: float
    saw: float
    saw_minutes: int
    warm_up: float
    disk: float

    @cached_property
    def log_latencies(self) -> NDArray[np.float64]:
        """Sorted draws of the logarithm of the latency, always the same."""
        rng = np.random.default_rng(1)
        of = rng.choice(len(self.mixture), _SPREAD_DRAWS, p=[part.share for part in self.mixture])
        centre, sigma, tail = (np.array(column)[of] for column in list(zip(*self.mixture, strict=True))[1:])
        drawn = centre + sigma * rng.standard_normal(_SPREAD_DRAWS) + tail * rng.exponential(size=_SPREAD_DRAWS)
        return np.sort(drawn)

    @property
    def median_ms(self) -> float:
        """The usual latency."""
        return float(np.exp(self.log_latencies[_SPREAD_DRAWS // 2]))

    @property
    def spread(self) -> float:
        """Standard deviation of the log latency, cycles and wandering included."""
        parts = (float(np.std(self.log_latencies)), self.latency_swing / 2**0.5, self.drift)
        return math.hypot(*parts)


def fleet(rng: np.random.Generator, servers: int, tools: int) -> list[Tool]:
    """So many servers of so many tools each."""
    return [
        _tool(rng, Series(f"server-{s:02}", f"tool-{t:02}"), _TURNS[(s * tools + t) % len(_TURNS)])
        for s in range(servers)
        for t in range(tools)
    ]


def _tool(rng: np.random.Generator, key: Series, pace: Pace) -> Tool:
    busy = pace in ("busy", "steady")
    return Tool(
        key=key,
        pace=pace,
        per_minute=_between(rng, *PACES[pace]),
        day_swing=float(rng.choice([0.0, 0.3, 0.6, 0.8])),
        weekend=float(rng.choice([1.0, 1.0, 0.6, 0.3])),
        peak_hour=float(rng.uniform(9, 18)),
        bursts=float(rng.choice([0.0, 16.0, 6.0])) if busy else float(rng.choice([4.0, 1.0])),
        mixture=_mixture(rng, _between(rng, 2.0, 2000.0)),
        latency_swing=float(rng.choice([0.0, 0.1, 0.25])),
        drift=float(rng.choice([0.02, 0.06, 0.12])),
        failing=float(rng.choice([0.0, 0.002, 0.01, 0.02])),
        cold_times=float(rng.choice([1.0, 1.0, 3.0])),
        measured=bool(rng.random() < MEASURED_SHARE),
        cpu=float(rng.uniform(4, 35)),
        memory=_between(rng, 60.0, 800.0),
        saw=float(rng.choice([0.0, 0.0, 0.15, 0.3])),
        saw_minutes=int(rng.integers(20, 240)),
        warm_up=float(rng.choice([0.05, 0.2, 0.4])),
        disk=_between(rng, 4.0, 2000.0),
    )


def _mixture(rng: np.random.Generator, median_ms: float) -> tuple[Component, ...]:
    centre = float(np.log(median_ms))
    tight, wide, heavy, cache, stages = range(5)
    kind = int(rng.choice([tight, wide, heavy, cache, stages]))
    if kind == tight:
        return (Component(1.0, centre, 0.2),)
    if kind == wide:
        return (Component(1.0, centre, 0.7),)
    if kind == heavy:
        return (Component(0.97, centre, 0.45), Component(0.03, centre + 1.2, 0.2, 1 / 1.5))
    if kind == cache:
        hits = float(rng.uniform(0.4, 0.8))
        return (Component(hits, centre - 2.3, 0.3), Component(1 - hits, centre, 0.4))
    return (Component(0.5, centre, 0.25), Component(0.3, centre + 0.8, 0.25), Component(0.2, centre + 1.6, 0.35))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform: as many tools are ten times slower as ten times faster."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
