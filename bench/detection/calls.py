"""Calls drawn from the truth of every minute, as batches in order of time: what ingest would hand the detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.detection.minutes import START_MS, Minutes
from bench.detection.tools import Tool
from services.detector.core.metrics import MINUTE_MS
from shared.batch import Batch, Series

#: Minutes drawn at once.
DRAWN_MINUTES: Final = 60
#: Idle time after which a call may be slow because it is the first.
COLD_MS: Final = 20 * MINUTE_MS
#: Noise of single calls: cpu in points (and that share of it), memory as a share, disk as a logarithm.
_CPU_NOISE, _CPU_SHARE, _MEMORY_NOISE, _DISK_NOISE = 1.5, 0.15, 0.01, 0.5
#: No duration is longer.
_MOST_MS: Final = 3_600_000.0


class Step(NamedTuple):
    """The calls of some minutes, and when those are over."""

    batch: Batch
    end_ms: int


class _Columns(NamedTuple):
    """The columns of a batch."""

    codes: NDArray[np.uint32]
    ts: NDArray[np.int64]
    duration: NDArray[np.float64]
    ok: NDArray[np.uint8]
    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    disk_io: NDArray[np.float64]


class _Mixtures:
    """The tools' mixtures as tables f64[tools, components]."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        most = max(len(tool.mixture) for tool in tools)
        padded = [tool.mixture + tool.mixture[-1:] * (most - len(tool.mixture)) for tool in tools]
        shares = np.array([[*(c.share for c in t.mixture), *[0.0] * (most - len(t.mixture))] for t in tools])
        self.ends = np.cumsum(shares, axis=1)
        self.ends[:, -1] = 1.0
        self.centre, self.sigma, self.tail = (
            np.array([[part[field] for part in parts] for parts in padded]) for field in (1, 2, 3)
        )
        self.middle = np.log([tool.median_ms for tool in tools])

    def draw(self, rng: np.random.Generator, of: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log latencies of calls of tools."""
        part = (rng.random(len(of))[:, None] > self.ends[of]).sum(axis=1)
        drawn = self.centre[of, part] + self.sigma[of, part] * rng.standard_normal(len(of))
        return np.asarray(drawn + self.tail[of, part] * rng.exponential(size=len(of)))


def steps(rng: np.random.Generator, tools: Sequence[Tool], minutes: Minutes, every: int = 1) -> Iterator[Step]:
    """All calls, `every` minutes a batch. The dictionary is the same in all: the tools in their order."""
    mixtures = _Mixtures(tools)
    dictionary = tuple(tool.key for tool in tools)
    last_ms = np.full(len(tools), START_MS, np.int64)
    for first in range(0, minutes.length, DRAWN_MINUTES):
        end = min(first + DRAWN_MINUTES, minutes.length)
        columns = _drawn(rng, tools, mixtures, minutes, first, end, last_ms)
        begins = np.arange(first, end, every)
        cuts = np.searchsorted(columns.ts, START_MS + np.append(begins, end) * MINUTE_MS)
        for begin, low, high in zip(begins.tolist(), cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            yield Step(_batch(dictionary, columns, low, high), START_MS + min(begin + every, end) * MINUTE_MS)


def _batch(dictionary: tuple[Series, ...], columns: _Columns, low: int, high: int) -> Batch:
    part = slice(low, high)
    return Batch(
        dictionary,
        columns.codes[part],
        columns.ts[part],
        columns.duration[part],
        columns.ok[part],
        cpu=columns.cpu[part],
        memory=columns.memory[part],
        disk_io=columns.disk_io[part],
    )


def _drawn(
    rng: np.random.Generator,
    tools: Sequence[Tool],
    mixtures: _Mixtures,
    minutes: Minutes,
    first: int,
    end: int,
    last_ms: NDArray[np.int64],
) -> _Columns:
    """The columns of a Batch for minutes `first` … `end` − 1, by time."""
    counts = rng.poisson(minutes.rate[:, first:end])
    of, minute = (np.repeat(index, counts.ravel()) for index in np.indices(counts.shape).reshape(2, -1))
    ts = START_MS + (first + minute) * MINUTE_MS + rng.integers(0, MINUTE_MS, len(of))
    order = np.argsort(ts, kind="stable")
    of, minute, ts = of[order], first + minute[order], ts[order]
    middle = mixtures.middle[of]
    log_ms = middle + minutes.spread[of, minute] * (mixtures.draw(rng, of) - middle) + minutes.latency[of, minute]
    log_ms += np.log(_cold(tools, of, ts, last_ms))
    ok = (rng.random(len(of)) >= minutes.failing[of, minute]).astype(np.uint8)
    cpu = minutes.cpu[of, minute]
    cpu = cpu + (_CPU_NOISE + _CPU_SHARE * cpu) * rng.standard_normal(len(of))
    memory = minutes.memory[of, minute] * (1 + _MEMORY_NOISE * rng.standard_normal(len(of)))
    disk = np.exp(np.log([tool.disk for tool in tools])[of] + minutes.disk[of, minute] + _noise(rng, len(of)))
    unmeasured: NDArray[np.bool_] = ~np.array([tool.measured for tool in tools])[of]
    for column in (cpu, memory, disk):
        column[unmeasured] = np.nan
    duration = np.minimum(np.exp(log_ms), _MOST_MS)
    return _Columns(of.astype(np.uint32), ts, duration, ok, np.clip(cpu, 0.0, 100.0), memory, disk)


def _noise(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return _DISK_NOISE * rng.standard_normal(n)


def _cold(
    tools: Sequence[Tool], of: NDArray[np.int64], ts: NDArray[np.int64], last_ms: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How much slower each call is for coming after idle time; `last_ms` by tool goes on from one hour to the next."""
    by_tool = np.argsort(of, kind="stable")
    times = np.ones(len(of))
    bounds = np.searchsorted(of[by_tool], np.arange(len(tools) + 1))
    for row, tool in enumerate(tools):
        own = by_tool[bounds[row] : bounds[row + 1]]
        if len(own):
            idle = np.diff(ts[own], prepend=last_ms[row]) > COLD_MS
            times[own[idle]] = tool.cold_times
            last_ms[row] = ts[own[-1]]
    return times
