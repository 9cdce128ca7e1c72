"""Error messages grouped by what they say: figures, ids and addresses in memory left aside.

Pure. Shows the newest message of each group; counts what was read, which may be less than all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from services.reporter.core.answers import ErrorGroup

#: Groups kept of each tool: beyond these, rarer messages are left out.
MAX_GROUPS: Final = 5
#: Characters that tell messages apart.
FINGERPRINT_CHARS: Final = 200

_VARYING: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+|\b[0-9a-f]{12,}\b|\d+", re.IGNORECASE
)


class Said(NamedTuple):
    """One failure: when, and its message."""

    ts_ms: int
    message: str


def fingerprint(message: str) -> str:
    """What messages of one cause share: ids, hexadecimal numbers and figures as `#`, blanks as one."""
    return " ".join(_VARYING.sub("#", message[: 4 * FINGERPRINT_CHARS]).split())[:FINGERPRINT_CHARS]


def grouped(server: str, tool: str, failures: Iterable[Said]) -> list[ErrorGroup]:
    """The failures of one tool by what they say, most frequent first; those without a message are left out."""
    groups: dict[str, list[Said]] = {}
    for failure in failures:
        if failure.message.strip():
            groups.setdefault(fingerprint(failure.message), []).append(failure)
    found = [
        ErrorGroup(
            server,
            tool,
            max(said, key=lambda one: one.ts_ms).message,
            len(said),
            min(one.ts_ms for one in said),
            max(one.ts_ms for one in said),
        )
        for said in groups.values()
    ]
    return sorted(found, key=lambda group: (-group.count, group.message))[:MAX_GROUPS]
