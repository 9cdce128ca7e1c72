"""The clock by which things are old: what runs ahead of the steady clock is not believed before it has held for a day."""

from __future__ import annotations

import pytest

from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS
from shared.trusted_clock import (
    HOLD_MS,
    TOLERANCE_MS,
    Anchor,
    TrustedClock,
    anchor_text,
    boot_id,
    parse_anchor,
    steady_clock_ms,
)

NOW = 1_761_915_600_123
STEADY = 5_000_000


class Clocks:
    """A wall clock and a steady one, which a test moves."""

    def __init__(self) -> None:
        self.wall_ms, self.steady_ms = NOW, STEADY

    def passes(self, ms: int) -> None:
        self.wall_ms += ms
        self.steady_ms += ms

    def trusted(self, anchor: Anchor | None = None, boot: str = "b") -> TrustedClock:
        return TrustedClock(lambda: self.wall_ms, anchor=anchor, steady_ms=lambda: self.steady_ms, boot=boot)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_time_that_passes_is_told(clocks: Clocks) -> None:
    clock = clocks.trusted()
    for ms in (0, 5_000, DAY_MS, 40 * DAY_MS):
        clocks.passes(ms)
        assert clock() == clocks.wall_ms
        assert not clock.ahead


@pytest.mark.parametrize("ahead_ms", [TOLERANCE_MS + 1, HOUR_MS, 3 * DAY_MS])
def test_a_jump_ahead_is_not_believed_and_time_goes_on(ahead_ms: int, clocks: Clocks) -> None:
    clock = clocks.trusted()
    clocks.wall_ms += ahead_ms
    assert clock() == NOW
    assert clock.ahead
    clocks.passes(MINUTE_MS)
    assert clock() == NOW + MINUTE_MS
    clocks.wall_ms -= ahead_ms
    assert clock() == clocks.wall_ms
    assert not clock.ahead


def test_a_small_correction_is_believed(clocks: Clocks) -> None:
    clock = clocks.trusted()
    clocks.wall_ms += TOLERANCE_MS
    assert clock() == clocks.wall_ms


@pytest.mark.parametrize("back_ms", [HOUR_MS, 3 * DAY_MS])
def test_a_jump_back_is_believed_at_once(back_ms: int, clocks: Clocks) -> None:
    clock = clocks.trusted()
    clocks.wall_ms -= back_ms
    assert clock() == NOW - back_ms
    clocks.wall_ms += back_ms
    assert clock() == NOW - back_ms


def test_a_jump_ahead_that_holds_for_a_day_is_believed(clocks: Clocks) -> None:
    clock = clocks.trusted()
    clocks.wall_ms += 3 * DAY_MS
    assert clock() == NOW
    clocks.passes(HOLD_MS - 1)
    assert clock() == NOW + HOLD_MS - 1
    clocks.passes(1)
    assert clock() == clocks.wall_ms
    clocks.passes(1_000)
    assert clock() == clocks.wall_ms
    assert not clock.ahead


def test_a_restart_in_between_does_not_make_it_believed(clocks: Clocks) -> None:
    clock = clocks.trusted()
    clocks.passes(MINUTE_MS)
    clock()
    kept = parse_anchor(anchor_text(clock.anchor))
    clocks.passes(MINUTE_MS)
    clocks.wall_ms += 3 * DAY_MS
    assert clocks.trusted(kept)() == NOW + 2 * MINUTE_MS


@pytest.mark.parametrize("boot", ["another", ""])
def test_after_another_boot_the_clock_is_taken_as_it_is(boot: str, clocks: Clocks) -> None:
    kept = clocks.trusted().anchor
    clocks.wall_ms += 3 * DAY_MS
    assert clocks.trusted(kept, boot)() == clocks.wall_ms


@pytest.mark.parametrize("text", [None, "", "b 1", "b 1 2 3", "b x 2", "b -1 2", "b 1 ٢", f"b 1 {10**20}"])
def test_text_that_is_no_anchor_says_nothing(text: str | None) -> None:
    assert parse_anchor(text) is None


def test_the_steady_clock_goes_on_and_the_boot_is_the_same() -> None:
    first = steady_clock_ms()
    assert 0 <= first <= steady_clock_ms()
    assert boot_id() == boot_id()
    assert TrustedClock(lambda: NOW)() == NOW
