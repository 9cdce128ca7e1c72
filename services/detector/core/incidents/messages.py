"""What failing calls said lately, by class: a message without its numbers and quoted parts.

Owns a small memory of the latest failures of the series that failed last. It is no part of the durable state: after a restart
it is learned anew, and what an event's evidence holds stays. Bounded in series, failures and classes, and in work a batch.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Final

from shared.batch import Batch, Series

#: Series whose failures are remembered, failures and classes of each.
MAX_SERIES: Final = 1_000
MAX_FAILURES: Final = 64
MAX_CLASSES: Final = 16
#: Messages that are read of one batch; of more, every so many-th.
MAX_OF_BATCH: Final = 128
MAX_CLASS_CHARS: Final = 100
#: Classes that are named of an event.
NAMED: Final = 3

_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8,}|[0-9]+(?:[.:,\-][0-9]+)*")
_QUOTED = re.compile(r"\"[^\"]{0,200}\"|'[^']{0,200}'|`[^`]{0,200}`")


@dataclass(frozen=True, slots=True)
class Said:
    """A class of messages during an event. `new`: never seen of this tool before it began."""

    message: str
    count: int
    of: int
    new: bool


def class_of(message: str) -> str:
    """The message without what differs from one call to the next."""
    return " ".join(_VARIABLE.sub("#", _QUOTED.sub("…", message[:400])).split())[:MAX_CLASS_CHARS]


class _Failures:
    __slots__ = ("first_ms", "latest")

    def __init__(self) -> None:
        self.latest: deque[tuple[int, str]] = deque(maxlen=MAX_FAILURES)
        self.first_ms: OrderedDict[str, int] = OrderedDict()

    def note(self, ts_ms: int, said: str) -> None:
        self.first_ms[said] = min(ts_ms, self.first_ms.pop(said, ts_ms))
        if len(self.first_ms) > MAX_CLASSES:
            self.first_ms.popitem(last=False)
        self.latest.append((ts_ms, said))


class Messages:
    """The latest failures by series, the series that failed last at the end."""

    def __init__(self) -> None:
        self._of: OrderedDict[Series, _Failures] = OrderedDict()

    def note(self, batch: Batch) -> None:
        """Take in the messages of a batch, a fair part of them if they are many."""
        if not batch.errors:
            return
        rows = list(batch.errors.items())
        for row, message in rows[:: -(-len(rows) // MAX_OF_BATCH)]:
            said = class_of(message)
            if said:
                self._failures(batch.dictionary[int(batch.codes[row])]).note(int(batch.ts[row]), said)

    def during(self, series: Series, start_ms: int, end_ms: int) -> list[Said]:
        """What failing calls of a series said in a span, most frequent first."""
        failures = self._of.get(series)
        if failures is None:
            return []
        seen = Counter(said for ts_ms, said in failures.latest if start_ms <= ts_ms <= end_ms)
        total = sum(seen.values())
        return [
            Said(said, count, total, failures.first_ms.get(said, start_ms) >= start_ms)
            for said, count in seen.most_common(NAMED)
        ]

    def _failures(self, series: Series) -> _Failures:
        found = self._of.get(series)
        if found is None:
            found = self._of[series] = _Failures()
            if len(self._of) > MAX_SERIES:
                self._of.popitem(last=False)
        self._of.move_to_end(series)
        return found


def as_map(said: Said) -> dict[str, Any]:
    """Plain values for answers and the database."""
    return {"message": said.message, "count": said.count, "of": said.of, "new": said.new}


def said_in(evidence: dict[str, Any]) -> list[Said]:
    """What an event's evidence holds of it; what cannot be read is passed over."""
    kept = evidence.get("said")
    rows = [one for one in kept if isinstance(one, dict)] if isinstance(kept, list) else []
    return [
        Said(one["message"], one["count"], one["of"], one.get("new") is True)
        for one in rows
        if isinstance(one.get("message"), str) and type(one.get("count")) is int and type(one.get("of")) is int
    ]
