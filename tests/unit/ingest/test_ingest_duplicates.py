"""What was stored before: sequences of producers and call ids."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.duplicates import (
    LOOK_AT_AGE_MS,
    WINDOW,
    CallIdMemory,
    Place,
    ProducerLedger,
    Seen,
    call_digest,
)
from shared.journal.producers import KEPT_MS


@given(st.lists(st.integers(1, 3_000) | st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 4_100))
def test_a_place_knows_what_a_plain_set_knows_within_the_window(stored: list[int], asked: int) -> None:
    place = Place(stored[0], 1, 0)
    known = {stored[0]}
    for seq in stored[1:]:
        if place.knows(seq) is Seen.TOO_OLD:
            continue
        place = place.with_stored(seq, 1)
        known.add(seq)
    assert place.seq == max(known)
    expected = Seen.TOO_OLD if place.seq - asked >= WINDOW else Seen.STORED if asked in known else Seen.NEW
    assert place.knows(asked) is expected
    low = max(1, place.seq - WINDOW + 1)
    in_window = [seq for seq in range(low, place.seq + 1) if seq not in known]
    assert place.cumulative() == (in_window[0] - 1 if in_window else place.seq)
    assert place.seen.bit_length() <= WINDOW


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=30))
def test_a_place_survives_the_journal(stored: list[int]) -> None:
    ledger = ProducerLedger()
    for seq in stored:
        if ledger.look_up("p", seq) is not Seen.TOO_OLD:
            ledger.stage("p", seq, 7)
    place = ledger.staged["p"]
    again = ProducerLedger()
    again.restore("p", place.seq, place.seen_bytes(), place.at_ms)
    assert again.place("p") == place


def test_the_window_ends_where_it_says() -> None:
    place = Place(WINDOW + 10, 1, 0)
    assert place.knows(11) is Seen.NEW
    assert place.knows(10) is Seen.TOO_OLD
    assert place.with_stored(11, 0).knows(11) is Seen.STORED


def test_a_leap_beyond_the_window_forgets_what_was_before() -> None:
    place = Place(5, 0b11111, 0).with_stored(5 + WINDOW, 0)
    assert place.knows(5 + WINDOW) is Seen.STORED
    assert place.knows(5) is Seen.TOO_OLD
    assert place.knows(6) is Seen.NEW


def test_a_staged_sequence_counts_as_stored_until_it_is_rolled_back() -> None:
    ledger = ProducerLedger()
    ledger.stage("p", 1, 0)
    assert ledger.look_up("p", 1) is Seen.STORED
    ledger.roll_back()
    assert ledger.look_up("p", 1) is Seen.NEW
    ledger.stage("p", 1, 0)
    ledger.commit()
    ledger.roll_back()
    assert ledger.look_up("p", 1) is Seen.STORED
    assert ledger.look_up("q", 1) is Seen.NEW


def ledger_of(times_ms: list[int]) -> ProducerLedger:
    ledger = ProducerLedger()
    for number, at_ms in enumerate(times_ms):
        ledger.stage(f"p{number}", 1, at_ms)
    ledger.commit()
    return ledger


def test_of_too_many_producers_those_silent_the_longest_are_forgotten_and_counted() -> None:
    ledger = ledger_of([*range(21)])
    ledger.prune(21, always=5, most=20)
    assert len(ledger) == 18
    assert ledger.look_up("p0", 1) is Seen.NEW
    assert ledger.look_up("p20", 1) is Seen.STORED
    assert ledger.forgotten_early_total == 3


def test_a_producer_is_known_for_a_day_however_many_others_write() -> None:
    ledger = ledger_of([0, *[KEPT_MS - 1] * 15_000])
    ledger.prune(KEPT_MS)
    assert ledger.look_up("p0", 1) is Seen.STORED
    ledger.prune(KEPT_MS + 1)
    assert ledger.look_up("p0", 1) is Seen.STORED, "looked for once in a while"
    ledger.prune(KEPT_MS + LOOK_AT_AGE_MS)
    assert ledger.look_up("p0", 1) is Seen.NEW
    assert len(ledger) == 15_000
    assert ledger.forgotten_early_total == 0


def test_few_producers_are_known_however_long_they_are_silent() -> None:
    ledger = ledger_of([0, 1, 2])
    ledger.prune(100 * KEPT_MS)
    assert len(ledger) == 3


def test_two_hundred_thousand_producers_take_bounded_memory() -> None:
    tracemalloc.start()
    try:
        ledger = ProducerLedger()
        for number in range(20_000):
            ledger.stage(f"{number:032x}", 2**40, 2**40)
            ledger.commit()
        assert tracemalloc.get_traced_memory()[0] / 20_000 < 400
    finally:
        tracemalloc.stop()


def test_a_call_id_is_known_for_at_least_the_hours_promised() -> None:
    memory = CallIdMemory(48, 1_000)
    digest = call_digest("toolu_1")
    memory.add(100, [digest])
    # Committed in the last minute of hour 100, asked for again 47 h 59 min later, in hour 148.
    assert list(memory.expire(148)) == []
    assert digest in memory
    assert list(memory.expire(149)) == [100]
    assert digest not in memory


def test_a_call_id_that_came_again_is_known_from_its_latest_commit_on() -> None:
    memory = CallIdMemory(48, 1_000)
    again, once = call_digest("again"), call_digest("once")
    memory.add(100, [again, once])
    memory.add(120, [again, again])
    memory.add(110, [again])
    assert len(memory) == 2
    assert list(memory.expire(149)) == [100]
    assert (again in memory, once in memory) == (True, False)
    assert list(memory.expire(168)) == [110]
    assert again in memory
    assert list(memory.expire(169)) == [120]
    assert len(memory) == 0


def test_with_too_many_call_ids_the_oldest_hour_goes_first() -> None:
    memory = CallIdMemory(48, 3)
    memory.add(10, [call_digest("a"), call_digest("b")])
    memory.add(11, [call_digest("c")])
    memory.add(12, [call_digest("d")])
    assert list(memory.expire(12)) == [10]
    assert len(memory) == 2
    assert call_digest("c") in memory


def test_digests_tell_call_ids_apart() -> None:
    assert len({call_digest(f"toolu_{number}") for number in range(1_000)}) == 1_000
    assert len(call_digest("")) == 16
