"""What detection costs: CPU time of the detector's own core in this process, one thread.

Points a second of the signal scorer with every part on; calls a second of the whole detector in batches as ingest commits them
under load, and minute by minute; a question about the last 24 hours of 196 series, by method.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from bench.detection.minutes import DAY, START_MS
from bench.detection.thousands import thousands
from bench.figures import Result
from bench.options import Options
from services.detector.core.answers.answer import Query, answer
from services.detector.core.answers.past import Known
from services.detector.core.engine import Engine
from services.detector.core.events import Book
from services.detector.core.metrics import HISTORY_MS, METHODS, MINUTE_MS
from services.detector.core.signal import scorer
from services.detector.core.watch import Watch
from shared.batch import Batch, Series

#: Points of one run, and of a quick one.
POINTS: Final = 2_000_000
QUICK_POINTS: Final = 100_000
#: Series of the streams, as in the ingest benchmark.
SERIES: Final = 196
#: Calls in a batch under load, and batches of a run.
BATCH_CALLS, BATCHES = 10_000, 200
#: Calls a minute of every series in the slow stream, and its minutes a run.
SLOW_CALLS, SLOW_MINUTES = 10, 60
#: Measured values of a call: duration, success, cpu, memory, disk.
VALUES: Final = 5
#: Calls a minute of every series in the day that is asked about.
DAY_CALLS: Final = 2
#: Answers of which a run is the median.
_ANSWERS: Final = 5


def run(options: Options) -> list[Result]:
    """The tables, medians over several runs."""
    result = Result(
        "detection: speed", "CPU time of one thread, all series' resources measured", "nothing", options.runs
    )
    points = QUICK_POINTS if options.quick else POINTS
    result.add_runs("signal scorer, points", [_signal(points, seed) for seed in range(options.runs)])
    part = 10 if options.quick else 1
    result.add_runs(
        f"detector, batches of {BATCH_CALLS:,} calls",
        [_stream(seed, BATCHES // part, BATCH_CALLS, 1_000) for seed in range(options.runs)],
    )
    result.add_runs(
        f"detector, {SLOW_CALLS} calls a tool and minute",
        [_stream(seed, SLOW_MINUTES // part, SLOW_CALLS * SERIES, MINUTE_MS) for seed in range(options.runs)],
    )
    return [result, _questions(options), thousands(quick=options.quick)]


def _signal(points: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    t_s = START_MS / 1000 + 60.0 * np.arange(points, dtype=np.float64)
    values = np.exp(0.3 * np.sin(2 * np.pi * t_s / 86_400) + 0.2 * rng.standard_normal(points))
    out = np.zeros((points, scorer.COLUMNS))
    out[:] = 1.0  # so that the memory is there: zeros are given out page by page, when they are first written
    spent_s = _cpu_s(lambda: scorer.observe_many(t_s, values, np.zeros(scorer.SIZE), out))
    return {"a second": points / spent_s, "values a second": points / spent_s, "ns each": 1e9 * spent_s / points}


def _stream(seed: int, batches: int, calls: int, every_ms: int) -> dict[str, float]:
    """A detector that knows its tools already takes so many batches."""
    rng = np.random.default_rng(seed)
    watch = Watch(Engine(SERIES), Book())
    made = [_batch(rng, calls, START_MS + number * every_ms, every_ms) for number in range(2 * batches)]
    for number, batch in enumerate(made[:batches], start=1):
        _take(watch, batch, START_MS + number * every_ms)

    def take_all() -> None:
        for number, batch in enumerate(made[batches:], start=batches + 1):
            _take(watch, batch, START_MS + number * every_ms)

    spent_s = _cpu_s(take_all)
    each = batches * calls
    return {"a second": each / spent_s, "values a second": VALUES * each / spent_s, "ns each": 1e9 * spent_s / each}


def _take(watch: Watch, batch: Batch, now_ms: int) -> None:
    watch.apply(batch, live=True)
    watch.tick(now_ms)
    watch.take_lines()
    watch.take_raises()


def _batch(rng: np.random.Generator, calls: int, start_ms: int, length_ms: int) -> Batch:
    """Calls of all series in random order, healthy and measured in full."""
    codes = rng.integers(0, SERIES, calls, dtype=np.uint32)
    return Batch(
        tuple(Series(f"server-{code // 14:02}", f"tool-{code % 14:02}") for code in range(SERIES)),
        codes,
        np.sort(start_ms + rng.integers(0, length_ms, calls)),
        20.0 * (1 + codes) * rng.lognormal(0.0, 0.4, calls),
        (rng.random(calls) > 0.01).astype(np.uint8),
        cpu=np.clip(rng.normal(20.0, 4.0, calls), 0.0, 100.0),
        memory=rng.normal(200.0, 5.0, calls),
        disk_io=50.0 * rng.lognormal(0.0, 0.5, calls),
    )


def _questions(options: Options) -> Result:
    measured = f"`detect_anomalies` over 24 h x {SERIES} series, at medium, CPU ms"
    result = Result("detection: questions", measured, "nothing", options.runs)
    watch = Watch(Engine(SERIES), Book())
    minutes = DAY // 24 if options.quick else DAY
    rng = np.random.default_rng(1)
    for first in range(0, minutes, 10):
        calls = 10 * DAY_CALLS * SERIES
        _take(
            watch, _batch(rng, calls, START_MS + first * MINUTE_MS, 10 * MINUTE_MS), START_MS + (first + 10) * MINUTE_MS
        )
    end_ms = START_MS + minutes * MINUTE_MS
    for method in METHODS:
        query = Query(end_ms - HISTORY_MS, end_ms, "medium", method, None, None, 20, full=False)
        # The service has swept within the last minutes, from its first seconds on.
        result.add_runs(method, _asked(watch, query, Known(swept_ms=end_ms), options.runs))
        if method == "auto":
            result.add_runs("auto, never swept", _asked(watch, query, Known(), options.runs))
    return result


def _asked(watch: Watch, query: Query, known: Known, runs: int) -> list[dict[str, float]]:
    """CPU ms of an answer, medians of a few."""
    answer(watch, query, _unlocked, known)
    return [
        {
            "ms": statistics.median(
                1_000 * _cpu_s(lambda: answer(watch, query, _unlocked, known)) for _ in range(_ANSWERS)
            )
        }
        for _ in range(runs)
    ]


@contextlib.contextmanager
def _unlocked() -> Iterator[None]:
    yield


def _cpu_s(act: Callable[[], object]) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started
