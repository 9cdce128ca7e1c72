"""The folder `metrics/`: its files opened, cut, counted and removed, never through a link.

Owns `DATE/SERVER/TOOL.jsonl` on the disk. What stands in the way of a file of ours (a link, a folder, a file where a folder
belongs) is moved aside next to it, so that one planted name never holds up the others; a file with a second name is copied
first. Knows nothing of batches or of what the journal has registered (`view`).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from perfmon.plain_file import separate
from services.ingest.core.validation import series_fault
from shared.batch import Series
from shared.names import path_stem, twin_stem
from shared.store.appends import repaired_size
from shared.timespan import BadTime, parse_iso

#: Files at which one sync of the whole file system is cheaper than one a file.
SYNC_EACH_BELOW: Final = 32

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_SYNC_FILE_RANGE_WRITE: Final = 2

_PART = r"[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]{0,249}"
_PATH = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}/{_PART}/{_PART}\.jsonl")
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def is_metric_path(path: str) -> bool:
    """Whether a path below `metrics/` is one of ours: a journal that came with someone's clone may name others."""
    return _PATH.fullmatch(path) is not None


class Stock(NamedTuple):
    """What is in a file: bytes, lines, first and last timestamp, the names in its first readable line."""

    size: int
    lines: int
    first_ms: int | None
    last_ms: int | None
    series: Series | None


EMPTY: Final = Stock(0, 0, None, None, None)


