"""Whether so few failures bear an alert: what is seldom fails now and then, and one failure of fifty calls is no 2 %.

Pure numbers; which calls are counted is `windows`, which limit holds `thresholds`.
"""

from __future__ import annotations

from typing import Final

#: Failures from which an error rate needs no further support.
FAILURES_MIN: Final = 3
#: How seldom so many failures may come of a rate at the limit for fewer of them to be surely above it.
CHANCE_MAX: Final = 0.05


def supports_alert(failures: int, calls: int, limit_percent: float) -> bool:
    """Whether so many failures among so many calls can be an alert of a limit: some, or more than chance makes of it (95 %)."""
    return failures >= FAILURES_MIN or chance(failures, calls, limit_percent / 100.0) < CHANCE_MAX


def chance(failures: int, calls: int, rate: float) -> float:
    """How likely so many failures or more are among so many calls that fail at `rate` (0–1): the binomial's upper tail.

    That it is below 5 % says the same as that the exact lower bound of the rate (Clopper and Pearson, 1934; one-sided 95 %) is
    above `rate`. Costs a term a failure: meant for few.
    """
    if rate >= 1.0:
        return 1.0
    term, below = (1.0 - rate) ** calls, 0.0
    for number in range(failures):
        below += term
        term *= (calls - number) / (number + 1) * rate / (1.0 - rate)
    return max(0.0, 1.0 - below)
