"""What a recovery is held against: the calls that are in the files after it, and ways to damage a file before it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.kit import stored
from tests.kit.ingest_store import IngestStore, durations

FILE = "2025-10-31/files/read.jsonl"


def after_crash(store: IngestStore, target: Path, **settings: Any) -> list[float]:
    """The durations in the files after a recovery of a copy, which is left behind recovered and closed."""
    again = IngestStore(store.crashed_copy(target), **settings)
    assert again.view.seq == again.journal.head
    found = durations(stored(again.data))
    assert {
        path: (again.data.metrics / path).stat().st_size for path in again.view.registry.files()
    } == again.view.registry.files()
    again.close()
    return found


def delete(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def empty(path: Path) -> None:
    os.truncate(path, 0)
