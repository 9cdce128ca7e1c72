"""`perfmon doctor` on processes: supervisord, locks, services, versions, the HTTP port, what was parked.

Each check finds one fact and says what to do when it is wrong. Only looks: starts nothing, holds a lock for an instant at most.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from perfmon import __version__
from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline.address import http_address
from perfmon.pipeline.ask import ask_all
from perfmon.pipeline.by_hand import supervisord_by_hand
from perfmon.pipeline.launch import died
from perfmon.pipeline.locks import holder, is_held, supervisor_lock
from perfmon.pipeline.observe import parked_in
from perfmon.pipeline.processes import command_of
from perfmon.pipeline.report import Answer, Check
from perfmon.wire import PROTOCOL_MAJOR

#: How long a port on this machine may take to accept.
CONNECT_TIMEOUT_S: Final = 1.0


def check_supervisord(data: DataDirectory) -> Check:
    """Alive, or stopped on purpose."""
    if is_held(supervisor_lock(data)):
        return Check("supervisord", "ok", f"pid {holder(supervisor_lock(data))}")
    by_hand = supervisord_by_hand(data)
    if by_hand is not None:
        return Check("supervisord", "ok", f"pid {by_hand}, started by hand")
    if died(data):
        return Check(
            "supervisord", "problem", "it was killed", "`perfmon up` starts it again; nothing acknowledged is lost"
        )
    return Check("supervisord", "warning", "not running here", "`perfmon up` starts the pipeline")


def check_locks(data: DataDirectory) -> Check:
    """Each service's lock is held by the process that ought to hold it."""
    held = {name: holder(data.locks / f"{name}.lock") for name in SERVICES if is_held(data.locks / f"{name}.lock")}
    foreign = {name: pid for name, pid in held.items() if pid and not _is_service(pid, name)}
    if foreign:
        who = ", ".join(f"{name} by pid {pid}" for name, pid in foreign.items())
        return Check("locks", "problem", f"held by something else: {who}", "look at those processes and end them")
    return Check("locks", "ok", ", ".join(f"{name} {pid}" for name, pid in held.items()) or "none held")


def check_services(data: DataDirectory, answers: Mapping[str, Answer]) -> Check:
    """All ready, or none running."""
    if not answers:
        return Check("services", "problem", "none answers", f"`perfmon up`; what went wrong before is in {data.logs}")
    silent = [name for name in SERVICES if name not in answers]
    waiting = [name for name, answer in answers.items() if not answer.ready]
    if silent:
        return Check(
            "services",
            "problem",
            f"no answer from {', '.join(silent)}",
            f"the watchdog restarts them; the logs say why: {data.logs}",
        )
    if waiting:
        return Check(
            "services", "warning", f"not ready: {', '.join(waiting)}", "they may be catching up; look again in a minute"
        )
    return Check("services", "ok", "all ready")


def check_versions(answers: Mapping[str, Answer]) -> Check:
    """One version everywhere, and ours."""
    versions = {answer.version for answer in answers.values()}
    majors = {answer.protocol[0] for answer in answers.values()}
    found = ", ".join(sorted(versions)) or "nothing runs"
    if majors - {PROTOCOL_MAJOR}:
        return Check(
            "versions", "problem", f"the pipeline speaks protocol {sorted(majors)}", "upgrade this installation"
        )
    if len(versions) > 1:
        return Check(
            "versions", "problem", f"services of several versions: {found}", "`perfmon down`, then `perfmon up`"
        )
    if versions - {__version__}:
        return Check(
            "versions", "warning", f"pipeline {found}, this {__version__}", "`perfmon up` restarts an older pipeline"
        )
    return Check("versions", "ok", found)


def check_http(data: DataDirectory, answers: Mapping[str, Answer]) -> Check:
    """The gateway's port accepts connections."""
    url = http_address(data, answers)
    if url is None:
        return Check("HTTP", "warning", "no gateway listens", f"`perfmon up`; see {data.logs / 'gateway.log'}")
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S):
            return Check("HTTP", "ok", url)
    except (OSError, ValueError) as error:
        return Check(
            "HTTP", "problem", f"{url} does not accept connections: {error}", f"see {data.logs / 'gateway.log'}"
        )


def check_counters(data: DataDirectory, answers: Mapping[str, Answer]) -> Iterator[Check]:
    """What was parked, lost or cut off since the services started."""
    for service, stats in ask_all(data, "stats", answers).items():
        yield from _lost(service, stats)
        parked = parked_in(stats)
        if parked:
            advice = f"a batch that the {service} could not take was passed over: its log says why"
            yield Check("parked", "warning", f"{service} parked {parked}", advice)


def _lost(service: str, stats: Mapping[str, Any]) -> Iterator[Check]:
    lost = stats.get("lost_rows_total")
    if type(lost) is int and lost > 0:
        reasons = stats.get("lostRowsByReason")
        why = ", ".join(f"{reason} {rows}" for reason, rows in reasons.items()) if isinstance(reasons, dict) else ""
        advice = "producers that ask for an acknowledgement are told; docs/protocol.md has the reasons"
        yield Check("lost rows", "warning", f"{lost} sent without asking for an acknowledgement: {why}", advice)
    cuts = stats.get("connection_cuts_total")
    if type(cuts) is int and cuts > 0:
        found = f"{service} cut off all connections {cuts} times, near its limit of {stats.get('descriptorLimit')} descriptors"
        yield Check("connections", "warning", found, "fewer producers on this machine, or a higher `ulimit -Hn`")


def _is_service(pid: int, name: str) -> bool:
    words = command_of(pid)
    return not words or any(name in word for word in words)
