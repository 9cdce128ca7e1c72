"""Which entries are applied together: much of the work on a batch is the same however many rows it has.

Decides alone; `shared.consumer` receives and applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from shared.decoding import Body

#: Under load entries are applied this often, all that came in between at once: much of the work is per application.
GATHER_S: Final = 0.05
#: Bytes of entries that are applied at once, live or from the journal, unless one entry is larger.
GATHER_BYTES: Final = 8 * 1024 * 1024
#: Entries applied at once were committed within this time: their rows share the time of commit.
GATHER_SPAN_MS: Final = 1_000


class Waiting(NamedTuple):
    """An entry that was not applied yet; `body` is an encoded batch."""

    seq: int
    committed_ms: int
    body: Body


def in_groups(entries: Iterable[Waiting], goes_alone: Callable[[int], bool]) -> Iterator[list[Waiting]]:
    """The entries in order, those that may be applied at once together; one whose sequence `goes_alone` is by itself."""
    group: list[Waiting] = []
    size_bytes = 0
    for entry in entries:
        alone = goes_alone(entry.seq)
        if group and (alone or not _fits(entry, group[0], size_bytes)):
            yield group
            group, size_bytes = [], 0
        group.append(entry)
        size_bytes += len(entry.body)
        if alone:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group


def _fits(entry: Waiting, first: Waiting, size_bytes: int) -> bool:
    together = 0 <= entry.committed_ms - first.committed_ms <= GATHER_SPAN_MS
    return together and size_bytes + len(entry.body) <= GATHER_BYTES
