"""When a consumer's state is saved: so often that a crash costs two seconds of replay, but for a small share of a core.

Knows nothing of what a state saves, and holds no lock: whoever calls holds the consumer's.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

import structlog

from shared.consumer_state import ConsumerState, Position, StateNotSaved
from shared.database import is_full
from shared.runtime.service import now_ms

#: Share of one core that saving may take: a save that costs more makes the next one come later, but no later than this after
#: it, so that what a crash makes us replay is done in two seconds.
SAVE_SHARE: Final = 0.005
SAVE_LATEST_S: Final = 5.0


class Saving:
    """`saved` is the place that is on disk, with the state that belongs to it."""

    def __init__(self, state: ConsumerState, every_s: float) -> None:
        self.saved = Position("", 0)
        self._state = state
        self._every_s = every_s
        self._at = time.monotonic()
        self._cost_s = 0.0
        self._log = structlog.get_logger()

    def save(self, position: Position, *, force: bool = False) -> None:
        """Save the state at this place, if that is due or forced, and have it act on what is on disk now.

        Raises: StateNotSaved.
        """
        stretch = min(self._cost_s / SAVE_SHARE, SAVE_LATEST_S)
        due = time.monotonic() - self._at >= max(self._every_s, stretch)
        if not position.epoch or not (force or (due and position != self.saved)):
            return
        self._at, began = time.monotonic(), time.thread_time()
        try:
            self._state.save(position)
        except (sqlite3.Error, OSError) as error:
            raise StateNotSaved(str(error)) from error
        self._cost_s = time.thread_time() - began
        self.saved = position
        self._state.saved(now_ms())

    def save_if_room(self, position: Position, *, force: bool = False) -> None:
        """Save, or go on without when the disk is full: the journal has it all, and the next tick tries again.

        Raises: StateNotSaved for any other failure.
        """
        try:
            self.save(position, force=force)
        except StateNotSaved as error:
            if not is_full(error.__cause__):
                raise
            self._log.error("state_not_saved", reason=str(error))
