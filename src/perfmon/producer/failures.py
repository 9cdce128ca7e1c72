"""How often a failure is told: the first time, and then at most once a minute with how often it came since. Pure."""

from __future__ import annotations

from typing import Final

#: The same failure is told again after so long.
TELL_AGAIN_S: Final = 60.0


class Failures:
    """Failures of one thread, one after the other. Times are seconds of a clock that is never set back."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._told_s = 0.0
        self._untold = 0

    def tell(self, failure: str, now_s: float) -> int:
        """How many times to tell that it came: 0, not now."""
        if failure != self._last:
            self._last, self._untold = failure, 0
        elif now_s - self._told_s < TELL_AGAIN_S:
            self._untold += 1
            return 0
        times, self._untold, self._told_s = self._untold + 1, 0, now_s
        return times
