"""Where things are: the data directory, its rooms, the runtime directory and the socket endpoints.

Owns every path and endpoint name of the product. Creates nothing unless asked to. The same data directory gives the same
runtime directory in every environment, whatever the environment variables say.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Services that supervisord runs, in the order in which they start.
SERVICES: Final = ("ingest", "detector", "alerter", "aggregator", "reporter", "gateway")
#: Services that read the stream and hold a place in the journal.
CONSUMERS: Final = ("detector", "alerter", "aggregator")
#: The sockets in the runtime directory.
SOCKETS: Final = ("ingest.push", "ingest.write", "stream", *SERVICES)
#: The file in a runtime directory that says whose it is.
WHOSE_FILE: Final = "data-directory"
#: The folder that marks a workspace with its own data.
WORKSPACE_DIRECTORY: Final = ".performance-data"
#: The environment variable that names the data directory.
DATA_DIRECTORY_VARIABLE: Final = "PERFMON_DATA_DIR"


class UnsafeDirectory(RuntimeError):
    """A directory that others could write to, or that a link leads away from; `path` is where."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The rooms of one data directory. `root` is a real path: no links, no `..`."""

    root: Path

    @property
    def metrics(self) -> Path:
        """`metrics/DATE/SERVER/TOOL.jsonl`; only ingest writes or deletes here."""
        return self.root / "metrics"

    @property
    def hourly(self) -> Path:
        """`aggregates/hourly/DATE-HH.json`."""
        return self.root / "aggregates" / "hourly"

    @property
    def daily(self) -> Path:
        """`aggregates/daily/DATE.json`."""
        return self.root / "aggregates" / "daily"

    @property
    def anomalies(self) -> Path:
        """`anomalies/DATE.jsonl`."""
        return self.root / "anomalies"

    @property
    def alerts(self) -> Path:
        """`alerts/active-alerts.json` and `alerts/history/DATE.jsonl`."""
        return self.root / "alerts"

    @property
    def config(self) -> Path:
        """`config/thresholds.json`, `config/settings.json`: figures only, never commands or URLs."""
        return self.root / "config"

    @property
    def index(self) -> Path:
        """`index/metrics-index.json`, `index/anomalies-index.json`."""
        return self.root / "index"

    @property
    def reports(self) -> Path:
        """What generate_report wrote."""
        return self.root / "reports"

    @property
    def journal(self) -> Path:
        """The journal's segments; only ingest writes here."""
        return self.root / "journal"

    @property
    def state(self) -> Path:
        """Each service's state with its sequence, locks, the HTTP port and token."""
        return self.root / "state"

    @property
    def locks(self) -> Path:
        """One lock file a service."""
        return self.state / "locks"

    @property
    def logs(self) -> Path:
        """What the services write to stdout and stderr, rotated by supervisord."""
        return self.state / "logs"

    @property
    def runtime(self) -> Path:
        """The 0700 directory of this data directory's sockets."""
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(f"/tmp/perfmon-{os.getuid()}") / digest  # noqa: S108 - 107 bytes at most, the same everywhere

    def endpoint(self, name: str) -> str:
        """The ipc endpoint of a socket: `ingest.push`, `ingest.write`, `stream`, or a service's name."""
        return f"ipc://{self.runtime / name}"

    def create(self) -> None:
        """Make the root, its rooms and the runtime directory, all 0700, with a .gitignore inside.

        Raises: UnsafeDirectory when a room is a link or belongs to someone else, or a lock is no file.
        """
        private_directory(self.root)
        for room in (
            self.metrics,
            self.root / "aggregates",
            self.hourly,
            self.daily,
            self.anomalies,
            self.alerts,
            self.alerts / "history",
            self.config,
            self.index,
            self.reports,
            self.journal,
            self.state,
            self.locks,
            self.logs,
        ):
            private_directory(room)
        for entry in self.state.iterdir():
            if entry.is_symlink() and entry.is_dir():
                raise UnsafeDirectory(entry, "is a symbolic link; a data directory holds none")
        for lock in self.locks.iterdir():
            found = lock.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise UnsafeDirectory(lock, "is not a file")
            if found.st_nlink > 1:
                _give_up_lock(lock)
        private_directory(self.runtime.parent)
        private_directory(self.runtime)
        _write_new(self.runtime / WHOSE_FILE, os.fsencode(self.root))
        os.utime(self.runtime)  # it is in use: what is old and silent may be swept away
        for name in SOCKETS:
            _move_folder_aside(self.runtime / name)
        _write_new(self.root / ".gitignore", b"*\n")


def private_directory(path: Path) -> None:
    """Make a directory that only its owner can enter, or check and tighten one that exists.

    Raises: UnsafeDirectory when it is a link, not a directory, or another user's.
    """
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise UnsafeDirectory(path, "is a symbolic link; a data directory holds none")
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeDirectory(path, "is not a directory")
    if found.st_uid != os.getuid():
        raise UnsafeDirectory(path, f"belongs to user {found.st_uid}, not to you")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def _move_folder_aside(path: Path) -> None:
    # A bind replaces a file or an old socket, but a folder in its place would end the service at every start.
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.set-aside-{os.getpid()}-{os.urandom(2).hex()}"))


def _give_up_lock(path: Path) -> None:
    # Its second name may be a file that matters, and whoever takes the lock writes its pid there. One that is held was taken.
    import fcntl  # not at the top: a producer on a system without it imports this module too

    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _write_new(path: Path, content: bytes) -> None:
    # Never through a link, even one that leads to nothing yet.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def resolve_data_directory(
    explicit: str | os.PathLike[str] | None = None, *, start: Path | None = None
) -> DataDirectory:
    """The data directory to use: the explicit one, else PERFMON_DATA_DIR, else the nearest `.performance-data` in
    `start` (the working directory) or above, else the user's own.
    """
    if explicit is not None:
        return DataDirectory(Path(explicit).expanduser().resolve())
    named = os.environ.get(DATA_DIRECTORY_VARIABLE)
    if named:
        return DataDirectory(Path(named).expanduser().resolve())
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        candidate = folder / WORKSPACE_DIRECTORY
        if candidate.is_dir():
            return DataDirectory(candidate.resolve())
    return DataDirectory(user_data_directory().resolve())


def user_data_directory() -> Path:
    """`$XDG_DATA_HOME/perfmon`: one set of data for all of a person's sessions."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def user_config_directory() -> Path:
    """`$XDG_CONFIG_HOME/perfmon`: what names a command or a URL is read from here alone."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def user_cache_directory() -> Path:
    """`$XDG_CACHE_HOME/perfmon`: compiled kernels."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def application_root() -> Path:
    """The folder that holds `services/`, `shared/` and `supervisord.conf`: the application tree of an installed wheel, or
    the checkout.
    """
    installed = Path(__file__).parent / "app"
    return installed if installed.is_dir() else Path(__file__).parents[2]


def _xdg(variable: str, default: str) -> Path:
    named = os.environ.get(variable)
    base = Path(named) if named and Path(named).is_absolute() else Path.home() / default
    return base / "perfmon"
