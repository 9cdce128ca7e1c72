"""What detector, alerter and aggregator do with the journal's entries, one after the other in this process."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from perfmon.paths import DataDirectory
from services.aggregator.shell.state import AggregatorState
from services.alerter.shell.state import AlerterState
from services.detector.shell.courier import Courier
from services.detector.shell.state import DetectorState
from shared.consumer import ConsumerState, Entry, Position
from shared.decoding import decode_entries
from shared.settings import Settings

Metered = Callable[[str], AbstractContextManager[None]]


class Consumers:
    """The states of all consumers, without their processes."""

    def __init__(self, data: DataDirectory) -> None:
        settings = Settings.model_validate({})
        self._courier = Courier(data.endpoint("alerter"), lambda _: None)
        self._position = Position("", 0)
        self._states: dict[str, ConsumerState] = {
            "detector": DetectorState(data, settings, self._courier),
            "alerter": AlerterState(data, settings, data.root / "no-channels"),
            "aggregator": AggregatorState(data, ask_for_cleanup=lambda _: None),
        }
        for state in self._states.values():
            state.load()

    def apply(self, bodies: Sequence[bytes], head: tuple[str, int], meter: Metered) -> None:
        """Take the entries of a commit, as they come together from the stream under load."""
        now_ms = time.time_ns() // 1_000_000
        self._position = Position(*head)
        with meter("each consumer: decode"):
            batch = decode_entries(bodies)
        for name, state in self._states.items():
            with meter(f"{name}: apply"):
                state.apply(Entry(*head, now_ms, batch), now_ms, True)

    def save(self, meter: Metered) -> None:
        """Persist every state once."""
        for name, state in self._states.items():
            with meter(name):
                state.save(self._position)

    def close(self) -> None:
        """End the threads that a state may have started."""
        for state in self._states.values():
            close = getattr(state, "close", None)
            if close is not None:
                with contextlib.suppress(OSError):
                    close()
