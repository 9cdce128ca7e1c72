"""Times as people write them: ISO-8601, `now`, `15m` ago, `yesterday`; and times as files spell them.

Pure: the clock comes in as `now_ms`. All times are epoch milliseconds UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_UNITS: Final = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
_SPAN = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_AGO = re.compile(r"-?([0-9]{1,6}(?:s|m|h|d|w))(?: ago)?")
ACCEPTED_TIMES: Final = (
    "ISO-8601 (2025-10-31T13:00:00Z), `now`, a span back from now (15m, 24h, 7d), `today` or `yesterday`"
)


class BadTime(ValueError):
    """Text that names no time; the message says what is accepted."""


def parse_time(text: str, now_ms: int) -> int:
    """Epoch ms of an ISO-8601 time (no offset = UTC), `now`, a span back from now, `today` or `yesterday` (their UTC midnight).

    Raises: BadTime.
    """
    cleaned = text.strip()
    folded = cleaned.casefold()
    if folded == "now":
        return now_ms
    if folded in {"today", "yesterday"}:
        midnight = now_ms - now_ms % DAY_MS
        return midnight - (DAY_MS if folded == "yesterday" else 0)
    ago = _AGO.fullmatch(folded)
    if ago:
        return now_ms - parse_window(ago.group(1))
    return parse_iso(cleaned)


def parse_window(text: str) -> int:
    """Milliseconds of a span such as `90s`, `15m`, `6h`, `7d`, `2w`.

    Raises: BadTime.
    """
    match = _SPAN.fullmatch(text.strip().casefold())
    if not match or int(match.group(1)) == 0:
        raise BadTime("a span is a number above 0 and a unit: 90s, 15m, 6h, 7d or 2w")
    return int(match.group(1)) * _UNITS[match.group(2)]


def parse_iso(text: str) -> int:
    """Epoch ms of an ISO-8601 time; without an offset it is UTC.

    Raises: BadTime.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadTime(f"not a time; accepted: {ACCEPTED_TIMES}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return (moment - _EPOCH) // _MILLISECOND
    except OverflowError as error:
        raise BadTime("a year from 1970 to 9999") from error


def iso(ts_ms: int) -> str:
    """`2025-10-31T13:00:00.123Z`."""
    moment = _EPOCH + timedelta(milliseconds=int(ts_ms))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def iso_seconds(ts_ms: int) -> str:
    """`2025-10-31T13:00:00Z`, for hours and days."""
    return iso(ts_ms)[:19] + "Z"


def day_of(ts_ms: int) -> str:
    """The UTC day, `2025-10-31`."""
    return iso(ts_ms)[:10]


def day_start(day: str) -> int:
    """Epoch ms of a UTC day's first moment.

    Raises: BadTime.
    """
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        raise BadTime("a day is YYYY-MM-DD")
    return parse_iso(day)


def span_text(duration_ms: float) -> str:
    """A span for people: `850 ms`, `12 s`, `5 min`, `3 h`, `2 d`."""
    for unit, name in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s")):
        if duration_ms >= unit:
            return f"{duration_ms / unit:.3g} {name}"
    return f"{duration_ms:.3g} ms"
