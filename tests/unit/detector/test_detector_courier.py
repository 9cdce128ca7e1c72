"""The courier: anomalies reach the alerter, at least once, and hold nothing up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import error_reply, ok_reply, unpack_envelope
from services.detector.shell.courier import Courier
from tests.kit import eventually


class Alerter:
    """Answers `anomaly.raise` as told: replies are taken from a list, the last one for ever."""

    def __init__(self, endpoint: str, replies: list[str]) -> None:
        self.seen: list[str] = []
        self.request_ids: list[str] = []
        self._replies = replies
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(endpoint)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._socket.poll(20):
                continue
            *envelope, frame = self._socket.recv_multipart()
            body = unpack_envelope(frame).body
            assert body["params"]["key"].startswith(body["params"]["anomaly"]["id"])
            self.seen.append(body["params"]["key"])
            self.request_ids.append(body["id"])
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
            if reply == "ok":
                answer = ok_reply(body["id"], {"outcome": "alert"})
            else:
                answer = error_reply(body["id"], reply, "no")
            self._socket.send_multipart([*envelope, answer])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close(linger=0)
        self._context.term()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A courier that is made after this does not wait long for an answer."""
    monkeypatch.setattr("services.detector.shell.courier.CALL_TIMEOUT_S", 0.25)


@pytest.fixture
def delivery(data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("services.detector.shell.courier.FIRST_PAUSE_S", 0.01)
    endpoint = data_directory.endpoint("alerter")
    delivered: list[str] = []
    courier = Courier(endpoint, delivered.append)
    alerters: list[Alerter] = []

    def start(*replies: str) -> Alerter:
        alerters.append(Alerter(endpoint, list(replies)))
        return alerters[-1]

    yield courier, delivered, start
    courier.close()
    for alerter in alerters:
        alerter.close()


def test_an_anomaly_is_offered_until_the_alerter_has_answered(delivery) -> None:
    courier, delivered, start = delivery
    alerter = start("starting", "internal_error", "ok")
    courier.offer("a", {"id": "a"})
    courier.offer("a", {"id": "a"})
    courier.offer("b-critical", {"id": "b"})
    eventually(lambda: delivered == ["a", "b-critical"], "both are delivered")
    assert alerter.seen == ["a", "a", "a", "b-critical"]
    assert len(set(alerter.request_ids)) == 2, "a repetition is the same request"
    assert courier.waiting == 0


def test_an_anomaly_waits_for_an_alerter_that_is_not_there_yet(impatient, delivery) -> None:
    courier, delivered, start = delivery
    courier.offer("a", {"id": "a"})
    eventually(lambda: courier.failed_attempts_total >= 2, "it is tried")
    start("ok")
    eventually(lambda: delivered == ["a"], "it is delivered")


def test_an_anomaly_that_the_alerter_will_never_take_does_not_hold_up_the_others(delivery) -> None:
    courier, delivered, start = delivery
    start("bad_anomaly", "ok")
    courier.offer("a", {"id": "a"})
    courier.offer("b", {"id": "b"})
    eventually(lambda: delivered == ["a", "b"], "both are settled")
    assert (courier.refused_total, courier.delivered_total) == (1, 1)


def test_stopping_does_not_wait_for_an_alerter_that_is_gone(impatient, delivery) -> None:
    courier, delivered, _ = delivery
    courier.offer("a", {"id": "a"})
    eventually(lambda: courier.failed_attempts_total >= 1, "it is tried")
    courier.close()
    assert not delivered
    assert courier.waiting == 1
