"""How long the chaos suite runs: CHAOS_ROUNDS makes every part of it that short."""

from __future__ import annotations

import os


def rounds(full: int) -> int:
    """`full`, or CHAOS_ROUNDS where that is fewer."""
    return min(full, int(os.environ.get("CHAOS_ROUNDS") or full))
