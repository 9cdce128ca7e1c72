"""Everything delivered twice, at once, late, and in any order: each metric is stored and counted once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.wire import encode_rows, unpack
from tests.chaos.acknowledged_load import Load
from tests.chaos.faults.fake_stream import BadStream
from tests.chaos.faults.judge import RATE, caught_up, flowing, judge
from tests.chaos.faults.verdict import Verdict
from tests.chaos.rounds import rounds
from tests.kit import ServiceProcess, row

pytestmark = [pytest.mark.chaos, pytest.mark.pipeline, pytest.mark.timeout(600)]

Start = Callable[..., ServiceProcess]
SMALL = {"PERFMON_SEGMENT_MB": "1", "PERFMON_CHECKPOINT_INTERVAL_S": "0.3"}
#: Messages of each round; fewer than the sequences that ingest tells apart.
MESSAGES = 300


class Sender:
    """One connection that sends frames in a given order and takes all answers."""

    def __init__(self, data: DataDirectory, frames: Sequence[bytes]) -> None:
        self.answers: list[dict[str, object]] = []
        self._frames = frames
        self._endpoint = data.endpoint("ingest.write")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> list[dict[str, object]]:
        self._thread.join(60)
        assert len(self.answers) == len(self._frames), f"{len(self.answers)} of {len(self._frames)} were answered"
        return self.answers

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.connect(self._endpoint)
        for frame in self._frames:
            socket.send(frame)
        while len(self.answers) < len(self._frames) and socket.poll(30_000):
            body = unpack(socket.recv())
            if body["kind"] == "ack":
                self.answers.append(body)
        socket.close(linger=0)
        context.term()


@pytest.mark.parametrize("by", ["sequence", "call id"])
def test_every_message_twice_on_two_connections_in_any_order(
    by: str, start: Start, data_directory: DataDirectory, rng: random.Random
) -> None:
    ingest = start("ingest", environment=SMALL)
    verdict = Verdict(
        f"fault/everything twice, told apart by {by}",
        "Two connections send the same messages at once, each in an order of its own; then ingest is killed and all come again.",
    )
    acknowledged: list[float] = []
    for number in range(rounds(6)):
        frames = [frame_of(by, number, seq) for seq in range(1, MESSAGES + 1)]
        values = [value_of(number, seq) for seq in range(1, MESSAGES + 1)]
        twice = [Sender(data_directory, rng.sample(frames, len(frames))) for _ in range(2)]
        answers = [answer for sender in twice for answer in sender.join()]
        assert sum(int(answer["stored"]) for answer in answers) == MESSAGES
        assert sum(int(answer["duplicates"]) for answer in answers) == MESSAGES
        acknowledged += values
        ingest.kill()
        verdict.kills += 1
        ingest = start("ingest", environment=SMALL)
        again = Sender(data_directory, rng.sample(frames, len(frames))).join()
        assert sum(int(answer["stored"]) for answer in again) == 0
        assert sum(int(answer["duplicates"]) for answer in again) == MESSAGES
        ingest.call("flush")
        verdict.look(data_directory, acknowledged, number)
    verdict.acknowledged = len(acknowledged)
    verdict.close()


def value_of(number: int, seq: int) -> float:
    return float(number * MESSAGES + seq)


def frame_of(by: str, number: int, seq: int) -> bytes:
    if by == "call id":
        return encode_rows([row(duration=value_of(number, seq), callId=f"{number}-{seq}")])
    return encode_rows([row(duration=value_of(number, seq))], producer=f"p{number}", seq=seq)


def test_a_stream_that_repeats_shuffles_and_drops_is_made_up_for_by_the_journal(
    start: Start, load: Load, data_directory: DataDirectory
) -> None:
    ingest = start("ingest", environment=SMALL)
    with BadStream(data_directory, seed=5) as stream:
        consumers = {name: start(name) for name in ("alerter", "aggregator")}
        load.start()
        for _ in range(rounds(4)):
            flowing(load)
        flowing(load, 2 * RATE)
        load.settle()
        caught_up(ingest, *consumers.values())
        assert min(stream.repeated_total, stream.dropped_total, stream.shuffled_total) > 0
    aggregated = consumers["aggregator"].call("rollup", {"startMs": 0, "endMs": 4_102_444_800_000, "by": "all"})
    assert aggregated["total"]["count"] == len(load.acknowledged)
    windows = consumers["alerter"].call("windows")["series"]
    assert sum(int(series["calls"]) for series in windows) == len(load.acknowledged)
    assert all(process.stats()["gaps_total"] for process in consumers.values())
    judge(
        "stream that repeats, shuffles and drops",
        "A quarter of the stream's messages is dropped, a third comes twice, half in another order.",
        ingest,
        load,
        note=f"{stream.dropped_total} dropped, {stream.repeated_total} repeated, {stream.shuffled_total} shuffled.",
    )
