"""How people read a condition: files keep the seed's `response_time > 500ms`, texts say `response_time > 500 ms`. Pure."""

from __future__ import annotations

import re
from typing import Final

#: A limit as conditions spell it, its unit without a space.
_LIMIT: Final = re.compile(r"(> ?[0-9][0-9.]*(?:e[+-]?[0-9]+)?)(ms|%|MB|KB)")


def spaced(condition: str) -> str:
    """`response_time > 300 ms`: a condition, or a sentence with one, as texts spell a figure and its unit elsewhere."""
    return _LIMIT.sub(r"\1 \2", condition)
