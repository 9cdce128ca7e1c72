"""How an alert's value stands to its limit, in words: over it still, or come down since. Pure spelling; decides nothing."""

from __future__ import annotations

from services.alerter.core.model import Alert


def amount(value: float, unit: str) -> str:
    """`7.5 %`, `1,200 ms`."""
    number = f"{value:,.6g}" if abs(value) < 1e15 else f"{value:.6g}"
    return f"{number} {unit}".rstrip()


def has_come_down(alert: Alert) -> bool:
    """Whether the latest value is within the limit that the alert was raised for."""
    candidate = alert.candidate
    return candidate.anomaly_id is None and candidate.value <= candidate.threshold < alert.peak_value


def value_words(alert: Alert) -> str:
    """`7.5 %, threshold 5 %`; `was 7.3 %, now 2.7 %, threshold 5 %`; of an anomaly `860 ms, usual up to 120 ms`."""
    candidate = alert.candidate
    value, limit = brief(candidate.value, candidate.threshold), amount(candidate.threshold, candidate.unit)
    if has_come_down(alert):
        was = amount(brief(alert.peak_value, candidate.threshold), candidate.unit)
        return f"was {was}, now {amount(value, candidate.unit)}, threshold {limit}"
    if candidate.anomaly_id is not None:
        return f"{amount(value, candidate.unit)}, {_usual(alert)}"
    return f"{amount(value, candidate.unit)}, threshold {limit}"


def judged_words(alert: Alert) -> str:
    """What it is judged by now, and what made it worse than that says."""
    parts = [value_words(alert)] if has_come_down(alert) else []
    parts += ["anomaly", _usual(alert)] if alert.candidate.anomaly_id is not None else [alert.candidate.judged]
    parts += [f"{alert.severity} by an anomaly"] if alert.worse_by else []
    return "; ".join(parts)


def _usual(alert: Alert) -> str:
    """The end of the usual range that an anomaly passed, if one is known."""
    candidate = alert.candidate
    limit = amount(candidate.threshold, candidate.unit)
    if not candidate.usual_known:
        return f"usual not known (of a tool that works no more than {limit} of calls fail)"
    return f"usual {'up to' if candidate.value > candidate.threshold else 'from'} {limit}"


def brief(value: float, limit: float) -> float:
    """Three digits; whole ones from a thousand on; as it is where that would tell it as its limit."""
    short = float(f"{value:.3g}") if abs(value) < 1000 else float(round(value))
    return value if short == limit else short
