"""Long lists by pages: where an answer begins, and how the next one is asked for.

Pure. A cursor holds how many rows were shown so far, the time by which the first page was asked for, so that a range that ends
now stays the same from page to page, and a digest of the question: the other parameters are repeated with it, and a cursor of
another list is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from services.gateway.core.arguments import DetectAnomalies, GetActiveAlerts, GetMetrics
from services.gateway.core.refusals import ToolRefusal, quoted, refusal

#: Rows that may be passed over; the services behind list 10,000 at most.
MAX_OFFSET: Final = 9_500
#: Oldest time that a cursor may name: by then its list is another.
OLDEST_MS: Final = 24 * 3_600_000

#: Hex digits of a question's digest: two questions of one conversation have not the same.
QUESTION_DIGITS: Final = 6
#: Parameters that may differ from page to page.
_FREE: Final = {"cursor", "limit"}

_CURSOR = re.compile(r"([0-9]{1,5})-([0-9]{1,15})-([0-9a-f]{6})")

Listed = GetMetrics | DetectAnomalies | GetActiveAlerts


class Place(NamedTuple):
    """Rows passed over, the clock by which the list is asked for (epoch ms), and which list it is."""

    offset: int
    now_ms: int
    question: str

    def after(self, rows: int) -> str:
        """The cursor of what follows these rows."""
        return f"{self.offset + rows}-{self.now_ms}-{self.question}"


def question_of(arguments: Listed) -> str:
    """A digest of everything that decides which rows a list has, and in which order."""
    asked = [type(arguments).__name__, arguments.model_dump(mode="json", exclude=_FREE)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:QUESTION_DIGITS]


def place_of(tool: str, arguments: Listed, now_ms: int, example: Mapping[str, Any]) -> Place:
    """Where an answer begins.

    Raises: ToolRefusal for what is no cursor of ours, and for one of another list.
    """
    cursor, question = arguments.cursor, question_of(arguments)
    if cursor is None:
        return Place(0, now_ms, question)
    problem = f"cursor: got the text {quoted(cursor)}; accepted: the nextCursor of an answer of the last 24 h"
    found = _CURSOR.fullmatch(cursor)
    if found is not None:
        place = Place(int(found[1]), int(found[2]), found[3])
        if place.offset <= MAX_OFFSET and now_ms - OLDEST_MS <= place.now_ms <= now_ms:
            if place.question == question:
                return place
            problem = (
                f"cursor: {quoted(cursor)} goes on with the answer to another question. Accepted: all other parameters as "
                "they were (limit may differ), or no cursor, to begin anew"
            )
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
