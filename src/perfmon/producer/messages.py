"""One message: what of the recorded rows travels in it, as columns if all of them fit, else as rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from perfmon.producer.columns import Block, of_rows
from perfmon.producer.rows import Row, build_rows
from perfmon.wire import Kind, write_message

#: Rows from which columns are cheaper than maps, for both ends.
BATCH_FROM_ROWS: Final = 16


class Message(NamedTuple):
    """A message without its number. `reasons`: recorded rows that cannot travel, by why not; the first one's comes first."""

    kind: Kind
    fields: dict[str, Any]
    rows: int
    reasons: Mapping[str, int] = MappingProxyType({})

    @property
    def rejected(self) -> int:
        """Rows that cannot travel."""
        return sum(self.reasons.values())

    @property
    def reason(self) -> str | None:
        """Why the first of them cannot."""
        return next(iter(self.reasons), None)

    def frame(self, producer: str | None, seq: int) -> bytes:
        """The bytes; without producer and sequence when there is no producer."""
        return write_message(self.kind, self.fields, producer=producer, seq=None if producer is None else seq)


def build_message(taken: Sequence[Row] | Block) -> Message:
    """The message of what was taken from the buffer."""
    if isinstance(taken, Block):
        return Message(Kind.BATCH, taken.fields, taken.rows)
    if len(taken) >= BATCH_FROM_ROWS:
        columns = of_rows(taken)
        if columns is not None:
            return Message(Kind.BATCH, columns, len(taken))
    kept, reasons = build_rows(taken)
    return Message(Kind.ROWS, {"rows": kept}, len(kept), reasons)
