"""Which nodes answer a question: minutes at the edges of hours, hours at the edges of days, days in between.

A range is widened to whole minutes; where minutes (or hours) are no longer kept, to whole hours (or days), and slots become
that coarse too. The plan says what it really answers. Whether raw metrics answer instead is decided here as well, from figures
the caller brings: exact answers are for ranges that are short and files that are small.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from services.aggregator.core.request import BadRequest, Request
from services.aggregator.core.tiers import SPANS_MS, STORED, Floors, Node, cover, node_at, snap
from shared.timespan import HOUR_MS

#: The longest range that is answered from raw metrics.
RAW_SPAN_MS: Final = HOUR_MS
#: JSONL that is read for one answer: about 5,000 lines, 15 ms.
RAW_BYTES: Final = 1 << 20
#: Slots of one answer: three days of minutes, about a second.
MAX_SLOTS: Final = 4_320


class Slot(NamedTuple):
    """One row's stretch of time: its first moment (the unit's, also where the range begins later), and what makes it up."""

    ts_ms: int
    nodes: list[Node]


class Plan(NamedTuple):
    """What is merged for an answer, and which range that is. `unit` is None without groupBy."""

    start_ms: int
    end_ms: int
    unit: int | None
    slots: list[Slot]
    source: str


def plan(request: Request, floors: Floors, first_ms: int, last_ms: int) -> Plan:
    """The plan for a request. Nothing is known before `first_ms` and after `last_ms`, so nothing is looked for there.

    Raises: BadRequest when there would be too many slots.
    """
    start, end = snap(request.start_ms, request.end_ms, floors)
    unit = request.unit
    if unit is not None:
        unit = max(unit, floors.finest(start))
    low = max(start, node_at(floors.finest(first_ms), first_ms).start_ms)
    high = min(end, snap(last_ms, last_ms + 1, floors)[1])
    slots = [Slot(start, cover(low, high))] if unit is None else _slots(unit, low, high)
    return Plan(start, end, unit, slots, _source(slots, floors.finest(start)))


def may_be_raw(request: Request, now_ms: int, raw_retention_ms: int, files_bytes: int) -> bool:
    """Whether raw metrics answer: a short range, young enough that none of it was cleaned up, in files that are small."""
    return (
        request.end_ms - request.start_ms <= RAW_SPAN_MS
        and request.start_ms >= now_ms - raw_retention_ms
        and files_bytes <= RAW_BYTES
    )


def _slots(unit: int, low_ms: int, high_ms: int) -> list[Slot]:
    if (high_ms - low_ms) // SPANS_MS[unit] > MAX_SLOTS:
        raise BadRequest(f"more than {MAX_SLOTS} slots; ask for a shorter range or a longer groupBy")
    found = []
    at = low_ms
    while at < high_ms:
        node = node_at(unit, at)
        found.append(Slot(node.start_ms, cover(at, min(node.end_ms, high_ms))))
        at = node.end_ms
    return found


def _source(slots: list[Slot], finest: int) -> str:
    used = {node.source for slot in slots for node in slot.nodes}
    if not used:
        return STORED[finest]
    return "+".join(name for name in STORED.values() if name in used)
