"""What is remembered of names changes no answer and stays within its bounds."""

from __future__ import annotations

import pytest
from msgspec import Raw

from perfmon.wire import MalformedFrame, pack
from services.ingest.core.known import MAX_DICTIONARY_BYTES, MAX_NAMES_CHARS, MAX_SERIES, DictionaryMemory, SeriesMemory
from shared.batch import BatchError, Series


def packed(*pairs: object) -> Raw:
    return Raw(pack(list(pairs)))


def test_good_names_are_remembered_as_the_same_series() -> None:
    memory = SeriesMemory()
    [first], good = memory.series_of([("files", "read")])
    [again], still_good = memory.series_of([("files", "read")])
    assert (first, good, still_good) == (Series("files", "read"), True, True)
    assert again is first


def test_a_bad_name_is_found_every_time_and_costs_its_neighbours_nothing() -> None:
    memory = SeriesMemory()
    for _ in range(3):
        series, good = memory.series_of([("", "x"), ("files", "read")])
        assert (series, good) == ((Series("", "x"), Series("files", "read")), False)
    assert memory.series_of([("files", "read")])[1]


def test_series_beyond_the_bound_are_still_answered() -> None:
    memory = SeriesMemory()
    pairs = [("server", f"tool{number}") for number in range(MAX_SERIES + 10)]
    assert memory.series_of(pairs) == (tuple(Series(*pair) for pair in pairs), True)
    assert len(memory) == 10
    assert memory.series_of(pairs[:5]) == (tuple(Series(*pair) for pair in pairs[:5]), True)


def test_long_names_are_not_remembered() -> None:
    memory = SeriesMemory()
    assert memory.series_of([("s" * MAX_NAMES_CHARS, "t")])[1]
    assert len(memory) == 0


def test_a_dictionary_says_whether_its_names_are_good_and_come_once() -> None:
    memory = DictionaryMemory(SeriesMemory())
    for _ in range(2):
        assert memory.dictionary_of(packed(["a", "b"], ["a", "c"]))[1:] == (True, True)
        assert memory.dictionary_of(packed(["a", "b"], ["a", "b"]))[1:] == (True, False)
        assert memory.dictionary_of(packed(["a", ""]))[1:] == (False, True)


@pytest.mark.parametrize(
    "raw", [b"", b"\xc1", b"\x05", b"\x91", b"\x91\x91\xa1a", b"\x91\x92\xa1a\xc4\x00", b"\x91\xd4\x05x"]
)
def test_what_is_no_dictionary_is_refused_every_time(raw: bytes) -> None:
    memory = DictionaryMemory(SeriesMemory())
    for _ in range(2):
        with pytest.raises((BatchError, MalformedFrame)):
            memory.dictionary_of(Raw(raw))
    assert memory.size_bytes == 0


def test_dictionaries_are_remembered_within_their_bytes_and_the_first_ones_go() -> None:
    memory = DictionaryMemory(SeriesMemory())
    many = [packed([f"server{number}", "x" * 1_000]) for number in range(3 * MAX_DICTIONARY_BYTES // 1_000)]
    for raw in many:
        assert memory.dictionary_of(raw).good
        assert memory.size_bytes <= MAX_DICTIONARY_BYTES
    assert memory.dictionary_of(many[-1]) is memory.dictionary_of(many[-1])
    assert memory.dictionary_of(many[0]).series[0].server == "server0"


def test_a_dictionary_that_would_fill_the_memory_is_not_remembered() -> None:
    memory = DictionaryMemory(SeriesMemory())
    huge = packed(*(["x" * 1_000, f"{number}"] for number in range(MAX_DICTIONARY_BYTES // 1_000)))
    assert memory.dictionary_of(huge).good
    assert memory.size_bytes == 0
