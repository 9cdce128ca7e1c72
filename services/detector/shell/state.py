"""The detector as a consumer of the journal: core, database, files and courier in the order that makes a crash harmless.

The core decides; the state, what is owed to the files and what is owed to the alerter go to disk in one transaction; then the
files are written and the alerter is told.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from perfmon.paths import DataDirectory
from services.detector.core import rebuilding
from services.detector.core.engine import Engine
from services.detector.core.events import BOOK_MS, Book
from services.detector.core.metrics import HISTORY_MS
from services.detector.core.telling.explain import anomaly
from services.detector.core.timeline import Timeline
from services.detector.core.watch import Watch
from services.detector.shell.courier import Courier
from services.detector.shell.database import FILE_NAME, Database, Debts, StateDamaged
from services.detector.shell.files import AnomalyFiles, Owed, line_of
from services.detector.shell.history import batches_of_last_day
from shared.consumer import Entry, Position, StoreSnapshot
from shared.runtime.service import now_ms as clock_ms
from shared.settings import Settings
from shared.timespan import DAY_MS, MINUTE_MS

#: No call is further ahead of our clock when it comes.
AHEAD_MS: Final = 15 * MINUTE_MS


class DetectorState:
    """A `shared.consumer.ConsumerState`; everything is called under the consumer's lock."""

    def __init__(self, data: DataDirectory, settings: Settings, courier: Courier) -> None:
        self.courier = courier
        self.rebuilding = False
        self.file_failures_total = 0
        self.sweeps_total = 0
        #: Nothing before was ever swept, nor is what was found then known (epoch ms).
        self.unswept_until_ms = 0
        self._data = data
        self._settings = settings
        self._log = structlog.get_logger()
        self.database = Database(data.state / FILE_NAME)
        self._files = AnomalyFiles(data)
        self.timeline = self._timeline_of(Watch(Engine(settings.max_series), Book()))
        self._cleared_ms = 0
        #: Owed on disk or to be, in order; done and delivered go from the database with the next save.
        self._owed: dict[tuple[str, str], Owed] = {}
        self._raises: dict[str, dict[str, Any]] = {}
        self._done: set[tuple[str, str]] = set()
        self._delivered: set[str] = set()

    @property
    def watch(self) -> Watch:
        """The engine and the book."""
        return self.timeline.watch

    @property
    def swept_ms(self) -> int:
        """Up to when all series were last swept (epoch ms), 0 if never."""
        return self.timeline.swept_ms

    # --- the consumer's calls ---------------------------------------------------------------------------------------

    def load(self) -> Position | None:
        """Replace everything in memory by what is on disk."""
        now_ms = clock_ms()
        engine, book = Engine(self._settings.max_series), Book()
        try:
            place = self.database.load(engine, book, now_ms - BOOK_MS)
        except StateDamaged as error:
            self._log.error("state_set_aside", reason=str(error))
            engine, book = Engine(self._settings.max_series), Book()
            place = None
        if place is None and not book.events:
            self._recall(book, now_ms)
        self.timeline = self._timeline_of(Watch(engine, book))
        self._owed = {(name, phase): (name, phase, day, body) for name, phase, day, body in self.database.owed_lines()}
        self._raises = dict(self.database.owed_raises())
        self._done, self._delivered = set(), set()
        self._try_to_write(now_ms)
        self._send()
        return place

    def apply(self, entry: Entry, now_ms: int, live: bool) -> bool:  # noqa: ARG002 - calls are judged by their own time
        """Fold an entry in; True when an event opened, rose or closed."""
        return self.timeline.take(entry.batch, live=live, came_ms=entry.committed_ms)

    def caught_up(self, now_ms: int) -> None:
        """Tell what the replay found, if it is still news."""
        self.watch.caught_up(now_ms)

    def tick(self, now_ms: int) -> bool:
        """What passes by the clock alone, lines that could not be written before, and what need not be kept."""
        ahead = self.watch.engine.forget_after(now_ms + AHEAD_MS)
        if ahead:
            self._log.error("series_ahead_of_the_clock_forgotten", series=ahead)
        urgent = self.watch.end_forgotten(now_ms)
        urgent = self.timeline.turn(now_ms) or urgent
        if self.timeline.swept_ms != self._cleared_ms and not self.timeline.sweeping:
            self._clear(now_ms)
        if not urgent and self._owed:
            self._try_to_write(now_ms)
        return urgent

    def save(self, position: Position) -> None:
        """Persist everything that changed, with the place and what is owed, in one transaction."""
        for line in self.watch.take_lines():
            owed = line_of(line.event, line.phase)
            self._owed[owed[0], owed[1]] = owed
        for name, event in self.watch.take_raises():
            self._raises[name] = anomaly(event)
        debts = Debts(self._owed.values(), self._raises.items(), self._done, self._delivered)
        self.database.save(position, self.watch.engine, self.watch.book, debts)
        self._done.clear()
        self._delivered.clear()

    def saved(self, now_ms: int) -> None:
        """Write the lines and tell the alerter."""
        self._try_to_write(now_ms)
        self._send()

    def rebuild(self, store: StoreSnapshot, reason: str) -> None:
        """Build the series anew from the last day's JSONL; stored anomalies stay."""
        now_ms = clock_ms()
        self.rebuilding = True
        try:
            book = self.watch.book
            self.unswept_until_ms = 0 if book.events else now_ms
            self.database.forget_all_series()
            engine, before = Engine(self._settings.max_series), self.watch.engine
            watch = Watch(engine, book)
            under_way = rebuilding.set_aside(watch, before)
            del before
            for batch in batches_of_last_day(self._data, now_ms - HISTORY_MS, now_ms + DAY_MS, store.sizes):
                watch.apply(batch, live=False)
            rebuilding.join(watch, under_way)
            self.timeline = self._timeline_of(watch)
            self.timeline.swept_ms = 0  # what lasts is found at the next moment
            self._log.info("rebuilt_from_files", reason=reason, seq=store.position.seq, calls=engine.calls_total)
        finally:
            self.rebuilding = False

    # --- the rest ---------------------------------------------------------------------------------------------------

    def delivered(self, name: str) -> None:
        """The alerter has decided about an anomaly: it is owed no longer. On the loop's thread, under the lock."""
        if self._raises.pop(name, None) is not None:
            self._delivered.add(name)

    def close(self) -> None:
        """Let go of the courier and the database."""
        self.courier.close()
        self.database.close()

    def _timeline_of(self, watch: Watch) -> Timeline:
        return Timeline(watch, sweep_every_ms(self._settings))

    def _clear(self, now_ms: int) -> None:
        """After a sweep: let go of what is over for long, in memory and on disk."""
        self._cleared_ms = self.timeline.swept_ms
        self.sweeps_total += 1
        self.watch.book.forget_before(now_ms - BOOK_MS)
        self.watch.incidents.forget()
        self.database.prune(
            self.watch.engine, now_ms - self._settings.anomaly_retention_days * DAY_MS, now_ms - BOOK_MS
        )

    def _try_to_write(self, now_ms: int) -> None:
        """Write the lines that are on disk; those that cannot be are kept and tried again every second."""
        try:
            if self._owed:
                self._files.append(list(self._owed.values()), now_ms)
            else:
                self._files.update_index(now_ms)
        except OSError as error:
            self.file_failures_total += 1
            self._log.warning("anomalies_not_written", reason=str(error), lines=len(self._owed))
            return
        self._done.update(self._owed)
        self._owed.clear()

    def _send(self) -> None:
        for name, found in self._raises.items():
            self.courier.offer(name, found)

    def _recall(self, book: Book, now_ms: int) -> None:
        """Without a database the files still know the anomalies."""
        since_ms = now_ms - self._settings.anomaly_retention_days * DAY_MS
        try:
            for event in self._files.events(since_ms):
                book.add(event)
        except OSError as error:
            self._log.warning("anomalies_not_read", reason=str(error))


def sweep_every_ms(settings: Settings) -> int:
    """The time from one sweep to the next: whole minutes."""
    return max(1, round(settings.sweep_interval_s * 1_000 / MINUTE_MS)) * MINUTE_MS
