"""Append lines to a JSONL file of which this process is the only writer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from perfmon.plain_file import make_way, separate

#: Bytes read at once when a torn line's beginning is looked for, from the end on.
TAIL_BYTES: Final = 1024 * 1024


def append_lines(path: Path, lines: Iterable[bytes], *, sync: bool = True) -> int:
    """Append lines (without their newline) and sync; a torn last line of an earlier crash is cut off first. 0600; what stands in
    the place of a file (a link, a folder, a pipe) is moved aside, a file with a second name copied first. The file's new size.

    Raises: OSError; what was written of the lines is cut off again if it can be.
    """
    make_way(path)
    descriptor = _open_own(path)
    try:
        size = repaired_size(descriptor)
        os.lseek(descriptor, size, os.SEEK_SET)
        data = memoryview(b"".join(line + b"\n" for line in lines))
        written = size + len(data)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            if sync:
                os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        return written
    finally:
        os.close(descriptor)


def _open_own(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return separate(descriptor, path.name, folder)
    finally:
        os.close(folder)


def repaired_size(descriptor: int) -> int:
    """Cut a torn last line off an open file; its size after that."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    end, kept = size, 0
    while end > 0 and not kept:
        start = max(0, end - TAIL_BYTES)
        kept = start + os.pread(descriptor, end - start, start).rfind(b"\n") + 1
        if kept == start:
            kept, end = 0, start
    os.ftruncate(descriptor, kept)
    return kept
