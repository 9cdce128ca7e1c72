"""Make sure that one pipeline runs on a data directory, whoever asks and however many ask at once.

The launch lock decides who starts it; the rest then find it running. The supervisord lock says whether one lives. A pipeline run
by a bare `supervisord -c supervisord.conf` is found by its services' answers and used as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from perfmon import __version__
from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline.address import http_address
from perfmon.pipeline.ask import ping_all
from perfmon.pipeline.by_hand import supervisord_by_hand
from perfmon.pipeline.errors import IncompatiblePipeline
from perfmon.pipeline.locks import held, holder, is_held, launch_lock, supervisor_lock
from perfmon.pipeline.readiness import Progress, wait_ready
from perfmon.pipeline.record import read_record, write_record
from perfmon.pipeline.remote_state import remote_state
from perfmon.pipeline.report import Answer, PipelineReport
from perfmon.pipeline.shutdown import STOP_TIMEOUT_S, stop_locked
from perfmon.pipeline.spawn import settings_for, socket_path, spawn
from perfmon.pipeline.versions import Verdict, judge
from perfmon.pipeline.wanted import Wanted, differences
from perfmon.wire import PROTOCOL_MAJOR

#: First start compiles kernels: 20 s is the aim, a loaded machine takes longer.
READY_TIMEOUT_S: Final = 90.0
#: How long others may hold the launch lock: a stop of an older pipeline and a start.
LAUNCH_LOCK_WAIT_S: Final = 60.0


def ensure_running(
    data: DataDirectory,
    *,
    started_by: str = "up",
    wait_ready_s: float = READY_TIMEOUT_S,
    progress: Progress | None = None,
) -> PipelineReport:
    """A pipeline that is ready: the one that runs, or a new one. `started_by` is "gateway" for one that stops itself when idle.

    With `wait_ready_s=0` it returns as soon as supervisord answers.

    Raises: BadSettings, NotReady, LaunchFailed, IncompatiblePipeline, Busy (all PipelineError); UnsafeDirectory.
    """
    data.create()
    wanted = None if started_by == "gateway" else settings_for(data)  # a gateway, which must be quick, takes what runs
    answers = ping_all(data)
    if _all_ready(answers) and _verdict(answers) == "same" and _supervised(data):
        _keep_running(data, started_by)
        return _report(data, "running", answers, wanted)
    with held(launch_lock(data), LAUNCH_LOCK_WAIT_S):
        state = _start_if_needed(data, started_by)
    if wait_ready_s <= 0:
        return _report(data, state, ping_all(data), wanted)
    supervisor_pid = holder(supervisor_lock(data)) if is_held(supervisor_lock(data)) else None
    answers = wait_ready(data, wait_s=wait_ready_s, supervisor_pid=supervisor_pid, progress=progress)
    if state == "running":
        _keep_running(data, started_by)
    return _report(data, state, answers, wanted)


def died(data: DataDirectory) -> bool:
    """Whether a pipeline ran here and was killed rather than stopped: the gateways then start it again."""
    return read_record(data) is not None and not is_held(supervisor_lock(data))


def _start_if_needed(data: DataDirectory, started_by: str) -> str:
    answers = ping_all(data)
    ours = is_held(supervisor_lock(data))
    verdict = _verdict(answers) if answers else _recorded_verdict(data) if ours else "same"
    if verdict == "refuse":
        raise _incompatible(answers)
    if ours and verdict != "restart" and socket_path(data).exists():
        return "running"
    if supervisord_by_hand(data) is not None:
        return "running"  # theirs to restart, also when a service of it is missing
    if ours:
        # Older than we are, or its sockets were swept away with the rest of /tmp: nobody could ever reach it again.
        stop_locked(data, timeout_s=STOP_TIMEOUT_S)
        spawn(data, started_by=started_by)
        return "restarted"
    # Orphans of a killed supervisord may still answer; they stop by themselves and the new services wait for their locks.
    spawn(data, started_by=started_by)
    return "started"


def _all_ready(answers: Mapping[str, Answer]) -> bool:
    return len(answers) == len(SERVICES) and all(answer.ready for answer in answers.values())


def _supervised(data: DataDirectory) -> bool:
    """Whether a supervisord looks after those that answer; the orphans of a killed one will be gone in a moment."""
    return is_held(supervisor_lock(data)) or supervisord_by_hand(data) is not None


def _verdict(answers: Mapping[str, Answer]) -> Verdict:
    verdicts = {
        judge(ours=__version__, theirs=answer.version, our_major=PROTOCOL_MAJOR, their_major=answer.protocol[0])
        for answer in answers.values()
    }
    order: tuple[Verdict, ...] = ("restart", "refuse", "use", "same")
    return next((verdict for verdict in order if verdict in verdicts), "same")


def _recorded_verdict(data: DataDirectory) -> Verdict:
    record = read_record(data)
    if record is None:
        return "same"
    return judge(ours=__version__, theirs=record.version, our_major=PROTOCOL_MAJOR, their_major=PROTOCOL_MAJOR)


def _incompatible(answers: Mapping[str, Answer]) -> IncompatiblePipeline:
    other = next(answer for answer in answers.values() if answer.protocol[0] != PROTOCOL_MAJOR)
    return IncompatiblePipeline(other.version, __version__, other.protocol[0])


def _other_settings(data: DataDirectory, wanted: Wanted | None) -> list[str]:
    record = read_record(data)
    if wanted is None or record is None or record.settings is None:
        return []
    other = differences(wanted, record.settings)
    how = "`perfmon down`, then `perfmon up` starts it with them"
    return [f"other settings than it runs with are ignored: {', '.join(other)}; {how}"] if other else []


def _keep_running(data: DataDirectory, started_by: str) -> None:
    """A person asked for it: what a gateway once started no longer stops itself."""
    record = read_record(data)
    if started_by == "gateway" or record is None or record.idle_stop_s is None:
        return
    write_record(data, replace(record, started_by=started_by, idle_stop_s=None))


def _report(data: DataDirectory, state: str, answers: Mapping[str, Answer], wanted: Wanted | None) -> PipelineReport:
    pid = holder(supervisor_lock(data)) if is_held(supervisor_lock(data)) else None
    versions = {answer.version for answer in answers.values()} - {__version__}
    notes = []
    if versions and state == "running":
        notes.append(f"the pipeline is version {', '.join(sorted(versions))}, this client {__version__}")
    if state == "running":
        notes += _other_settings(data, wanted)
    by_hand = supervisord_by_hand(data) if pid is None else None
    if by_hand is not None:
        notes.append(f"its services run under a supervisord that was started by hand (pid {by_hand})")
    remote = None if wanted is None else remote_state(data)
    return PipelineReport(
        state="restarted" if state == "restarted" else "started" if state == "started" else "running",
        data_root=data.root,
        pid=pid,
        version=next(iter(versions), __version__),
        services=dict(answers),
        http=http_address(data, answers),
        tcp=None if remote is None else str(remote),
        notes=tuple(notes),
    )
