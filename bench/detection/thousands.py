"""Ten thousand tools, in a process of its own: memory, a minute's cost, saving, how soon all is warm again."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from bench.detection.minutes import START_MS
from bench.figures import Result
from services.detector.core.engine import Engine
from services.detector.core.events import Book
from services.detector.core.metrics import MINUTE_MS
from services.detector.core.watch import Watch
from services.detector.shell.database import FILE_NAME, Database, Debts
from shared.batch import Batch, Series
from shared.consumer import Position

SERIES: Final = 10_000
QUICK_SERIES: Final = 200
#: Calls come in batches of that many minutes, one a minute of each series, for so many hours: what is kept grows no more then.
_TOGETHER: Final = 2
_HOURS: Final = 4
#: Minutes whose cost is measured; the first of an hour costs more.
_MEASURED: Final = 15
_MINUTES: Final = 60 * _HOURS
_MB: Final = 1_000_000


def thousands(*, quick: bool = False) -> Result:
    """The table; once, for it takes long."""
    series = QUICK_SERIES if quick else SERIES
    result = Result(
        "detection: many series", f"{series:,} tools called once a minute, resources measured", "as saved", 1
    )
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(measure, series).result()
    result.add(f"{series:,} series", **found)
    result.notes += [
        "resident: what the process grew by; arrays: of all series and their signals",
        "a minute: CPU ms of a minute's calls; warm start: reading all from disk",
    ]
    return result


def measure(series: int) -> dict[str, float]:
    """Fill a detector, save it and read it back."""
    _fill(Watch(Engine(series), Book()), min(series, 10), 2)  # kernels are there from now on
    _names(series)
    before = _resident_bytes()
    watch = Watch(Engine(series), Book())
    _fill(watch, series, _MINUTES // _TOGETHER)
    grown = _resident_bytes() - before
    arrays = watch.engine.signals.size_bytes + sum(one.size_bytes for one in watch.engine.series.values())
    hour_s, *minutes_s = _minutes_s(watch, series)
    with tempfile.TemporaryDirectory(prefix="perfmon-bench-") as folder:
        save_s, load_s, load_cpu_s, size = _stored(watch, Path(folder) / FILE_NAME, series)
    return {
        "resident MB": grown / _MB,
        "arrays MB": arrays / _MB,
        "KB a series": grown / series / 1_000,
        "a minute, ms": 1_000 * statistics.median(minutes_s),
        "an hour's first, ms": 1_000 * hour_s,
        "save all, s": save_s,
        "warm start, s": load_s,
        "CPU s": load_cpu_s,
        "on disk MB": size / _MB,
    }


def _fill(watch: Watch, series: int, batches: int) -> None:
    rng = np.random.default_rng(1)
    for number in range(batches):
        watch.apply(_batch(rng, series, number * _TOGETHER, _TOGETHER), live=True)
        watch.tick(START_MS + (number + 1) * _TOGETHER * MINUTE_MS)
        watch.take_lines()
        watch.take_raises()


def _minutes_s(watch: Watch, series: int) -> list[float]:
    """CPU s of each of the next minutes."""
    rng, spent = np.random.default_rng(2), []
    for minute in range(_MINUTES, _MINUTES + _MEASURED):
        batch = _batch(rng, series, minute, 1)
        started = time.process_time()
        watch.apply(batch, live=True)
        watch.tick(START_MS + (minute + 1) * MINUTE_MS)
        spent.append(time.process_time() - started)
    return spent


def _stored(watch: Watch, path: Path, series: int) -> tuple[float, float, float, int]:
    """Seconds to save all and to read all, CPU seconds of the latter, and bytes of the file."""
    position = Position("bench", 1)
    database = Database(path)
    started = time.perf_counter()
    database.save(position, watch.engine, watch.book, Debts([], [], [], []))
    saved = time.perf_counter()
    database.close()
    size = sum(one.stat().st_size for one in path.parent.iterdir())
    database = Database(path)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    database.load(Engine(series), Book(), 0)
    loaded, loaded_cpu = time.perf_counter(), time.process_time()
    database.close()
    return saved - started, loaded - begun, loaded_cpu - begun_cpu, size


def _batch(rng: np.random.Generator, series: int, first: int, minutes: int) -> Batch:
    """One call a minute of every series from minute `first` on, by time."""
    calls = series * minutes
    codes = np.tile(np.arange(series, dtype=np.uint32), minutes)
    offset_ms = np.arange(series) * MINUTE_MS // series
    ts = (START_MS + (first + np.arange(minutes))[:, None] * MINUTE_MS + offset_ms).ravel()
    return Batch(
        _names(series),
        codes,
        ts,
        (10.0 + codes % 1000) * rng.lognormal(0.0, 0.3, calls),
        (rng.random(calls) > 0.005).astype(np.uint8),
        cpu=np.clip(rng.normal(20.0, 4.0, calls), 0.0, 100.0),
        memory=rng.normal(200.0, 4.0, calls),
        disk_io=50.0 * rng.lognormal(0.0, 0.5, calls),
    )


@cache
def _names(series: int) -> tuple[Series, ...]:
    """Made once, so that what the process grows by is the detector's alone."""
    return tuple(Series(f"server-{code // 20:03}", f"tool-{code % 20:02}") for code in range(series))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
