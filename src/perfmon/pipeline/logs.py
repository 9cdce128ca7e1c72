"""The last lines of a log, for telling why something did not start. Log text is untrusted: control characters are shown."""

from __future__ import annotations

import os
import re
import stat
from itertools import groupby
from pathlib import Path
from typing import Final

#: Lines shown of a log, and bytes read for them.
TAIL_LINES: Final = 8
_TAIL_BYTES: Final = 16_384
#: Characters of one line.
_LINE_CHARS: Final = 300

_TIME: Final = re.compile(r"^timestamp=\S+ ")


def tail(path: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a file; none when it cannot be read or is no plain file. Blank lines and repetitions (at
    whatever time) are left out.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return []
    with os.fdopen(descriptor, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        text = file.read(_TAIL_BYTES).decode(errors="replace")
    runs = groupby(text.splitlines(), key=lambda line: _TIME.sub("", line))
    found = [next(same) for said, same in runs if said.strip()]
    return [_printable(line) for line in found[-lines:]]


def _printable(line: str) -> str:
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line[: _LINE_CHARS + 1])
    return shown if len(shown) <= _LINE_CHARS else shown[:_LINE_CHARS] + "…"
