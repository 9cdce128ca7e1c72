"""Plans and answers: every call of a range once, whatever the edges, the retention and the grouping."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.aggregator.core.block import Block, merge
from services.aggregator.core.planner import RAW_BYTES, RAW_SPAN_MS, may_be_raw, plan
from services.aggregator.core.query import from_blocks, from_rows
from services.aggregator.core.registry import Registry
from services.aggregator.core.request import SORTS, BadRequest, parse_request
from services.aggregator.core.tiers import (
    DAY,
    HOUR,
    MINUTE,
    SPANS_MS,
    Floors,
    Node,
    cover,
    holders,
    node_at,
    parts,
    snap,
)
from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS
from tests.unit.aggregator.naive import T0, Call, assert_same, batch_of, calls, folded, grouped

MOMENTS = st.integers(0, 4000 * DAY_MS)
#: From two minutes before the leap day's midnight on.
WIDE = calls(-3 * HOUR_MS, 3 * DAY_MS, min_size=1)
ALL = Floors()
UNITS = {"minute": MINUTE, "hour": HOUR, "day": DAY, None: None}


def request(start: int, end: int, **more: Any) -> Any:
    return parse_request({"startMs": start, "endMs": end, **more})


# --- the tree of time ------------------------------------------------------------------------------------------------


@given(MOMENTS, st.integers(0, 500 * DAY_MS))
def test_a_cover_is_the_range_without_gaps_or_overlaps(start: int, length: int) -> None:
    start, end = start - start % MINUTE_MS, start - start % MINUTE_MS + length - length % MINUTE_MS
    nodes = cover(start, end)
    at = start
    for node in nodes:
        assert node.start_ms == at
        assert node.start_ms % SPANS_MS[node.level] == 0
        at = node.end_ms
    assert at == max(start, end)
    assert len(nodes) < 60


@given(MOMENTS, st.integers(1, len(SPANS_MS) - 1))
def test_the_parts_of_a_node_make_it_up_and_it_holds_them(ts: int, level: int) -> None:
    node = node_at(level, ts)
    made = parts(node)
    assert made[0].start_ms == node.start_ms
    assert made[-1].end_ms == node.end_ms
    assert all(a.end_ms == b.start_ms for a, b in pairwise(made))
    assert all(node in holders(part) for part in made)


@given(MOMENTS, st.integers(1, 100 * DAY_MS), st.integers(0, 90), st.integers(0, 48))
def test_a_snapped_range_holds_the_asked_one_and_needs_nothing_that_is_gone(
    start: int, length: int, days: int, hours: int
) -> None:
    hour_floor = (start // DAY_MS + days) * DAY_MS
    floors = Floors(hour_floor + hours * HOUR_MS, hour_floor, 0)
    low, high = snap(start, start + length, floors)
    assert low <= start < start + length <= high
    for node in cover(low, high):
        assert node.level >= floors.finest(node.start_ms)


# --- plans -----------------------------------------------------------------------------------------------------------


def sources(start: int, end: int, floors: Floors = ALL, **more: Any) -> str:
    return plan(request(start, end, **more), floors, 0, end + DAY_MS).source


def test_a_plan_uses_minutes_at_the_edges_of_hours_and_hours_at_the_edges_of_days() -> None:
    midnight = T0 + 2 * MINUTE_MS
    assert sources(midnight, midnight + 90_000) == "minute"
    assert sources(midnight, midnight + 5 * HOUR_MS) == "hourly"
    assert sources(midnight - 1, midnight + HOUR_MS) == "minute+hourly"
    assert sources(midnight, midnight + 3 * DAY_MS) == "daily"
    assert sources(midnight - HOUR_MS, midnight + 3 * DAY_MS) == "hourly+daily"
    assert sources(midnight - HOUR_MS - MINUTE_MS, midnight + 3 * DAY_MS) == "minute+hourly+daily"


def test_a_plan_says_the_range_it_really_answers() -> None:
    midnight = T0 + 2 * MINUTE_MS
    floors = Floors(midnight + HOUR_MS, midnight, midnight - 10 * DAY_MS)
    fine = plan(request(midnight + 2 * HOUR_MS + 1, midnight + 3 * HOUR_MS + 1), floors, 0, midnight + DAY_MS)
    assert (fine.start_ms, fine.end_ms) == (midnight + 2 * HOUR_MS, midnight + 3 * HOUR_MS + MINUTE_MS)
    hourly = plan(request(midnight + 1, midnight + 2 * HOUR_MS), floors, 0, midnight + DAY_MS)
    assert (hourly.start_ms, hourly.source) == (midnight, "hourly")
    daily = plan(request(midnight - 1, midnight + 2 * HOUR_MS), floors, 0, midnight + DAY_MS)
    assert (daily.start_ms, daily.source) == (midnight - DAY_MS, "hourly+daily")


def test_slots_become_as_coarse_as_what_is_still_kept() -> None:
    midnight = T0 + 2 * MINUTE_MS
    floors = Floors(midnight + HOUR_MS, midnight, 0)
    assert plan(request(midnight + HOUR_MS, midnight + DAY_MS, groupBy="minute"), floors, 0, midnight).unit == MINUTE
    assert plan(request(midnight, midnight + DAY_MS, groupBy="minute"), floors, 0, midnight).unit == HOUR
    assert plan(request(midnight - 1, midnight + DAY_MS, groupBy="minute"), floors, 0, midnight).unit == DAY


def test_a_plan_over_all_time_looks_only_where_something_is() -> None:
    found = plan(request(0, 253_370_764_800_000), Floors(), T0, T0 + MINUTE_MS)
    assert found.slots[0].nodes == [Node(MINUTE, T0), Node(MINUTE, T0 + MINUTE_MS)]
    assert plan(request(0, T0), Floors(), T0, T0).slots[0].nodes == []


def test_too_many_slots_are_refused() -> None:
    with pytest.raises(BadRequest, match="groupBy"):
        plan(request(0, T0, groupBy="minute"), Floors(), 0, T0)


def test_raw_metrics_answer_only_short_young_ranges_of_small_files() -> None:
    ask = request(T0, T0 + RAW_SPAN_MS)
    assert may_be_raw(ask, T0 + DAY_MS, DAY_MS, RAW_BYTES)
    assert not may_be_raw(ask, T0 + DAY_MS + 1, DAY_MS, RAW_BYTES)
    assert not may_be_raw(ask, T0 + DAY_MS, DAY_MS, RAW_BYTES + 1)
    assert not may_be_raw(request(T0, T0 + RAW_SPAN_MS + 1), T0 + HOUR_MS, DAY_MS, 0)


# --- answers ---------------------------------------------------------------------------------------------------------


def blocks_by_node(some: list[Call], registry: Registry) -> Any:
    minutes = folded(some, registry)

    def fetch(node: Node) -> Block:
        return merge([block for start, block in minutes if node.start_ms <= start < node.end_ms])

    return fetch


def answer(some: list[Call], ask: Any) -> tuple[dict[str, Any], Any]:
    registry = Registry()
    fetch = blocks_by_node(some, registry)
    stamps = [call.ts for call in some]
    planned = plan(ask, Floors(), min(stamps, default=0), max(stamps, default=0))
    slots = ((slot.ts_ms, [fetch(node) for node in slot.nodes]) for slot in planned.slots)
    return from_blocks(ask, slots, registry), planned


def key_of(by: str, unit: int | None) -> Any:
    def key(call: Call) -> tuple[Any, ...]:
        slot = None if unit is None else call.ts - call.ts % SPANS_MS[unit]
        return (slot, *({"all": (), "server": (call.server,), "tool": (call.server, call.tool)}[by]))

    return key


def row_key(row: dict[str, Any], by: str) -> tuple[Any, ...]:
    names = {"all": (), "server": ("mcpServer",), "tool": ("mcpServer", "toolName")}[by]
    return (row.get("ts"), *(row[name] for name in names))


@settings(max_examples=150)
@given(
    WIDE,
    st.integers(-3 * HOUR_MS, 3 * DAY_MS),
    st.integers(1, 3 * DAY_MS),
    st.sampled_from([None, "minute", "hour", "day"]),
    st.sampled_from(["tool", "server", "all"]),
    st.sampled_from([None, "github", "nobody"]),
    st.sampled_from([None, "read"]),
)
@example([Call("github", "read", T0 + 2 * MINUTE_MS, 1.0, ok=True)], 0, 5 * MINUTE_MS, "day", "tool", None, None)
def test_answers_are_those_of_counting_call_by_call(
    some: list[Call],
    offset: int,
    length: int,
    group_by: str | None,
    by: str,
    server: str | None,
    tool: str | None,
) -> None:
    if group_by == "minute":
        length = min(length, DAY_MS)
    ask = request(
        T0 + offset,
        T0 + offset + length,
        by=by,
        **{name: value for name, value in (("groupBy", group_by), ("mcpServer", server), ("toolName", tool)) if value},
    )
    found, planned = answer(some, ask)
    chosen = [
        call
        for call in some
        if planned.start_ms <= call.ts < planned.end_ms and server in {None, call.server} and tool in {None, call.tool}
    ]
    wanted = grouped(chosen, key_of(by, UNITS[group_by]))
    rows = {row_key(row, by): row for row in found["rows"]}
    assert set(rows) == set(wanted)
    assert found["rowsTotal"] == len(wanted)
    for key, figures in wanted.items():
        assert_same(rows[key], figures)
    everything = grouped(chosen, lambda _: 0)
    if chosen:
        assert_same(found["total"], everything[0])
    else:
        assert found["total"]["count"] == 0
        assert found["total"]["avg"] is None
        assert found["total"]["firstTs"] is None


@given(
    calls(-HOUR_MS, HOUR_MS),
    st.sampled_from([None, "minute", "hour", "day"]),
    st.sampled_from(["tool", "server", "all"]),
)
def test_answers_from_raw_rows_are_exact(some: list[Call], group_by: str | None, by: str) -> None:
    ask = request(T0 - HOUR_MS, T0 + HOUR_MS, by=by, **({"groupBy": group_by} if group_by else {}))
    found = from_rows(ask, batch_of(some), UNITS[group_by])
    wanted = grouped(some, key_of(by, UNITS[group_by]))
    rows = {row_key(row, by): row for row in found["rows"]}
    assert set(rows) == set(wanted)
    for key, figures in wanted.items():
        assert_same(rows[key], figures, exact_percentiles=True)
    if some:
        assert_same(found["total"], grouped(some, lambda _: 0)[0], exact_percentiles=True)


@given(WIDE, st.sampled_from([name for name in SORTS if name != "ts"]), st.booleans(), st.integers(0, 8))
def test_rows_are_sorted_with_the_unmeasured_last_and_cut_at_the_limit(
    some: list[Call], sort: str, descending: bool, limit: int
) -> None:
    ask = {"by": "tool", "sort": sort, "descending": descending}
    full = answer(some, request(T0 - DAY_MS, T0 + 5 * DAY_MS, **ask))[0]["rows"]
    values = [row[sort] for row in full if row[sort] is not None]
    assert values == sorted(values, reverse=descending)
    assert [row[sort] is None for row in full] == sorted(row[sort] is None for row in full)
    cut = answer(some, request(T0 - DAY_MS, T0 + 5 * DAY_MS, limit=limit, **ask))[0]
    assert cut["rows"] == full[:limit]
    assert cut["rowsTotal"] == len(full)
    assert cut["total"]["count"] == len(some)


def test_slots_come_in_times_order_unless_told_otherwise() -> None:
    some = [Call("a", "b", T0 + at * MINUTE_MS, float(at), ok=True) for at in (4, 0, 2)]
    rows = answer(some, request(T0, T0 + HOUR_MS, groupBy="minute", by="all"))[0]["rows"]
    assert [row["ts"] for row in rows] == [T0, T0 + 2 * MINUTE_MS, T0 + 4 * MINUTE_MS]
    newest = answer(some, request(T0, T0 + HOUR_MS, groupBy="minute", by="all", sort="ts"))[0]["rows"]
    assert newest == rows[::-1]


def test_names_of_two_tools_never_match_by_their_beginnings() -> None:
    some = [
        Call("a", "read", T0, 1.0, ok=True),
        Call("a", "read_all", T0, 1.0, ok=True),
        Call("ab", "read", T0, 1.0, ok=True),
    ]
    rows = answer(some, request(T0, T0 + 1, mcpServer="a", toolName="read"))[0]["rows"]
    assert [(row["mcpServer"], row["toolName"], row["count"]) for row in rows] == [("a", "read", 1)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({}, "startMs"),
        ({"startMs": 5, "endMs": 5}, "after"),
        ({"startMs": 6, "endMs": 5}, "after"),
        ({"startMs": -1, "endMs": 5}, "startMs"),
        ({"startMs": True, "endMs": 5}, "startMs"),
        ({"startMs": 0.0, "endMs": 5}, "startMs"),
        ({"startMs": 0, "endMs": 1 << 62}, "endMs"),
        ({"startMs": 0, "endMs": "now"}, "endMs"),
        ({"startMs": 0, "endMs": 5, "groupBy": "week"}, "groupBy"),
        ({"startMs": 0, "endMs": 5, "groupBy": []}, "groupBy"),
        ({"startMs": 0, "endMs": 5, "by": "x"}, "by"),
        ({"startMs": 0, "endMs": 5, "by": None}, "by"),
        ({"startMs": 0, "endMs": 5, "sort": "p90"}, "sort"),
        ({"startMs": 0, "endMs": 5, "descending": 1}, "descending"),
        ({"startMs": 0, "endMs": 5, "limit": -1}, "limit"),
        ({"startMs": 0, "endMs": 5, "limit": True}, "limit"),
        ({"startMs": 0, "endMs": 5, "afterSeq": "1"}, "afterSeq"),
        ({"startMs": 0, "endMs": 5, "mcpServer": 5}, "mcpServer"),
        ({"startMs": 0, "endMs": 5, "toolname": "x"}, "toolname"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_with_what_is_accepted(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        parse_request(bad)
