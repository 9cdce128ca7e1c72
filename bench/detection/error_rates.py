"""The test of failures by itself: calls until an alarm, and how often it alarms without reason.

Each figure drives the detector's own kernel, with calls that fail independently of each other at a known rate, two a minute:
there the claim holds. Every run uses other random numbers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.detection.minutes import START_MS
from bench.figures import Result
from bench.options import Options
from services.detector.core.engine import Engine
from services.detector.core.events import Book
from services.detector.core.kernels import error_mixture, errors, judge
from services.detector.core.metrics import LEVELS, SENSITIVITIES
from services.detector.core.watch import Watch
from shared.batch import Batch, Series

#: Calls that the usual rate is learned from, the rate, and the rates that it rises to.
LEARNED, USUAL = 5_000, 0.01
RISES: Final = (0.03, 0.05, 0.1, 0.3, 1.0)
MEDIUM: Final = LEVELS["medium"]
#: Rates of tools that nothing happens to.
RATES: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
#: Their calls; and those of new tools, of each tool.
CALLS, NEW_CALLS, NEW_EACH = 50_000_000, 10_000_000, 1_000
#: Calls of a server, through the whole detector; and rises after a past of their own.
SERVER_CALLS: Final = 2_000_000
REPEATED: Final = 1_000
#: Fractions of all that for a quick look.
QUICK: Final = 100
_CHUNK: Final = 1_000_000
#: Events that say little about how often they come.
_TOO_FEW: Final = 3
_APART_MS: Final = 30_000
#: Calls a minute.
_PACE: Final = 2.0
#: A server: its tools, and calls in a batch.
_TOOLS, _BATCH = 20, 5_000


def run(options: Options, first_seed: int = 1) -> list[Result]:
    """All tables."""
    seeds = range(first_seed, first_seed + max(1, options.runs))
    shrink = QUICK if options.quick else 1
    return [_delays(seeds, REPEATED // shrink), _null(first_seed, shrink), _cost(seeds)]


def calls_until(rise: float, seed: int, repeated: int) -> list[int]:
    """Calls from a rise until medium alarms, each after a past of its own."""
    rng, taken = np.random.default_rng(seed), list[int]()
    while len(taken) < repeated:
        row = np.zeros(error_mixture.SIZE)
        _levels(rng.random(LEARNED) >= USUAL, row, START_MS, _APART_MS)
        if row[error_mixture.PHASE] == judge.IDLE or row[error_mixture.LEVEL] < MEDIUM:
            taken.append(_first(rng, rise, row))
    return taken


def false_alarms(rate: float, calls: int, seed: int) -> list[int]:
    """Events at high, medium and low that nothing caused, of one tool that is known well."""
    rng, row = np.random.default_rng(seed), np.zeros(error_mixture.SIZE)
    _levels(rng.random(LEARNED) >= rate, row, START_MS, _APART_MS)
    start, levels = START_MS + LEARNED * _APART_MS, list[int]()
    for at in range(0, calls, _CHUNK):
        n = min(_CHUNK, calls - at)
        levels += _levels(rng.random(n) >= rate, row, start + at * _APART_MS, _APART_MS)
    return _counted(levels)


def false_alarms_when_new(rate: float, calls: int, seed: int) -> list[int]:
    """Likewise of many tools in their first calls."""
    rng, levels = np.random.default_rng(seed), list[int]()
    for _ in range(max(1, calls // NEW_EACH)):
        levels += _levels(rng.random(NEW_EACH) >= rate, np.zeros(error_mixture.SIZE), START_MS, _APART_MS)
    return _counted(levels)


def false_alarms_of_server(rate: float, calls: int, seed: int) -> list[int]:
    """Likewise of a server over all its tools, each call after the last; events of single tools are not counted."""
    watch, rng = Watch(Engine(_TOOLS), Book()), np.random.default_rng(seed)
    keys = tuple(Series("server", f"tool-{i:02}") for i in range(_TOOLS))
    found, each_ms = dict[str, int](), np.arange(_BATCH, dtype=np.int64) * _APART_MS
    for at in range(0, calls, _BATCH):
        ok = (rng.random(_BATCH) >= rate).astype(np.uint8)
        codes = rng.integers(0, _TOOLS, _BATCH).astype(np.uint32)
        ts = START_MS + at * _APART_MS + each_ms
        watch.apply(Batch(keys, codes, ts, np.full(_BATCH, 20.0), ok), live=True)
        found |= {e.id: e.level for e in watch.book.of_server("server") if e.evidence.get("scope") == "server"}
        watch.take_lines()
        watch.take_raises()
        watch.book.dirty.clear()
        watch.book.forget_before(int(ts[0]))
    return _counted(list(found.values()))


def _delays(seeds: range, repeated: int) -> Result:
    result = Result("detection: calls until an alarm", f"failures rise from {USUAL:.0%}, medium", "nothing", len(seeds))
    for rise in RISES:
        runs = [calls_until(rise, seed, repeated) for seed in seeds]
        quarters = [statistics.quantiles(taken, n=4) for taken in runs]
        columns = [
            {"median calls": statistics.median(taken), "three quarters": q[2]}
            for taken, q in zip(runs, quarters, strict=True)
        ]
        result.add_runs(f"to {rise:.0%}", columns)
    result.notes.append(
        f"{USUAL:.0%} learned from {LEARNED:,} calls; one false alarm in {error_mixture.ARL[1]:,.0f} calls"
    )
    return result


def _null(seed: int, shrink: int) -> Result:
    result = Result("detection: false alarms of failures", "mean calls to one, over nominal", "nothing", 1)
    for rate in RATES:
        known = false_alarms(rate, CALLS // shrink, seed)
        new = false_alarms_when_new(rate, NEW_CALLS // shrink, seed)
        result.add(f"{rate:.2%}", **_ratios("", CALLS // shrink, known), **_ratios("new, ", NEW_CALLS // shrink, new))
    for rate in (0.005, 0.05):
        found = false_alarms_of_server(rate, SERVER_CALLS // shrink, seed)
        result.add(f"server, {rate:.1%}", **_ratios("", SERVER_CALLS // shrink, found))
    result.notes += [
        f"nominal: {', '.join(f'{SENSITIVITIES[i]} {calls:,.0f}' for i, calls in enumerate(error_mixture.ARL))}",
        f"{CALLS // shrink:,} calls a rate; new: {NEW_CALLS // shrink:,}, of tools in their first {NEW_EACH:,}",
        f"'>': no more than {_TOO_FEW} events; an alarm takes three failures, so tools that rarely fail have fewer than nominal",
        f"server: {SERVER_CALLS // shrink:,} calls of {_TOOLS} tools; its events say what no tool's own test explains",
        "and are medium or low alone",
    ]
    return result


def _ratios(prefix: str, calls: int, found: list[int]) -> dict[str, float | str]:
    """Mean run over nominal, least sensitive last."""
    ratios = (calls / max(n, 1) / nominal for n, nominal in zip(found, error_mixture.ARL, strict=True))
    return {
        f"{prefix}{name}": ratio if n > _TOO_FEW else f"> {ratio:.2f}"
        for name, n, ratio in zip(SENSITIVITIES, found, ratios, strict=True)
    }


def _cost(seeds: range) -> Result:
    result = Result("detection: cost of the test of failures", "ns of CPU a call, one core", "nothing", len(seeds))
    for rate in (0.0, 0.01, 0.1):
        result.add_runs(f"{rate:.0%} fail", [{"ns a call": _cost_ns(rate, seed)} for seed in seeds])
    return result


def _cost_ns(rate: float, seed: int) -> float:
    ok, row = np.random.default_rng(seed).random(_CHUNK) >= rate, np.zeros(error_mixture.SIZE)
    _levels(ok, row, START_MS, 10, 6_000.0)
    started = time.process_time()
    _levels(ok, row, START_MS + _CHUNK * 10, 10, 6_000.0)
    return (time.process_time() - started) / _CHUNK * 1e9


def _first(rng: np.random.Generator, rise: float, row: NDArray[np.float64]) -> int:
    """Calls until medium alarms."""
    taken, at = 0, START_MS + LEARNED * _APART_MS
    while True:
        taken += 1
        _levels(rng.random(1) >= rise, row, at + taken * _APART_MS, _APART_MS)
        if row[error_mixture.PHASE] == judge.OPEN and row[error_mixture.LEVEL] >= MEDIUM:
            return taken


def _levels(
    good: NDArray[np.bool_], row: NDArray[np.float64], start_ms: int, apart_ms: int, pace: float = _PACE
) -> list[int]:
    """The highest level of each event that began in these calls, or that rose in them."""
    ts = start_ms + np.arange(len(good), dtype=np.int64) * apart_ms
    levels, under_way = list[int](), row[error_mixture.PHASE] == judge.OPEN
    for kind, level in _happenings(ts, good.astype(np.uint8), row, pace):
        if kind != judge.OPENED:
            under_way = False
        elif under_way and levels:
            levels[-1] = level
        else:
            levels.append(level)
            under_way = True
    return levels


def _happenings(
    ts: NDArray[np.int64], ok: NDArray[np.uint8], row: NDArray[np.float64], pace: float
) -> Iterator[tuple[float, int]]:
    out, at = np.zeros((64, errors.HAPPENING)), 0
    while at < len(ts):
        found, at = errors.judge_failures(ts, ok, row, pace, out, at)
        yield from ((float(h[0]), int(h[1 + error_mixture.LEVEL])) for h in out[:found])


def _counted(levels: list[int]) -> list[int]:
    """Events at each level or above."""
    return [sum(level >= least for level in levels) for least in (1, 2, 3)]
