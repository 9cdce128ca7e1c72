"""What the failures of a range say, read from the ends of the JSONL files, newest day first.

Bounded in bytes, so that a report stays quick: the newest failures are read, older ones may be left out. Anything that cannot be
read gives no messages, never a failed report.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from perfmon.paths import DataDirectory
from services.reporter.core.answers import ErrorGroup
from services.reporter.core.messages import Said, grouped
from services.reporter.core.model import Range
from shared.timespan import BadTime, parse_iso

#: Bytes read from the end of each file, and of all files for one report.
TAIL_BYTES: Final = 1024 * 1024
REPORT_BYTES: Final = 4 * 1024 * 1024
#: Failures read of one tool.
MAX_FAILURES: Final = 2_000
#: Days looked at, newest first: metrics are kept for a day or two.
MAX_DAYS_MS: Final = 7 * 86_400_000

_FAILED: Final = b'"success":false'


def read_messages(data: DataDirectory, span: Range, tools: Iterable[tuple[str, str]]) -> list[ErrorGroup]:
    """Messages of these (server, tool) pairs, grouped, in the order of the tools."""
    # Loaded with the first report: numpy and msgspec come with it, which an idle reporter does without.
    from shared.store.raw import metric_files

    left, found = REPORT_BYTES, []
    start_ms = max(span.start_ms, span.end_ms - MAX_DAYS_MS)
    for server, tool in tools:
        try:
            files = [*metric_files(data.metrics, start_ms, span.end_ms, server, tool)]
        except (OSError, ValueError):
            continue
        said: list[Said] = []
        for path in reversed(files):
            if left <= 0 or len(said) >= MAX_FAILURES:
                break
            tail = _tail(path, min(TAIL_BYTES, left))
            left -= len(tail)
            said += _failures(tail, span, (server, tool))
        found += grouped(server, tool, said[:MAX_FAILURES])
    return found


def _tail(path: Path, size_bytes: int) -> bytes:
    """The last whole lines of a file; empty when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        end = os.fstat(descriptor).st_size
        file.seek(max(0, end - size_bytes))
        data = file.read(size_bytes)
    first = 0 if end <= size_bytes else data.find(b"\n") + 1
    return data[first : data.rfind(b"\n") + 1]


def _failures(tail: bytes, span: Range, key: tuple[str, str]) -> Iterator[Said]:
    for line in reversed(tail.split(b"\n")):
        if _FAILED in line:
            said = _said(line, key)
            if said is not None and span.start_ms <= said.ts_ms < span.end_ms:
                yield said


def _said(line: bytes, key: tuple[str, str]) -> Said | None:
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or (row.get("mcpServer"), row.get("toolName")) != key:
            return None
        message, when = row.get("error"), row.get("timestamp")
        return Said(parse_iso(when), message) if isinstance(message, str) and isinstance(when, str) else None
    except (ValueError, RecursionError, BadTime):
        return None
