"""How many calls each fault really met: it is planned by the calls to be expected, and chance may send fewer.

Owns that count, from the calls as they are drawn. A fault that met too few calls to be seen by anybody is nobody's to find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from bench.detection.calls import Step
from bench.detection.faults import DROP, FEWEST_CALLS, SERVER, SILENCE, Fault
from shared.batch import Batch, Series

#: Faults that are seen by the calls that do not come, and those of many tools.
_WITHOUT_CALLS: Final = (DROP, SILENCE, SERVER)


class Met:
    """Counts the calls that faults meet."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._calls = {fault: 0 for fault in faults if fault.kind.kind not in _WITHOUT_CALLS}

    def count(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps, counted as they pass."""
        for step in steps:
            self._note(step.batch)
            yield step

    def _note(self, batch: Batch) -> None:
        if not len(batch):
            return
        first_ms, last_ms = int(batch.ts[0]), int(batch.ts[-1])
        for fault in self._calls:
            if fault.start_ms <= last_ms and fault.end_ms > first_ms:
                code = batch.dictionary.index(Series(fault.server, fault.tool))
                its = batch.ts[batch.codes == code]
                self._calls[fault] += int(np.count_nonzero((its >= fault.start_ms) & (its < fault.end_ms)))

    def calls(self, fault: Fault) -> int:
        """How many of its tool came while it lasted, so far."""
        return self._calls[fault]

    def enough(self, fault: Fault) -> bool:
        """Whether a fault met calls to be seen by."""
        return self._calls.get(fault, FEWEST_CALLS) >= FEWEST_CALLS
