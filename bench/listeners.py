"""Three subscribers in a process of their own, so that publishing to them is what it is in operation; they keep nothing.

`Listeners` is the publishing end; `python -m bench.listeners STREAM BACK` the other, which answers each message that all three
have got with its last frame's length.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import zmq

from perfmon.paths import CONSUMERS, DataDirectory, application_root

#: How long the subscribers may take for a message.
ANSWER_LIMIT_MS: Final = 30_000
#: Pause between two looks whether all have joined.
JOIN_LOOK_MS: Final = 20
#: How long they may take to leave.
LEAVE_LIMIT_S: Final = 10.0


class Listeners:
    """A PUB socket on the data directory's stream with as many subscribers as there are consumers."""

    def __init__(self, data: DataDirectory) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stream = self._context.socket(zmq.PUB)
        self._stream.bind(data.endpoint("stream"))
        self._back = self._context.socket(zmq.PULL)
        self._back.bind(data.endpoint("back"))
        words = [sys.executable, "-m", "bench.listeners", data.endpoint("stream"), data.endpoint("back")]
        self._process = subprocess.Popen(words, cwd=application_root())
        while not self._back.poll(JOIN_LOOK_MS):
            if self._process.poll() is not None:
                raise RuntimeError(f"the subscribers ended with {self._process.returncode}")
            self._stream.send(b"")
        while self._back.poll(JOIN_LOOK_MS):
            self._back.recv()

    def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Send messages, and wait without using the CPU until every subscriber has got the last.

        Raises: TimeoutError.
        """
        for message in messages:
            self._stream.send_multipart(message, zmq.NOBLOCK)
        for _ in messages:
            if not self._back.poll(ANSWER_LIMIT_MS):
                raise TimeoutError("a subscriber got nothing")
            self._back.recv()

    def close(self) -> None:
        """End the subscribers."""
        self._process.terminate()
        self._process.wait(LEAVE_LIMIT_S)
        self._context.destroy(linger=0)


def main() -> None:
    """Take messages until we are ended."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscribers = [context.socket(zmq.SUB) for _ in CONSUMERS]
    for subscriber in subscribers:
        subscriber.subscribe(b"")
        subscriber.connect(sys.argv[1])
    back = context.socket(zmq.PUSH)
    back.connect(sys.argv[2])
    while True:
        sizes = [len(subscriber.recv_multipart()[-1]) for subscriber in subscribers]
        back.send(b"%d" % sizes[0])


if __name__ == "__main__":
    main()
