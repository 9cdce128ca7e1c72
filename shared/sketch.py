"""A mergeable quantile sketch with 1 % relative error, for one series or for thousands at once.

DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019):
a value falls into the bin ⌈log_γ value⌉ with γ = (1 + α)/(1 − α), and a bin answers with the one value that is at most α
away from everything in it. Merging is adding counts, so quantiles are merged and never averaged.

Three shapes of the same thing:
  dense    counts f64[..., BINS], one cell a bin;
  sparse   `bins` ascending, `counts` of the same length: one series;
  grouped  `keys` ascending = series * BINS + bin, `counts`: a whole block of series in two arrays.
Counts are float64 (exact up to 2^53), because that is what `bincount` takes and gives. Owns no state and knows no units:
values are ≥ 0, those up to MIN_VALUE count as 0, those beyond MAX_VALUE as MAX_VALUE. About 2 ns a value.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

#: α: a quantile is at most this far from the true one, relative to it.
RELATIVE_ERROR: Final = 0.01
GAMMA: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
#: Bins of a series, a power of two so that a key splits by shift and mask.
BINS: Final = 2048
BIN_BITS: Final = 11
#: The bin of zero and of everything too small to tell from it.
ZERO_BIN: Final = 0
#: Values beyond it share the last bin: 11.5 days in ms.
MAX_VALUE: Final = 1e9

_PER_LOG: Final = 1 / math.log(GAMMA)
_OFFSET: Final = BINS - 1 - math.ceil(math.log(MAX_VALUE) * _PER_LOG)
#: 1.7e-9; at or below it a value is 0.
MIN_VALUE: Final = GAMMA**-_OFFSET
#: What every smaller value is taken for: the middle of the zero bin's edge, so that rounding can't lift it out.
_TINY: Final = MIN_VALUE / math.sqrt(GAMMA)
#: Cells up to which a dense array is the fast way to add up (32 MB).
_DENSE_CELLS: Final = 1 << 22

_VALUES: Final[Float64] = (2 * GAMMA ** (np.arange(BINS) - _OFFSET) / (GAMMA + 1)).astype(np.float64)
_VALUES[ZERO_BIN] = 0.0
_VALUES.flags.writeable = False


def bin_of(values: ArrayLike) -> Int16:
    """The bin of each value; NaN and negative values fall into the zero bin."""
    logs = np.array(values, np.float64)
    np.fmax(logs, _TINY, out=logs)
    np.log(logs, out=logs)
    logs *= _PER_LOG
    np.ceil(logs, out=logs)
    logs += _OFFSET
    return np.minimum(logs, BINS - 1).astype(np.int16)


def value_of(bins: Ints) -> Float64:
    """What each bin answers with: within RELATIVE_ERROR of every value in it."""
    values: Float64 = _VALUES[bins]
    return values


def add_up(keys: Ints, counts: Float64 | None, cells: int) -> tuple[Int32, Float64]:
    """Grouped form of any number of (key, count) pairs in any order: ascending keys, each once, with their counts added.
    `counts` None = one each; every key is below `cells`.
    """
    if cells <= _DENSE_CELLS and cells <= 16 * len(keys) + BINS:
        dense = np.bincount(keys, counts, minlength=cells)
        found = np.flatnonzero(dense != 0)
        return found.astype(np.int32), dense[found].astype(np.float64, copy=False)
    if not len(keys):
        return np.empty(0, np.int32), np.empty(0)
    if counts is None:
        # Sorting 32-bit numbers is the fastest way to their counts by far: 2 ns each, where `np.unique` takes 50.
        alike = np.sort(keys.astype(np.int32))
        firsts = np.flatnonzero(np.concatenate(([True], alike[1:] != alike[:-1])))
        return alike[firsts], np.diff(np.append(firsts, len(alike))).astype(np.float64)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts].astype(np.int32), np.add.reduceat(counts[order], starts)


def ranks(totals: ArrayLike, quantile: float) -> Float64:
    """Nearest rank of a quantile in 0…1 among `totals` values: 1 … total."""
    exact = np.asarray(totals, np.float64) * (quantile * (1 - 1e-15))  # 0.07 * 100 is 7, not 7.000000000000001
    found: Float64 = np.maximum(np.ceil(exact), 1.0)
    return found


def quantile(bins: Ints, counts: Float64, wanted: float) -> float:
    """A quantile (0…1, nearest rank) of one sparse sketch; NaN when it is empty."""
    if not len(counts):
        return math.nan
    below = np.cumsum(counts)
    at = np.searchsorted(below, ranks(below[-1], wanted))
    return float(_VALUES[bins[min(int(at), len(bins) - 1)]])


def quantiles(keys: Int32, counts: Float64, series: int, wanted: tuple[float, ...]) -> Float64:
    """Quantiles (0…1, nearest rank) of each series of a grouped sketch, f64[len(wanted), series]; NaN where it is empty."""
    result = np.full((len(wanted), series), np.nan)
    if not len(keys):
        return result
    below = np.cumsum(counts)
    bounds = np.searchsorted(keys, np.arange(series + 1, dtype=np.int64) << BIN_BITS)
    before = np.concatenate(([0.0], below))[bounds]
    totals = np.diff(before)
    some = totals > 0
    for row, each in enumerate(wanted):
        target = before[:-1][some] + ranks(totals[some], each)
        at = np.minimum(np.searchsorted(below, target), len(keys) - 1)
        result[row, some] = _VALUES[keys[at] & (BINS - 1)]
    return result
