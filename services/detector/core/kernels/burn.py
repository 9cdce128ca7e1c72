"""How fast an error budget burns: shares of failing calls over five windows, fading rather than ending.

A window of length W is a sum that fades with the time constant W/2: the same mean age. For a quiet tool each reaches back over
as many calls as it takes to speak of a share. Source of the windows: Google's SRE workbook, ch. 5, "multiwindow, multi-burn-rate
alerts". What the shares mean is said in `severity`.
"""

from __future__ import annotations

import math
from typing import Final

from services.detector.core.kernels.compiled import compiled
from services.detector.core.kernels.error_mixture import AGED_AT, BURN, NEW_FAILED, NEW_SEEN, Row

#: The windows: 5 and 30 minutes, 1 and 6 hours, 3 days.
FIVE_MINUTES, HALF_HOUR, HOUR, SIX_HOURS, THREE_DAYS = range(5)
NAMES: Final = ("5m", "30m", "1h", "6h", "3d")
#: Half of each, ms.
FADES_MS: Final = (150_000.0, 900_000.0, 1_800_000.0, 10_800_000.0, 129_600_000.0)
#: Calls that each holds at least, once there were as many.
MIN_CALLS: Final = (10.0, 10.0, 10.0, 20.0, 30.0)
#: Time after which they fade again; a part of the shortest.
AGE_EVERY_MS: Final = 10_000.0


@compiled("void(float64, float64[:])", part=True)
def age_windows(t: float, run: Row) -> None:
    """Let the windows fade up to `t`, and add what came since they did."""
    age = max(t - run[AGED_AT], 0.0) if run[AGED_AT] > 0.0 else 0.0
    for k in range(len(FADES_MS)):
        seen = run[BURN + 2 * k + 1]
        # Too few calls would be left: as many are kept as make up the least with those that came.
        room = min(1.0, max(MIN_CALLS[k] - run[NEW_SEEN], 0.0) / max(seen, 1e-9))
        fade = max(math.exp(-age / FADES_MS[k]), room)
        run[BURN + 2 * k] = run[BURN + 2 * k] * fade + run[NEW_FAILED]
        run[BURN + 2 * k + 1] = seen * fade + run[NEW_SEEN]
    run[NEW_FAILED] = 0.0
    run[NEW_SEEN] = 0.0
    run[AGED_AT] = max(t, run[AGED_AT])


def shares(run: Row) -> list[float]:
    """The share of failing calls in each window, 0 for one without calls."""
    failed = [float(run[BURN + 2 * k] + run[NEW_FAILED]) for k in range(len(FADES_MS))]
    seen = [float(run[BURN + 2 * k + 1] + run[NEW_SEEN]) for k in range(len(FADES_MS))]
    return [f / max(n, f, 1.0) for f, n in zip(failed, seen, strict=True)]
