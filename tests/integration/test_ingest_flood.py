"""Producers that ignore their credit: ingest says how it is between two commits, whatever waits for it."""

from __future__ import annotations

import time

import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.pipeline.ask import ping_all
from perfmon.rpc import RpcClient
from perfmon.wire import encode_batch
from tests.kit import ServiceProcess, eventually

pytestmark = pytest.mark.pipeline

#: Rows of a message: about 0.5 MB.
ROWS = 25_000
PRODUCERS = 20
MESSAGES = 40


def frame() -> bytes:
    now_ms = time.time_ns() // 1_000_000
    return encode_batch([("s", "t")], series=[0] * ROWS, ts=[now_ms] * ROWS, duration=[1.0] * ROWS, ok=[True] * ROWS)


def test_a_flood_of_writes_does_not_keep_ingest_from_saying_how_it_is(
    ingest: ServiceProcess, data_directory: DataDirectory
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = [context.socket(zmq.DEALER) for _ in range(PRODUCERS)]
    message = frame()
    for socket in sockets:
        socket.connect(data_directory.endpoint("ingest.write"))
        for _ in range(MESSAGES):
            socket.send(message)
    eventually(lambda: sockets[0].poll(0), "it is at work")
    with RpcClient(data_directory.endpoint("ingest"), timeout_s=10.0) as asker:
        before = asker.call("stats")
    assert 0 < before["stored_total"] < PRODUCERS * MESSAGES * ROWS, "told before the flood was through"
    assert ping_all(data_directory, ("ingest",), timeout_s=10.0)["ingest"].ready
    for socket in sockets:
        socket.close(linger=0)
    context.term()
