"""A time of day by which something may be called old: one that jumped ahead is not believed before it has held for a day.

The wall clock is compared with the steady one, which nobody sets: where the wall clock runs ahead of it, the time that the steady
clock makes of the last trusted moment is told instead. What is deleted by a wrong time is gone; what is deleted a day late
costs a day's room. Time that goes back is believed at once, for the same reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import structlog

#: How far the wall clock may run ahead of the steady one and be believed: what it is corrected by now and then.
TOLERANCE_MS: Final = 5 * 60 * 1000
#: So long a time that jumped ahead has to hold before it is believed: somebody set the clock right.
HOLD_MS: Final = 26 * 60 * 60 * 1000

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Anchor(NamedTuple):
    """A moment that was trusted, on both clocks (ms), and which boot of the machine the steady one counts from."""

    boot: str
    steady_ms: int
    wall_ms: int


class TrustedClock:
    """Calling it tells epoch ms. `anchor`: a moment trusted by an earlier life; one of another boot says nothing."""

    def __init__(
        self,
        wall_ms: Callable[[], int],
        *,
        anchor: Anchor | None = None,
        steady_ms: Callable[[], int] | None = None,
        boot: str | None = None,
    ) -> None:
        self._wall_ms = wall_ms
        self._steady_ms = steady_ms or steady_clock_ms
        self._boot = boot_id() if boot is None else boot
        self._ahead_since_ms: int | None = None
        known = anchor is not None and anchor.boot == self._boot != ""
        self.anchor = anchor if anchor is not None and known else Anchor(self._boot, self._steady_ms(), wall_ms())

    @property
    def ahead(self) -> bool:
        """Whether the wall clock was not believed when it was last looked at."""
        return self._ahead_since_ms is not None

    def __call__(self) -> int:
        wall, steady = self._wall_ms(), self._steady_ms()
        projected = self.anchor.wall_ms + steady - self.anchor.steady_ms
        if wall - projected <= TOLERANCE_MS or self._held(steady, wall - projected):
            self._ahead_since_ms = None
            self.anchor = Anchor(self._boot, steady, wall)
            return wall
        return projected

    def _held(self, steady_ms: int, ahead_ms: int) -> bool:
        if self._ahead_since_ms is None:
            self._ahead_since_ms = steady_ms
            structlog.get_logger().error("clock_jumped_ahead", ahead_ms=ahead_ms, believed_after_ms=HOLD_MS)
        return steady_ms - self._ahead_since_ms >= HOLD_MS


def steady_clock_ms() -> int:
    """A clock that nobody sets and that goes on while the machine sleeps, ms since some moment of this boot."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def anchor_text(anchor: Anchor) -> str:
    """For a database."""
    return f"{anchor.boot} {anchor.steady_ms} {anchor.wall_ms}"


def parse_anchor(text: str | None) -> Anchor | None:
    """What `anchor_text` wrote; None for anything else."""
    parts = (text or "").split(" ")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts[1:]):
        return None
    return Anchor(parts[0], int(parts[1]), int(parts[2]))
