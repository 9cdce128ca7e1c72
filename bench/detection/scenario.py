"""A simulated fleet with its truth and its faults, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.detection.calls import Step, steps
from bench.detection.faults import LEARNING, Fault, plan
from bench.detection.minutes import DAY, START_MS, Minutes, healthy
from bench.detection.tools import Tool, fleet
from services.detector.core.metrics import MINUTE_MS

#: One of so many servers has no fault: its events are false alarms of an undisturbed tool.
CONTROL_EVERY: Final = 4


@dataclass(frozen=True, slots=True)
class Scenario:
    """The fleet, what is true of it, what goes wrong. The same seed makes the same calls, byte for byte."""

    seed: int
    tools: list[Tool]
    minutes: Minutes
    faults: list[Fault]
    control: set[str]

    @property
    def since_ms(self) -> int:
        """Events reported from here on are judged; before it tools are learned."""
        return START_MS + LEARNING * MINUTE_MS

    @property
    def watched_days(self) -> float:
        """Tool-days that are judged."""
        return len(self.tools) * (self.minutes.length - LEARNING) / DAY

    def steps(self, every: int = 1) -> Iterator[Step]:
        """The calls, in batches of `every` minutes."""
        return steps(np.random.default_rng([self.seed, 2]), self.tools, self.minutes, every)


def scenario(seed: int, *, servers: int = 8, tools: int = 6, days: float = 14.0) -> Scenario:
    """Draw a fleet, its minutes and its faults."""
    rng = np.random.default_rng([seed, 1])
    drawn = fleet(rng, servers, tools)
    minutes = healthy(rng, drawn, int(days * DAY))
    names = list(dict.fromkeys(tool.key.server for tool in drawn))
    control = set(names[CONTROL_EVERY - 1 :: CONTROL_EVERY])
    return Scenario(seed, drawn, minutes, plan(rng, drawn, minutes, control), control)
