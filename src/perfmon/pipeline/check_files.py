"""`perfmon doctor` on files: the data directory, the sockets' directory, disk, clock, journal, metric files.

Each check finds one fact and says what to do when it is wrong. Only looks: makes and changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Final

from perfmon.paths import DataDirectory, user_cache_directory
from perfmon.pipeline.report import Check
from perfmon.plain_file import is_plain

#: Free disk under which writes will soon be refused, and under which a warning is due.
LITTLE_DISK_BYTES: Final = 64 * 1024 * 1024
SCARCE_DISK_BYTES: Final = 1024 * 1024 * 1024
#: The longest path of a unix socket.
MAX_SOCKET_PATH_BYTES: Final = 107
#: The longest name of a socket in the runtime directory, with the suffix that supervisord adds for a moment.
_LONGEST_SOCKET: Final = "supervisor.sock.4194304"
#: A journal larger than this has a consumer or a view that is behind.
LARGE_JOURNAL_BYTES: Final = 1024 * 1024 * 1024
#: No clock of a working machine shows a time before this.
EARLIEST_CLOCK_S: Final = 1_735_689_600  # 2025-01-01
#: What stands in the name of something that was in the way of a metric file.
SET_ASIDE: Final = ".set-aside-"
#: The newest files looked at for lines that are not JSON, and how much of each end.
_FILES_READ: Final = 50
_READ_BYTES: Final = 256 * 1024


def check_directory(data: DataDirectory) -> Check:
    """Ours, private, writable, no links."""
    if not data.root.exists():
        return Check("data directory", "warning", f"{data.root} does not exist yet", "`perfmon up` makes it")
    for folder in (data.root, data.state, data.locks, data.logs, data.journal, data.metrics, data.runtime):
        wrong = _wrong_with(folder)
        if wrong is not None:
            return Check("data directory", "problem", f"{folder} {wrong[0]}", wrong[1])
    return Check("data directory", "ok", str(data.root))


def check_disk(data: DataDirectory) -> Check:
    """Room for the journal and the files."""
    there = data.root if data.root.exists() else data.root.parent
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Check("disk", "problem", str(error), "choose a data directory on a mounted disk")
    found = f"{free / 1e9:.1f} GB free"
    if free < LITTLE_DISK_BYTES:
        return Check("disk", "problem", found, "free some space: metrics are about to be refused")
    if free < SCARCE_DISK_BYTES:
        return Check("disk", "warning", found, "free some space, or shorten the retention in config/settings.json")
    return Check("disk", "ok", found)


def check_runtime(data: DataDirectory) -> Check:
    """The sockets' directory is private and short enough."""
    longest = len(os.fsencode(data.runtime / _LONGEST_SOCKET))
    if longest > MAX_SOCKET_PATH_BYTES:
        return Check(
            "sockets", "problem", f"{data.runtime} is too long for a socket", "report this: it never should be"
        )
    if not data.runtime.exists():
        return Check("sockets", "ok", f"{data.runtime} (not made yet)")
    for folder in (data.runtime.parent, data.runtime):
        wrong = _wrong_with(folder)
        if wrong is not None:
            return Check("sockets", "problem", f"{folder} {wrong[0]}", wrong[1])
    return Check("sockets", "ok", str(data.runtime))


def check_clock(data: DataDirectory) -> Check:
    """The clock is not before this program, nor before the newest data."""
    now_s = time.time()
    if now_s < EARLIEST_CLOCK_S:
        return Check("clock", "problem", f"it shows {_day(now_s)}", "set the clock: metrics are stored under their day")
    days = sorted(folder.name for folder in _entries(data.metrics) if folder.name[:2] == "20")
    if days and days[-1] > _day(now_s + 86_400):
        return Check("clock", "warning", f"there are metrics of {days[-1]}, today is {_day(now_s)}", "check the clock")
    return Check("clock", "ok", f"{_day(now_s)} UTC")


def check_journal(data: DataDirectory) -> Check:
    """The journal is being consumed."""
    size = sum(_size(entry) for entry in _entries(data.journal))
    found = f"{size / 1e6:.1f} MB"
    if size > LARGE_JOURNAL_BYTES:
        return Check("journal", "warning", found, "something is behind: `perfmon status` shows the lag of each service")
    return Check("journal", "ok", found)


def check_kernel_cache() -> Check:
    """Compiled kernels are kept between starts."""
    folder = user_cache_directory() / "numba"
    there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    if not os.access(there, os.W_OK):
        return Check(
            "kernel cache", "warning", f"{there} is not writable", "kernels are compiled anew at each start (20 s)"
        )
    return Check("kernel cache", "ok", str(folder))


def check_lines(data: DataDirectory) -> Check:
    """The ends of the newest metric files hold only whole JSON lines."""
    torn = []
    for path in _newest(data.metrics):
        for line in _last_lines(path):
            try:
                json.loads(line)
            except ValueError:
                torn.append(path.name)
                break
    if torn:
        return Check(
            "metric files", "warning", f"unparsable lines in {', '.join(torn[:3])}", "they are skipped and counted"
        )
    return Check("metric files", "ok", "every line looked at is JSON")


def check_set_aside(data: DataDirectory) -> Check:
    """Nothing stood in the way of a metric file or its folder."""
    found = []
    for day in _entries(data.metrics):
        found += [path for path in (day, *_entries(day)) if SET_ASIDE in path.name]
        for server in _entries(day):
            found += [path for path in _entries(server) if SET_ASIDE in path.name]
    if found:
        names = ", ".join(sorted(str(path.relative_to(data.metrics)) for path in found)[:3])
        advice = "they were links, folders or pipes in the place of a metric file: look at them and remove them"
        return Check("set aside", "warning", f"{len(found)} in metrics/: {names}", advice)
    return Check("set aside", "ok", "nothing was in the way of a metric file")


def _wrong_with(folder: Path) -> tuple[str, str] | None:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return None  # made at the next start
    except OSError as error:
        return (f"cannot be looked at: {error.strerror}", "check the permissions of the folders above it")
    if stat.S_ISLNK(found.st_mode):
        return ("is a symbolic link", "replace it by a real folder: data directories hold no links")
    if not stat.S_ISDIR(found.st_mode):
        return ("is not a folder", "move it away")
    if found.st_uid != os.getuid():
        return (f"belongs to user {found.st_uid}", f"chown it to user {os.getuid()}, or choose another data directory")
    if stat.S_IMODE(found.st_mode) & 0o077:
        return (f"can be entered by others ({stat.S_IMODE(found.st_mode):o})", f"chmod 700 {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return ("is not writable", f"chmod 700 {folder}, or mount its disk for writing")
    return None


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing when it is a link: what lies outside the data directory is not ours to read."""
    try:
        return list(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _newest(metrics: Path) -> list[Path]:
    days = sorted(_entries(metrics), reverse=True)[:2]
    files = [path for day in days for server in _entries(day) for path in _entries(server)]
    return [path for path in files if path.suffix == ".jsonl" and is_plain(path)][:_FILES_READ]


def _last_lines(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - _READ_BYTES)
            file.seek(start)
            lines = file.read(_READ_BYTES).split(b"\n")
    except OSError:
        return []
    # A running ingest may be in the middle of the last line; the first may be cut by our window.
    return [line for line in lines[1 if start else 0 : -1] if line]


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
