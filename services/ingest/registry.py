"""The registry of the JSONL files: which there are, and how much of each is the view's.

A file's bytes beyond its registered size are never served and are cut at the next start. Looks at files (`tree`) when they are
registered, restored and found shorter than they should be; the writing is `view`'s.

While one thread writes and enters what it wrote, another may call `enter`, `register` and `files`, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from services.ingest.core.lines import FileLines, files_of
from services.ingest.tree import MetricTree, adoptable
from shared.batch import Batch, Series
from shared.journal.writer import RegisteredFile
from shared.timespan import day_start, iso


@dataclass(slots=True)
class File:
    """One file as it is registered; `size` in bytes."""

    series: Series
    size: int
    lines: int
    first_ms: int | None
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The view at one moment: everything up to `seq` is in the files; `changed` since the last checkpoint."""

    seq: int
    changed: tuple[RegisteredFile, ...]


class FileRegistry:
    """Path below `metrics/` → `File`."""

    def __init__(self, tree: MetricTree) -> None:
        self._tree = tree
        self._log = structlog.get_logger()
        self._files: dict[str, File] = {}
        self._changed: set[str] = set()
        #: A file was found changed by somebody else, so its registered size is wrong: checkpoint soon.
        self.disturbed = False

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def files(self) -> dict[str, int]:
        """Every file below `metrics/` with its size."""
        return {path: file.size for path, file in list(self._files.items())}

    def series(self) -> dict[Series, str]:
        """Every series that has a file, with its path below a day's folder, without `.jsonl`."""
        return {file.series: path.partition("/")[2].removesuffix(".jsonl") for path, file in self._files.items()}

    def of_day(self, day: str) -> list[str]:
        """The registered files of a day.

        Raises: BadTime.
        """
        day_start(day)
        return [path for path in self._files if path.startswith(f"{day}/")]

    def registrations(self) -> list[RegisteredFile]:
        """Every file as a checkpoint would register it now."""
        return [self._registration(path) for path in self._files]

    def index(self, updated_ms: int) -> dict[str, Any]:
        """The seed's metrics index: day → server → tools, files, count, first and last timestamp."""
        days: dict[str, dict[str, Any]] = {}
        for path, file in sorted(self._files.items()):
            day = path.partition("/")[0]
            entry = days.setdefault(day, {}).setdefault(
                file.series.server,
                {"tools": [], "files": [], "count": 0, "firstTimestamp": None, "lastTimestamp": None},
            )
            entry["tools"].append(file.series.tool)
            entry["files"].append(f"metrics/{path}")
            entry["count"] += file.lines
            if file.first_ms is not None and file.last_ms is not None:
                first, last = iso(file.first_ms), iso(file.last_ms)
                entry["firstTimestamp"] = min(entry["firstTimestamp"] or first, first)
                entry["lastTimestamp"] = max(entry["lastTimestamp"] or last, last)
        return {"version": "1.0.0", "lastUpdated": iso(updated_ms), "index": days}

    # --- what comes and goes --------------------------------------------------------------------------------------

    def register(self, path: str, series: Series) -> RegisteredFile:
        """The registration of a file that is new to the view: what already lies there (someone put it there) is kept.

        Raises: OSError.
        """
        stock = self._tree.take_stock(path)
        return RegisteredFile(path, stock.size, stock.lines, stock.first_ms, stock.last_ms, series.server, series.tool)

    def new_of(self, batch: Batch) -> list[RegisteredFile]:
        """The registrations that a placed batch needs before it is committed.

        Raises: OSError.
        """
        return [self.register(path, series) for path, series in files_of(batch) if path not in self]

    def enter(self, files: Iterable[RegisteredFile]) -> None:
        """Take committed registrations of files that are new."""
        for file in files:
            self._files.setdefault(file.path, _file(file))

    def restore(self, file: RegisteredFile) -> RegisteredFile | None:
        """Take a registered file back after a start: cut what is beyond its size; never create it. What its registration
        must be changed to, when the file is shorter than that or gone. One that can't be opened is cut before it is written.
        """
        self._files[file.path] = _file(file)
        try:
            kept = self._tree.cut(file.path, file.size)
        except OSError as error:
            self._log.error("metric_file_not_cut", file=file.path, reason=str(error))
            return None
        if kept == file.size:
            return None
        self._log.error("metric_file_shorter", file=file.path, registered=file.size, found=kept)
        self._restock(file.path)
        return self._registration(file.path)

    def adopt(self) -> list[RegisteredFile]:
        """Register every file there is, as it lies (a torn last line is cut): for a journal that knows none of them.

        Raises: OSError.
        """
        self._files = {}
        for path in self._tree.existing():
            stock = self._tree.take_stock(path)
            series = adoptable(path, stock)
            if series is None:
                self._log.warning("metric_file_passed_over", file=path, reason="no line in it belongs there")
                continue
            self._files[path] = File(series, stock.size, stock.lines, stock.first_ms, stock.last_ms)
        return self.registrations()

    def forget(self, path: str) -> None:
        """Take a file out."""
        del self._files[path]
        self._changed.discard(path)

    # --- writing --------------------------------------------------------------------------------------------------

    def of(self, lines: FileLines) -> File:
        """The file that lines are for."""
        file = self._files.get(lines.path)
        if file is None:
            # Only a damaged journal has entries whose files it does not know.
            file = self._files[lines.path] = _file(self.register(lines.path, lines.series))
        return file

    def written(self, lines: FileLines, size: int) -> None:
        """Lines were appended to their file, which has this size now."""
        file = self._files[lines.path]
        file.size = size
        file.lines += lines.lines
        file.first_ms = lines.first_ms if file.first_ms is None else min(file.first_ms, lines.first_ms)
        file.last_ms = lines.last_ms if file.last_ms is None else max(file.last_ms, lines.last_ms)
        self._changed.add(lines.path)

    def found_shorter(self, path: str, size: int) -> None:
        """A file lost bytes by somebody else's hand: it is registered as it lies."""
        self._log.error("metric_file_shorter", file=path, registered=self._files[path].size, found=size)
        self._restock(path)
        self.disturbed = True

    def snapshot(self, seq: int) -> Snapshot:
        """What the next checkpoint is to say of files that hold everything up to `seq`."""
        changed = tuple(self._registration(path) for path in self._changed)
        self._changed = set()
        self.disturbed = False
        return Snapshot(seq, changed)

    def put_back(self, snapshot: Snapshot) -> None:
        """The checkpoint of this snapshot was not made."""
        self._changed.update(file.path for file in snapshot.changed if file.path in self._files)

    def _restock(self, path: str) -> None:
        file, stock = self._files[path], self._tree.take_stock(path)
        file.size, file.lines, file.first_ms, file.last_ms = stock.size, stock.lines, stock.first_ms, stock.last_ms
        self._changed.add(path)

    def _registration(self, path: str) -> RegisteredFile:
        file = self._files[path]
        return RegisteredFile(
            path, file.size, file.lines, file.first_ms, file.last_ms, file.series.server, file.series.tool
        )


def _file(file: RegisteredFile) -> File:
    return File(Series(file.server, file.tool), file.size, file.lines, file.first_ms, file.last_ms)
