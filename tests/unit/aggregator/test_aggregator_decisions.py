"""Memory, tree, cache, schedule and retention: where each call counts, what is stale, what may go."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aggregator.core import retention
from services.aggregator.core.block import EMPTY, Block, merge
from services.aggregator.core.cache import BlockCache, Limits
from services.aggregator.core.memory import RECENT_MINUTES, Memory
from services.aggregator.core.registry import Registry
from services.aggregator.core.retention import Retention
from services.aggregator.core.schedule import FILES_A_TURN, GRACE_MS, PATIENCE_MS, RETRY_MS, SETTLE_MS, Schedule
from services.aggregator.core.tiers import DAY, HOUR, MINUTE, Floors, Node, cover, holders, node_at, snap
from services.aggregator.core.tree import Tree
from shared.timespan import DAY_MS, HOUR_MS, MINUTE_MS
from tests.unit.aggregator.naive import T0, Call, calls, folded, same_block

MIDNIGHT = T0 + 2 * MINUTE_MS
ROOMY = Limits(*[1 << 30] * 4)
ALL = Floors()


class Store:
    """Rows and files as dicts; `save` and `write` do what the shell does."""

    def __init__(self) -> None:
        self.rows: dict[Node, Block] = {}
        self.files: dict[Node, Block] = {}

    def row(self, node: Node) -> Block | None:
        return self.rows.get(node)

    def file(self, node: Node) -> Block | None:
        return self.files.get(node)

    def has_parts(self, node: Node) -> bool:
        return any(
            node.start_ms <= each.start_ms < node.end_ms and each.level < node.level
            for each in (*self.rows, *self.files)
        )

    def base(self, node: Node) -> Block:
        found = self.rows.get(node)
        return (self.files.get(node) if found is None else found) or EMPTY

    def save(self, memory: Memory) -> None:
        self.rows |= memory.unsaved().blocks
        memory.saved()

    def write(self, memory: Memory, node: Node, cache: BlockCache) -> None:
        assert not memory.has_unsaved(node)
        self.files[node] = Tree(memory.snapshot(), cache, self).block(node)
        self.rows.pop(node, None)
        memory.written(node)


def made(floors: Floors = ALL) -> tuple[Store, Memory, BlockCache]:
    store, cache = Store(), BlockCache(ROOMY)
    return store, Memory(floors, (), (), cache, store.base), cache


def add(memory: Memory, registry: Registry, *some: Call) -> list[Node]:
    return [mark for start, block in folded(some, registry) for mark in memory.add(start, block)]


def call(ts: int, duration: float = 1.0) -> Call:
    return Call("a", "b", ts, duration, ok=True)


# --- memory and tree -------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("calls"), calls(-26 * HOUR_MS, 26 * HOUR_MS, max_size=6)),
        st.tuples(st.just("save"), st.none()),
        st.tuples(st.just("write"), st.integers(0, 5)),
        st.tuples(st.just("ask"), st.integers(-30 * 60, 30 * 60)),
        st.tuples(st.just("lose"), st.none()),
        st.tuples(st.just("floors"), st.tuples(st.integers(0, 30), st.integers(0, 2))),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whatever_is_saved_written_asked_lost_and_raised_every_call_counts_once(steps: list[tuple[str, Any]]) -> None:
    registry = Registry()
    store, memory, cache = made()
    floors, held, stale = Floors(), set(), set()
    saved: list[Call] = []
    unsaved: list[Call] = []
    for kind, what in steps:
        if kind == "calls":
            add(memory, registry, *what)
            unsaved += what
        elif kind == "save":
            store.save(memory)
            saved, unsaved = saved + unsaved, []
            stale, held, floors = set(memory.stale), set(memory.held), memory.floors
        elif kind == "write":
            ready = [node for node in sorted(memory.stale) if not memory.has_unsaved(node)]
            if ready:
                store.write(memory, ready[what % len(ready)], cache)
                stale, held = stale & memory.stale, held & memory.held
        elif kind == "lose":  # kill -9
            cache = BlockCache(ROOMY)
            memory = Memory(floors, stale, held, cache, store.base)
            unsaved = []
        elif kind == "floors":
            raised = Floors(MIDNIGHT - 26 * HOUR_MS - 22 * MINUTE_MS, MIDNIGHT - 2 * DAY_MS, 0)
            raised = retention.raised_floors(
                memory.floors,
                MIDNIGHT + what[0] * HOUR_MS,
                Retention(0, 24 * HOUR_MS, what[1] * DAY_MS, 400 * DAY_MS, 0, 0),
                memory.stale,
            )
            store.save(memory)
            saved, unsaved = saved + unsaved, []
            memory.raise_floors(raised)
            store.rows = {n: b for n, b in store.rows.items() if n.level != MINUTE or n.start_ms >= raised.minute_ms}
            store.files = {n: b for n, b in store.files.items() if n.level != HOUR or n.start_ms >= raised.hour_ms}
            floors, stale, held = raised, set(memory.stale), set(memory.held)
        else:
            node = node_at(memory.floors.finest(MIDNIGHT + what * MINUTE_MS), MIDNIGHT + what * MINUTE_MS)
            tree = Tree(memory.snapshot(), cache, store, watch := cache.watch())
            for each in (node, *holders(node)):
                wanted = [c for c in saved + unsaved if each.start_ms <= c.ts < each.end_ms]
                same_block(tree.block(each), merge([block for _, block in folded(wanted, registry)]))
            start, end = snap(node.start_ms, MIDNIGHT + 31 * HOUR_MS, memory.floors)
            wanted = [c for c in saved + unsaved if start <= c.ts < end]
            for _ in range(2):
                ranged = merge(tree.blocks(cover(start, end)))
                same_block(ranged, merge([block for _, block in folded(wanted, registry)]))
            cache.close(watch)
    whole = Tree(memory.snapshot(), cache, store).block(node_at(9, MIDNIGHT))
    assert whole.calls == len(saved) + len(unsaved)


def test_rows_before_the_floors_go_to_the_hour_then_the_day_then_nowhere() -> None:
    registry = Registry()
    hour = node_at(HOUR, MIDNIGHT)
    store, memory, cache = made(Floors(MIDNIGHT + DAY_MS, MIDNIGHT, MIDNIGHT - DAY_MS))
    ((_, old),) = folded([call(MIDNIGHT + 5, 100.0)], registry)
    store.files[hour] = old
    assert add(memory, registry, call(MIDNIGHT + 7 * MINUTE_MS)) == [hour, Node(DAY, MIDNIGHT)]
    assert memory.held == {hour}
    assert Tree(memory.snapshot(), cache, store).block(hour).calls == 2
    assert add(memory, registry, call(MIDNIGHT - 1)) == [Node(DAY, MIDNIGHT - DAY_MS)]
    assert add(memory, registry, call(MIDNIGHT - DAY_MS - 1)) == []
    assert (memory.late_total, memory.dropped_total) == (2, 1)
    store.save(memory)
    store.write(memory, hour, cache)
    assert store.files[hour].calls == 2
    assert memory.held == {Node(DAY, MIDNIGHT - DAY_MS)}
    add(memory, registry, call(MIDNIGHT + 9 * MINUTE_MS))
    assert Tree(memory.snapshot(), cache, store).block(hour).calls == 3


def test_a_file_that_is_missing_is_told_from_its_minutes_and_a_day_from_its_hours() -> None:
    registry = Registry()
    store, memory, cache = made()
    add(memory, registry, *(call(MIDNIGHT + at * HOUR_MS) for at in range(5)))
    store.save(memory)
    for node in sorted(memory.stale):
        store.write(memory, node, cache)
    del store.files[Node(DAY, MIDNIGHT)]
    del store.files[Node(HOUR, MIDNIGHT + HOUR_MS)]
    assert Tree(memory.snapshot(), BlockCache(ROOMY), store).block(Node(DAY, MIDNIGHT)).calls == 5


def test_only_the_newest_minutes_stay_hot_after_a_save() -> None:
    registry = Registry()
    store, memory, _ = made()
    add(memory, registry, *(call(MIDNIGHT + at * MINUTE_MS) for at in range(10)))
    assert len(memory.snapshot().hot) == 10
    store.save(memory)
    assert sorted(memory.snapshot().hot) == [
        Node(MINUTE, MIDNIGHT + at * MINUTE_MS) for at in range(10 - RECENT_MINUTES, 10)
    ]
    assert memory.unsaved().blocks == {}


def test_many_small_parts_of_a_minute_are_merged_as_they_come() -> None:
    registry = Registry()
    _, memory, _ = made()
    for at in range(300):
        add(memory, registry, call(MIDNIGHT + at, float(at)))
    (pieces,) = memory.snapshot().hot.values()
    assert len(pieces) < 12
    assert merge(pieces).calls == 300


# --- cache -----------------------------------------------------------------------------------------------------------


def block_of(count: int) -> Block:
    registry = Registry()
    return merge([block for _, block in folded([call(MIDNIGHT, float(at)) for at in range(count)], registry)])


def test_the_longest_unused_block_is_forgotten_first() -> None:
    block = block_of(3)
    cache = BlockCache(ROOMY._replace(asked=3 * block.size_bytes))
    nodes = [Node(MINUTE, at * MINUTE_MS) for at in range(4)]
    for node in nodes[:3]:
        cache.put(node, block)
    assert cache.get(nodes[0]) is block
    cache.put(nodes[3], block)
    assert cache.get(nodes[1]) is None
    assert cache.get(nodes[0]) is block
    assert cache.size_bytes == 3 * block.size_bytes


def test_parts_never_push_out_what_was_asked_for() -> None:
    block = block_of(3)
    cache = BlockCache(Limits(*[2 * block.size_bytes] * 4))
    cache.put(Node(DAY, 0), block)
    for at in range(50):
        cache.put(Node(MINUTE, at * MINUTE_MS), block, part=True)
    assert cache.get(Node(DAY, 0)) is block
    assert cache.size_bytes == 3 * block.size_bytes


def test_spans_that_took_many_files_go_last() -> None:
    block = block_of(3)
    cache = BlockCache(ROOMY._replace(long=2 * block.size_bytes))
    longest = node_at(9, MIDNIGHT)
    cache.put(longest, block)
    for at in range(5):
        cache.put(node_at(7, at * 4 * DAY_MS), block)
    assert cache.get(longest) is block
    assert cache.get(node_at(7, 0)) is None


def test_an_empty_block_is_remembered_too() -> None:
    cache = BlockCache(ROOMY)
    cache.put(Node(DAY, 0), EMPTY)
    assert cache.get(Node(DAY, 0)) is EMPTY


def test_what_changed_while_a_query_fetched_is_not_remembered() -> None:
    cache = BlockCache(ROOMY)
    node, other = Node(MINUTE, MIDNIGHT), Node(MINUTE, MIDNIGHT + MINUTE_MS)
    watch = cache.watch()
    cache.forget(node)
    cache.put(node, block_of(1), watch)
    cache.put(node_at(DAY, MIDNIGHT), block_of(1), watch)
    cache.put(other, block_of(1), watch)
    assert (cache.get(node), cache.get(node_at(DAY, MIDNIGHT))) == (None, None)
    assert cache.get(other) is not None
    cache.clear()
    cache.put(other, block_of(1), watch)
    assert cache.get(other) is None
    cache.close(watch)


# --- schedule --------------------------------------------------------------------------------------------------------


def due(schedule: Schedule, stale: set[Node], now: int) -> list[Node]:
    return schedule.due(stale, now, lambda _: False)


HOUR_13 = Node(HOUR, MIDNIGHT + 13 * HOUR_MS)


def test_an_hour_is_written_shortly_after_it_ended() -> None:
    schedule = Schedule()
    schedule.marked([HOUR_13], HOUR_13.end_ms - 1)
    assert due(schedule, {HOUR_13}, HOUR_13.end_ms) == []
    assert due(schedule, {HOUR_13}, HOUR_13.end_ms + GRACE_MS) == [HOUR_13]


def test_after_a_restart_a_stale_file_is_due_at_once() -> None:
    assert due(Schedule(), {HOUR_13}, HOUR_13.end_ms + DAY_MS) == [HOUR_13]


def test_a_file_that_goes_on_getting_late_rows_is_written_once_in_a_while() -> None:
    schedule, now = Schedule(), HOUR_13.end_ms + DAY_MS
    written = []
    for second in range(130):
        schedule.marked([HOUR_13], now + second * 1000)
        if due(schedule, {HOUR_13}, now + second * 1000):
            written.append(second)
            schedule.written(HOUR_13)
    assert written == [PATIENCE_MS // 1000, 2 * PATIENCE_MS // 1000 + 1]
    quiet = now + 130_000 + SETTLE_MS
    assert due(schedule, {HOUR_13}, quiet) == [HOUR_13]


def test_a_day_waits_for_its_hours_and_a_failed_file_for_a_pause() -> None:
    schedule, day = Schedule(), Node(DAY, MIDNIGHT)
    now = day.end_ms + GRACE_MS
    assert due(schedule, {day, HOUR_13}, now) == [HOUR_13]
    assert due(schedule, {day}, now) == [day]
    schedule.failed(day, now)
    assert due(schedule, {day}, now + RETRY_MS - 1) == []
    assert due(schedule, {day}, now + RETRY_MS) == [day]


def test_a_turn_writes_a_few_files_and_none_with_unsaved_rows() -> None:
    hours = {Node(HOUR, MIDNIGHT + at * HOUR_MS) for at in range(20)}
    assert due(Schedule(), hours, MIDNIGHT + 2 * DAY_MS) == sorted(hours)[:FILES_A_TURN]
    assert Schedule().due(hours, MIDNIGHT + 2 * DAY_MS, lambda _: True) == []


# --- retention -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 20_000), st.integers(0, 23))
def test_file_names_and_nodes_are_each_others_inverse(day: int, hour: int) -> None:
    for node in (Node(DAY, day * DAY_MS), Node(HOUR, day * DAY_MS + hour * HOUR_MS)):
        assert retention.node_of(retention.file_name(node)) == node


def test_names_that_are_not_exactly_ours_name_no_node() -> None:
    strange = [
        *("2024-02-30.json", "2024-02-29-24.json", "2024-2-29.json", "2024-02-29.json.bak", "x2024-02-29.json"),
        *("2024-02-29-1.json", "2024-02-29.jsonl", "../2024-02-29.json", "1969-12-31.json", "2024-13-01.json"),
        "٢٠٢٤-02-29.json",
    ]
    assert [retention.node_of(name) for name in strange] == [None] * len(strange)
    assert retention.node_of("2024-02-29.json\n") is None
    assert retention.node_of("2024-02-29.json") == Node(DAY, MIDNIGHT)


def test_a_day_goes_when_its_last_moment_is_old_enough() -> None:
    folders = ["2024-02-28", "2024-02-29", "2024-03-01", "not-a-day", "2024-02-28x"]
    end_of_28th = MIDNIGHT
    assert retention.expired_raw_days(folders, end_of_28th + DAY_MS - 1, DAY_MS) == []
    assert retention.expired_raw_days(folders, end_of_28th + DAY_MS, DAY_MS) == ["2024-02-28"]
    names = ["2024-02-28.jsonl", "2024-02-28.json", "2024-02-29.jsonl", ".2024-02-28.jsonl"]
    assert retention.expired_anomaly_files(names, end_of_28th + DAY_MS, DAY_MS) == ["2024-02-28.jsonl"]


def test_reports_go_by_the_time_they_were_made() -> None:
    old = "report-day-20240101T000000Z-20240102T000000Z-20240102T080000Z-a1b2c3.html"
    names = [old, old.replace("T080000Z", "T080001Z"), old.replace(".html", ".exe"), "my-notes.md", "report-x.md"]
    made_ms = 1_704_182_400_000
    assert retention.expired_reports(names, made_ms + DAY_MS + 1, DAY_MS) == [old]


def test_left_behind_temporary_files_are_told_from_everything_else() -> None:
    name = ".2024-02-29-13.json.4711.0a1b2c3d.tmp"
    files = [(name, 0), (name.replace("4711", "12"), HOUR_MS), ("2024-02-29-13.json", 0), (".x.tmp", 0)]
    assert retention.abandoned_temporaries(files, HOUR_MS + 1) == [name]


def test_floors_wait_for_files_that_are_not_written_and_never_sink() -> None:
    kept = Retention(DAY_MS, 2 * DAY_MS, 30 * DAY_MS, 365 * DAY_MS, 0, 0)
    now = MIDNIGHT + 400 * DAY_MS + 5 * HOUR_MS + 1
    free = retention.raised_floors(Floors(), now, kept, [])
    assert free == Floors(now - 1 - 2 * DAY_MS, MIDNIGHT + 370 * DAY_MS, MIDNIGHT + 35 * DAY_MS)
    stale = [Node(HOUR, MIDNIGHT + 3 * HOUR_MS), Node(DAY, MIDNIGHT)]
    assert retention.raised_floors(Floors(), now, kept, stale)[:2] == (MIDNIGHT + 3 * HOUR_MS, MIDNIGHT)
    assert retention.raised_floors(free, MIDNIGHT, kept, []) == free


def test_a_selection_beyond_the_known_ids_selects_nothing() -> None:
    from services.aggregator.core.block import select

    assert len(select(block_of(2), np.zeros(0, np.bool_))) == 0
