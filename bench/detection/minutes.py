"""What is true of every tool in every minute: rate, latency, failures, resources, with deployments and cycles.

`Minutes` are arrays f64[tools, minutes]; `faults` writes what goes wrong into them, `calls` draws calls from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.detection.tools import Tool

Float64 = NDArray[np.float64]

#: A Monday, 00:00 UTC.
START_MS: Final = 1_767_571_200_000
HOUR: Final = 60
DAY: Final = 24 * HOUR
#: The rate's noise changes that often.
_BURST_MINUTES: Final = 5
#: Memory of how things wander: an hour or so.
_DRIFT_KEPT: Final = 0.985
#: After a restart memory grows to its warm level with this time constant.
_WARM_MINUTES: Final = 180.0
#: A server is deployed every so many days, from and to, and is gone for so many minutes.
DEPLOYED_DAYS: Final = (2.0, 5.0)
DEPLOYING: Final = 2
#: How much faster or slower, and larger or smaller, a deployment makes a tool: below every margin.
DEPLOYED_CHANGE: Final = 0.08


@dataclass(slots=True)
class Minutes:
    """rate: calls a minute. latency: added to the log latency. spread: factor on its distance from the median. failing: share.

    cpu: %. memory: MB. disk: added to log KB. deployments: by server, the minutes at which it was deployed.
    """

    rate: Float64
    latency: Float64
    spread: Float64
    failing: Float64
    cpu: Float64
    memory: Float64
    disk: Float64
    deployments: dict[str, list[int]]

    @property
    def length(self) -> int:
        """How many minutes."""
        return int(self.rate.shape[1])


def healthy(rng: np.random.Generator, tools: Sequence[Tool], minutes: int) -> Minutes:
    """All minutes without a fault."""
    shape = (len(tools), minutes)
    at = np.arange(minutes)
    deployments = _deployments(rng, list(dict.fromkeys(tool.key.server for tool in tools)), minutes)
    found = Minutes(
        rate=np.array([_rate(rng, tool, at) for tool in tools]),
        latency=np.array(
            [tool.latency_swing * _cycle(tool, at) + tool.drift * _wander(rng, minutes) for tool in tools]
        ),
        spread=np.ones(shape),
        failing=np.tile(np.array([[tool.failing] for tool in tools]), (1, minutes)),
        cpu=np.array([tool.cpu * (1 + 0.3 * _cycle(tool, at) + 0.1 * _wander(rng, minutes)) for tool in tools]),
        memory=np.array([_memory(rng, tool, deployments[tool.key.server], minutes) for tool in tools]),
        disk=np.array([0.2 * _wander(rng, minutes) for _ in tools]),
        deployments=deployments,
    )
    for row, tool in enumerate(tools):
        for minute in deployments[tool.key.server]:
            found.rate[row, minute : minute + DEPLOYING] = 0.0
            found.latency[row, minute:] += rng.uniform(-DEPLOYED_CHANGE, DEPLOYED_CHANGE)
            found.cpu[row, minute:] *= 1 + rng.uniform(-DEPLOYED_CHANGE, DEPLOYED_CHANGE)
    return found


def _rate(rng: np.random.Generator, tool: Tool, at: NDArray[np.int64]) -> Float64:
    weekend = np.where(at // DAY % 7 >= 5, tool.weekend, 1.0)
    rate = tool.per_minute * (1 + tool.day_swing * _cycle(tool, at)) * weekend
    if tool.bursts:
        noise = rng.gamma(tool.bursts, 1 / tool.bursts, len(at) // _BURST_MINUTES + 1)
        rate = rate * np.repeat(noise, _BURST_MINUTES)[: len(at)]
    return np.asarray(rate)


def _cycle(tool: Tool, at: NDArray[np.int64]) -> Float64:
    """−1 … 1, highest at the tool's peak hour."""
    return np.asarray(np.cos(2 * np.pi * (at / HOUR - tool.peak_hour) / 24))


def _wander(rng: np.random.Generator, minutes: int) -> Float64:
    """A first-order autoregression of variance 1 by the minute, summed blockwise (`x_t = a·x_{t−1} + e_t`)."""
    noise = rng.standard_normal(minutes) * (1 - _DRIFT_KEPT**2) ** 0.5
    noise[0] = rng.standard_normal()
    out = np.empty(minutes)
    block = 256
    powers = _DRIFT_KEPT ** np.arange(block)
    carried = 0.0
    for first in range(0, minutes, block):
        part = noise[first : first + block]
        scale = powers[: len(part)]
        out[first : first + len(part)] = scale * (np.cumsum(part / scale) + _DRIFT_KEPT * carried)
        carried = float(out[first + len(part) - 1])
    return out


def _memory(rng: np.random.Generator, tool: Tool, deployed: Sequence[int], minutes: int) -> Float64:
    at = np.arange(minutes)
    since = at.copy()
    level = np.ones(minutes)
    for minute in deployed:
        since[minute:] = at[: minutes - minute]
        level[minute:] = 1 + rng.uniform(-DEPLOYED_CHANGE, DEPLOYED_CHANGE)
    warm = tool.warm_up * (1 - np.exp(-since / _WARM_MINUTES))
    saw = tool.saw * (since % tool.saw_minutes) / tool.saw_minutes
    return np.asarray(tool.memory * (level * (1 + warm + saw) + 0.01 * _wander(rng, minutes)))


def _deployments(rng: np.random.Generator, servers: Sequence[str], minutes: int) -> dict[str, list[int]]:
    found = {}
    for server in servers:
        at, listed = float(rng.uniform(0.5, DEPLOYED_DAYS[1])) * DAY, []
        while at < minutes - DEPLOYING:
            listed.append(int(at))
            at += float(rng.uniform(*DEPLOYED_DAYS)) * DAY
        found[server] = listed
    return found
