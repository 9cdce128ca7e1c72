"""What the alerter is held to: settable times and numbers, how many thresholds there may be, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.alerter.core.thresholds import Threshold

#: Thresholds that users may set, and window lengths among all of them (each costs memory a series).
MAX_THRESHOLDS: Final = 10_000
MAX_WINDOWS: Final = 8


class CannotDo(ValueError):
    """A command that cannot be carried out; `code` is short and testable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """The settable times and numbers."""

    resolve_after_ms: int = 24 * 3_600_000
    escalate_after_ms: int = 3_600_000
    quiet_ms: int = 3_600_000
    alerts_per_hour: int = 5
    archive_after_ms: int = 30 * 24 * 3_600_000


def check_room(thresholds: list[Threshold]) -> None:
    """Raises: CannotDo when these are more than there is room for."""
    if len(thresholds) > MAX_THRESHOLDS:
        raise CannotDo("too_many_thresholds", f"at most {MAX_THRESHOLDS} thresholds; narrow ones can become wider")
    windows = {threshold.window_ms for threshold in thresholds if threshold.window_ms is not None}
    if len(windows) > MAX_WINDOWS:
        known = ", ".join(str(window) for window in sorted(windows))
        raise CannotDo("too_many_windows", f"at most {MAX_WINDOWS} different windows (ms); these would be {known}")
