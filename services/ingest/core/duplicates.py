"""What has been stored before: producers' sequences and call ids.

A producer may send a message again after a time-out; the pair (producer, seq) is stored once. The bitmap below the highest
sequence lets messages arrive out of order, so that one lost in a crash is taken when it comes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final, NamedTuple

#: Sequences below a producer's highest that are told apart; a producer has far fewer messages in flight.
WINDOW: Final = 1_024

_MASK: Final = (1 << WINDOW) - 1


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
        self._places: dict[str, Place] = {}
        self._staged: dict[str, Place] = {}

    def restore(self, producer: str, seq: int, seen: bytes, at_ms: int) -> None:
        """Take back a place from the journal."""
        self._places[producer] = Place(seq, int.from_bytes(seen, "little") & _MASK, at_ms)

    def look_up(self, producer: str, seq: int) -> Seen:
        """Whether this message was stored or is staged."""
        place = self.place(producer)
        return Seen.NEW if place is None else place.knows(seq)

    def place(self, producer: str) -> Place | None:
        """What is known of a producer."""
        return self._staged.get(producer) or self._places.get(producer)

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
        self._places.update(self._staged)
        self._staged = {}

    def roll_back(self) -> None:
        """What was staged was not stored."""
        self._staged = {}

    def prune(self, keep: int) -> None:
        """Keep at most `keep` producers: those silent the longest go, with a tenth to spare so that it is seldom done."""
        if len(self._places) > keep:
            by_age = sorted(self._places, key=lambda name: self._places[name].at_ms)
            for name in by_age[: len(self._places) - (keep - keep // 10)]:
                del self._places[name]

    def __len__(self) -> int:
        return len(self._places)


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
