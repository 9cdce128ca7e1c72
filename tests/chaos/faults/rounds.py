"""How much of a case is played: CHAOS_ROUNDS in the environment, 20 in full, 2 in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator

#: Rounds of the suite.
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))
#: From so many rounds on nothing is left out.
FULL = 20


def sampled(start: int, end: int, *, short: int) -> Iterator[int]:
    """Every number from `start` up to and including `end` in full, else about `short` of them, both ends among them."""
    step = 1 if ROUNDS >= FULL else max(1, (end - start) // (short * max(1, ROUNDS) // 2))
    yield from range(start, end, step)
    yield end
