"""How much of a case is played: CHAOS_ROUNDS in the environment, 20 in full, 2 in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

#: Rounds of the suite.
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))
#: From so many rounds on nothing is left out.
FULL = 20

#: For a case that the short form leaves out because another one is much like it.
full_only = pytest.mark.skipif(ROUNDS < FULL, reason="in the full form (CHAOS_ROUNDS=20) only")


def in_full(*values: Any) -> Any:
    """A parameter that the short form leaves out."""
    return pytest.param(*values, marks=full_only)


def sampled(start: int, end: int, *, short: int, step: int = 1) -> Iterator[int]:
    """Every `step`-th number from `start` up to and including `end` in full, else about `short`; both ends among them."""
    step = step if ROUNDS >= FULL else max(1, (end - start) // (short * max(1, ROUNDS) // 2))
    yield from range(start, end, step)
    yield end
