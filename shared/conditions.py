"""How people read a condition and the value that it is about. Pure.

Files keep the seed's `response_time > 500ms`, texts say `response_time > 500 ms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

#: A limit as conditions spell it, its unit without a space.
_LIMIT: Final = re.compile(r"(> ?[0-9][0-9.]*(?:e[+-]?[0-9]+)?)(ms|%|MB|KB)")


def spaced(condition: str) -> str:
    """`response_time > 300 ms`: a condition, or a sentence with one, as texts spell a figure and its unit elsewhere."""
    return _LIMIT.sub(r"\1 \2", condition)


def told_apart(value: float | None, limit: float | None, told: Callable[[float], str]) -> str | None:
    """A value that is told as its limit is though it is another, with as many digits as it takes to tell them apart: 1.0034 of a
    limit of 1. None where `told` says enough.
    """
    if value is None or limit is None or value == limit or told(value) != told(limit):
        return None
    return next((text for n in range(3, 9) if float(text := f"{value:.{n}g}") != limit), None)
