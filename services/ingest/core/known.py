"""Names that were found good before, so that they are not looked at again with every message.

Memories of pure functions, bounded in bytes: what they hold changes no answer. Knows nothing of which series are stored
(`placement`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from msgspec import Raw

from perfmon.wire import unpack
from services.ingest.core.validation import series_fault
from shared import batch
from shared.batch import Series

#: Series that are remembered, and the longest names among them, together (characters).
MAX_SERIES: Final = 16_384
MAX_NAMES_CHARS: Final = 256
#: Bytes of packed dictionaries that are remembered; unpacked they take up to 30 times as much.
MAX_DICTIONARY_BYTES: Final = 1024 * 1024


class Dictionary(NamedTuple):
    """The series of a message. `good`: all names are fine. `unique`: none comes twice."""

    series: tuple[Series, ...]
    good: bool
    unique: bool


class SeriesMemory:
    """Series whose names are fine."""

    def __init__(self) -> None:
        self._good: dict[tuple[str, str], Series] = {}

    def __len__(self) -> int:
        return len(self._good)

    def series_of(self, pairs: Collection[tuple[str, str]]) -> tuple[tuple[Series, ...], bool]:
        """The series of (server, tool) pairs of text, and whether all names are fine."""
        try:
            return tuple(map(self._good.__getitem__, pairs)), True
        except KeyError:
            pass
        met = [self._good.get(pair) or Series(*pair) for pair in pairs]
        # Each of them is met, whatever the others are.
        good = [self._is_good(series) for series in met]
        return tuple(met), all(good)

    def _is_good(self, series: Series) -> bool:
        if series in self._good:
            return True
        if series_fault(series) is not None:
            return False
        if len(series.server) + len(series.tool) <= MAX_NAMES_CHARS:
            if len(self._good) >= MAX_SERIES:
                self._good.clear()
            self._good[series] = series
        return True


class DictionaryMemory:
    """Packed dictionaries of batches and what they say; those that came first go first."""

    def __init__(self, series: SeriesMemory) -> None:
        self._series = series
        self._met: dict[bytes, Dictionary] = {}
        self.size_bytes = 0

    def dictionary_of(self, packed: Raw) -> Dictionary:
        """What a batch's packed `dictionary` says.

        Raises: BatchError, perfmon.wire.MalformedFrame when it is no list of pairs of text.
        """
        key = bytes(packed)
        known = self._met.get(key)
        if known is None:
            series, good = self._series.series_of(batch.dictionary_of(unpack(key)))
            known = Dictionary(series, good, len(set(series)) == len(series))
            self._remember(key, known)
        return known

    def _remember(self, key: bytes, met: Dictionary) -> None:
        if len(key) > MAX_DICTIONARY_BYTES // 2:
            return
        self._met[key] = met
        self.size_bytes += len(key)
        while self.size_bytes > MAX_DICTIONARY_BYTES:
            oldest = next(iter(self._met))
            del self._met[oldest]
            self.size_bytes -= len(oldest)


_SERIES: Final = SeriesMemory()
_DICTIONARIES: Final = DictionaryMemory(_SERIES)

series_of = _SERIES.series_of
dictionary_of = _DICTIONARIES.dictionary_of
