"""Faults: what goes wrong, when, how much, and the plan of them over a fleet.

A fault is only planned where it can be seen at all: with enough calls while it lasts for the evidence to be `EVIDENCE` standard
deviations, by a size above the detector's margins, in a tool that measures what it concerns. Everything is told apart by
`Fault.name`, e.g. `latency spike x4`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from bench.detection.minutes import DAY, HOUR, START_MS, Minutes
from bench.detection.tools import Tool
from services.detector.core.metrics import DISK_IO, MINUTE_MS, RESPONSE_TIME

SPIKE, SHIFT, VOLATILITY = "latency spike", "latency shift", "volatility"
BURST, LEAK, CPU_SPIKE, DISK_SPIKE = "error burst", "memory leak", "cpu spike", "disk spike"
DROP, SILENCE, SURGE, SERVER = "calls drop", "silence", "surge", "server-wide"

#: How many standard deviations of its log latency the calls of a latency fault must lie off together.
EVIDENCE: Final = 8.0
#: Calls that any fault must meet.
FEWEST_CALLS: Final = 8
#: Calls that a burst of failures must meet, by the share failing (%).
BURST_CALLS: Final = {5: 400, 10: 150, 30: 50, 100: 12}
#: A burst must be so many times what fails always.
BURST_TIMES: Final = 5.0
#: Calls that a change of throughput must concern, a leak must meet and a volatile time must show.
PACE_CALLS: Final = 120
LEAK_CALLS: Final = 100
VOLATILE_CALLS: Final = 200
#: The usual calls of 30 minutes in which one less or more is no noise; and how steady a tool must be.
MIN_BURSTS: Final = 6.0
#: Minutes of peace before the first fault, between two of a tool, and after the last.
LEARNING: Final = 3 * DAY
BETWEEN: Final = 18 * HOUR
ENDING: Final = 6 * HOUR
#: How far a planned fault may be put off to find its place.
_STEP: Final = 2 * HOUR
#: A server-wide fault: minutes, times of latency, % failing, % of cpu more.
SERVER_MINUTES, SERVER_TIMES, SERVER_FAILING, SERVER_CPU = 30, 3.0, 20.0, 40.0


class Class(NamedTuple):
    """A class of faults: kind, size, shortest and longest duration in minutes, what it concerns."""

    kind: str
    size: float
    shortest: int
    longest: int
    metrics: tuple[str, ...]

    @property
    def name(self) -> str:
        """As tables call it."""
        unit = {BURST: " %", LEAK: " h", CPU_SPIKE: " points", SILENCE: "", SERVER: ""}
        number = "" if unit.get(self.kind) == "" else f"{self.size:g}"
        return f"{self.kind} {number}{unit[self.kind]}".strip() if self.kind in unit else f"{self.kind} x{number}"


CLASSES: Final = (
    *(Class(SPIKE, size, 5, 6 * HOUR, ("response_time",)) for size in (2.0, 4.0, 10.0)),
    *(Class(SHIFT, size, 10 * HOUR, 30 * HOUR, ("response_time",)) for size in (1.2, 1.5, 2.0, 3.0)),
    *(Class(BURST, size, 10, 24 * HOUR, ("error_rate",)) for size in (5.0, 10.0, 30.0, 100.0)),
    *(Class(LEAK, size, int(min(2 * size, 30) * HOUR), 36 * HOUR, ("memory",)) for size in (3.0, 6.0, 12.0, 24.0)),
    Class(CPU_SPIKE, 50.0, 10, 6 * HOUR, ("cpu",)),
    Class(DISK_SPIKE, 10.0, 10, 6 * HOUR, ("disk_io",)),
    Class(DROP, 0.1, 2 * HOUR, 4 * HOUR, ("calls",)),
    Class(SILENCE, 0.0, 2 * HOUR, 6 * HOUR, ("calls",)),
    Class(SURGE, 5.0, HOUR, 2 * HOUR, ("calls",)),
    Class(SURGE, 10.0, HOUR, 2 * HOUR, ("calls",)),
    Class(VOLATILITY, 3.0, 4 * HOUR, 12 * HOUR, ("response_time",)),
)
SERVER_WIDE: Final = Class(SERVER, 3.0, SERVER_MINUTES, SERVER_MINUTES, ("response_time", "error_rate", "cpu"))


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; `tool` is empty when it concerns all tools of the server. calls: how many the truth has while it lasts."""

    kind: Class
    server: str
    tool: str
    start_ms: int
    end_ms: int
    calls: float
    about: str

    @property
    def name(self) -> str:
        """Its class."""
        return self.kind.name

    def concerns(self, server: str, tool: str) -> bool:
        """Whether a series is affected."""
        return self.server == server and self.tool in ("", tool)


