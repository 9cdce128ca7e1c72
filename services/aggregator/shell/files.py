"""The folders of aggregates: reads and writes the files of hours and days, and removes files of ours that are old.

Every access goes through a descriptor of the folder that was opened without following a link, so that nothing outside the data
directory can be read or removed, whatever lies where the folder should be.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from perfmon.paths import DataDirectory
from services.aggregator.core.aggregate_file import BadFile, decode_file, encode_file
from services.aggregator.core.block import Block
from services.aggregator.core.registry import Registry
from services.aggregator.core.retention import file_name, node_of
from services.aggregator.core.tiers import DAY, HOUR, Node
from shared.store.atomic import write_atomic

#: The largest file that is read: an hour of 10,000 series with 2,000 bins each.
MAX_FILE_BYTES: Final = 512 * 2**20


class AggregateFiles:
    """`aggregates/hourly` and `aggregates/daily` of one data directory."""

    def __init__(self, data: DataDirectory) -> None:
        self._folders = {HOUR: data.hourly, DAY: data.daily}
        self._log = structlog.get_logger()
        self.bad_files_total = 0
        self.skipped_objects_total = 0
        self.written_total = 0

    def read(self, node: Node, registry: Registry) -> Block | None:
        """The block in a file; None when there is none, or none that can be read."""
        data = read_file(self._folders[node.level], file_name(node), MAX_FILE_BYTES)
        if data is None:
            return None
        try:
            found = decode_file(data, node, registry)
        except BadFile as error:
            self.bad_files_total += 1
            self._log.warning("aggregate_unreadable", file=file_name(node), reason=str(error))
            return None
        if found.skipped:
            self.skipped_objects_total += found.skipped
            self._log.warning("aggregate_objects_passed_over", file=file_name(node), objects=found.skipped)
        return found.block

    def exists(self, node: Node) -> bool:
        """Whether an hour or day has a file."""
        return (self._folders[node.level] / file_name(node)).is_file()

    def write(self, node: Node, block: Block, registry: Registry) -> None:
        """Replace the file of an hour or day; it is on disk when this returns.

        Raises: OSError.
        """
        write_atomic(self._folders[node.level] / file_name(node), encode_file(node, block, registry))
        self.written_total += 1

    def nodes(self, level: int) -> list[Node]:
        """The hours or days that have a file, oldest first."""
        found = (node_of(name) for name in file_names(self._folders[level]))
        return sorted(node for node in found if node is not None and node.level == level)


def read_file(folder: Path, name: str, limit_bytes: int) -> bytes | None:
    """The bytes of a plain file; None when it is missing, a link, something else or too large."""
    try:
        with _opened(folder) as directory:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit_bytes:
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def file_names(folder: Path) -> list[str]:
    """The names of the plain files in a folder; none when it is a link or missing."""
    return [name for name, _ in files_with_times(folder)]


def files_with_times(folder: Path) -> list[tuple[str, int]]:
    """(name, time of the last change in epoch ms) of the plain files in a folder."""
    try:
        with _opened(folder) as directory, os.scandir(directory) as entries:
            plain = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
            return [(entry.name, entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000) for entry in plain]
    except OSError:
        return []


def folder_names(folder: Path) -> list[str]:
    """The names of the real folders in a folder."""
    try:
        with _opened(folder) as directory, os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def remove_files(folder: Path, choose: Callable[[Iterable[str]], list[str]]) -> tuple[int, int]:
    """Remove those plain files of a folder that are chosen from their names; how many and how many bytes."""
    chosen = choose(file_names(folder))
    files, size = 0, 0
    if not chosen:
        return 0, 0
    with _opened(folder) as directory:
        for name in chosen:
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    os.unlink(name, dir_fd=directory)
                    files, size = files + 1, size + found.st_size
            except FileNotFoundError:
                continue
    return files, size


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
