"""Folding, merging, selecting, grouping and storing blocks, against figures worked out call by call."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.core.aggregate_file import BadFile, decode_file, encode_file
from services.aggregator.core.blob import BadBlob, decode_block, encode_block
from services.aggregator.core.block import COUNT, EMPTY, merge, regroup, select
from services.aggregator.core.fold import Unfoldable, check, sound_rows
from services.aggregator.core.registry import KnownSeries, Registry
from services.aggregator.core.table import rows_of, table_of
from services.aggregator.core.tiers import DAY, HOUR, MINUTE, Node, node_at
from shared.batch import Series, build
from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS
from tests.unit.aggregator.naive import T0, Call, assert_same, batch_of, calls, folded, grouped, same_block, series_of


def by_series(registry: Registry, block: Any) -> dict[tuple[str, str], dict[str, Any]]:
    names = series_of(registry, block)
    rows = rows_of(table_of(block), np.arange(len(block)), [], slots=False, by="all")
    return dict(zip(names, rows, strict=True))


def figures_match(registry: Registry, block: Any, some: list[Call]) -> None:
    found, wanted = by_series(registry, block), grouped(some, lambda call: (call.server, call.tool))
    assert set(found) == set(wanted)
    for name, figures in wanted.items():
        assert_same(found[name], figures)


@given(calls())
def test_folding_gives_each_minute_and_series_its_figures(some: list[Call]) -> None:
    registry = Registry()
    blocks = folded(some, registry)
    assert [start for start, _ in blocks] == sorted({call.ts - call.ts % MINUTE_MS for call in some})
    for start, block in blocks:
        block.validate()
        figures_match(registry, block, [call for call in some if call.ts - call.ts % MINUTE_MS == start])


@given(calls(), st.integers(1, 10))
def test_folding_in_pieces_and_merging_equals_folding_at_once(some: list[Call], pieces: int) -> None:
    registry = Registry()
    parts = [block for at in range(pieces) for _, block in folded(some[at::pieces], registry)]
    merged = merge(parts)
    merged.validate()
    figures_match(registry, merged, some)
    same_block(merged, merge([block for _, block in folded(some, registry)]))


@given(calls(), st.permutations(range(6)))
def test_the_order_of_merging_does_not_matter(some: list[Call], order: list[int]) -> None:
    registry = Registry()
    parts = [merge([block for _, block in folded(some[at::6], registry)]) for at in range(6)]
    same_block(merge([merge([parts[at] for at in order[:3]]), *(parts[at] for at in order[3:])]), merge(parts))


def test_a_batch_over_years_is_folded_minute_by_minute() -> None:
    registry = Registry()
    some = [Call("a", "b", T0 + year * 365 * DAY_MS, 10.0 * year, ok=True) for year in range(8)]
    assert [start for start, _ in folded(some, registry)] == [call.ts - call.ts % MINUTE_MS for call in some]


def test_a_dictionary_that_names_a_series_twice_is_folded_as_one() -> None:
    batch = build([("a", "b", T0, 1.0, True), ("c", "d", T0, 3.0, True)])
    registry = Registry([KnownSeries(0, "a", "b", 0)])
    from services.aggregator.core.fold import fold

    ((_, block),) = fold(batch, np.array([0, 0], np.int32))
    assert block.add[COUNT].tolist() == [2]
    assert len(registry) == 1


def test_folding_and_merging_nothing_gives_nothing() -> None:
    assert folded([], Registry()) == []
    assert merge([]) is EMPTY
    assert len(merge([EMPTY, EMPTY])) == 0
    EMPTY.validate()


@given(calls(), st.lists(st.booleans(), min_size=6, max_size=6))
def test_selecting_keeps_exactly_the_wanted_series(some: list[Call], flags: list[bool]) -> None:
    registry = Registry()
    block = merge([part for _, part in folded(some, registry)])
    wanted = np.array(flags[: len(registry)], np.bool_)
    chosen = select(block, wanted)
    chosen.validate()
    kept = {registry.name_of(at) for at in np.flatnonzero(wanted).tolist()}
    figures_match(registry, chosen, [call for call in some if (call.server, call.tool) in kept])


@given(calls(min_size=1))
def test_grouping_by_server_adds_up_its_tools(some: list[Call]) -> None:
    registry = Registry()
    block = merge([part for _, part in folded(some, registry)])
    servers = sorted({call.server for call in some})
    group_of = np.array([servers.index(registry.name_of(at).server) for at in range(len(registry))], np.int32)
    found = regroup(block, group_of)
    found.validate()
    rows = rows_of(table_of(found), np.arange(len(found)), [], slots=False, by="all")
    wanted = grouped(some, lambda call: servers.index(call.server))
    assert found.series.tolist() == sorted(wanted)
    for group, row in zip(found.series.tolist(), rows, strict=True):
        assert_same(row, wanted[group])


@pytest.mark.parametrize(
    "bad",
    [
        Call("a", "b", T0, math.nan, ok=True),
        Call("a", "b", T0, math.inf, ok=True),
        Call("a", "b", T0, -1.0, ok=True),
        Call("a", "b", -1, 1.0, ok=True),
        Call("a", "b", 1 << 60, 1.0, ok=True),
        Call("a", "b", T0, 1.0, ok=True, cpu=math.inf),
    ],
)
def test_a_batch_that_would_spoil_a_rollup_is_refused_and_its_sound_rows_can_be_kept(bad: Call) -> None:
    batch = batch_of([Call("a", "b", T0, 5.0, ok=True, cpu=1.0), bad])
    with pytest.raises(Unfoldable):
        check(batch)
    kept = sound_rows(batch)
    check(kept)
    assert kept.duration.tolist() == [5.0]


# --- bytes -----------------------------------------------------------------------------------------------------------


@given(calls())
def test_a_block_survives_its_bytes(some: list[Call]) -> None:
    registry = Registry()
    block = merge([part for _, part in folded(some, registry)])
    back = decode_block(encode_block(block), len(registry))
    same_block(back, block)
    assert np.array_equal(back.add, block.add)


@settings(max_examples=200)
@given(calls(min_size=1, max_size=10), st.data())
def test_damaged_bytes_are_refused_or_still_a_block(some: list[Call], data: st.DataObject) -> None:
    registry = Registry()
    good = bytearray(encode_block(merge([part for _, part in folded(some, registry)])))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(good)))
    for damaged in (bytes(good), bytes(good[:cut])):
        try:
            decode_block(damaged, len(registry)).validate()
        except BadBlob:
            pass


@pytest.mark.parametrize("junk", [b"", b"\x01", b"\xff" * 50, b"\x01" + b"\xff" * 16, b"\0" * 17])
def test_bytes_that_are_no_block_are_refused(junk: bytes) -> None:
    with pytest.raises(BadBlob):
        decode_block(junk, 10)


def test_a_block_of_unknown_series_is_refused() -> None:
    registry = Registry()
    ((_, block),) = folded([Call("a", "b", T0, 1.0, ok=True)], registry)
    with pytest.raises(BadBlob):
        decode_block(encode_block(block), 0)


# --- files -----------------------------------------------------------------------------------------------------------

TODAY = node_at(DAY, T0)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(calls(0, MINUTE_MS * 2))
def test_a_day_survives_its_file(some: list[Call]) -> None:
    registry = Registry()
    block = merge([part for _, part in folded(some, registry)])
    back = decode_file(encode_file(TODAY, block, registry), TODAY, registry)
    assert back.skipped == 0
    same_block(back.block, block)
    assert np.array_equal(back.block.add, block.add)


@given(NAMES, NAMES)
def test_any_name_survives_a_file(server: str, tool: str) -> None:
    registry = Registry()
    ((_, block),) = folded([Call(server, tool, T0, 1.0, ok=True)], registry)
    fresh = Registry()
    back = decode_file(encode_file(TODAY, block, registry), TODAY, fresh)
    assert series_of(fresh, back.block) == [Series(server, tool)]


def test_an_object_in_a_file_is_the_seeds_and_what_merges() -> None:
    registry = Registry()
    some = [
        Call("project", "create", T0, 150.0, ok=True, cpu=15.5, memory=128.0, disk_io=1024.0),
        Call("project", "create", T0 + 5, 200.0, ok=False),
        Call("files", "read", T0, 1.5, ok=True),
    ]
    ((_, block),) = folded(some, registry)
    text = encode_file(node_at(HOUR, T0), block, registry).decode()
    bare, measured = json.loads(text)
    assert '"max":200,"min":150,' in text
    assert bare["resource"] is None
    assert bare["toolName"] == "read"
    sketch = measured.pop("sketch")
    assert measured == {
        "timestamp": "2024-02-28T23:00:00Z",
        "mcpServer": "project",
        "toolName": "create",
        "metrics": {
            "count": 2,
            "avg": 175,
            "p50": pytest.approx(150, rel=0.01),
            "p95": pytest.approx(200, rel=0.01),
            "p99": pytest.approx(200, rel=0.01),
            "max": 200,
            "min": 150,
            "errorRate": 50,
        },
        "resource": {"avgCpu": 15.5, "avgMemory": 128, "avgDiskIO": 1024},
        "errors": 1,
        "sum": 350,
        "firstTimestamp": "2024-02-28T23:58:00.000Z",
        "lastTimestamp": "2024-02-28T23:58:00.005Z",
        "resourceTotals": {
            "cpu": {"sum": 15.5, "count": 1, "max": 15.5},
            "memory": {"sum": 128, "count": 1, "max": 128},
            "diskIO": {"sum": 1024, "count": 1, "max": 1024},
        },
    }
    assert sketch["counts"][0] == 1
    assert sketch["counts"][-1] == 1
    assert sketch["counts"][1] < 0


def test_an_empty_day_is_an_empty_array() -> None:
    data = encode_file(TODAY, EMPTY, Registry())
    assert json.loads(data) == []
    assert decode_file(data, TODAY, Registry()) == (EMPTY, 0)


def sound_object() -> dict[str, Any]:
    registry = Registry()
    ((_, block),) = folded([Call("a", "b", T0, d, ok=True, cpu=1.0) for d in (1.0, 5.0, 5.0)], registry)
    found: dict[str, Any] = json.loads(encode_file(TODAY, block, registry))[0]
    return found


def changed(path: str, value: Any) -> dict[str, Any]:
    found = sound_object()
    *way, last = path.split(".")
    inner = found
    for step in way:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return found


@pytest.mark.parametrize(
    "bad",
    [
        None,
        5,
        "x",
        [],
        {},
        changed("timestamp", "2024-02-27T00:00:00Z"),
        changed("timestamp", "yesterday"),
        changed("timestamp", 5),
        changed("mcpServer", ""),
        changed("mcpServer", None),
        changed("toolName", ...),
        changed("metrics.count", -1),
        changed("metrics.count", 4),
        changed("metrics.count", 1.5),
        changed("metrics.count", True),
        changed("metrics.count", 1 << 60),
        changed("metrics.min", 50),
        changed("metrics.max", -3),
        changed("metrics.max", "1"),
        changed("errors", 4),
        changed("sum", -1),
        changed("firstTimestamp", "2024-02-29T00:00:00.000Z"),
        changed("lastTimestamp", "2024-03-01T00:00:00.000Z"),
        changed("sketch", {}),
        changed("sketch.first", -1),
        changed("sketch.first", 2048),
        changed("sketch.first", 2047),
        changed("sketch.counts", []),
        changed("sketch.counts", [3, 0]),
        changed("sketch.counts", [3, -2]),
        changed("sketch.counts", [4, -1]),
        changed("sketch.counts", [1] * 3000),
        changed("sketch.counts", ["3"]),
        changed("resourceTotals.cpu.count", 9),
        changed("resourceTotals.cpu.sum", -9),
        changed("resource", "x"),
    ],
)
def test_an_object_that_contradicts_itself_is_passed_over_and_the_others_served(bad: Any) -> None:
    good = sound_object() | {"toolName": "good"}
    registry = Registry()
    found = decode_file(json.dumps([bad, good]).encode(), TODAY, registry)
    assert found.skipped == 1
    assert series_of(registry, found.block) == [Series("a", "good")]
    found.block.validate()


def test_numbers_that_json_does_not_have_and_lone_surrogates_cost_their_object_alone() -> None:
    good = json.dumps(sound_object())
    for bad in (good.replace('"sum": 11', '"sum": 1e999'), good.replace('"a"', '"\\ud800"')):
        assert bad != good
        found = decode_file(f"[\n{bad},\n{good}\n]\n".encode(), TODAY, Registry())
        assert (found.skipped, found.block.calls) == (1, 3)


def test_of_a_torn_file_the_whole_lines_are_served() -> None:
    registry = Registry()
    some = [Call("a", tool, T0, 1.0, ok=True) for tool in "xyz"]
    ((_, block),) = folded(some, registry)
    data = encode_file(TODAY, block, registry)
    found = decode_file(data[: len(data) - 40], TODAY, registry)
    assert (found.skipped, found.block.calls) == (1, 2)


def test_a_series_that_stands_twice_in_a_file_is_taken_once() -> None:
    found = decode_file(json.dumps([sound_object(), sound_object()]).encode(), TODAY, Registry())
    assert (found.skipped, found.block.calls) == (1, 3)


@pytest.mark.parametrize("junk", [b"", b"{}", b"[", b"nul", b"\xff\xfe", b"[" * 100_000, b'"x"', b"[NaN]"])
def test_a_file_that_is_no_array_is_refused(junk: bytes) -> None:
    with pytest.raises(BadFile):
        decode_file(junk, TODAY, Registry())


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_registry_keeps_ids_and_says_what_is_not_stored() -> None:
    registry = Registry([KnownSeries(0, "a", "x", 1000), KnownSeries(1, "b", "y", 2000), KnownSeries(7, "gap", "z", 1)])
    assert len(registry) == 2
    ids = registry.ids_of([Series("b", "y"), Series("c", "z")])
    assert ids.tolist() == [1, 2]
    registry.heard(ids, np.array([2500, 9000]))
    assert [row.series_id for row in registry.unsaved(60_000)] == [2]
    registry.heard(ids[:1], np.array([70_000]))
    due = list(registry.unsaved(60_000))
    assert [(row.series_id, row.last_ts) for row in due] == [(1, 70_000), (2, 9000)]
    registry.saved(due)
    assert list(registry.unsaved(60_000)) == []
    assert registry.listed() == [["b", "y", 70_000], ["c", "z", 9000], ["a", "x", 1000]]
    assert registry.last_ts() == 70_000
    assert registry.last_ts(registry.matching("a", None)) == 1000
    assert registry.last_ts(registry.matching("nobody", "x")) is None


def test_nodes_of_files_are_whole_hours_and_days() -> None:
    assert node_at(HOUR, T0) == Node(HOUR, T0 - T0 % HOUR_MS)
    assert Node(MINUTE, T0).end_ms == T0 + MINUTE_MS


def test_the_example_file_of_this_test_can_be_read_by_anyone(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([sound_object()]))
    assert json.loads(path.read_text())[0]["metrics"]["count"] == 3
