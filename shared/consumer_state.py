"""What a consumer of the journal keeps, and what it is given: the contract between `shared.consumer` and each service's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from shared.batch import Batch


class Position(NamedTuple):
    """A place in the journal: everything up to and including `seq` of this epoch."""

    epoch: str
    seq: int


class Entry(NamedTuple):
    """One committed batch with its place and the time of its commit; or several, with the place and time of the last."""

    epoch: str
    seq: int
    committed_ms: int
    batch: Batch


class StateNotSaved(RuntimeError):
    """A state could not be persisted. Unless the disk is full this ends the service: what a failed sync left is unknown."""


class StoreSnapshot(NamedTuple):
    """The JSONL store at one moment: the files below `metrics/`, up to these sizes, hold everything up to `position`."""

    position: Position
    sizes: Mapping[str, int]


class ConsumerState(Protocol):
    """What a consumer keeps. `apply` need not be transactional: after a failure `load` replaces everything in memory."""

    def load(self) -> Position | None:
        """Read the persisted state into memory; its place, None when there is none yet."""

    def apply(self, entry: Entry, now_ms: int, live: bool) -> bool:
        """Fold an entry in; `live` is False while catching up. True: save before going on."""

    def save(self, position: Position) -> None:
        """Persist state and place in one atomic, fsynced write."""

    def saved(self, now_ms: int) -> None:
        """Act on what is on disk now: write views, tell others."""

    def rebuild(self, store: StoreSnapshot, reason: str) -> None:
        """Build the state anew from the JSONL store, reading each file no further than the snapshot says: what is behind it
        comes again from the journal.
        """

    def tick(self, now_ms: int) -> bool:
        """Clock work, about once a second. True: save now."""
