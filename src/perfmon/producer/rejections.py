"""Rejected rows by reason: a bounded tally that is never changed, only replaced, so that it can be handed out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Reasons that are told apart; there are about 30, unless the other end makes some up.
MAX_REASONS: Final = 64
#: Where rows are counted whose reason is not known, and those of further reasons.
NOT_NAMED: Final = "not_named"
#: No reason is known.
NONE: Final[Mapping[str, int]] = MappingProxyType({})


def added(tally: Mapping[str, int], reasons: Mapping[str, int], rows: int) -> dict[str, int]:
    """The tally with `rows` more, for these reasons as far as they reach; what follows a colon is detail."""
    found = dict(tally)
    for reason, count in [*reasons.items(), (NOT_NAMED, rows - sum(reasons.values()))]:
        if count > 0:
            name = reason.partition(":")[0]
            key = name if name in found or len(found) < MAX_REASONS else NOT_NAMED
            found[key] = found.get(key, 0) + count
    return found
