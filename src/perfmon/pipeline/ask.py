"""Ask several services the same thing at the same time, and take whatever answers came.

Owns a short-lived socket a service; needs pyzmq alone, so that the watchdog stays small. A service that does not answer is
simply missing from the result: not answering is what is being asked about.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import zmq

from perfmon.paths import SERVICES, DataDirectory
from perfmon.pipeline.report import Answer
from perfmon.wire import Kind, WireError, request, unpack_envelope
from perfmon.wire.limits import MAX_FRAME_BYTES

#: How long an idle local service may take to answer `ping` before it counts as not answering.
PING_TIMEOUT_S: Final = 0.5


def endpoint(data: DataDirectory, service: str) -> str:
    """Where a service answers requests: under its name; an ingest of an older version has its write socket alone."""
    older = service == "ingest" and not (data.runtime / service).exists()
    return data.endpoint("ingest.write" if older else service)


def ask_all(
    data: DataDirectory, method: str, services: Iterable[str] = SERVICES, *, timeout_s: float = PING_TIMEOUT_S
) -> dict[str, Mapping[str, Any]]:
    """The results of those that answered within `timeout_s`; refusals and garbage count as no answer."""
    names = list(services)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    poller = zmq.Poller()
    asked: dict[zmq.Socket[bytes], tuple[str, str]] = {}
    answers: dict[str, Mapping[str, Any]] = {}
    try:
        for service in names:
            if not _bound(data, service):
                continue
            socket = context.socket(zmq.DEALER)
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
            socket.connect(endpoint(data, service))
            request_id = secrets.token_hex(8)
            socket.send(request(request_id, method, {}))
            asked[socket] = (service, request_id)
            poller.register(socket, zmq.POLLIN)
        deadline = time.monotonic() + timeout_s
        while len(answers) < len(asked) and (left := deadline - time.monotonic()) > 0:
            for socket, _ in poller.poll(max(1, int(left * 1000))):
                service, request_id = asked[socket]
                result = _result(socket.recv_multipart()[-1], request_id)
                if result is not None:
                    answers[service] = result
    finally:
        context.destroy(linger=0)
    return {name: answers[name] for name in names if name in answers}


def ping_all(
    data: DataDirectory, services: Iterable[str] = SERVICES, *, timeout_s: float = PING_TIMEOUT_S
) -> dict[str, Answer]:
    """Those that answered `ping`, by service."""
    found = ask_all(data, "ping", services, timeout_s=timeout_s)
    return {service: answer for service, body in found.items() if (answer := read_answer(service, body)) is not None}


def read_answer(service: str, body: Mapping[str, Any]) -> Answer | None:
    """The answer to a ping; None when it lacks what makes it one."""
    protocol = body.get("protocol")
    if isinstance(protocol, int):
        protocol = [protocol, 0]
    if not (isinstance(protocol, list) and len(protocol) == 2 and all(type(part) is int for part in protocol)):
        return None
    pid, started = body.get("pid"), body.get("startedMs")
    if type(pid) is not int or type(started) is not int:
        return None
    epoch, seq = body.get("epoch"), body.get("seq")
    return Answer(
        service=service,
        pid=pid,
        ready=body.get("ready") is True,
        version=str(body.get("version", "")),
        protocol=(protocol[0], protocol[1]),
        started_ms=started,
        epoch=epoch if isinstance(epoch, str) else None,
        seq=seq if type(seq) is int else None,
        fields=dict(body),
    )


def _bound(data: DataDirectory, service: str) -> bool:
    # A socket file that is not there cannot answer; asking would only use up the time-out.
    name = endpoint(data, service).rsplit("/", 1)[-1]
    return (data.runtime / name).exists()


def _result(frame: bytes, request_id: str) -> Mapping[str, Any] | None:
    try:
        envelope = unpack_envelope(frame)
    except WireError:
        return None
    body = envelope.body
    result = body.get("result")
    if envelope.kind != Kind.REPLY or body.get("id") != request_id or not body.get("ok"):
        return None
    return result if isinstance(result, dict) else None
