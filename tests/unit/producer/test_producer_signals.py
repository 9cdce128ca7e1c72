"""Signal handlers that record or raise, wherever they come: nothing hangs, every row is counted once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from typing import Any

import pytest

from perfmon import Producer
from perfmon.producer.buffer import Buffer
from perfmon.producer.rows import Row
from tests.fakes.fake_ingest import FakeIngest

#: The longest that any condition here is waited for.
LIMIT_S = 20.0


class Interrupted(BaseException):
    """What a handler raises."""


class InterruptedQueue(deque[Any]):
    """Interrupted as by a handler that runs as soon as one of its calls has returned."""

    def append(self, item: Any) -> None:
        super().append(item)
        raise Interrupted

    def popleft(self) -> Any:
        super().popleft()
        raise Interrupted


def _row(number: float) -> Row:
    return ("s", "t", number, True, None, None, None, None, 1, None, 10)


def _put_interrupted(buffer: Buffer) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.0002)  # on a busy machine it rings before the row is put
    buffer.put(_row(1))


@pytest.fixture
def interrupts() -> Any:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)


def test_a_row_that_is_interrupted_on_its_way_in_is_counted_once() -> None:
    buffer = Buffer(10, 1_000, block=False)
    buffer._items = InterruptedQueue()
    with pytest.raises(Interrupted):
        buffer.put(_row(0))
    stats = buffer.stats()
    assert (stats.recorded_total, stats.buffered, stats.buffered_bytes) == (1, 1, 10)


def test_a_row_that_is_interrupted_on_its_way_out_is_counted_once() -> None:
    buffer = Buffer(1, 1_000, block=False)
    buffer.put(_row(0))
    buffer._items = InterruptedQueue(buffer._items)
    with pytest.raises(Interrupted):
        buffer.put(_row(1))
    stats = buffer.stats()
    assert (stats.recorded_total, stats.dropped_total, stats.buffered, stats.buffered_bytes) == (1, 1, 0, 0)


def test_waiting_for_room_may_be_interrupted(interrupts: None) -> None:
    buffer = Buffer(1, 1_000, block=True)
    buffer.put(_row(0))

    def interrupt(*_: object) -> None:
        raise Interrupted

    signal.signal(signal.SIGALRM, interrupt)
    for _ in range(300):
        with pytest.raises(Interrupted):
            _put_interrupted(buffer)
        stats = buffer.stats()
        assert (stats.recorded_total, stats.buffered, stats.buffered_bytes) == (1, 1, 10)
    assert len(buffer._changes._waiters) <= 300
    assert buffer.take(1, 100) is not None
    assert buffer.put(_row(2))


def test_a_handler_may_record_on_top_of_the_one_that_wakes_the_sender() -> None:
    buffer = Buffer(10, 1_000, block=False)
    woken = threading.Event()

    def sleep() -> None:
        buffer.wait_for_rows()
        woken.set()

    thread = threading.Thread(target=sleep)
    with buffer._lock:
        buffer._asleep = True
        wake = buffer._wake

        def wake_interrupted() -> None:
            buffer._wake = wake  # type: ignore[method-assign] # once
            buffer.put(_row(1))  # the handler's
            wake()

        buffer._wake = wake_interrupted  # type: ignore[method-assign] # once
        buffer.put(_row(0))
    thread.start()
    assert woken.wait(LIMIT_S)
    thread.join()
    assert buffer.stats().buffered == 2


def test_a_row_whose_recording_was_interrupted_before_the_bell_is_delivered_by_a_flush() -> None:
    buffer = Buffer(10, 1_000, block=False)
    buffer.put(_row(0))
    buffer._asleep = True
    assert not buffer.wait_settled(0.0)
    assert not buffer._asleep


def test_a_handler_may_record_while_its_thread_starts_the_sender(
    ingest: FakeIngest, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        producer.record("s", "t", 2.0)  # the handler's
        start(thread)

    with Producer(endpoint=endpoint) as producer:
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        thread = threading.Thread(target=producer.record, args=("s", "t", 1.0), daemon=True)
        start(thread)
        thread.join(LIMIT_S)
        assert not thread.is_alive()
        monkeypatch.undo()
        assert producer.flush(LIMIT_S)
    assert sorted(row["duration"] for row in ingest.stored) == [1.0, 2.0]


@pytest.mark.parametrize("launched", [False, True])
def test_an_interrupted_start_is_made_up_for_and_one_thread_delivers(
    ingest: FakeIngest, endpoint: str, monkeypatch: pytest.MonkeyPatch, launched: bool
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if launched:
            start(thread)
        raise Interrupted

    producer = Producer(endpoint=endpoint)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(Interrupted):
            producer.record("s", "t", 1.0)
    for number in range(2, 50):
        producer.record("s", "t", number)
    assert producer.flush(LIMIT_S)
    assert producer._sender.running
    assert len([one for one in threading.enumerate() if one is producer._sender._thread]) == 1
    producer.close()
    assert [row["duration"] for row in ingest.stored] == list(range(1, 50))
    assert len({(body["producer"], body["seq"]) for body in ingest.messages}) == len(ingest.messages)


STORM = """
import faulthandler, signal, sys
import perfmon
faulthandler.dump_traceback_later(60, exit=True)
endpoint, on_full, what = sys.argv[1:]
producer = perfmon.Producer(endpoint=endpoint, max_buffered=50, on_full=on_full)
hits = 0
class Hit(BaseException):
    pass
def handler(*_):
    global hits
    hits += 1
    if what == "raise":
        raise Hit
    producer.record("s", "t", 1.0)
signal.signal(signal.SIGALRM, handler)
calls = 0
while hits < 400:
    try:
        before = hits  # first: on a busy machine the alarm rings before the next statement
        signal.setitimer(signal.ITIMER_REAL, 0.0002)
        while hits == before:
            producer.record("s", "t", 1.0)
            calls += 1
    except Hit:
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
assert producer.flush(20)
stats = producer.stats()
assert stats.recorded_total == stats.acknowledged_total + stats.dropped_total, stats
assert calls <= stats.recorded_total <= calls + hits, (calls, hits, stats)
assert (stats.buffered, stats.buffered_bytes, stats.in_flight) == (0, 0, 0), stats
producer.close()
"""


@pytest.mark.parametrize("on_full", ["drop_oldest", "block"])
@pytest.mark.parametrize("what", ["raise", "record"])
def test_a_storm_of_signals_breaks_nothing(ingest: FakeIngest, endpoint: str, on_full: str, what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORM, endpoint, on_full, what],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stderr) == (0, "")
