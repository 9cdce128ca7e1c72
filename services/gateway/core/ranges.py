"""From the texts of a call to a UTC range.

Pure: the clock comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from services.gateway.core.refusals import ToolRefusal, quoted, refusal
from shared.timespan import ACCEPTED_TIMES, DAY_MS, HOUR_MS, SECOND_MS, BadTime, iso, parse_time, parse_window

PERIODS_MS: Final = {"hour": HOUR_MS, "day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS}
LOOKBACKS_MS: Final = {"1h": HOUR_MS, "6h": 6 * HOUR_MS, "24h": DAY_MS}
#: The shortest and the longest window that the alerter judges by.
MIN_WINDOW_MS: Final = 10 * SECOND_MS
MAX_WINDOW_MS: Final = DAY_MS
#: The last moment that ISO-8601 with four digits of year can say.
LATEST_MS: Final = 253_402_300_799_999


class Range(NamedTuple):
    """From `start_ms` up to, not including, `end_ms`; epoch ms UTC."""

    start_ms: int
    end_ms: int

    def echo(self) -> dict[str, str]:
        """The range as answers repeat it."""
        return {"startTime": iso(self.start_ms), "endTime": iso(self.end_ms)}


def moment(tool: str, parameter: str, text: str, now_ms: int, example: Mapping[str, Any]) -> int:
    """Epoch ms of a parameter's text.

    Raises: ToolRefusal.
    """
    try:
        found = parse_time(text, now_ms)
    except BadTime as error:
        problem = f"{parameter}: got the text {quoted(text)}; accepted: {ACCEPTED_TIMES}"
        raise ToolRefusal(refusal(tool, [problem], example)) from error
    if not 0 <= found <= LATEST_MS:
        problem = f"{parameter}: got the text {quoted(text)}; accepted: times from 1970 to 9999"
        raise ToolRefusal(refusal(tool, [problem], example))
    return found


def window_ms(tool: str, text: str, example: Mapping[str, Any]) -> int:
    """Milliseconds of a threshold's `window` such as `5m`.

    Raises: ToolRefusal for what is no span and for one that the alerter does not judge by.
    """
    accepted = f"{MIN_WINDOW_MS // SECOND_MS}s to {MAX_WINDOW_MS // HOUR_MS}h, such as 5m"
    try:
        found = parse_window(text)
    except BadTime as error:
        accepted, found = str(error), 0
    if not MIN_WINDOW_MS <= found <= MAX_WINDOW_MS:
        raise ToolRefusal(refusal(tool, [f"window: got the text {quoted(text)}; accepted: {accepted}"], example))
    return found


def resolve_range(tool: str, start: str, end: str, now_ms: int, example: Mapping[str, Any]) -> Range:
    """The range between two texts.

    Raises: ToolRefusal for what is no time and for a range that ends before it starts.
    """
    found = Range(
        moment(tool, "startTime", start, now_ms, example),
        moment(tool, "endTime", end, now_ms, example),
    )
    if found.start_ms >= found.end_ms:
        problem = (
            f"the range is reversed or empty: startTime {iso(found.start_ms)} is not before endTime {iso(found.end_ms)}"
        )
        raise ToolRefusal(refusal(tool, [problem], example))
    return found
