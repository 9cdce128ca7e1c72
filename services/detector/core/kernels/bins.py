"""Logarithmic bins: the quantile sketch of the detector, 2 % relative error.

As in DDSketch (Masson et al., VLDB 2019), with a fixed range so that a bin's number means the same everywhere and counts can
be added. Bin 0 holds zero and everything below 36 nanoseconds or their like; the last holds everything from 2e13 on.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.kernels.compiled import compiled

#: ln of a bin's upper edge over its lower edge.
LN_WIDTH: Final = 0.04
BINS: Final = 1024
#: The bin that begins at 1.0.
ONE: Final = 256
#: Values below which bin 0 holds everything, and from which the last does.
LOWEST: Final = math.exp((1 - ONE) * LN_WIDTH)
HIGHEST: Final = math.exp((BINS - 1 - ONE) * LN_WIDTH)

Counts = NDArray[np.float64]


def _first_of(number: int) -> float:
    """The smallest value whose bin by logarithm, ⌊ln value / LN_WIDTH⌋ + ONE, is this one."""
    value = math.exp((number - ONE) * LN_WIDTH)
    while math.floor(math.log(value) / LN_WIDTH) + ONE >= number:
        value = math.nextafter(value, 0.0)
    while math.floor(math.log(value) / LN_WIDTH) + ONE < number:
        value = math.nextafter(value, math.inf)
    return value


#: The smallest value of each bin, so that none needs a logarithm.
EDGES: Final = np.array(
    [0.0, max(_first_of(1), LOWEST), *map(_first_of, range(2, BINS - 1)), min(_first_of(BINS - 1), HIGHEST), math.inf]
)
#: A cell is what the leading bits of a double select: its exponent and five bits more, so that it spans ln 33/32 at the most,
#: less than a bin. `_CELLS` has the bin of each cell's beginning; at most one edge lies behind that.
_SHIFT: Final = 47
_FIRST_CELL: Final = int(np.float64(LOWEST).view(np.int64)) >> _SHIFT
_LAST_CELL: Final = int(np.float64(HIGHEST).view(np.int64)) >> _SHIFT
_CELLS: Final = (
    np.searchsorted(EDGES, (np.arange(_FIRST_CELL, _LAST_CELL + 1, dtype=np.int64) << _SHIFT).view(np.float64), "right")
    - 1
).astype(np.int16)
#: `middle` of every bin.
MIDDLES: Final = np.array([0.0, *(math.exp((n - ONE + 0.5) * LN_WIDTH) for n in range(1, BINS))])


@compiled("int64(float64)")
def bin_of(value: float) -> int:
    """The bin of a value, ⌊ln value / LN_WIDTH⌋ + ONE within the range; NaN has none and must not be asked for. About 2 ns."""
    if value < LOWEST:
        return 0
    if value >= HIGHEST:
        return BINS - 1
    # Unsigned indices: numba looks at the sign of others.
    number = int(_CELLS[np.uint64((np.float64(value).view(np.int64) >> _SHIFT) - _FIRST_CELL)])
    return number + 1 if value >= EDGES[np.uint64(number + 1)] else number


@compiled("float64(int64)")
def middle(number: int) -> float:
    """The value that stands for a bin, within 2 % of every value in it; 0 for bin 0."""
    return float(MIDDLES[min(max(number, 0), BINS - 1)])


@compiled("float64(int64)")
def upper(number: int) -> float:
    """The bin's upper edge."""
    return math.exp((number - ONE + 1.0) * LN_WIDTH)


@compiled("int64(float64[:], float64)")
def rank_bin(counts: Counts, rank: float) -> int:
    """The index in `counts` at which the running sum reaches `rank` (nearest rank); the last filled one if it never does."""
    running = 0.0
    last = 0
    for i in range(len(counts)):
        if counts[i] > 0.0:
            running += counts[i]
            last = i
            if running >= rank - 1e-9:
                return i
    return last


def quantile(counts: Counts, low: int, q: float) -> float:
    """The nearest-rank quantile of a histogram whose first bin has number `low`; NaN when it is empty."""
    total = float(counts.sum())
    if total <= 0:
        return math.nan
    return float(
        middle(low + rank_bin(np.ascontiguousarray(counts, np.float64), max(1.0, math.ceil(q * total - 1e-9))))
    )