def plan(rng: np.random.Generator, tools: Sequence[Tool], minutes: Minutes, control: set[str]) -> list[Fault]:
    """Put faults into the minutes of all servers but those of `control`; what was put, by time."""
    faults: list[Fault] = []
    busy: dict[int, list[tuple[int, int]]] = {row: [] for row in range(len(tools))}
    for server in dict.fromkeys(tool.key.server for tool in tools):
        if server not in control:
            faults.append(_server_wide(rng, server, tools, minutes, busy))
    counts: Counter[str] = Counter()
    for row in rng.permutation(len(tools)).tolist():
        if tools[row].key.server not in control:
            faults += _of_tool(rng, row, tools[row], minutes, busy[row], counts)
    return sorted(faults, key=lambda fault: fault.start_ms)


def _of_tool(
    rng: np.random.Generator, row: int, tool: Tool, minutes: Minutes, busy: list[tuple[int, int]], counts: Counter[str]
) -> list[Fault]:
    """One after the other, the rarest class that can be seen first."""
    found = []
    at = LEARNING + int(rng.integers(0, BETWEEN))
    while at < minutes.length - ENDING:
        order = rng.permutation(len(CLASSES)).tolist()
        for number in sorted(order, key=lambda n: counts[CLASSES[n].name]):
            kind = CLASSES[number]
            end = _end(rng, kind, row, tool, minutes, at)
            if end is None or any(at < last + BETWEEN and end > first - BETWEEN for first, last in busy):
                continue
            found.append(_fault(kind, tool.key.server, tool.key.tool, at, end, tool, minutes.rate[row, at:end].sum()))
            inflict(kind, row, tool, minutes, at, end)
            busy.append((at, end))
            counts[kind.name] += 1
            at = end + BETWEEN
            break
        at += int(rng.integers(_STEP // 2, _STEP))
    return found


def inflict(kind: Class, row: int, tool: Tool, minutes: Minutes, at: int, end: int) -> None:
    """Write a fault into the truth."""
    span = (row, slice(at, end))
    if kind.kind in (SPIKE, SHIFT):
        minutes.latency[span] += np.log(kind.size)
    elif kind.kind == VOLATILITY:
        minutes.spread[span] *= kind.size
    elif kind.kind == BURST:
        minutes.failing[span] = kind.size / 100
    elif kind.kind == LEAK:
        minutes.memory[span] += tool.memory * np.arange(end - at) / (kind.size * HOUR)
    elif kind.kind == CPU_SPIKE:
        minutes.cpu[span] += kind.size
    elif kind.kind == DISK_SPIKE:
        minutes.disk[span] += np.log(kind.size)
    else:
        minutes.rate[span] *= kind.size


def _end(rng: np.random.Generator, kind: Class, row: int, tool: Tool, minutes: Minutes, at: int) -> int | None:
    """When it is over if it begins at a minute: long enough to be seen; None if that cannot be."""
    needed = _calls_needed(kind, tool)
    if needed is None:
        return None
    first = at + int(kind.shortest * rng.uniform(1, 1.5))
    calls = np.cumsum(minutes.rate[row, at : at + kind.longest])
    end = max(first, at + int(np.searchsorted(calls, needed)) + 1)
    too_long = end > at + max(kind.longest, 1.5 * kind.shortest) or end > minutes.length - ENDING
    return None if too_long or (kind.kind == LEAK and _deployed(tool, minutes, at - 2 * HOUR, end)) else end


def _deployed(tool: Tool, minutes: Minutes, start: int, end: int) -> bool:
    return any(start < minute < end for minute in minutes.deployments[tool.key.server])


def _calls_needed(kind: Class, tool: Tool) -> float | None:
    """How many calls a fault must meet to be seen; None when no number is enough."""
    if kind.kind in (SPIKE, SHIFT):
        noticed = (kind.size - 1) * tool.median_ms >= 2 * RESPONSE_TIME.margin_excess
        return max(FEWEST_CALLS, (EVIDENCE * tool.spread / np.log(kind.size)) ** 2) if noticed else None
    if kind.kind == VOLATILITY:
        return VOLATILE_CALLS if tool.median_ms >= 4 * RESPONSE_TIME.margin_excess else None
    if kind.kind == BURST:
        return BURST_CALLS[int(kind.size)] if kind.size / 100 >= BURST_TIMES * tool.failing else None
    if kind.kind in (DROP, SILENCE, SURGE):
        steady = (not tool.bursts or tool.bursts >= MIN_BURSTS) and tool.day_swing <= 0.6
        return PACE_CALLS * (kind.size or 0.0) if steady and tool.per_minute >= PACES_LOWEST else None
    if not tool.measured or (kind.kind == DISK_SPIKE and tool.disk * (kind.size - 1) < 4 * DISK_IO.margin_excess):
        return None
    return LEAK_CALLS if kind.kind == LEAK else FEWEST_CALLS


#: Calls a minute that a tool needs for a change of its throughput to be one.
PACES_LOWEST: Final = 4.0


def _server_wide(
    rng: np.random.Generator,
    server: str,
    tools: Sequence[Tool],
    minutes: Minutes,
    busy: dict[int, list[tuple[int, int]]],
) -> Fault:
    rows = [row for row, tool in enumerate(tools) if tool.key.server == server]
    at = int(rng.integers(LEARNING, minutes.length - ENDING - HOUR)) // HOUR * HOUR
    end = at + SERVER_MINUTES
    calls = float(minutes.rate[rows, at:end].sum())
    for row in rows:
        minutes.latency[row, at:end] += np.log(SERVER_TIMES)
        minutes.failing[row, at:end] = np.maximum(minutes.failing[row, at:end], SERVER_FAILING / 100)
        minutes.cpu[row, at:end] += SERVER_CPU
        busy[row].append((at, end))
    return _fault(SERVER_WIDE, server, "", at, end, None, calls)


def _fault(kind: Class, server: str, tool: str, at: int, end: int, of: Tool | None, calls: float) -> Fault:
    start_ms, end_ms = START_MS + at * MINUTE_MS, START_MS + end * MINUTE_MS
    return Fault(kind, server, tool, start_ms, end_ms, float(calls), "" if of is None else describe(of))


def describe(tool: Tool) -> str:
    """A tool in the words that explain a miss."""
    parts = [f"{tool.pace} {tool.per_minute * 60:.3g}/h", f"{tool.median_ms:.3g} ms", f"sd {tool.spread:.2g}"]
    parts += [f"swing {tool.day_swing:g}"] * bool(tool.day_swing) + [f"bursts {tool.bursts:g}"] * bool(tool.bursts)
    parts += [f"weekend {tool.weekend:g}"] * (tool.weekend < 1)
    if tool.measured:
        parts += [f"cpu {tool.cpu:.0f}", f"mem {tool.memory:.0f}"] + [f"saw {tool.saw:g}"] * bool(tool.saw)
    return ", ".join(parts)
