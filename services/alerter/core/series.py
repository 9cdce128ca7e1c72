"""Small dense ids for the series that have calls in a window, given out and taken back.

An id is taken back only when every window says that nothing of it is left, so that the next series finds its rows empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from shared.batch import Series

#: Room for ids at first; it doubles while small and grows by a quarter beyond that.
FIRST_CAPACITY: Final = 64
SMALL_CAPACITY: Final = 1_024
#: Where keys of `core.slot` (i32) would end; the ingest's cap on series is far below.
MAX_ID: Final = 1_000_000


class SeriesTable:
    """Series by id and back."""

    def __init__(self) -> None:
        self.capacity = FIRST_CAPACITY
        self._ids: dict[Series, int] = {}
        self._series: list[Series | None] = []
        self._free: list[int] = []
        self.changed: set[int] = set()
        #: Ids taken back so far: what was remembered of ids is good as long as it stays.
        self.released_total = 0

    def __len__(self) -> int:
        return len(self._ids)

    def items(self) -> Iterator[tuple[Series, int]]:
        """Every series and its id."""
        return iter(self._ids.items())

    def restore(self, numbers: Mapping[int, Series]) -> None:
        """Start with these ids.

        Raises: ValueError when an id or a series is not distinct, or an id is out of all proportion.
        """
        if self._series or len(set(numbers.values())) != len(numbers):
            raise ValueError("series are restored once, each under one id")
        size = max(numbers, default=-1) + 1
        if min(numbers, default=0) < 0 or size > MAX_ID:
            raise ValueError("an id out of range")
        self._series = [numbers.get(number) for number in range(size)]
        self._free = [number for number in range(size) if number not in numbers]
        self._ids = {series: number for number, series in numbers.items()}
        self._make_room(size)

    def find(self, series: Series) -> int | None:
        """The id of a series, if it has one."""
        return self._ids.get(series)

    def add(self, series: Series) -> int:
        """Give a new series an id; `capacity` may have grown after this."""
        if self._free:
            number = self._free.pop()
            self._series[number] = series
        else:
            number = len(self._series)
            self._series.append(series)
            self._make_room(number + 1)
        self._ids[series] = number
        self.changed.add(number)
        return number

    def lookup(self, number: int) -> Series | None:
        """The series of an id, None when nothing has it."""
        return self._series[number] if 0 <= number < len(self._series) else None

    def name(self, number: int) -> Series:
        """The series of an id that was given out."""
        series = self._series[number]
        if series is None:
            raise KeyError(number)
        return series

    def release(self, numbers: Iterable[int]) -> None:
        """Take ids back."""
        for number in numbers:
            series = self._series[number]
            if series is not None:
                self.released_total += 1
                del self._ids[series]
                self._series[number] = None
                self._free.append(number)
                self.changed.add(number)

    def _make_room(self, size: int) -> None:
        while self.capacity < size:
            self.capacity += self.capacity if self.capacity < SMALL_CAPACITY else self.capacity // 4