class MetricTree:
    """The files below one folder. Paths are relative to it and must be `is_metric_path`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = structlog.get_logger()

    def open(self, path: str) -> int:
        """A descriptor for reading and writing; what is missing is made 0700 and 0600.

        Raises: OSError.
        """
        day, server, name = path.split("/")
        root = os.open(self.root, _FOLDER_FLAGS)
        try:
            day_folder = self._folder(day, root)
            try:
                server_folder = self._folder(server, day_folder)
                try:
                    return self._file(name, server_folder)
                finally:
                    os.close(server_folder)
            finally:
                os.close(day_folder)
        finally:
            os.close(root)

    def open_existing(self, path: str) -> int | None:
        """A descriptor for reading and writing; None when there is no such file, or a link on the way to it.

        Raises: OSError when there is one that can't be opened.
        """
        folder = self.root
        for part in path.split("/")[:-1]:
            folder = folder / part
            if not _is(folder, stat.S_ISDIR):
                return None
        if not _is(self.root / path, stat.S_ISREG):
            return None
        parent = os.open(folder, _FOLDER_FLAGS)
        try:
            return separate(os.open(self.root / path, _FILE_FLAGS), path.rsplit("/", 1)[-1], parent)
        finally:
            os.close(parent)

    def existing(self) -> Iterator[str]:
        """The path of every file of ours there is."""
        for path in sorted(self.root.glob("????-??-??/*/*.jsonl")):
            relative = str(path.relative_to(self.root))
            parents = (path.parent.parent, path.parent)
            if is_metric_path(relative) and _is(path, stat.S_ISREG) and all(_is(p, stat.S_ISDIR) for p in parents):
                yield relative

    def take_stock(self, path: str) -> Stock:
        """What is in a file, after a torn last line is cut; EMPTY when there is none.

        Raises: OSError.
        """
        descriptor = self.open_existing(path)
        if descriptor is None:
            return EMPTY
        with os.fdopen(descriptor, "rb") as file:
            stock = EMPTY._replace(size=repaired_size(descriptor))
            for line in file:
                stock = _with_line(stock, line)
            return stock

    def cut(self, path: str, size: int) -> int:
        """Cut a file to a size; the size it has then: smaller when the file was shorter, ended in no whole line there (its end
        became NULs, say) or was missing.

        Raises: OSError.
        """
        descriptor = self.open_existing(path)
        if descriptor is None:
            return 0
        try:
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, size)
            return repaired_size(descriptor)
        finally:
            os.close(descriptor)

    def sync(self, paths: Iterable[str]) -> None:
        """Make files and their names durable; what is gone is passed. May run in another thread.

        Raises: OSError.
        """
        listed = list(paths)
        if len(listed) >= SYNC_EACH_BELOW and _sync_file_system(self.root):
            return
        folders = {self.root}
        for path in listed:
            file = self.root / path
            _fsync(file, os.O_RDONLY)
            folders |= {file.parent, file.parent.parent}
        for folder in folders:
            _fsync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def remove_day(self, day: str) -> tuple[int, int]:
        """Remove a day's folder; files and bytes that went. Links are removed, not followed.

        Raises: OSError; what was removed until then is gone.
        """
        folder = self.root / day
        if folder.is_symlink():
            folder.unlink()
        if not folder.is_dir():
            return 0, 0
        sizes = [path.lstat().st_size for path in folder.rglob("*") if not _is(path, stat.S_ISDIR)]
        shutil.rmtree(folder)
        return len(sizes), sum(sizes)

    def _folder(self, name: str, parent: int) -> int:
        try:
            found = _open_folder(name, parent)
        except NotADirectoryError:
            self._move_aside(name, parent)
            found = _open_folder(name, parent)
        if stat.S_IMODE(os.fstat(found).st_mode) & 0o077:
            os.fchmod(found, 0o700)
        return found

    def _file(self, name: str, parent: int) -> int:
        flags = _FILE_FLAGS | os.O_CREAT
        try:
            found = os.open(name, flags, 0o600, dir_fd=parent)
            if stat.S_ISREG(os.fstat(found).st_mode):
                return separate(found, name, parent)
            os.close(found)
        except OSError:
            if stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise
        self._move_aside(name, parent)
        return os.open(name, flags, 0o600, dir_fd=parent)

    def _move_aside(self, name: str, parent: int) -> None:
        taken = set(os.listdir(parent))
        number = next(n for n in range(1, len(taken) + 2) if f"{name}.set-aside-{n}" not in taken)
        aside = f"{name}.set-aside-{number}"
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
        self._log.error("metric_path_was_in_the_way", moved=name, to=aside)


def adoptable(path: str, stock: Stock) -> Series | None:
    """The series that a file found in the store belongs to: its lines name one whose file this is; None for any other."""
    series = stock.series
    if series is None or series_fault(series) is not None:
        return None
    _, server, name = path.split("/")
    tool = name.removesuffix(".jsonl")
    fits = server in _stems(series.server) and tool in _stems(series.tool)
    return series if fits else None


def _stems(name: str) -> tuple[str, str]:
    return path_stem(name), twin_stem(name)


def _with_line(stock: Stock, line: bytes) -> Stock:
    lines = stock.lines + 1
    try:
        record = json.loads(line)
        ts = parse_iso(record["timestamp"])
        series = stock.series or Series(str(record["mcpServer"]), str(record["toolName"]))
    except (ValueError, KeyError, TypeError, BadTime, RecursionError):
        return stock._replace(lines=lines)
    first = ts if stock.first_ms is None else min(ts, stock.first_ms)
    last = ts if stock.last_ms is None else max(ts, stock.last_ms)
    return Stock(stock.size, lines, first, last, series)


def _open_folder(name: str, parent: int) -> int:
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, 0o700, dir_fd=parent)
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except OSError as error:
        # A link is ELOOP on some systems and ENOTDIR on others; both mean that no folder of ours stands there.
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise
        raise NotADirectoryError(error.errno, error.strerror, name) from error


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    # Only what is not there is not there: a folder that can't be entered must not look like an empty one.
    try:
        return kind(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _fsync(path: Path, flags: int) -> None:
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_sync(descriptor: int, offset: int, size: int) -> None:
    """Have the kernel start to write these bytes out, so that the sync of a checkpoint finds little left: it would hold up the
    journal's commits. Where there is no sync_file_range(2), or it fails, that sync does it all.
    """
    if hasattr(_LIBC, "sync_file_range"):
        _LIBC.sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


def _sync_file_system(path: Path) -> bool:
    """syncfs(2); False where there is none."""
    if not hasattr(_LIBC, "syncfs"):
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return True
    finally:
        os.close(descriptor)
