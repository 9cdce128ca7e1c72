"""The detector's scorer over one whole series, for evaluation: `scores(timestamps, values)`.

This is what runs in the stream (`core.signal.scorer`), fed point by point; nothing of a later point is known to an earlier
one. The product's own alert threshold is 1.0: a score of that or more is an alert.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.detector.core.signal import scorer

#: Scores from this on are alerts.
THRESHOLD = 1.0


def scores(timestamps: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """Scores ≥ 0 of the points of a series, f64[n], higher = more abnormal. `timestamps`: epoch s; `values`: any unit.

    Online: score i depends on points 0 … i alone. Points that are not finite score 0.

    Raises: ValueError for arrays of different lengths.
    """
    t_s, x = np.asarray(timestamps, np.float64), np.asarray(values, np.float64)
    if t_s.shape != x.shape or t_s.ndim != 1:
        raise ValueError("timestamps and values: one-dimensional, of the same length")
    out = np.zeros((len(x), scorer.COLUMNS))
    scorer.observe_many(t_s, x, np.zeros(scorer.SIZE), out)
    return out[:, scorer.SCORE].copy()
