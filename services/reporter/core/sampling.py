"""What a few calls can say: the smallest samples, and the error rate that a sample supports.

Pure arithmetic, no opinion about what is healthy.
"""

from __future__ import annotations

import math
from typing import Final

#: Calls from which a level of its own is spoken of; with fewer an answer says that they are few.
MIN_CALLS: Final = 5
#: Calls in the window before from which it counts as the earlier level.
MIN_BASELINE_CALLS: Final = 20
#: Calls in each window from which a trend is claimed.
MIN_TREND_CALLS: Final = 30
#: One-sided 80 %: the error rate is at least `supported_error_rate` four times in five.
SUPPORT_Z: Final = 0.8416
#: Two-sided 95 %, for differences between two windows.
DIFFERENCE_Z: Final = 1.96


def supported_error_rate(errors: int, count: int) -> float:
    """The lower end of what the sample allows, in percent: 1 of 1 is 59 %, 1 of 100 is 0.4 %, 100 of 100 is 99 %.

    Wilson's score interval (E. B. Wilson 1927, eq. for the lower bound), one-sided 80 %. Grows with errors, 0 without.
    """
    if count <= 0 or errors <= 0:
        return 0.0
    p, z2 = min(errors, count) / count, SUPPORT_Z * SUPPORT_Z
    spread = SUPPORT_Z * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    return max(0.0, 100.0 * (p + z2 / (2 * count) - spread) / (1 + z2 / count))


def rates_differ(errors_a: int, count_a: int, errors_b: int, count_b: int) -> bool:
    """Whether two error rates differ by more than chance (pooled two-proportion z-test, 95 %)."""
    if count_a <= 0 or count_b <= 0:
        return False
    pooled = (errors_a + errors_b) / (count_a + count_b)
    variance = pooled * (1 - pooled) * (1 / count_a + 1 / count_b)
    if variance <= 0:
        return False
    return abs(errors_a / count_a - errors_b / count_b) > DIFFERENCE_Z * math.sqrt(variance)
