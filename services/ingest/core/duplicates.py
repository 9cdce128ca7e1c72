"""What has been stored before: producers' sequences and call ids.

A producer may send a message again after a time-out; the pair (producer, seq) is stored once. The bitmap below the highest
sequence lets messages arrive out of order, so that one lost in a crash is taken when it comes again.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

from shared.journal.producers import ALWAYS_KEPT, KEPT_MS, MAX_PRODUCERS

#: Sequences below a producer's highest that are told apart; a producer has far fewer messages in flight.
WINDOW: Final = 1_024

_MASK: Final = (1 << WINDOW) - 1

#: How often producers that were silent for long are looked for.
LOOK_AT_AGE_MS: Final = 600_000

#: A place's sequence and time.
_NUMBERS: Final = struct.Struct("<qq")


class Seen(Enum):
    """What is known of a sequence."""

    NEW = "new"
    STORED = "stored"
    TOO_OLD = "too_old"


class Place(NamedTuple):
    """What is stored of one producer: its highest sequence, `seen` bit k for sequence `seq - k`, when it last wrote."""

    seq: int
    seen: int
    at_ms: int

    def with_stored(self, seq: int, now_ms: int) -> Place:
        """The place once `seq` is stored too."""
        if seq <= self.seq:
            return Place(self.seq, self.seen | 1 << (self.seq - seq), now_ms)
        ahead = seq - self.seq
        return Place(seq, (self.seen << ahead) & _MASK | 1 if ahead < WINDOW else 1, now_ms)

    def knows(self, seq: int) -> Seen:
        """Whether a message of this sequence was stored."""
        if seq > self.seq:
            return Seen.NEW
        if self.seq - seq >= WINDOW:
            return Seen.TOO_OLD
        return Seen.STORED if self.seen >> (self.seq - seq) & 1 else Seen.NEW

    def cumulative(self) -> int:
        """The highest sequence up to which everything in the window is stored."""
        if self.seen == _MASK:
            return self.seq
        reach = min(self.seq, WINDOW)
        missing = ~self.seen & ((1 << reach) - 1)
        return self.seq if not missing else self.seq - missing.bit_length()

    def seen_bytes(self) -> bytes:
        """The bitmap, little-endian, for the journal."""
        return self.seen.to_bytes((self.seen.bit_length() + 7) // 8, "little")


class ProducerLedger:
    """Which sequences of which producers are stored. What is staged counts as stored until it is rolled back."""

    def __init__(self) -> None:
        self._places: dict[str, bytes] = {}
        self._staged: dict[str, Place] = {}
        self._age_looked_at_ms = 0
        #: Producers that were forgotten within `KEPT_MS` of their last message, as there were too many.
        self.forgotten_early_total = 0

    def restore(self, producer: str, seq: int, seen: bytes, at_ms: int) -> None:
        """Take back a place from the journal."""
        self._places[producer] = _packed(Place(seq, int.from_bytes(seen, "little") & _MASK, at_ms))

    def look_up(self, producer: str, seq: int) -> Seen:
        """Whether this message was stored or is staged."""
        place = self.place(producer)
        return Seen.NEW if place is None else place.knows(seq)

    def place(self, producer: str) -> Place | None:
        """What is known of a producer."""
        staged = self._staged.get(producer)
        if staged is not None:
            return staged
        packed = self._places.get(producer)
        return None if packed is None else _unpacked(packed)

    def stage(self, producer: str, seq: int, now_ms: int) -> None:
        """Count a sequence as stored, pending the commit."""
        known = self.place(producer)
        self._staged[producer] = Place(seq, 1, now_ms) if known is None else known.with_stored(seq, now_ms)

    @property
    def staged(self) -> dict[str, Place]:
        """The places that the commit is to write."""
        return self._staged

    def commit(self) -> None:
        """What was staged is on disk."""
        self._places.update((name, _packed(place)) for name, place in self._staged.items())
        self._staged = {}

    def roll_back(self) -> None:
        """What was staged was not stored."""
        self._staged = {}

    def prune(self, now_ms: int, *, always: int = ALWAYS_KEPT, most: int = MAX_PRODUCERS) -> None:
        """Forget, the longest silent first, those beyond `always` that were silent for `KEPT_MS`, and all beyond `most`.

        More than are due go at once, or they are looked for once in a while, so that it is seldom done.
        """
        count = len(self._places)
        aged = count > always and now_ms - self._age_looked_at_ms >= LOOK_AT_AGE_MS
        if count <= most and not aged:
            return
        self._age_looked_at_ms = now_ms
        by_age = sorted((_at_ms(packed), name) for name, packed in self._places.items())
        old = bisect_left(by_age, (now_ms - KEPT_MS, ""))
        going = max(min(old, count - always), count - (most - most // 10) if count > most else 0)
        self.forgotten_early_total += max(0, going - old)
        for _, name in by_age[:going]:
            del self._places[name]

    def __len__(self) -> int:
        return len(self._places)


# A place takes 50 bytes this way, in place of 300 as a tuple of numbers. What is missing below the highest sequence is usually
# nothing, which takes none.


def _packed(place: Place) -> bytes:
    missing = ~place.seen & ((1 << min(place.seq, WINDOW)) - 1)
    return _NUMBERS.pack(place.seq, place.at_ms) + missing.to_bytes((missing.bit_length() + 7) // 8, "little")


def _unpacked(packed: bytes) -> Place:
    seq, at_ms = _NUMBERS.unpack_from(packed)
    reach = (1 << min(seq, WINDOW)) - 1
    return Place(seq, ~int.from_bytes(packed[_NUMBERS.size :], "little") & reach, at_ms)


def _at_ms(packed: bytes) -> int:
    at_ms: int = _NUMBERS.unpack_from(packed)[1]
    return at_ms


def call_digest(call_id: str) -> bytes:
    """16 bytes that stand for a call id."""
    return hashlib.blake2b(call_id.encode(), digest_size=16).digest()


class CallIdMemory:
    """The call ids of the last hours, by the hour of their latest commit; the oldest hours go first when there are too many."""

    def __init__(self, hours: int, limit: int) -> None:
        self._hours = hours
        self._limit = limit
        self._hour_of: dict[bytes, int] = {}
        # An id that came again in a later hour stands in both, and goes with the later one.
        self._by_hour: dict[int, list[bytes]] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._hour_of

    def __len__(self) -> int:
        return len(self._hour_of)

    def add(self, hour: int, digests: Iterable[bytes]) -> None:
        """Remember digests as committed in an hour (epoch hours)."""
        fresh = {digest: hour for digest in digests if self._hour_of.get(digest, -1) < hour}
        self._hour_of.update(fresh)
        # An hour without one stands here too: it may have a file to be removed.
        self._by_hour.setdefault(hour, []).extend(fresh)

    def expire(self, hour: int) -> Iterator[int]:
        """Forget the hours that are too old at `hour`, and the oldest while there are too many; yields each.

        An hour is too old once its last moment is: an id is known for at least `hours`, for an hour more at the most.
        """
        for old in sorted(self._by_hour):
            if old >= hour - self._hours and len(self) <= self._limit:
                return
            for digest in self._by_hour.pop(old):
                if self._hour_of[digest] == old:
                    del self._hour_of[digest]
            yield old
