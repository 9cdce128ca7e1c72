"""Files whose every byte is replaced: temp file, sync, rename; readers see the old or the new one, never a part."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

from perfmon.paths import UnsafeDirectory
from perfmon.plain_file import make_way, read_plain

#: No JSON file of a data directory that is read whole is larger.
MAX_JSON_BYTES: Final = 64 * 1024 * 1024


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file's content durably; 0600. A folder in its place is moved aside.

    Raises: OSError, after which the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        make_way(path)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file durably; strict JSON, so NaN raises ValueError."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    write_atomic(path, text.encode("utf-8", "backslashreplace") + b"\n")


def read_json(path: Path) -> Any | None:
    """The value in a JSON file; None when it is missing, no plain file, too large, unreadable or not JSON."""
    try:
        return json.loads(read_plain(path, MAX_JSON_BYTES))
    except (OSError, UnsafeDirectory, ValueError, RecursionError):
        return None


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
