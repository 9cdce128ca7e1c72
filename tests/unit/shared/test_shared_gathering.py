"""Entries are applied together within bounds of bytes and time, and alone when they are suspected."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.gathering import GATHER_BYTES, GATHER_SPAN_MS, Waiting, in_groups

MB = 2**20


def entry(seq: int, size_bytes: int = 100, committed_ms: int = 0) -> Waiting:
    return Waiting(seq, committed_ms, memoryview(bytes(size_bytes)))


def nobody(_: int) -> bool:
    return False


@given(st.lists(st.tuples(st.integers(0, 5 * MB), st.integers(0, 3_000), st.booleans()), max_size=12))
def test_groups_keep_the_order_and_stay_within_their_bounds(drawn: list[tuple[int, int, bool]]) -> None:
    body = memoryview(bytes(5 * MB))
    entries = [Waiting(seq, ms, body[:size]) for seq, (size, ms, _) in enumerate(drawn)]
    alone = {seq for seq, (*_, suspected) in enumerate(drawn) if suspected}
    groups = list(in_groups(entries, alone.__contains__))
    assert [each for group in groups for each in group] == entries
    for group in groups:
        assert len(group) == 1 or sum(len(each.body) for each in group) <= GATHER_BYTES
        assert len(group) == 1 or not alone & {each.seq for each in group}
        assert all(0 <= each.committed_ms - group[0].committed_ms <= GATHER_SPAN_MS for each in group)


def test_small_entries_of_one_moment_are_one_group() -> None:
    assert [len(group) for group in in_groups([entry(seq) for seq in range(50)], nobody)] == [50]


def test_an_entry_larger_than_a_group_goes_by_itself() -> None:
    sizes = [100, GATHER_BYTES + 1, 100]
    groups = in_groups([entry(seq, size) for seq, size in enumerate(sizes)], nobody)
    assert [len(group) for group in groups] == [1, 1, 1]


def test_a_clock_that_was_set_back_begins_a_new_group() -> None:
    groups = in_groups([entry(1, committed_ms=5_000), entry(2, committed_ms=4_000)], nobody)
    assert [[each.seq for each in group] for group in groups] == [[1], [2]]
