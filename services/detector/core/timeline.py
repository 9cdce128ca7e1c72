"""A watch that lives by the calls' own time: every full minute of it passes once, every fifth is swept.

A minute passes with the first call at or after it, before that call is judged; where none comes, soon after by the clock. So
when anything is looked for is a function of the calls alone, however they are cut into batches, whether they come now or are
read back. Owns that order; what is done at a moment is the `watch`'s. Calls that come after their minute has passed are late:
they count in what comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from services.detector.core.metrics import MINUTE_MS
from services.detector.core.state.series import SeriesState
from services.detector.core.watch import Watch
from shared.batch import Batch

#: How long after a moment the clock alone makes it pass: calls on their way come first.
CLOCK_LAG_MS: Final = 2_000
#: Where nobody looked for so long (a machine asleep, a pipeline that was down), only the latest moment is made up for.
MOST_MADE_UP_MS: Final = 30 * MINUTE_MS
#: Series swept at once; of more the others follow in turns of the clock, so that the stream never waits for long.
SWEPT_AT_ONCE: Final = 250


class Timeline:
    """Passes the moments of a watch. `awake`: all moments of long pauses pass as well, as if somebody had looked all the time."""

    def __init__(self, watch: Watch, sweep_every_ms: int, *, awake: bool = False) -> None:
        """It goes on after the newest call that the watch knows. `sweep_every_ms`: whole minutes."""
        self.watch = watch
        self._sweep_every_ms = sweep_every_ms
        self._awake = awake
        newest_ts = watch.engine.newest_ts
        #: The latest moment that has passed, -1 before the first call (epoch ms).
        self.passed_ms = -1 if newest_ts < 0 else newest_ts // MINUTE_MS * MINUTE_MS
        #: The latest moment that was swept at (epoch ms), 0 before the first.
        self.swept_ms = max(0, self.passed_ms) // self._sweep_every_ms * self._sweep_every_ms
        self._to_sweep: dict[int, SeriesState] = {}

    @property
    def sweeping(self) -> bool:
        """Whether series are still to be swept at the latest moment of that."""
        return bool(self._to_sweep)

    def take(self, batch: Batch, *, live: bool, came_ms: int | None = None) -> bool:
        """Fold a batch in, and let the moments pass that its calls have reached; whether there is something to write or tell.
        `came_ms`: when the last of it came: calls of a clock that is ahead do not take the time with them.
        """
        if not len(batch):
            return False
        newest_ms = int(batch.ts.max())
        until_ms = newest_ms if came_ms is None else min(newest_ms, came_ms)
        if self.passed_ms < 0:
            self.passed_ms = min(int(batch.ts.min()), until_ms) // MINUTE_MS * MINUTE_MS
        changed = False
        for minute_ms, part in _by_minute(batch, self.passed_ms, until_ms):
            changed = self.go_on(minute_ms, live=live) or changed
            changed = self._sweep_first(part, live=live) or changed
            changed = self.watch.apply(part, live=live, came_ms=came_ms) or changed
        return changed

    def go_on(self, now_ms: int, *, live: bool = True) -> bool:
        """Let the moments up to a time pass; whether there is something to write or tell."""
        changed = False
        for moment_ms in self._moments(now_ms):
            changed = self._pass(moment_ms, live=live) or changed
        return changed

    def turn(self, now_ms: int) -> bool:
        """The clock's turn: moments that no call has made pass, more of a sweep, open events; whether there is something to write
        or tell.
        """
        if now_ms < self.passed_ms - MINUTE_MS:
            self.passed_ms = now_ms // MINUTE_MS * MINUTE_MS  # the clock was set back
        changed = self._sweep_more(SWEPT_AT_ONCE, live=True)
        if self.passed_ms >= 0:
            changed = self.go_on(now_ms - CLOCK_LAG_MS) or changed
        return self.watch.follow() or changed

    def _moments(self, until_ms: int) -> Iterator[int]:
        """Those that pass until a time; of a long pause in which nobody looked, the latest and the latest to sweep at."""
        latest_ms = until_ms // MINUTE_MS * MINUTE_MS
        if self._awake or latest_ms - self.passed_ms <= MOST_MADE_UP_MS:
            yield from range(self.passed_ms + MINUTE_MS, latest_ms + 1, MINUTE_MS)
            return
        if latest_ms % self._sweep_every_ms:
            yield latest_ms // self._sweep_every_ms * self._sweep_every_ms
        yield latest_ms

    def _pass(self, moment_ms: int, *, live: bool) -> bool:
        self.passed_ms = moment_ms
        changed = self.watch.tick(moment_ms, live=live)
        if moment_ms % self._sweep_every_ms:
            return changed
        self.swept_ms = moment_ms
        # What was left of the sweep before is part of this one.
        self._to_sweep = {series.number: series for series in self.watch.engine.series.values()}
        at_once = len(self._to_sweep) if self._awake else SWEPT_AT_ONCE
        return self._sweep_more(at_once, live=live) or changed

    def _sweep_more(self, most: int, *, live: bool) -> bool:
        chosen = list(self._to_sweep.values())[:most]
        return bool(chosen) and self._sweep(chosen, live=live)

    def _sweep_first(self, batch: Batch, *, live: bool) -> bool:
        """Sweep the series of a batch that have not been yet, before its calls change what is seen of them."""
        if not self._to_sweep:
            return False
        found = (self.watch.engine.series.get(key) for key in batch.dictionary)
        touched = [one for one in found if one is not None and one.number in self._to_sweep]
        return bool(touched) and self._sweep(touched, live=live)

    def _sweep(self, chosen: Iterable[SeriesState], *, live: bool) -> bool:
        chosen = list(chosen)
        for series in chosen:
            del self._to_sweep[series.number]
        # One that went meanwhile has nothing left to be looked at.
        alive = [one for one in chosen if self.watch.engine.series.get(one.key) is one]
        return self.watch.sweep(alive, self.swept_ms, live=live)


def _by_minute(batch: Batch, from_ms: int, until_ms: int) -> Iterator[tuple[int, Batch]]:
    """The calls by minute, in order of arrival within one: when it began, and the calls. What is earlier than `from_ms` is taken
    for its minute's, what is later than `until_ms` for that's.
    """
    if until_ms < from_ms + MINUTE_MS:
        yield from_ms, batch
        return
    minute = np.clip(batch.ts, from_ms, until_ms) // MINUTE_MS
    order = np.arange(len(minute)) if np.all(minute[1:] >= minute[:-1]) else np.argsort(minute, kind="stable")
    found, first = np.unique(minute[order], return_index=True)
    for one, begin, end in zip(found.tolist(), first.tolist(), [*first.tolist()[1:], len(order)], strict=True):
        yield one * MINUTE_MS, batch.take(order[begin:end])
