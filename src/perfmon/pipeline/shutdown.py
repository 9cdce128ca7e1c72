"""Stop a pipeline in order: supervisord stops the services in reverse, each drains and closes; what hangs is killed.

Works on a pipeline of ours by its lock, and on one under a bare supervisord by the parent of its services.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Final

from perfmon.paths import DataDirectory
from perfmon.pipeline.by_hand import supervisord_by_hand
from perfmon.pipeline.control import Supervisor
from perfmon.pipeline.errors import ControlError
from perfmon.pipeline.locks import RETRY_S, held, holder, is_held, launch_lock, supervisor_lock
from perfmon.pipeline.record import remove_record
from perfmon.pipeline.spawn import supervisor_of
from perfmon.pipeline.sweep import sweep_sockets

#: How long an orderly stop may take: six services, one after the other, 15 s at most each and far less in practice.
STOP_TIMEOUT_S: Final = 60.0
#: How long a start by somebody else is waited for before stopping it.
_LAUNCH_WAIT_S: Final = 30.0
#: How long a question that is only meant to wake supervisord waits for its answer.
_WAKE_TIMEOUT_S: Final = 0.3
#: How long killed processes may take to be gone.
_KILL_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class StopReport:
    """What `stop` did. `how` is "stopped", "killed" (it did not stop in time) or "not running"."""

    how: str
    pid: int | None


def stop(data: DataDirectory, timeout_s: float = STOP_TIMEOUT_S) -> StopReport:
    """Stop the pipeline of a data directory; idempotent.

    Raises: Busy when somebody else is starting or stopping it.
    """
    if not data.locks.is_dir():
        return StopReport("not running", None)
    with held(launch_lock(data), _LAUNCH_WAIT_S):
        report = stop_locked(data, timeout_s=timeout_s)
        sweep_sockets(data)
        return report


def stop_locked(data: DataDirectory, *, timeout_s: float) -> StopReport:
    """`stop` for a caller that holds the launch lock."""
    if not is_held(supervisor_lock(data)):
        remove_record(data)  # a killed pipeline that nobody wants back
        return _stop_by_hand(data, timeout_s)
    pid = holder(supervisor_lock(data))
    _ask_to_stop(data, pid)
    if _gone(data, timeout_s):
        return StopReport("stopped", pid)
    _kill_all(data, pid)
    _gone(data, _KILL_WAIT_S)
    remove_record(data)
    return StopReport("killed", pid)


def _ask_to_stop(data: DataDirectory, pid: int | None) -> None:
    supervisor = supervisor_of(data)
    if supervisor is not None:
        try:
            supervisor.shutdown()
        except ControlError:
            pass  # stopped, hung or still starting: a signal says the same
        else:
            return
    if pid is not None:
        _signal(pid, signal.SIGTERM)


def _gone(data: DataDirectory, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    supervisor = supervisor_of(data, _WAKE_TIMEOUT_S)
    while is_held(supervisor_lock(data)):
        if time.monotonic() >= deadline:
            return False
        if supervisor is not None:
            _wake(supervisor)
        time.sleep(RETRY_S)
    return True


def _wake(supervisor: Supervisor) -> None:
    """Any question turns supervisord's loop; by itself it may notice the end of a process only after a second."""
    try:
        supervisor.pid()
    except ControlError:
        pass  # it refuses to answer while it is stopping, or is gone: both are fine


def _kill_all(data: DataDirectory, pid: int | None) -> None:
    """supervisord first, so that it starts nothing again; its services then have no parent, answering or not."""
    services = [holder(path) for path in data.locks.glob("*.lock") if path != supervisor_lock(data) and is_held(path)]
    if pid is not None:
        _signal(pid, signal.SIGKILL)
    for service in services:
        if service is not None and service != os.getpid():
            _signal(service, signal.SIGKILL)


def _stop_by_hand(data: DataDirectory, timeout_s: float) -> StopReport:
    pid = supervisord_by_hand(data)
    if pid is None:
        return StopReport("not running", None)
    _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while supervisord_by_hand(data) is not None:
        if time.monotonic() >= deadline:
            return StopReport("still running", pid)
        time.sleep(RETRY_S)
    return StopReport("stopped", pid)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # gone already, which is what was wanted
