"""How each process of a pipeline is: what it answers, what supervisord says, what the operating system measures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from perfmon.paths import CONSUMERS, SERVICES, DataDirectory
from perfmon.pipeline.ask import ask_all, ping_all
from perfmon.pipeline.by_hand import supervisord_by_hand
from perfmon.pipeline.control import ProcessInfo
from perfmon.pipeline.errors import ControlError
from perfmon.pipeline.locks import holder, is_held, supervisor_lock
from perfmon.pipeline.processes import Usage, child_running, usage_of
from perfmon.pipeline.report import Answer, ServiceStatus
from perfmon.pipeline.spawn import supervisor_of

#: Names that stand beside the services in the table.
SUPERVISORD = "supervisord"
WATCHDOG = "watchdog"
WATCHDOG_MODULE = "services.watchdog"
#: What marks a counter of `stats` as rows that are gone: sent without asking for an acknowledgement and refused, or dropped.
DROP_WORDS = ("dropped", "lost_rows_total")


class _Seen(NamedTuple):
    answer: Answer | None
    stats: Mapping[str, Any]
    state: ProcessInfo | None
    usage: Usage | None


def status(data: DataDirectory) -> list[ServiceStatus]:
    """The six services in their order, then supervisord and the watchdog where they are known.

    Nothing is started or made; a data directory without a pipeline gives six services that are not running.
    """
    answers = ping_all(data)
    stats = ask_all(data, "stats", answers)
    states = _states(data)
    pids = {name: answer.pid for name, answer in answers.items()}
    pids |= {name: info.pid for name, info in states.items() if info.pid and name not in pids}
    pid = holder(supervisor_lock(data)) if is_held(supervisor_lock(data)) else supervisord_by_hand(data)
    if pid is not None:
        pids[SUPERVISORD] = pid
        # One that was started by hand is not asked: its socket is where its own configuration says.
        watchdog = None if WATCHDOG in pids else child_running(pid, WATCHDOG_MODULE)
        pids |= {} if watchdog is None else {WATCHDOG: watchdog}
    usage = usage_of(pids.values(), time.time())
    head = answers.get("ingest")
    rows = [
        _service(
            name,
            _Seen(answers.get(name), stats.get(name, {}), states.get(name), usage.get(pids.get(name, 0))),
            head,
        )
        for name in SERVICES
    ]
    return rows + [_helper(name, pids[name], usage.get(pids[name])) for name in (SUPERVISORD, WATCHDOG) if name in pids]


def _states(data: DataDirectory) -> dict[str, ProcessInfo]:
    if not is_held(supervisor_lock(data)):
        return {}
    supervisor = supervisor_of(data)
    try:
        return {} if supervisor is None else {process.name: process for process in supervisor.processes()}
    except ControlError:
        return {}


def _service(name: str, seen: _Seen, head: Answer | None) -> ServiceStatus:
    answer, stats, state, usage = seen
    return ServiceStatus(
        service=name,
        ready=answer is not None and answer.ready,
        state=_word(answer, state),
        pid=answer.pid if answer is not None else (state.pid or None) if state is not None else None,
        uptime_s=None if usage is None else usage.uptime_s,
        pss_mb=None if usage is None else usage.pss_mb,
        cpu_percent=None if usage is None else usage.cpu_percent,
        seq=None if answer is None else answer.seq,
        lag=_lag(name, answer, head),
        drops=_sum(stats, DROP_WORDS),
        parked=parked_in(stats),
        version=None if answer is None else answer.version,
        epoch=None if answer is None else answer.epoch,
    )


def _helper(name: str, pid: int, usage: Usage | None) -> ServiceStatus:
    return ServiceStatus(
        service=name,
        ready=usage is not None,
        state="running" if usage is not None else "gone",
        pid=pid,
        uptime_s=None if usage is None else usage.uptime_s,
        pss_mb=None if usage is None else usage.pss_mb,
        cpu_percent=None if usage is None else usage.cpu_percent,
    )


def _word(answer: Answer | None, state: ProcessInfo | None) -> str:
    if answer is not None:
        return "ready" if answer.ready else "not ready"
    if state is None:
        return "not running"
    return "not answering" if state.state == "RUNNING" else state.state.lower()


def _lag(name: str, answer: Answer | None, head: Answer | None) -> int | None:
    """Entries that a consumer is behind ingest's head; None when it has no place or another epoch."""
    if name not in CONSUMERS or answer is None or head is None or answer.seq is None or head.seq is None:
        return None
    return max(0, head.seq - answer.seq) if answer.epoch == head.epoch else None


def parked_in(stats: Mapping[str, Any]) -> int | None:
    """Entries that the service passed over because they made it fail; None when it keeps no such count."""
    return _sum(stats, ("parked",))


def _sum(stats: Mapping[str, Any], words: tuple[str, ...]) -> int | None:
    """The counters whose names hold one of the words, one level of nesting deep, together."""
    found = []
    for key, value in stats.items():
        if isinstance(value, Mapping):
            found += [count for count in [_sum(value, words)] if count is not None]
        elif type(value) is int and any(word in key for word in words):
            found.append(value)
    return sum(found) if found else None
