"""Health as a number from 0 to 100 that means something, with its reasons.

score = 100 · errors · latency · alerts, each a factor in 0…1; a server is also held back by its worst tool, the system by its
worst server. 90 and up is healthy, below 50 critical. Always failing is near 0 however fast; more errors are never healthier;
no data has no score. Knows nothing of where the figures come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from services.reporter.core.answers import Alert, Stats
from services.reporter.core.figures import count_text, counted, duration_text, minute_text, percent_text
from services.reporter.core.sampling import MIN_BASELINE_CALLS, MIN_CALLS, supported_error_rate
from services.reporter.core.text import Text, Untrusted
from services.reporter.core.thresholds import Thresholds
from shared.timespan import SECOND_MS, span_text

Status = Literal["healthy", "degraded", "critical", "no_data", "unknown"]

HEALTHY_FROM: Final = 90
DEGRADED_FROM: Final = 50
#: A call that is dated this far after now comes from a clock that is ahead.
AHEAD_FROM_MS: Final = SECOND_MS
#: How much the worst part weighs against the average of all parts.
WORST_WEIGHT: Final = 0.4
#: A p95 within this many ms of the earlier level has not moved, whatever the ratio.
LATENCY_MARGIN_MS: Final = 10.0
#: A p95 this many times the earlier one is worth a person's time.
SLOWER_RATIO: Final = 1.5
#: A p95 up to here is far below the default thresholds.
SURELY_FAST_MS: Final = 300.0
#: Up to this ratio to its own earlier p95 a tool is as fast as before.
SAME_LEVEL_RATIO: Final = 1.25
#: Over its threshold, but no slower than ever: not less than this.
SLOW_AS_EVER: Final = 0.75
#: Factor of the first open alert of a severity, and of each further one; acknowledged ones count half.
ALERT_FACTORS: Final = {"critical": (0.70, 0.90), "warning": (0.88, 0.96)}
ALERTS_FLOOR: Final = 0.4

_SLOWER: Final = ((1.0, 1.0), (SAME_LEVEL_RATIO, 1.0), (2.0, 0.8), (4.0, 0.55), (10.0, 0.3), (100.0, 0.2))


@dataclass(frozen=True, slots=True)
class Health:
    """`score` 0–100 or None; `reasons` say what holds it back, worst first; `few_calls` = a first impression only."""

    score: int | None
    status: Status
    reasons: tuple[Text, ...] = ()
    few_calls: bool = False
    calls: int = 0


def no_data(last_ms: int | None, now_ms: int | None = None) -> Health:
    """No calls to judge: no score, and since when; `now_ms`: by which the last call may be dated ahead."""
    return Health(None, "no_data", ((since_words(last_ms, now_ms),),))


def since_words(last_ms: int | None, now_ms: int | None = None) -> str:
    """`no data since 2025-10-31 13:05 UTC`; of a last call in the future how far its clock is ahead."""
    if last_ms is None:
        return "no data yet"
    if now_ms is None:
        return f"no data since {minute_text(last_ms)}"
    if is_ahead(last_ms, now_ms):
        return f"the newest calls are dated {span_text(last_ms - now_ms)} ahead of this machine's clock"
    return f"no data since {minute_text(min(last_ms, now_ms))}"


def is_ahead(last_ms: int, now_ms: int) -> bool:
    """Whether a call's clock is ahead of ours: it is dated later than a call that came while we asked."""
    return last_ms - now_ms >= AHEAD_FROM_MS


def unknown(reason: Text) -> Health:
    """The figures could not be had."""
    return Health(None, "unknown", (reason,))


def judge(
    now: Stats,
    before: Stats | None = None,
    alerts: Sequence[Alert] = (),
    thresholds: Thresholds | None = None,
) -> Health:
    """The health of one series, server or set of calls, from its own window and the one before.

    `alerts` are those open for it; `before` counts from 20 calls on, latency from 5.
    """
    if now.count <= 0:
        return no_data(now.last_ts)
    held_to = thresholds or Thresholds()
    parts = (_errors(now, held_to), _latency(now, before, held_to), _open_alerts(alerts))
    score = round(100 * math.prod(factor for factor, _ in parts))
    few = now.count < MIN_CALLS
    reasons = tuple(reason for _, reason in sorted(parts, key=lambda part: part[0]) if reason)
    if few:
        reasons = (*reasons, (f"only {count_text(now.count)} call{'s' * (now.count != 1)}: a first impression",))
    return Health(score, status_of(score), reasons, few, now.count)


