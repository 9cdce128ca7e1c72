"""Reports on disk, and the memory of the last one.

Each report is a file of its own in `reports/`, 0600, written whole and never over another; the last answer is kept in the state
directory, so that it is known after a restart. Decides nothing about what is in a report.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from perfmon.paths import DataDirectory
from services.reporter.core.model import EXTENSIONS, FORMATS, Format, Range
from shared.store.atomic import read_json, write_atomic, write_json
from shared.timespan import iso

#: Names that are tried before giving up.
ATTEMPTS: Final = 20


class ReportFiles:
    """The `reports/` room of one data directory."""

    def __init__(self, data: DataDirectory) -> None:
        self._folder = data.reports
        self._memory = data.state / "latest-report.json"

    def write(self, text: str, wanted: Format, span: Range, now_ms: int) -> tuple[str, dict[str, Any]]:
        """Write a report to a new file; its path, and its digest {sha256, bytes}. It is on disk when this returns.

        Raises: OSError.
        """
        data = text.encode("utf-8", "backslashreplace")
        path = self._reserve(
            f"report-{span.period}-{_stamp(span.start_ms)}-{_stamp(span.end_ms)}-{_stamp(now_ms)}", wanted
        )
        try:
            write_atomic(path, data)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return str(path), digest(data)

    def remember(self, answer: Mapping[str, Any]) -> None:
        """Keep an answer as the last one.

        Raises: OSError.
        """
        write_json(self._memory, dict(answer))

    def latest(self) -> dict[str, Any] | None:
        """The last answer; None when there is none or its file has gone."""
        found = read_json(self._memory)
        if not isinstance(found, dict) or found.get("format") not in FORMATS:
            return None
        name = found.get("path")
        return found if isinstance(name, str) and self._is_ours(Path(name)) else None

    def _reserve(self, stem: str, wanted: Format) -> Path:
        for _ in range(ATTEMPTS):
            path = self._folder / f"{stem}-{secrets.token_hex(3)}.{EXTENSIONS[wanted]}"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            os.close(descriptor)
            return path
        raise FileExistsError(f"no free name for {stem}")

    def _is_ours(self, path: Path) -> bool:
        try:
            return path.parent == self._folder and stat.S_ISREG(path.lstat().st_mode)
        except (OSError, ValueError):
            return False


def digest(data: bytes) -> dict[str, Any]:
    """What tells one file from another."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _stamp(ts_ms: int) -> str:
    """`20251031T130000Z`."""
    return iso(ts_ms)[:19].replace("-", "").replace(":", "") + "Z"
