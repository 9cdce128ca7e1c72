"""How bad, and how sure: severity from the deviation, confidence from a tail probability. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.detector.core.events import SEVERITIES, Severity
from services.detector.core.kernels import burn
from services.detector.core.metrics import MINUTE_MS, Metric

#: Times the upper end of the usual range from which a deviation is a warning, and above which it is critical.
WARNING_TIMES: Final = 1.5
CRITICAL_TIMES: Final = 10.0
#: Share of calls that may fail: 99 % are to succeed. A tool that always failed more often has its usual rate for a budget.
ERROR_BUDGET: Final = 0.01
#: Times its budget that a tool must burn in both windows, the long one and the short one, which says that it still does.
BURNS: Final[tuple[tuple[Severity, float, int, int], ...]] = (
    ("critical", 14.4, burn.HOUR, burn.FIVE_MINUTES),
    ("warning", 6.0, burn.SIX_HOURS, burn.HALF_HOUR),
    ("info", 1.0, burn.THREE_DAYS, burn.SIX_HOURS),
)
#: Share of an event's calls from which it is critical, or a warning, before the long window has noticed; the burn of the last
#: five minutes keeps a blip of a busy tool from being either.
OUTRIGHT: Final[tuple[tuple[Severity, float, float], ...]] = (("critical", 0.5, 14.4), ("warning", 0.144, 6.0))
#: Fewest failures that can be critical, and the least time from the first to the last of them: what is over sooner has burnt
#: little, however fast, and nobody who is called for it finds it still there.
CRITICAL_FAILURES_MIN: Final = 5
CRITICAL_LASTS_MS: Final = 3 * MINUTE_MS
#: Looks in the time over which a false alarm is counted: once a minute for six hours.
LOOKS: Final = 360
#: No finite evidence makes certain.
MOST_CONFIDENCE: Final = 0.9999


def of_deviation(metric: Metric, typical: float, median: float, upper: float) -> Severity:
    """Severity of values around `typical` where `upper` was the end of the usual range; small absolute excess caps it."""
    times = typical / upper if upper > 0 else math.inf
    excess = typical - median
    if times < WARNING_TIMES or excess < metric.notable_excess:
        return "info"
    if times <= CRITICAL_TIMES or excess < metric.grave_excess:
        return "warning"
    return "critical"


def of_deviations(
    metric: Metric, typical: NDArray[np.float64], median: NDArray[np.float64], upper: NDArray[np.float64]
) -> NDArray[np.int64]:
    """`of_deviation` of many, as indices into events.SEVERITIES."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        times = np.where(upper > 0, typical / upper, np.inf)
    excess = typical - median
    warning = (times >= WARNING_TIMES) & (excess >= metric.notable_excess)
    critical = warning & (times > CRITICAL_TIMES) & (excess >= metric.grave_excess)
    return warning.astype(np.int64) + critical


def of_failures(failures: int, calls: int, burns: Sequence[float], lasted_ms: int) -> Severity:
    """Severity of an event with so many failures among its calls in so long: by how fast the error budget burns, and sooner when
    most calls fail. `burns`: times the budget, by window of `kernels.burn`. Source: Google's SRE workbook, ch. 5.
    """
    share = failures / max(calls, 1)
    burnt = (s for s, times, long, short in BURNS if min(burns[long], burns[short]) >= times)
    outright = (s for s, least, times in OUTRIGHT if share >= least and burns[burn.FIVE_MINUTES] >= times)
    worst: Severity = max((*burnt, *outright, "info"), key=SEVERITIES.index)
    grave = failures >= CRITICAL_FAILURES_MIN and lasted_ms >= CRITICAL_LASTS_MS
    return worst if grave or worst != "critical" else "warning"


def burn_rates(shares: Sequence[float], usual: float) -> list[float]:
    """Shares of failing calls as times the budget, which is the usual rate where that is higher."""
    return [share / max(ERROR_BUDGET, usual) for share in shares]


def upper_rate(failed: float, seen: float) -> float:
    """The highest rate that so many failures among so many calls are an ordinary sample of: Wilson's bound at two deviations."""
    n, p = max(seen, 1.0), min(failed / max(seen, 1.0), 1.0)
    return (p + 2.0 / n + 2.0 * math.sqrt(p * (1.0 - p) / n + 1.0 / (n * n))) / (1.0 + 4.0 / n)


def from_cusum(strength: float, calls_a_minute: float) -> float:
    """1 − min(1, p·N) with p = rate·e^−strength a minute (Lundberg's bound for a CUSUM) and N the minutes of six hours."""
    return bounded(1.0 - min(1.0, LOOKS * max(1.0, calls_a_minute) * math.exp(-min(strength, 700.0))))


def from_mixture(log_mean: float, calls_a_minute: float) -> float:
    """1 − min(1, N/R): a Shiryaev–Roberts statistic reaches R by chance at most once in R calls; N the calls of six hours."""
    return bounded(1.0 - min(1.0, LOOKS * max(1.0, calls_a_minute) * math.exp(-min(log_mean, 700.0))))


def from_ratio(log_ratio: float) -> float:
    """1 − 1/M: the likelihood ratio of all calls of a tool reaches M by chance with a probability of 1/M (Ville's inequality)."""
    return bounded(1.0 - math.exp(-max(log_ratio, 0.0)))


def from_tail(p: float, looks: float) -> float:
    """1 − min(1, p·N)."""
    return bounded(1.0 - min(1.0, p * looks))


def from_distance(z: float) -> float:
    """1 − 1/(1 + z²), Cantelli's inequality: holds whatever the distribution, for one call z deviations off the others."""
    return bounded(1.0 - 1.0 / (1.0 + z * z)) if math.isfinite(z) else MOST_CONFIDENCE


def bounded(confidence: float) -> float:
    """A confidence in 0 … MOST_CONFIDENCE, to four places."""
    return round(min(max(confidence, 0.0), MOST_CONFIDENCE), 4)


def normal_tail(z: float) -> float:
    """P(Z ≥ z) for a standard normal Z."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))
