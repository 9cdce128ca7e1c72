"""A producer that is not let in, or whose own code fails, waits longer and longer, and says why once."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from perfmon import Producer
from perfmon.keys import KeyRing
from perfmon.producer import sender
from perfmon.producer.failures import TELL_AGAIN_S, Failures
from perfmon.producer.sender import MAX_REFUSED_PAUSE_S, REFUSED_PAUSE_S, Sender
from tests.fakes.fake_ingest import FakeIngest

#: The longest that any condition here is waited for.
LIMIT_S = 20.0


class Pauses:
    """The pauses of a sender, none of which lasts."""

    def __init__(self, wanted: int) -> None:
        self.seen: list[float] = []
        self._wanted = wanted
        self._enough = threading.Event()

    def pause(self, pause_s: float, one: Sender) -> None:
        self.seen.append(pause_s)
        if len(self.seen) >= self._wanted:
            self._enough.set()
            one._stopping.wait(pause_s)

    def wait(self) -> list[float]:
        assert self._enough.wait(LIMIT_S)
        return self.seen


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    made = Pauses(9)
    monkeypatch.setattr(Sender, "_pause", lambda one, pause_s: made.pause(pause_s, one))
    return made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    ring = KeyRing(tmp_path / "keys")
    ring.init()
    path = tmp_path / "laptop.perfmon-keys.json"
    path.write_bytes(ring.add("laptop").to_json())
    return path


@pytest.fixture
def strangers_port(tmp_path: Path) -> Iterator[int]:
    """A listener with the right keys that lists nobody."""
    server = KeyRing(tmp_path / "keys").server()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    zap, front = context.socket(zmq.REP), context.socket(zmq.ROUTER)
    zap.bind("inproc://zeromq.zap.01")
    front.setsockopt(zmq.CURVE_SERVER, 1)
    front.setsockopt(zmq.CURVE_SECRETKEY, server.secret_key.encode())
    port = front.bind_to_random_port("tcp://127.0.0.1")
    ended = threading.Event()

    def refuse() -> None:
        while not ended.is_set():
            if zap.poll(20):
                version, request_id, *_ = zap.recv_multipart()
                zap.send_multipart([version, request_id, b"400", b"not listed", b"", b""])

    thread = threading.Thread(target=refuse)
    thread.start()
    yield port
    ended.set()
    thread.join()
    zap.close(linger=0)
    front.close(linger=0)
    context.term()


def test_refused_keys_are_told_as_such_and_tried_less_and_less_often(
    keys: Path, strangers_port: int, pauses: Pauses
) -> None:
    with Producer(endpoint=f"tcp://127.0.0.1:{strangers_port}", keys=keys) as producer:
        producer.record("s", "t", 1.0)
        for number, pause_s in enumerate(pauses.wait()[:9]):
            most_s = min(REFUSED_PAUSE_S * 2**number, MAX_REFUSED_PAUSE_S)
            assert most_s / 2 <= pause_s <= most_s
        assert producer.stats().last_error == "keys_refused"
        assert producer.stats().buffered == 1
        producer.close(0.0)


def test_a_listener_that_hangs_up_is_no_missing_pipeline(keys: Path, pauses: Pauses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            for _ in range(9):
                listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        producer = Producer(endpoint=f"tcp://127.0.0.1:{listener.getsockname()[1]}", keys=keys)
        producer.record("s", "t", 1.0)
        pauses.wait()
        assert producer.stats().last_error == "handshake_failed"
        producer.close(0.0)
        thread.join(LIMIT_S)


def test_a_refused_producer_does_not_hold_up_the_end(
    keys: Path, strangers_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = Producer(endpoint=f"tcp://127.0.0.1:{strangers_port}", keys=keys)
    producer.record("s", "t", 1.0)
    producer.close(LIMIT_S, connect_grace_s=0.3)
    assert producer.stats().dropped_total == 1


def test_after_a_word_was_heard_a_lost_connection_is_made_anew_at_once(endpoint: str, pauses: Pauses) -> None:
    ingest = FakeIngest(endpoint).start()
    with Producer(endpoint=endpoint) as producer:
        producer.record("s", "t", 1.0)
        assert producer.flush(LIMIT_S)
        ingest.stop()
        ingest.start()
        producer.record("s", "t", 2.0)
        assert producer.flush(LIMIT_S)
    ingest.stop()
    assert pauses.seen == []


def test_a_failure_of_its_own_is_logged_once_and_never_in_a_hot_loop(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "FAILURE_PAUSE_S", 0.01)
    calls = 0
    often = threading.Event()

    def locate() -> None:
        nonlocal calls
        calls += 1
        if calls >= 5:
            often.set()
        raise OSError("our own bug")

    producer = Producer(endpoint=endpoint)
    producer._sender._locate = locate
    with caplog.at_level(logging.ERROR):
        producer.record("s", "t", 1.0)
        assert often.wait(LIMIT_S)
        monkeypatch.setattr(sender, "FAILURE_PAUSE_S", 1.0)
        before = calls
        producer.close(0.3)
    assert calls - before <= 6
    assert caplog.text.count("Traceback") == 1


def test_the_same_failure_is_told_once_a_minute_with_how_often_it_came() -> None:
    failures = Failures()
    assert [failures.tell("a", second) for second in (0.0, 1.0, 2.0, TELL_AGAIN_S, TELL_AGAIN_S + 1)] == [1, 0, 0, 3, 0]
    assert [failures.tell(what, 100.0) for what in ("b", "b", "a")] == [1, 0, 1]
