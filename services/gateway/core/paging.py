"""Long lists by pages: where an answer begins, and how the next one is asked for.

Pure. A cursor holds how many rows were shown so far and the time by which the first page was asked for, so that a range that
ends now stays the same from page to page. It names no server and no query: the other parameters are repeated with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from services.gateway.core.refusals import ToolRefusal, quoted, refusal

#: Rows that may be passed over; the services behind list 10,000 at most.
MAX_OFFSET: Final = 9_500
#: Oldest time that a cursor may name: by then its list is another.
OLDEST_MS: Final = 24 * 3_600_000

_CURSOR = re.compile(r"([0-9]{1,5})-([0-9]{1,15})")


class Place(NamedTuple):
    """Rows passed over, and the clock by which the list is asked for (epoch ms)."""

    offset: int
    now_ms: int

    def after(self, rows: int) -> str:
        """The cursor of what follows these rows."""
        return f"{self.offset + rows}-{self.now_ms}"


def place_of(tool: str, cursor: str | None, now_ms: int, example: Mapping[str, Any]) -> Place:
    """Where an answer begins.

    Raises: ToolRefusal for what is no cursor of ours.
    """
    if cursor is None:
        return Place(0, now_ms)
    found = _CURSOR.fullmatch(cursor)
    if found is not None:
        place = Place(int(found[1]), int(found[2]))
        if place.offset <= MAX_OFFSET and now_ms - OLDEST_MS <= place.now_ms <= now_ms:
            return place
    problem = f"cursor: got the text {quoted(cursor)}; accepted: the nextCursor of an answer of the last 24 h"
    raise ToolRefusal(refusal(tool, [problem], example))


def paged(place: Place, shown: int, total: int, *, listed: bool = True) -> dict[str, Any]:
    """`cut`, and `nextCursor` where there is more. `listed`: whether what follows can be asked for."""
    cut = max(total - place.offset - shown, 0)
    more = cut and shown and listed and place.offset + shown <= MAX_OFFSET
    return {"cut": cut} | ({"nextCursor": place.after(shown)} if more else {})


def page_note(place: Place, data: Mapping[str, Any], shown: int, *, fitted: bool, narrower: str) -> str:
    """A line of its own: which rows of how many, and how to get the rest; empty when all are shown. `fitted`: there was no room
    for more.
    """
    cut = int(data["cut"])
    if place.offset and not shown:
        return "\nNo more rows."
    total = place.offset + shown + cut
    if not cut and not place.offset:
        return ""
    first = "" if not place.offset else "number " if shown == 1 else f"{place.offset + 1:,}–"
    note = f"\nShowing {first}{place.offset + shown:,} of {total:,}"
    if not cut:
        return f"{note}."
    why = ", cut to fit" if fitted else ""
    ask = f'ask again with cursor="{data["nextCursor"]}", or ' if data.get("nextCursor") else ""
    return f"{note}{why}: {ask}{narrower}."
