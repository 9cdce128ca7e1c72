"""Windows: bounded, fair, never a dead lock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.credit import FORGET_AFTER_MS, MAX_CONNECTIONS, Credit

BUDGET, FLOOR = 1_000_000, 1_000


def _credit() -> Credit:
    return Credit(BUDGET, floor_bytes=FLOOR)


def test_one_connection_gets_a_quarter_of_the_budget_and_many_their_share() -> None:
    credit = _credit()
    assert credit.window(b"a", 0, 0) == BUDGET // 4
    names = [b"a", *(b"%d" % name for name in range(19))]
    for name in names * 2:
        credit.window(name, 0, 0)
    assert {credit.window(name, 1, 0) for name in names} == {BUDGET // 20}


def test_what_waits_for_the_files_narrows_the_windows_down_to_the_floor() -> None:
    credit = _credit()
    assert credit.window(b"a", 0, 900_000) == 100_000
    assert credit.window(b"a", 0, 999_999) == FLOOR


def test_without_room_all_are_stopped_and_told_once_half_of_it_is_free() -> None:
    credit = _credit()
    credit.window(b"idle", 0, 0)
    assert [credit.window(name, 1, BUDGET) for name in (b"a", b"b")] == [0, 0]
    assert credit.room(2, BUDGET - 1) == []
    assert credit.window(b"c", 2, BUDGET // 2 + 1) == 0
    told = credit.room(3, BUDGET // 2)
    assert [name for name, _ in told] == [b"a", b"b", b"c"]
    assert all(window >= FLOOR for _, window in told)
    assert credit.room(4, 0) == []
    assert credit.stopped_total == 1


def test_it_does_not_chatter_around_the_limit() -> None:
    credit = _credit()
    for turn in range(100):
        credit.window(b"a", turn, BUDGET - turn % 2)
        assert credit.room(turn, BUDGET - 1) == []
    assert credit.stopped_total == 1


def test_a_silent_connection_gives_its_window_back() -> None:
    credit = _credit()
    credit.window(b"a", 0, 0)
    credit.window(b"b", FORGET_AFTER_MS - 1, 0)
    assert len(credit) == 2
    assert credit.window(b"b", FORGET_AFTER_MS, 0) == BUDGET // 4
    assert (len(credit), credit.granted_bytes) == (1, BUDGET // 4)


def test_a_stopped_connection_that_was_forgotten_is_not_told_but_let_in_when_it_probes() -> None:
    credit = _credit()
    credit.window(b"a", 0, BUDGET)
    assert credit.room(FORGET_AFTER_MS, 0) == []
    assert credit.window(b"a", FORGET_AFTER_MS + 1, 0) > 0


def test_what_cannot_be_told_holds_nothing() -> None:
    credit = _credit()
    credit.window(b"a", 0, 0)
    credit.gone(b"a")
    credit.gone(b"never seen")
    assert (len(credit), credit.granted_bytes) == (0, 0)


def test_a_million_identities_fill_a_bounded_table() -> None:
    credit = _credit()
    for name in range(3 * MAX_CONNECTIONS):
        credit.window(b"%d" % name, 0, 0)
    assert len(credit) == MAX_CONNECTIONS


#: (connection, ms that pass, pending bytes, whether room is asked for)
_steps = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 4_000), st.integers(0, 2 * BUDGET), st.booleans()), max_size=200
)


@given(_steps)
def test_windows_and_what_waits_stay_within_the_budget_and_the_floors(
    steps: list[tuple[int, int, int, bool]],
) -> None:
    credit = _credit()
    now_ms = 0
    for name, passed_ms, pending_bytes, asks in steps:
        now_ms += passed_ms
        identity = b"%d" % name
        others = credit.granted_bytes
        if asks:
            told = credit.room(now_ms, pending_bytes)
            assert len({who for who, _ in told}) == len(told)
            assert all(window >= FLOOR for _, window in told)
        else:
            window = credit.window(identity, now_ms, pending_bytes)
            assert window == 0 if credit.stopped else FLOOR <= window <= BUDGET // 4
            assert window <= max(FLOOR, BUDGET - pending_bytes)
        assert 0 <= credit.granted_bytes <= max(others, BUDGET - pending_bytes, 0) + FLOOR * len(credit)
        assert credit.granted_bytes <= BUDGET + FLOOR * len(credit)


@given(
    st.lists(st.integers(1, 400_000), min_size=1, max_size=12),
    st.integers(1, 50_000),
    st.lists(st.booleans(), max_size=30),
)
def test_whatever_is_sent_to_a_slow_disk_is_taken_in_the_end_and_what_waits_is_bounded(
    messages: list[int], written_a_turn: int, lost_credits: list[bool]
) -> None:
    # Each producer sends its message of this size 20 times; the disk writes so many bytes a turn of 100 ms.
    credit = _credit()
    left = dict.fromkeys(range(len(messages)), 20)
    window = dict.fromkeys(left, FLOOR)
    last_ms = dict.fromkeys(left, 0)
    pending = now_ms = 0
    while any(left.values()):
        now_ms += 100
        assert now_ms < 100_000_000
        for who in left:
            probes = now_ms - last_ms[who] >= 5_000
            if left[who] and (window[who] or probes):
                left[who] -= 1
                pending += messages[who]
                window[who] = credit.window(b"%d" % who, now_ms, pending)
                last_ms[who] = now_ms
        # A message may be larger than its window, and a probe comes without one; each has one message out at a time here.
        assert pending <= BUDGET + sum(messages) * 2 + now_ms // 5_000 * sum(messages)
        pending = max(0, pending - written_a_turn)
        for identity, granted in credit.room(now_ms, pending):
            if not (lost_credits and lost_credits.pop()):
                window[int(identity)] = granted
                last_ms[int(identity)] = now_ms


@given(st.integers(2, 30))
def test_once_each_was_heard_twice_all_have_the_same_window(connections: int) -> None:
    credit = _credit()
    names = [b"%d" % name for name in range(connections)]
    for name in names * 2:
        credit.window(name, 0, 100_000)
    assert len({credit.window(name, 0, 100_000) for name in names}) == 1
