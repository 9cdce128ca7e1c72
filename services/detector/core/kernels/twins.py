"""What the kernels over arrays say, in plain numpy: slower, obvious, and the measure they are tested by."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels import shift
from services.detector.core.kernels.bins import BINS, HIGHEST, LN_WIDTH, LOWEST, ONE
from services.detector.core.kernels.fold import MOMENTS

Values = NDArray[np.float64]
Int64 = NDArray[np.int64]


def bins_of(values: Values) -> Int64:
    """`bins.bin_of` of every value; NaN must not be asked for."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.floor(np.log(values) / LN_WIDTH)
        numbers = np.where(values < LOWEST, 0, np.where(values >= HIGHEST, BINS - 1, inner + ONE))
    return numbers.astype(np.int64)


def events_by_chance(calls_of: dict[int, float], share: float, gap_calls: float) -> float:
    """`starts.events_by_chance` of the calls of each minute, by adding up over moments that lie close at both ends of it."""
    total, ends = 0.0, np.geomspace(1e-12, 0.5, 3_000)
    over = np.concatenate([[0.0], ends, 1.0 - ends[-2::-1], [1.0]])
    for minute, calls in calls_of.items():
        last, before_last = calls_of.get(minute - 1, 0.0), calls_of.get(minute - 2, 0.0)
        recent = last + over * calls + (1 - over) * before_last
        recent = np.full(len(over), gap_calls) if last + (before_last + calls) / 2 <= gap_calls else recent
        none = (1.0 - min(share, 1 - 1e-12)) ** recent
        total += calls * share * float(np.sum(np.diff(over) * (none[1:] + none[:-1]) / 2))
    return total


def rank_bin(counts: Values, rank: float) -> int:
    """`bins.rank_bin`."""
    if not np.any(counts > 0):
        return 0
    reached = np.flatnonzero((np.cumsum(counts) >= rank - 1e-9) & (counts > 0))
    return int(reached[0]) if len(reached) else int(np.flatnonzero(counts > 0)[-1])


