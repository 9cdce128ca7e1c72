"""What a call of `Producer.record` costs the application that makes it, and what the thread behind it costs a row.

The far end is a process of its own that acknowledges and stores nothing, so that only the producer is measured.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator

from bench.figures import Result
from bench.schedule import quantile
from perfmon import Producer

CALLS = 100_000
#: Rows of each `record_batch`.
BATCH_ROWS = 5_000
BATCHES = 100
#: Calls of a host that does something else in between, and its pause.
PACED_CALLS = 500
PACED_PAUSE_S = 0.002

#: A ROUTER that acknowledges whatever comes.
ACKNOWLEDGER = """
import sys, zmq
from perfmon.wire import ack_reply, unpack_envelope
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(sys.argv[1])
while True:
    identity, frame = socket.recv_multipart()
    body = unpack_envelope(frame).body
    rows = body["n"] if "n" in body else len(body["rows"])
    socket.send_multipart([identity, ack_reply(
        producer=body["producer"], seq=body["seq"], cumulative=body["seq"], stored=rows, duplicates=0, rejected=[],
        rejected_total=0, epoch="bench", entry=1, first_row=0, credit=1 << 24)])
"""


def run(runs: int) -> Result:
    """Nanoseconds of the host's thread a call, and CPU nanoseconds of the whole process a row."""
    result = Result(
        "producer",
        f"{CALLS:,} calls in a loop with the sender's thread at work; {PACED_CALLS} calls every {PACED_PAUSE_S * 1000:g} ms",
        "nothing: the far end acknowledges and forgets",
        runs,
    )
    measures: list[tuple[str, Callable[[Producer], dict[str, float]]]] = [
        ("record(server, tool, ms)", lambda producer: _loop(producer, _small)),
        ("record with cpu, memory and disk I/O", lambda producer: _loop(producer, _full)),
        ("record of a failure with its exception", lambda producer: _loop(producer, _failure)),
        ("record now and then (thread CPU, caches cold)", _paced),
        (f"record_batch of {BATCH_ROWS:,} rows, a row", _batches),
    ]
    with _acknowledger() as endpoint:
        for what, measure in measures:
            found = []
            for _ in range(runs):
                with Producer(endpoint=endpoint, max_buffered=2 * CALLS, max_buffered_bytes=1 << 28) as producer:
                    producer.record("bench", "warm-up", 1.0)
                    _settled(producer)
                    found.append(measure(producer))
            result.add_runs(what, found)
    result.notes.append(
        "median, p99: as the caller sees a call, with what the sender's thread takes of the interpreter"
    )
    return result


def _small(producer: Producer) -> None:
    producer.record("bench-server", "tool", 12.5)


def _full(producer: Producer) -> None:
    producer.record("bench-server", "tool", 12.5, True, cpu=12.5, memory=128.0, disk_io=64.0)


_ERROR = TimeoutError("no answer within 30 s")


def _failure(producer: Producer) -> None:
    producer.record("bench-server", "tool", 12.5, False, _ERROR)


def _loop(producer: Producer, record: Callable[[Producer], None]) -> dict[str, float]:
    clock = time.perf_counter_ns
    samples = [0] * CALLS
    process_ns = time.process_time_ns()
    for call in range(CALLS):
        started = clock()
        record(producer)
        samples[call] = clock() - started
    _settled(producer)
    process_ns = time.process_time_ns() - process_ns
    return _spread(samples) | {"CPU ns a row": process_ns / CALLS}


def _paced(producer: Producer) -> dict[str, float]:
    samples = []
    process_ns = time.process_time_ns()
    for _ in range(PACED_CALLS):
        time.sleep(PACED_PAUSE_S)
        started = time.thread_time_ns()
        _full(producer)
        samples.append(time.thread_time_ns() - started)
    _settled(producer)
    return _spread(samples) | {"CPU ns a row": (time.process_time_ns() - process_ns) / PACED_CALLS}


def _batches(producer: Producer) -> dict[str, float]:
    dictionary = [("bench-server", f"tool-{number}") for number in range(10)]
    series = array("H", [row % 10 for row in range(BATCH_ROWS)])
    values = array("d", [12.5] * BATCH_ROWS)
    ok = bytes([1]) * BATCH_ROWS
    samples = []
    process_ns = time.process_time_ns()
    for _ in range(BATCHES):
        started = time.perf_counter_ns()
        producer.record_batch(
            dictionary, series=series, duration_ms=values, ok=ok, cpu=values, memory=values, disk_io=values
        )
        samples.append((time.perf_counter_ns() - started) // BATCH_ROWS)
    _settled(producer)
    return _spread(samples) | {"CPU ns a row": (time.process_time_ns() - process_ns) / BATCHES / BATCH_ROWS}


def _spread(samples: list[int]) -> dict[str, float]:
    ordered = sorted(samples)
    return {"median ns": float(quantile(ordered, 0.5)), "p99 ns": float(quantile(ordered, 0.99))}


def _settled(producer: Producer) -> None:
    if not producer.flush(60) or producer.stats().dropped_total:
        raise RuntimeError(f"not everything was acknowledged: {producer.stats()}")


@contextlib.contextmanager
def _acknowledger() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="perfmon-bench-") as folder:
        endpoint = f"ipc://{folder}/i"
        process = subprocess.Popen([sys.executable, "-c", ACKNOWLEDGER, endpoint])
        try:
            yield endpoint
        finally:
            process.kill()
            process.wait()
