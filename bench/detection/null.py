"""What the detector says about series in which nothing ever happens: realised false alarms over nominal ones, by sensitivity.

`signal`: ten million points a process, one a minute, through the signal scorer; an alarm is a point whose tail probability is
at or below a sensitivity's limit, with none in the hour before. Nominal is one alarm a series and month, week or day. `auto`:
the same processes as durations of calls, one a minute, through the whole detector; its layers share the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.detection.calls import Step
from bench.detection.drive import Drive
from bench.detection.minutes import DAY, START_MS
from bench.figures import Result
from bench.options import Options
from services.detector.core.metrics import LEVELS, MINUTE_MS, SENSITIVITIES
from services.detector.core.signal import scorer
from shared.batch import Batch, Series

Float64 = NDArray[np.float64]
Process = Callable[[np.random.Generator, int], Float64]

#: Points a process in all, and in each series: nearly three months.
POINTS: Final = 10_000_000
SERIES_POINTS: Final = 90 * DAY
QUICK_POINTS: Final = 2 * SERIES_POINTS
#: Two alarms closer than that are one.
APART_MINUTES: Final = 60
#: Series and days of calls through the whole detector.
CALLED_SERIES, CALLED_DAYS = 12, 28
QUICK_SERIES, QUICK_DAYS = 4, 3
#: What the values of a process are multiplied by to be durations in ms.
_MS: Final = 100.0


def lognormal(rng: np.random.Generator, n: int) -> Float64:
    """Independent, sigma 1."""
    return rng.lognormal(0.0, 1.0, n)


def pareto(rng: np.random.Generator, n: int) -> Float64:
    """Independent, index 1.5: no variance."""
    return 1.0 + rng.pareto(1.5, n)


def autoregressive(rng: np.random.Generator, n: int) -> Float64:
    """A first-order autoregression with 0.9, ten deviations above zero."""
    noise = rng.standard_normal(n)
    noise[1:] *= (1 - 0.9**2) ** 0.5
    out = noise
    for i in range(7):  # (1 + a·B)(1 + a²·B²)(1 + a⁴·B⁴)… = 1/(1 − a·B), where B shifts by one
        lag = 2**i
        shifted = 0.9**lag * out[:-lag]
        out = out.copy()
        out[lag:] += shifted
    return 10.0 + out


def two_levels(rng: np.random.Generator, n: int) -> Float64:
    """Cache hits and misses: one in five is five times slower."""
    return np.where(rng.random(n) < 0.2, rng.normal(5.0, 0.4, n), rng.normal(1.0, 0.1, n))


def quantised(rng: np.random.Generator, n: int) -> Float64:
    """A clock with few ticks: lognormal, sigma 0.5, in quarters."""
    return np.round(4.0 * rng.lognormal(0.0, 0.5, n)) / 4.0


PROCESSES: Final[dict[str, Process]] = {
    "lognormal, sigma 1": lognormal,
    "Pareto 1.5": pareto,
    "AR(1) 0.9": autoregressive,
    "two levels": two_levels,
    "quantised": quantised,
}


def run(options: Options) -> list[Result]:
    """Both tables."""
    points = QUICK_POINTS if options.quick else POINTS
    signal = Result(
        "detection: null, signal", f"false alarms over nominal ones, {points:,} points a minute apart", "nothing", 1
    )
    signal.notes.append(
        "nominal: one a series and month (low), week (medium), day (high); alarms within an hour are one"
    )
    for name, process in PROCESSES.items():
        alarms = signal_alarms(process, points)
        ratios = {s: round(alarms[s] / (points * scorer.LIMITS[s]), 2) for s in reversed(SENSITIVITIES)}
        signal.add(name, **ratios, **{f"{s}: alarms": alarms[s] for s in reversed(SENSITIVITIES)})
    return [signal, _whole(options)]


def signal_alarms(process: Process, points: int, series_points: int = SERIES_POINTS) -> dict[str, int]:
    """Alarms by sensitivity in series of a process, each learned from nothing."""
    alarms: dict[str, int] = dict.fromkeys(SENSITIVITIES, 0)
    t_s = (START_MS / 1000.0) + 60.0 * np.arange(series_points, dtype=np.float64)
    out = np.zeros((series_points, scorer.COLUMNS))
    for seed in range(-(-points // series_points)):
        n = min(series_points, points - seed * series_points)
        values = process(np.random.default_rng([seed, 7]), n)
        scorer.observe_many(t_s[:n], values, np.zeros(scorer.SIZE), out[:n])
        for name, limit in scorer.LIMITS.items():
            at = np.flatnonzero(out[:n, scorer.TAIL_P] <= limit)
            alarms[name] += int(len(at) > 0) + int((np.diff(at) > APART_MINUTES).sum())
    return alarms


def _whole(options: Options) -> Result:
    series, days = (QUICK_SERIES, QUICK_DAYS) if options.quick else (CALLED_SERIES, CALLED_DAYS)
    measured = f"false events over nominal ones, {series} tools called once a minute for {days} days"
    result = Result("detection: null, auto", measured, "nothing", 1)
    for name, process in PROCESSES.items():
        events = whole_events(process, series, days)
        minutes = series * days * DAY
        ratios = {s: round(events[s] / (minutes * scorer.LIMITS[s]), 2) for s in reversed(SENSITIVITIES)}
        result.add(name, **ratios, **{f"{s}: events": events[s] for s in reversed(SENSITIVITIES)})
    return result


def whole_events(process: Process, series: int, days: int) -> dict[str, int]:
    """Events by sensitivity, of all layers, in tools of which nothing but the duration is measured."""
    drive = Drive()
    drive.run(_calls(process, series, days))
    found = [sighting.found_ms for sighting in drive.sightings.values()]
    return {name: sum(level in levels for levels in found) for name, level in LEVELS.items()}


def _calls(process: Process, series: int, days: int, every: int = 5) -> Iterator[Step]:
    """One call a minute of each tool, `every` minutes a batch."""
    dictionary = tuple(Series("null", f"tool-{number:03}") for number in range(series))
    values = np.array([process(np.random.default_rng([number, 8]), days * DAY) for number in range(series)])
    offset_ms = np.arange(series) * (MINUTE_MS // max(series, 1))
    codes = np.tile(np.arange(series, dtype=np.uint32), every)
    for first in range(0, days * DAY, every):
        ts = START_MS + (first + np.arange(every))[:, None] * MINUTE_MS + offset_ms
        durations = np.ascontiguousarray(values[:, first : first + every].T).ravel() * _MS
        ok = np.ones(len(codes), np.uint8)
        yield Step(Batch(dictionary, codes, ts.ravel(), durations, ok), START_MS + (first + every) * MINUTE_MS)