def fold_moments(ts: Int64, values: Values, minutes: Int64) -> Values:
    """`fold`'s summaries of one metric: f64[minutes, 6] from nothing."""
    moments = np.zeros((len(minutes), MOMENTS))
    for row, minute in enumerate(minutes):
        chosen = np.flatnonzero((ts // 60_000 == minute) & np.isfinite(values))
        if len(chosen):
            x = values[chosen]
            worst = chosen[int(np.argmax(x))]
            moments[row] = (len(x), x.mean(), ((x - x.mean()) ** 2).sum(), x.min(), x.max(), ts[worst])
    return moments


def fold_counts(ts: Int64, values: Values, quarters: Int64, low: int, size: int) -> NDArray[np.uint32]:
    """`fold`'s histograms of one metric: u32[quarters, size] from nothing."""
    counts = np.zeros((len(quarters), size), np.uint32)
    finite = np.isfinite(values)
    for row, quarter in enumerate(quarters):
        places = bins_of(values[finite & (ts // 900_000 == quarter)]) - low
        places = places[(places >= 0) & (places < size)]
        counts[row] = np.bincount(places, minlength=size)
    return counts


def trend(t: Values, y: Values) -> tuple[float, float]:
    """`query.trend`."""
    i, j = np.triu_indices(len(t), 1)
    usable = (t[i] != t[j]) & np.isfinite(y[i]) & np.isfinite(y[j])
    i, j = i[usable], j[usable]
    if not len(i):
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        slopes = (y[j] - y[i]) / (t[j] - t[i])
    return float(np.median(slopes)), float((slopes > 0).sum() - (slopes < 0).sum())


def scores_of(values: Values) -> Values:
    """The normal score of each value: the normal quantile of its middle rank."""
    ranks = (values[:, None] > values).sum(axis=1) + (values[:, None] == values).sum(axis=1) / 2.0
    return np.array([NormalDist().inv_cdf(rank / len(values)) for rank in ranks.tolist()], np.float64)


def compare(recent: Values, before: Values) -> tuple[float, float, float]:
    """`shift.compare`, of the calls themselves: each stands for itself, at the number of its bin."""
    x, y = (np.repeat(np.arange(len(counts)), counts.astype(np.int64)) for counts in (recent, before))
    n, m = len(x), len(y)
    if not n or not m:
        return 0.0, 0.0, 0.0
    both = np.concatenate([x, y])
    scores = scores_of(both)
    variance = n * m / (n + m) * scores.var() * (n + m) / max(n + m - 1.0, 1.0)
    quantiles = np.arange(0.15, 0.9, 0.1)
    middle, middle_before = (
        np.quantile(values, quantiles, method="inverted_cdf").astype(np.float64) for values in (x, y)
    )
    z = (scores[:n].sum() - n * scores.mean()) / np.sqrt(max(variance, 1e-9))
    return float(z), float((middle - middle_before).mean() * LN_WIDTH), float(y.std() * LN_WIDTH)


def slowed(recent: Values, before: Values) -> float:
    """`shift.slowed`, of the calls themselves."""
    x, y = (np.repeat(np.arange(len(counts)), counts.astype(np.int64)) for counts in (recent, before))
    if not len(y):
        return 0.0
    anywhere, weights = shift.ANYWHERE / len(before), np.array([*shift.SMOOTH, 0.0])

    def density(values: NDArray[np.int64]) -> Values:
        apart = np.minimum(np.abs(values[:, None] - y), len(weights) - 1).astype(np.int64)
        around = weights[apart].sum(axis=1) * (1.0 - shift.ANYWHERE) / len(y)
        return np.asarray(np.where(values >= 0, around, 0.0) + anywhere)

    ratios = [np.log(density(x - round(np.log(times) / LN_WIDTH)) / density(x)) for times in shift.SLOWER]
    return float(max(np.clip(ratio, -shift.MOST_SAID, shift.MOST_SAID).sum() for ratio in ratios))


def compare_all(  # noqa: PLR0917 - as the kernel is called
    calls: list[tuple[int, float]],
    span: tuple[int, int],
    quarters: dict[int, Values],
    low: int,
    last: int,
    windows: tuple[list[int], list[int]],
    day: int,
    fewest_before: int,
) -> Values:
    """`screen.compare_all` of calls in order of arrival, from and up to a time, and of the bins of each quarter hour."""
    whole = np.sum([bins * (last - day <= key <= last) for key, bins in quarters.items()], axis=0)
    known = [(t, value) for t, value in calls if t <= span[1] and np.isfinite(value)]
    found: list[Values | None] = []
    for n in windows[0]:
        chosen = known[-n:]
        there = len(known) - n >= fewest_before and min(known[-k][0] for k in windows[0] if k <= n) >= span[0]
        places = np.clip(bins_of(np.array([value for _, value in chosen])) - low, 0, len(whole) - 1)
        found.append(np.bincount(places, minlength=len(whole)).astype(np.float64) if there else None)
    found += [np.sum([bins * (last - n <= key <= last) for key, bins in quarters.items()], axis=0) for n in windows[1]]
    rows = np.zeros((len(found), 4))
    for row, recent in zip(rows, found, strict=True):
        if recent is not None:
            rest = np.maximum(whole - recent, 0.0)
            row[:] = *compare(recent, rest)[:2], recent.sum(), rest.sum()
    return rows


def standings(counts: Values) -> Values:
    """`shift.standings`."""
    calls = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
    among = [np.append(calls, bin_) for bin_ in range(len(counts))]
    return np.array([scores_of(several)[-1] for several in among], np.float64)


def mark_raised(ts: Int64, gains: Values, sure: float, longest_ms: int, after: int) -> NDArray[np.bool_]:
    """`shift.mark_raised`."""
    marked, first = np.zeros(len(gains), np.bool_), 0
    while first < len(gains):
        if not gains[first] > 0.0:
            first += 1
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.cumsum(gains[first:])
            highest = np.fmax.accumulate(sums)
            ends = np.flatnonzero((sums[1:] <= 0.0) | (sums[1:] <= highest[:-1] - 4.0)) + 1
        stop = int(ends[0]) if len(ends) else len(sums)
        best = first + int(np.nanargmax(sums[:stop]))
        lasted_ms = int(ts[best]) - int(ts[first])
        if highest[stop - 1] >= sure and len(gains) - 1 - best >= after and lasted_ms <= longest_ms:
            marked[first : best + 1] = True
        first = best + 1
    return marked


def compare_latest(  # noqa: PLR0917 - as the kernel is called
    bins: Int64, usual: Int64, size: int, from_number: int, windows: list[int], right_before: int, twice: int
) -> Values:
    """`screen.compare_latest`."""
    rows = np.zeros((len(windows), 3, 2))
    for row, calls in zip(rows, windows, strict=True):
        first = len(bins) - calls
        earlier = bins[usual[usual < first]]
        for kind, nearest in enumerate((len(earlier), right_before, max(right_before, twice * calls))):
            if first >= from_number and (kind == 0 or nearest < len(earlier)):
                recent, before = bins[first:], earlier[len(earlier) - nearest :]
                counts = (np.bincount(part, minlength=size).astype(np.float64) for part in (recent, before))
                row[kind] = compare(*counts)[:2]
    return rows