def glance(now: Stats, before: Stats | None = None, thresholds: Thresholds | None = None) -> Health:
    """The same score without reasons and alerts: quick, for the many tools of a server."""
    if now.count <= 0:
        return no_data(now.last_ts)
    held_to = thresholds or Thresholds()
    factor = _error_factor(now, held_to) * min(_latency_factors(now, before, held_to))
    score = round(100 * factor)
    return Health(score, status_of(score), (), now.count < MIN_CALLS, now.count)


def is_unremarkable(now: Stats, before: Stats | None, thresholds: Thresholds) -> bool:
    """Whether `glance` would give 100 at once: no failure, well below every threshold, no slower than before."""
    if now.errors or now.p95 is None or thresholds.by_key or now.p95 > SURELY_FAST_MS:
        return False
    return before is None or before.p95 is None or now.p95 - before.p95 <= LATENCY_MARGIN_MS


def held_back(own: Health, parts: Iterable[tuple[str, Health]], what: str) -> Health:
    """A whole's health, lowered by the worst of its named parts that has enough calls: it never looks better than
    60 % itself and 40 % that part.
    """
    worst = _worst(parts)
    if own.score is None or worst is None:
        return own
    name, part = worst
    mixed = min(own.score, round((1 - WORST_WEIGHT) * own.score + WORST_WEIGHT * (part.score or 0)))
    if mixed >= own.score:
        return own
    reason: Text = (f"{what} ", Untrusted(name), f" has health {part.score} of 100")
    return Health(mixed, status_of(mixed), (*own.reasons, reason), own.few_calls, own.calls)


def of_system(servers: Sequence[tuple[str, Health]], last_ms: int | None, now_ms: int | None = None) -> Health:
    """The health of everything: the servers' mean weighted by calls, held back by the worst of them. Times as `no_data` says."""
    judged = [(name, health) for name, health in servers if health.score is not None]
    calls = sum(health.calls for _, health in judged)
    if not judged or not calls:
        return no_data(last_ms, now_ms)
    mean = sum((health.score or 0) * health.calls for _, health in judged) / calls
    worst_name, worst = _worst(judged) or min(judged, key=lambda pair: pair[1].score or 0)
    score = round((1 - WORST_WEIGHT) * mean + WORST_WEIGHT * min(mean, worst.score or 0))
    reasons = _system_reasons(judged, worst_name, worst, len(servers))
    return Health(score, status_of(score), reasons, calls < MIN_CALLS, calls)


def status_of(score: int) -> Status:
    """The word for a score."""
    return "healthy" if score >= HEALTHY_FROM else "degraded" if score >= DEGRADED_FROM else "critical"


def error_factor(errors: int, count: int, warning: float | None, critical: float | None) -> float:
    """1 without errors, 0.9 at the warning threshold, 0.6 at the critical one, 0.05 from half failing, whatever the
    thresholds. Judged on the rate that the sample supports.
    """
    low = min(max(1.0 if warning is None else warning, 0.01), 25.0)
    high = min(max(5.0 if critical is None else critical, low * 1.5), 38.0)
    severe = min(max(20.0, 4 * high), 45.0)
    curve = ((0.0, 1.0), (low, 0.9), (high, 0.6), (severe, 0.25), (50.0, 0.05), (100.0, 0.0))
    return interpolate(curve, supported_error_rate(errors, count))


def interpolate(curve: Sequence[tuple[float, float]], x: float) -> float:
    """The value at `x` of a broken line through ascending points, flat outside."""
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return curve[-1][1]


def _error_factor(now: Stats, held_to: Thresholds) -> float:
    if not now.errors:
        return 1.0
    warning, critical = (held_to.of("error_rate", s, now.server, now.tool) for s in ("warning", "critical"))
    return error_factor(now.errors, now.count, warning, critical)


def _errors(now: Stats, held_to: Thresholds) -> tuple[float, Text | None]:
    if not now.errors:
        return 1.0, None
    failing = f"{percent_text(now.error_rate)} of calls fail ({count_text(now.errors)} of {count_text(now.count)})"
    return _error_factor(now, held_to), (failing,)


