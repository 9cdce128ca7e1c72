"""One stand-in service. How it behaves is read from `state/fake-<name>` in the data directory:

`crash` exits at once, `never-ready` answers but is not ready, `silent` never answers, `version 9.9.9` claims another version.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import zmq

from perfmon import __version__
from perfmon.paths import resolve_data_directory
from perfmon.wire import ok_reply, unpack_envelope


def run(name: str) -> int:
    """Answer until SIGTERM or until the parent is gone; the exit code."""
    data = resolve_data_directory()
    data.create()
    told = data.state / f"fake-{name}"
    word, _, rest = (told.read_text().strip() if told.exists() else "").partition(" ")
    if word == "crash":
        sys.stderr.write(f"{name} cannot go on\n")
        return 3
    parent = os.getppid()
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    lock = os.open(data.locks / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    while not stopping and os.getppid() == parent and not _locked(lock):
        time.sleep(0.02)
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid()}).encode(), 0)
    socket = zmq.Context.instance().socket(zmq.ROUTER)
    if word != "silent":
        socket.bind(data.endpoint("ingest.write" if name == "ingest" else name))
    answer = {
        "service": name,
        "pid": os.getpid(),
        "version": rest if word == "version" else __version__,
        "protocol": [1, 0],
        "ready": word != "never-ready",
        "startedMs": time.time_ns() // 1_000_000,
        "dataDirectory": str(data.root),
        "epoch": "e",
        "seq": 7 if name == "ingest" else 5,
        "cwd": str(Path.cwd()),
        "pythonpath": os.environ.get("PYTHONPATH"),
    }
    while not stopping and os.getppid() == parent:
        if socket.poll(100):
            frames = socket.recv_multipart()
            socket.send_multipart([*frames[:-1], _reply(frames[-1], answer)])
    socket.close(linger=0)
    return 0


def _reply(frame: bytes, answer: dict[str, Any]) -> bytes:
    body = unpack_envelope(frame).body
    result = answer if body["method"] == "ping" else {"parked": 1, "dropped_total": 2, "lastMetricMs": 0}
    return ok_reply(body["id"], result)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
