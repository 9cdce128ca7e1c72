"""The load generator keeps within its window and ingest's credit, and says what was refused; ingest is a thread that answers."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from bench.frames import ring
from bench.generator import MAX_MESSAGES, Config, Generator, Refused
from perfmon.wire import ack_reply, credit_message, unpack_envelope

ROWS = 10
LIMIT_MS = 5_000
#: How long nothing may come for it to count as nothing.
QUIET_MS = 100

_numbers = itertools.count()

Answer = Callable[["Ingest"], None]


class Ingest:
    """The far end of one producer."""

    def __init__(self, endpoint: str) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        self.identity = b""
        self.seqs: list[int] = []

    def take(self, wait_ms: int = LIMIT_MS) -> dict[str, Any] | None:
        if not self.socket.poll(wait_ms):
            return None
        self.identity, frame = self.socket.recv_multipart()
        body = unpack_envelope(frame).body
        self.seqs.append(body["seq"])
        return body

    def acknowledge(self, seq: int, **fields: Any) -> None:
        known: dict[str, Any] = {"producer": "bench", "seq": seq, "cumulative": seq, "stored": ROWS, "duplicates": 0}
        known |= {"rejected": [], "rejected_total": 0, "epoch": "e", "entry": 1, "first_row": 0}
        self.socket.send_multipart([self.identity, ack_reply(**known | fields)])

    def tell_credit(self, credit: int) -> None:
        self.socket.send_multipart([self.identity, credit_message(credit)])

    def answer_the_rest(self) -> None:
        while (body := self.take(QUIET_MS)) is not None:
            self.acknowledge(body["seq"])


@pytest.fixture
def answered() -> Iterator[Callable[..., Generator]]:
    """`answered(script, frames in flight)` → a generator whose far end runs the script in a thread."""
    threads: list[threading.Thread] = []
    generators: list[Generator] = []

    def start(script: Answer, in_flight: int = 4) -> Generator:
        endpoint = f"inproc://bench-generator-{next(_numbers)}"
        ingest = Ingest(endpoint)

        def run() -> None:
            script(ingest)
            ingest.answer_the_rest()
            ingest.socket.close(linger=0)

        frames = ring("rows", ROWS, 3, "bench")
        window = in_flight * max(frame.size_bytes for frame in frames)
        thread = threading.Thread(target=run)
        thread.start()
        threads.append(thread)
        generators.append(Generator(Config(endpoint, "rows", ROWS, 3, window), frames))
        return generators[-1]

    yield start
    for thread in threads:
        thread.join()
    for generator in generators:
        generator.close()


def test_no_more_is_on_its_way_than_the_window_and_all_is_counted(answered: Callable[..., Generator]) -> None:
    seen: list[int] = []

    def script(ingest: Ingest) -> None:
        for _ in range(4):
            ingest.take()
        assert ingest.take(QUIET_MS) is None
        seen.extend(ingest.seqs)
        for seq in list(ingest.seqs):
            ingest.acknowledge(seq)

    generator = answered(script, in_flight=4)
    told = generator.closed(1.0)
    assert seen == [1, 2, 3, 4]
    assert told["stored"] >= 4 * ROWS
    assert told["stored"] % ROWS == 0


def test_without_credit_nothing_is_sent_until_there_is_some_again(answered: Callable[..., Generator]) -> None:
    quiet: list[bool] = []

    def script(ingest: Ingest) -> None:
        for _ in range(2):
            ingest.take()
        for seq in list(ingest.seqs):
            ingest.acknowledge(seq, credit=0)
        quiet.append(ingest.take(QUIET_MS) is None)
        ingest.tell_credit(1 << 20)
        body = ingest.take()
        quiet.append(body is not None)
        assert body is not None
        ingest.acknowledge(body["seq"])

    told = answered(script, in_flight=2).closed(2.0)
    assert quiet == [True, True]
    assert told["stored"] >= 3 * ROWS


def test_messages_in_flight_are_bounded_whatever_their_size(answered: Callable[..., Generator]) -> None:
    taken: list[int] = []

    def script(ingest: Ingest) -> None:
        while ingest.take(QUIET_MS) is not None:
            pass
        taken.append(len(ingest.seqs))
        for seq in list(ingest.seqs):
            ingest.acknowledge(seq)

    answered(script, in_flight=10 * MAX_MESSAGES).closed(0.05)
    assert taken[0] <= MAX_MESSAGES


@pytest.mark.parametrize("refusal", [{"error": ("disk_full", "no room")}, {"stored": ROWS - 1}])
def test_what_was_not_stored_is_an_error(answered: Callable[..., Generator], refusal: dict[str, Any]) -> None:
    def script(ingest: Ingest) -> None:
        body = ingest.take()
        assert body is not None
        ingest.acknowledge(body["seq"], **refusal)

    with pytest.raises(Refused):
        answered(script, in_flight=1).closed(0.2)


def test_at_a_fixed_rate_every_message_has_its_wait(answered: Callable[..., Generator]) -> None:
    def script(ingest: Ingest) -> None:
        for _ in range(20):
            body = ingest.take()
            assert body is not None
            ingest.acknowledge(body["seq"], credit=1 << 20)

    told = answered(script).open(per_s=200, seconds=0.1)
    assert len(told["waits_s"]) == 20
    assert told["stored"] == 20 * ROWS
    assert min(told["waits_s"]) >= 0