def _latency_factors(now: Stats, before: Stats | None, held_to: Thresholds) -> tuple[float, float]:
    """The factors of being slower than before (1 when that is not known) and of being over the thresholds."""
    if now.p95 is None or now.count < MIN_CALLS:
        return 1.0, 1.0
    relative = _relative(now.p95, before)
    warning, critical = (held_to.of("response_time", s, now.server, now.tool) for s in ("warning", "critical"))
    absolute = _absolute(now.p95, warning, critical)
    if relative is None:
        return 1.0, absolute
    return relative, max(absolute, SLOW_AS_EVER) if relative >= 1.0 else absolute


def _latency(now: Stats, before: Stats | None, held_to: Thresholds) -> tuple[float, Text | None]:
    relative, absolute = _latency_factors(now, before, held_to)
    if relative < absolute and before is not None:
        was = f"p95 {duration_text(now.p95)}, was {duration_text(before.p95)}"
        return relative, (was,)
    if absolute >= 1.0 or now.p95 is None:
        return absolute, None
    warning, critical = (held_to.of("response_time", s, now.server, now.tool) for s in ("warning", "critical"))
    limit = critical if critical is not None and now.p95 > critical else warning
    over = limit is not None and now.p95 > limit
    return absolute, (f"p95 {duration_text(now.p95)} is over {duration_text(limit)}",) if over else None


def _relative(p95: float, before: Stats | None) -> float | None:
    """The factor for being slower than its own earlier level; None when that is not known."""
    if before is None or before.count < MIN_BASELINE_CALLS or before.p95 is None:
        return None
    if p95 - before.p95 <= LATENCY_MARGIN_MS:
        return 1.0
    return interpolate(_SLOWER, p95 / before.p95 if before.p95 > 0 else 100.0)


def _absolute(p95: float, warning: float | None, critical: float | None) -> float:
    """The factor for being over the thresholds: 0.9 at warning, 0.65 at critical, 0.4 at four times that."""
    if critical is None and warning is None:
        return 1.0
    low = max(1e-6, warning if warning is not None else (critical or 0.0) / 2)
    high = max(low * 1.25, critical if critical is not None else 2 * low)
    return interpolate(((0.8 * low, 1.0), (low, 0.9), (high, 0.65), (4 * high, 0.4), (20 * high, 0.25)), p95)


def _open_alerts(alerts: Sequence[Alert]) -> tuple[float, Text | None]:
    factor, said = 1.0, []
    for severity, (first, further) in ALERT_FACTORS.items():
        rows = [alert for alert in alerts if alert.is_open and alert.severity == severity]
        for place, alert in enumerate(sorted(rows, key=lambda row: row.status == "acknowledged")):
            weight = further if place else first
            factor *= math.sqrt(weight) if alert.status == "acknowledged" else weight
        if rows:
            said.append(f"{len(rows)} {severity} alert{'s' * (len(rows) != 1)} open")
    return max(factor, ALERTS_FLOOR), (", ".join(said),) if said else None


def _worst(parts: Iterable[tuple[str, Health]]) -> tuple[str, Health] | None:
    judged = [(name, part) for name, part in parts if part.score is not None and not part.few_calls]
    return min(judged, key=lambda pair: (pair[1].score or 0, pair[0])) if judged else None


def _system_reasons(
    judged: Sequence[tuple[str, Health]], worst_name: str, worst: Health, total: int
) -> tuple[Text, ...]:
    """How many are how well, of those with enough calls to say so, among which the worst is; of all when none has. `total`:
    servers with those that cannot be judged.
    """
    enough = [health for _, health in judged if not health.few_calls] or [health for _, health in judged]
    critical, degraded = (sum(h.status == status for h in enough) for status in ("critical", "degraded"))
    servers = f"{len(enough)} server{'s' * (len(enough) != 1)}"
    if not critical and not degraded:
        calls = sum(health.calls for _, health in judged)
        few = f", {counted(calls, 'call')} in all: a first impression" if calls < MIN_CALLS else ", none degraded"
        return ((f"{servers} with calls{few}",),)
    servers = servers if len(enough) == total else servers.replace("server", "judged server")
    counts = f"{critical} of {servers} critical" if critical else f"{degraded} of {servers} degraded"
    counts += f", {degraded} degraded; worst " if critical and degraded else "; worst "
    first = worst.reasons[0] if worst.reasons else ()
    return ((counts, Untrusted(worst_name), *((": ", *first) if first else ())),)
