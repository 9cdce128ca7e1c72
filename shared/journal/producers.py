"""Which producers are remembered, and how long: the same for the journal's table and for what ingest has in memory.

A producer may come back with a message whose acknowledgement it never heard, so one that wrote within the last day is not
forgotten to make room. Beyond `MAX_PRODUCERS` even such a one goes, the longest silent first; ingest counts those.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

#: Producers that are remembered at the most: some 40 MB (200 bytes each) in ingest, 16 MB of a journal's segment, and 1 s of
#: work when a segment is full.
MAX_PRODUCERS: Final = 200_000
#: So many are remembered whatever their age.
ALWAYS_KEPT: Final = 10_000
#: How long a producer is remembered from its last message on, while there are no more than `MAX_PRODUCERS`.
KEPT_MS: Final = 24 * 3_600_000

_KEPT: Final = """
SELECT producer, seq, seen, at_ms FROM producers ORDER BY at_ms DESC LIMIT min(?, max(?,
    (SELECT count(*) FROM producers WHERE at_ms >= (SELECT max(at_ms) FROM producers) - ?)))
"""


def kept(db: sqlite3.Connection) -> list[Any]:
    """The rows of a segment's table that its successor takes over, in its order: (producer, seq, seen, at_ms)."""
    return sorted(db.execute(_KEPT, (MAX_PRODUCERS, ALWAYS_KEPT, KEPT_MS)).fetchall())
