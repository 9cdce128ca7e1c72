"""Start supervisord for a data directory: render, clean up, launch, wait until it answers.

Call it with the launch lock held. The new process has a session of its own and every descriptor on /dev/null or a log file,
so that it outlives a stdio client; its environment is the caller's without what would change our interpreter.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from perfmon import __version__
from perfmon.paths import (
    DATA_DIRECTORY_VARIABLE,
    DataDirectory,
    UnsafeDirectory,
    application_root,
    private_directory,
    user_cache_directory,
)
from perfmon.pipeline.control import ANSWER_TIMEOUT_S, Supervisor
from perfmon.pipeline.errors import ControlError, LaunchFailed
from perfmon.pipeline.locks import is_held, supervisor_lock
from perfmon.pipeline.logs import tail
from perfmon.pipeline.record import IDLE_STOP_S, Record, read_record, record_path, remove_record, write_record
from perfmon.pipeline.render import SOCKET_NAME, USERNAME, Places, render
from perfmon.pipeline.wanted import Wanted, wanted_settings
from perfmon.plain_file import make_way
from perfmon.private_file import write_whole

#: How long supervisord may take from its start to its first answer; it takes 0.2 s on an idle machine.
LAUNCH_TIMEOUT_S: Final = 15.0
#: Pause between two looks while waiting for it.
_LOOK_EVERY_S: Final = 0.03
#: The caller's variables about Python that are kept; all others could change what our interpreter runs or how it ends.
KEPT_PYTHON_VARIABLES: Final = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"})
#: What the launched process itself complains about before its own log is open.
LAUNCH_LOG: Final = "launch.log"


def config_path(data: DataDirectory) -> Path:
    """The rendered configuration: `supervisorctl -c` takes it. Written anew for every start, never read before."""
    return data.state / "supervisord.conf"


def socket_path(data: DataDirectory) -> Path:
    """supervisord's own socket."""
    return data.runtime / SOCKET_NAME


def places_of(data: DataDirectory, password: str) -> Places:
    """Where the pipeline of a data directory keeps its things; makes the folder of compiled kernels."""
    kernels = _kernel_cache(data)
    return Places(
        application=application_root().resolve(),
        logs=data.logs,
        runtime=data.runtime,
        data_root=data.root,
        interpreter=sys.executable,
        password=password,
        variables={DATA_DIRECTORY_VARIABLE: str(data.root), "NUMBA_CACHE_DIR": str(kernels.resolve())},
    )


def supervisor_of(data: DataDirectory, timeout_s: float = ANSWER_TIMEOUT_S) -> Supervisor | None:
    """A client of the supervisord that this package started for a data directory; None when there is no record of one."""
    record = read_record(data)
    if record is None:
        return None
    return Supervisor(
        data.runtime / "supervisor.sock", username=USERNAME, password=record.password, timeout_s=timeout_s
    )


def spawn(data: DataDirectory, *, started_by: str, foreground: bool = False) -> subprocess.Popen[bytes]:
    """Start supervisord and return once it answers; the process object matters in the foreground alone.

    Raises: LaunchFailed with the last lines of its log, BadSettings, UnrenderablePath, UnsafeDirectory.
    """
    data.create()  # the sockets' directory may have been swept away since the caller made it
    settings = settings_for(data)
    password = secrets.token_urlsafe(24)
    places = places_of(data, password)
    text = render((places.application / "supervisord.conf").read_text(encoding="utf-8"), places)
    _make_way_for_logs(data.logs)
    for path in (config_path(data), record_path(data)):
        make_way(path)
    write_whole(config_path(data), text.encode())
    idle = IDLE_STOP_S if started_by == "gateway" else None
    values = None if settings is None else settings.values
    write_record(data, Record(__version__, started_by, time.time_ns() // 1_000_000, password, idle, values))
    process = _launch(data, places, foreground=foreground)
    try:
        _wait_for_answer(data, process, foreground=foreground)
    except LaunchFailed:
        remove_record(data)
        raise
    return process


def settings_for(data: DataDirectory) -> Wanted | None:
    """The settings that a pipeline would be started with now; None when they cannot be known before.

    Raises: BadSettings.
    """
    application = application_root().resolve()
    environment = clean_environment(dict(os.environ), application) | {DATA_DIRECTORY_VARIABLE: str(data.root)}
    return wanted_settings(sys.executable, application, environment)


def clean_environment(environment: dict[str, str], application: Path) -> dict[str, str]:
    """The environment of supervisord: the caller's, with our own import path and nothing that changes the interpreter."""
    kept = {key: value for key, value in environment.items() if key in KEPT_PYTHON_VARIABLES or not _is_pythons(key)}
    kept.pop(DATA_DIRECTORY_VARIABLE, None)
    # supervisord reads its configuration in the locale's encoding; ours is UTF-8 whatever the locale says.
    return kept | {"PYTHONPATH": str(application), "PYTHONUTF8": "1"}


def _is_pythons(variable: str) -> bool:
    return variable.startswith("PYTHON") or variable == "__PYVENV_LAUNCHER__"


def _kernel_cache(data: DataDirectory) -> Path:
    """Compiled kernels are code: they come from the user's own cache, or else from the sockets' private directory."""
    kernels = user_cache_directory() / "numba"
    try:
        private_directory(kernels)
    except (OSError, UnsafeDirectory):
        kernels = data.runtime / "numba"
        private_directory(kernels)
    return kernels


def _launch(data: DataDirectory, places: Places, *, foreground: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "perfmon.pipeline.daemon", "--data", str(data.root)]
    command += ["--config", str(config_path(data))]
    command += ["--parent", str(os.getpid())] if foreground else ["--detach"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    log = os.open(data.logs / LAUNCH_LOG, flags, 0o600)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=places.application,
            env=clean_environment(dict(os.environ), places.application),
            start_new_session=True,
        )
    finally:
        os.close(log)
    if not foreground:
        process.wait()  # it forks at once and its first half ends
    return process


def _wait_for_answer(data: DataDirectory, process: subprocess.Popen[bytes], *, foreground: bool) -> None:
    supervisor = supervisor_of(data)
    deadline = time.monotonic() + LAUNCH_TIMEOUT_S
    seen_alive = False
    while supervisor is not None and time.monotonic() < deadline:
        alive = is_held(supervisor_lock(data))
        if alive:
            try:
                supervisor.pid()
            except ControlError:
                pass  # its socket comes a moment after its lock
            else:
                return
        ended = process.poll() is not None if foreground else process.returncode != 0 or (seen_alive and not alive)
        if ended:
            break
        seen_alive = seen_alive or alive
        time.sleep(_LOOK_EVERY_S)
    lines = tail(data.logs / LAUNCH_LOG) or tail(data.logs / "supervisord.log")
    raise LaunchFailed("supervisord did not start", lines)


def _make_way_for_logs(folder: Path) -> None:
    """A data directory may have come with a clone: a log that is a link (a hard one too) would append to what it points at, one
    that is a pipe would wait for its other end.
    """
    for entry in folder.iterdir():
        if entry.is_symlink() or (entry.is_file() and entry.stat().st_nlink > 1):
            entry.unlink()
        else:
            make_way(entry)
