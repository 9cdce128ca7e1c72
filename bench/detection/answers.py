"""How long a question about anomalies takes: the last 24 hours of 196 tools, by method and sensitivity, CPU ms; from a state in
memory, and the first answer of a detector that has just read its state from disk.

Each tool has all resources measured in 1,440 minutes, and more calls than are held one by one, so that both ways of looking at
the past are taken. What waits for the lock in between is not measured; the longest that one question holds it is.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from bench.detection.minutes import DAY, START_MS
from bench.figures import Result
from bench.options import Options
from services.detector.core.answers.answer import Query, answer
from services.detector.core.answers.past import Known
from services.detector.core.engine import Engine
from services.detector.core.events import Book
from services.detector.core.metrics import HISTORY_MS, METHODS, MINUTE_MS
from services.detector.core.watch import Watch
from services.detector.shell.database import Database, Debts
from shared.batch import Batch, Series
from shared.consumer import Position

SERIES: Final = 196
#: Calls a minute of every tool, and minutes folded in at once.
CALLS, MINUTES_AT_ONCE = 2, 10
#: Answers are asked for this often a run, and the median is told.
ASKED: Final = 5


def run(options: Options) -> list[Result]:
    """The table: ms by method."""
    measured = f"`detect_anomalies` over 24 h x {SERIES} tools with 4 metrics in 1,440 minutes, CPU ms"
    result = Result("detection: answers", measured, "nothing", options.runs)
    minutes = DAY // 24 if options.quick else DAY
    watch = day(minutes)
    end_ms = START_MS + minutes * MINUTE_MS
    for method in METHODS:
        for sensitivity in ("medium", "high"):
            query = Query(end_ms - HISTORY_MS, end_ms, sensitivity, method, None, None, 20, full=False)
            known = Known(swept_ms=end_ms)  # as the service does it every five minutes
            result.add_runs(f"{method}, {sensitivity}", [_asked(watch, query, known) for _ in range(options.runs)])
    query = Query(end_ms - HISTORY_MS, end_ms, "medium", "auto", None, None, 20, full=False)
    result.add_runs("auto that sweeps first", [_asked(watch, query, Known()) for _ in range(options.runs)])
    result.add_runs("auto after reading the state", [_cold(watch, end_ms) for _ in range(options.runs)])
    return [result]


def day(minutes: int) -> Watch:
    """A detector that has heard a day of healthy calls."""
    watch, rng = Watch(Engine(SERIES), Book()), np.random.default_rng(1)
    for first in range(0, minutes, MINUTES_AT_ONCE):
        watch.apply(_batch(rng, START_MS + first * MINUTE_MS), live=True)
        watch.tick(START_MS + (first + MINUTES_AT_ONCE) * MINUTE_MS)
        watch.take_lines()
        watch.take_raises()
    watch.sweep(list(watch.engine.series.values()), START_MS + minutes * MINUTE_MS)
    return watch


def _batch(rng: np.random.Generator, start_ms: int) -> Batch:
    calls = MINUTES_AT_ONCE * CALLS * SERIES
    codes = rng.integers(0, SERIES, calls, dtype=np.uint32)
    return Batch(
        tuple(Series(f"server-{code // 14:02}", f"tool-{code % 14:02}") for code in range(SERIES)),
        codes,
        np.sort(start_ms + rng.integers(0, MINUTES_AT_ONCE * MINUTE_MS, calls)),
        20.0 * (1 + codes) * rng.lognormal(0.0, 0.4, calls),
        (rng.random(calls) > 0.01).astype(np.uint8),
        cpu=np.clip(rng.normal(20.0, 4.0, calls), 0.0, 100.0),
        memory=rng.normal(200.0, 5.0, calls),
        disk_io=50.0 * rng.lognormal(0.0, 0.5, calls),
    )


class _Held:
    """A lock that notes the longest time it was held."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.longest_s = max(self.longest_s, time.perf_counter() - started)


def _asked(watch: Watch, query: Query, known: Known) -> dict[str, float]:
    lock = _Held()
    answer(watch, query, lock, known)
    spent = sorted(_cpu_s(lambda: answer(watch, query, lock, known)) for _ in range(ASKED))
    return {"ms": 1_000 * spent[ASKED // 2], "longest hold of the lock, ms": 1_000 * lock.longest_s}


def _cold(watch: Watch, end_ms: int) -> dict[str, float]:
    """State read from disk and the first answer from it; the process with its kernels is there."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "detector.db")
        for series in watch.engine.series.values():
            series.dirty = True
            series.all_changed()
        database.save(Position("bench", 1), watch.engine, watch.book, Debts([], [], [], []))
        read = Watch(Engine(SERIES), Book())
        load_s = _cpu_s(lambda: database.load(read.engine, read.book, 0))
        query = Query(end_ms - HISTORY_MS, end_ms, "medium", "auto", None, None, 20, full=False)
        answer_s = _cpu_s(lambda: answer(Watch(read.engine, read.book), query, contextlib.nullcontext))
        database.close()
    return {"ms": 1_000 * answer_s, "reading the state, ms": 1_000 * load_s}


def _cpu_s(act: Callable[[], object]) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started
