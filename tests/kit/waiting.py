"""The one way to wait: for a condition, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Pause between two looks.
LOOK_EVERY_S = 0.01


def eventually(condition: Callable[[], T], what: str = "", *, timeout_s: float = 20.0) -> T:
    """What `condition` returns once that is true; fails after `timeout_s`, saying what was last seen.

    An exception in `condition` counts as not yet.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen: object
        try:
            seen = found = condition()
        except Exception as error:  # noqa: BLE001 - not yet; shown if it stays so
            seen, found = error, None
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}; last seen: {repr(seen)[:500]}")
        time.sleep(LOOK_EVERY_S)
