"""The truth of the alerter: `state/alerter.db`, written in one transaction with the place in the journal.

A commit survives a crash of the process and of the machine. Only what changed is written. A database that is not ours or damaged
is set aside: alerts start anew, ids of alerts that the views still name are never given out again. Knows no view.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from services.alerter.core import codec
from services.alerter.core.engine import Core
from services.alerter.core.model import AnomalyOutcome, Reason
from services.alerter.core.window_codec import BadSlot, decode_slot, encode_slot
from services.alerter.core.windows import SlidingWindow
from shared.batch import Series
from shared.consumer import Position
from shared.database import UntrustedDatabase, open_database, set_aside

FILE_NAME: Final = "alerter.db"
VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS place (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS alert (alert_id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, server TEXT NOT NULL, tool TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS slot (
    window_ms INTEGER NOT NULL, slot INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (window_ms, slot));
CREATE TABLE IF NOT EXISTS anomaly (
    anomaly_id TEXT PRIMARY KEY, reason TEXT NOT NULL, alert_id TEXT, at_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS document (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
#: A stored slot that begins so long after now was written under a wrong clock.
FUTURE_MS: Final = 15 * 60 * 1000
#: No revision of the thresholds.
NEVER_SAVED: Final = -1


class Loaded(NamedTuple):
    """What was found: the place, and the shell's own notes (what is not in the views yet)."""

    position: Position | None
    notes: dict[str, Any]


class AlerterDatabase:
    """One connection, used under the consumer's lock from whichever thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = structlog.get_logger()
        self._documents: dict[str, str] = {}
        self._windows: set[int] = set()
        self._windows_forgotten = False
        self._thresholds_revision = NEVER_SAVED
        self._connection = self._open()

    def load(self, core: Core, now_ms: int) -> Loaded:
        """Fill a fresh core.

        Raises: StateDamaged when it does not hold what was written, sqlite3.OperationalError when it cannot be read now.
        """
        try:
            return self._load(core, now_ms)
        except sqlite3.OperationalError:
            raise  # the disk or a lock, not what is in the file: a restart may find it whole
        except (sqlite3.DatabaseError, *codec.Damaged) as error:
            self._log.error("state_unreadable", file=self._path.name, reason=f"{type(error).__name__}: {error}")
            raise StateDamaged(str(error)) from error

    def replace(self) -> None:
        """Set the file aside and begin an empty one."""
        self._connection.close()
        aside = set_aside(self._path)
        self._log.error("state_set_aside", file=aside.name)
        self._documents.clear()
        self._windows.clear()
        self._thresholds_revision = NEVER_SAVED
        self._connection = self._open()

    def save(self, core: Core, position: Position, notes: dict[str, Any]) -> None:
        """Everything that changed, with the place, in one transaction.

        Raises: sqlite3.Error, after which nothing of it was written and all of it will be the next time.
        """
        documents = _documents(core, notes)
        if core.thresholds.revision != self._thresholds_revision:  # they may be many, and change seldom
            documents["thresholds"] = _json([codec.threshold_out(threshold) for threshold in core.thresholds.chosen()])
        changed = {name: body for name, body in documents.items() if self._documents.get(name) != body}
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._write(core, position, changed)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._documents.update(changed)
        self._thresholds_revision = core.thresholds.revision
        self._windows, self._windows_forgotten = set(core.evaluator.windows), False
        core.book.changed.clear()
        core.anomalies_changed.clear()
        core.evaluator.series.changed.clear()
        for window in core.evaluator.windows.values():
            window.changed.clear()

    def forget_windows(self) -> None:
        """The windows were begun anew: the next save drops the stored ones."""
        self._windows_forgotten = True

    def _open(self) -> sqlite3.Connection:
        try:
            return open_database(self._path, SCHEMA, VERSION)
        except UntrustedDatabase as error:
            aside = set_aside(self._path)
            self._log.error("state_set_aside", file=aside.name, reason=str(error))
            return open_database(self._path, SCHEMA, VERSION)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _load(self, core: Core, now_ms: int) -> Loaded:
        execute = self._connection.execute
        self._thresholds_revision = NEVER_SAVED  # revisions are a core's own
        self._documents = dict(execute("SELECT name, body FROM document").fetchall())
        documents = {name: json.loads(body) for name, body in self._documents.items()}
        place = execute("SELECT epoch, seq FROM place").fetchone()
        if place is None:
            return Loaded(None, {})
        _read_documents(core, documents)
        for (body,) in execute("SELECT body FROM alert ORDER BY alert_id").fetchall():
            alert = codec.alert_in(json.loads(body))
            core.book.put(alert)
            core.ids.skip(alert.alert_id)
        core.book.changed.clear()
        query = "SELECT anomaly_id, reason, alert_id, at_ms FROM anomaly ORDER BY at_ms"
        for anomaly_id, reason, alert_id, at_ms in execute(query).fetchall():
            core.anomalies[str(anomaly_id)] = AnomalyOutcome(Reason(reason), alert_id, int(at_ms))
        self._load_windows(core, now_ms)
        known = {number for _, number in core.evaluator.series.items()}
        core.evaluator.pending.update(known & {int(number) for number in documents["pending"]})
        core.validate()
        return Loaded(Position(str(place[0]), int(place[1])), documents.get("notes", {}))

    def _load_windows(self, core: Core, now_ms: int) -> None:
        """Windows that cannot be read begin empty: an alert may come later, none is lost."""
        evaluator = core.evaluator
        rows = self._connection.execute("SELECT id, server, tool FROM series").fetchall()
        try:
            evaluator.restore({int(number): Series(str(server), str(tool)) for number, server, tool in rows})
        except ValueError as error:
            self._log.error("windows_unreadable", reason=str(error))
            self.forget_windows()
            return
        evaluator.series.changed.clear()
        query = "SELECT window_ms, slot, body FROM slot ORDER BY window_ms, slot"
        for window_ms, slot, body in self._connection.execute(query).fetchall():
            self._windows.add(window_ms)
            try:
                window = evaluator.windows.get(window_ms)
                if window is not None and slot * window.slot_ms <= now_ms + FUTURE_MS:
                    decode_slot(window, slot, body, evaluator.last_ts)
            except (BadSlot, TypeError, OverflowError) as error:  # a planted row may hold values of any kind
                self._log.error("slot_unreadable", window_ms=window_ms, reason=f"{type(error).__name__}: {error}")

    # --- writing ----------------------------------------------------------------------------------------------------

    def _write(self, core: Core, position: Position, documents: dict[str, str]) -> None:
        execute, many = self._connection.execute, self._connection.executemany
        execute("INSERT OR REPLACE INTO place VALUES (1, ?, ?)", position)
        many("INSERT OR REPLACE INTO document VALUES (?, ?)", documents.items())
        for alert_id in core.book.changed:
            alert = core.book.get(alert_id)
            if alert is None:
                execute("DELETE FROM alert WHERE alert_id = ?", (alert_id,))
            else:
                execute("INSERT OR REPLACE INTO alert VALUES (?, ?)", (alert_id, _json(codec.alert_out(alert))))
        for anomaly_id in core.anomalies_changed:
            outcome = core.anomalies.get(anomaly_id)
            if outcome is None:
                execute("DELETE FROM anomaly WHERE anomaly_id = ?", (anomaly_id,))
            else:
                row = (anomaly_id, outcome.reason.value, outcome.alert_id, outcome.at_ms)
                execute("INSERT OR REPLACE INTO anomaly VALUES (?, ?, ?, ?)", row)
        if self._windows_forgotten:
            execute("DELETE FROM slot")
            execute("DELETE FROM series")
        self._write_series(core)
        for window_ms in self._windows - set(core.evaluator.windows):
            execute("DELETE FROM slot WHERE window_ms = ?", (window_ms,))
        for window in core.evaluator.windows.values():
            self._write_window(core, window)

    def _write_series(self, core: Core) -> None:
        for number in core.evaluator.series.changed:
            series = core.evaluator.series.lookup(number)
            self._connection.execute("DELETE FROM series WHERE id = ?", (number,))
            if series is not None:
                self._connection.execute("INSERT INTO series VALUES (?, ?, ?)", (number, *series))

    def _write_window(self, core: Core, window: SlidingWindow) -> None:
        if not window.changed:
            return
        oldest = window.head - window.slots + 1
        query = "DELETE FROM slot WHERE window_ms = ? AND (slot < ? OR slot > ?)"
        self._connection.execute(query, (window.window_ms, oldest, window.head))
        for slot in sorted(window.changed):
            if slot >= oldest:
                body = encode_slot(window, slot, core.evaluator.last_ts)
                query = "INSERT OR REPLACE INTO slot VALUES (?, ?, ?)"
                self._connection.execute(query, (window.window_ms, slot, body))


class StateDamaged(RuntimeError):
    """The database opened, but what it holds is not what was written."""


def _documents(core: Core, notes: dict[str, Any]) -> dict[str, str]:
    return {
        "ids": _json(core.ids.last),
        "rate": _json(codec.rate_out(core.rate)),
        "suppression": _json(codec.suppression_out(core.suppression)),
        "waiting": _json(codec.waiting_out(core.waiting)),
        "outbox": _json(codec.outbox_out(core.outbox)),
        "pending": _json(sorted(core.evaluator.pending)),
        "released": _json(core.released_ms),
        "notes": _json(notes),
    }


def _read_documents(core: Core, documents: dict[str, Any]) -> None:
    core.thresholds.replace([codec.threshold_in(raw) for raw in documents["thresholds"]])
    core.evaluator.replan()
    core.ids.last.update({str(day): int(last) for day, last in documents["ids"].items()})
    core.released_ms = int(documents["released"])
    codec.rate_in(core.rate, documents["rate"])
    codec.suppression_in(core.suppression, documents["suppression"])
    codec.waiting_in(core.waiting, documents.get("waiting", []))  # older ones have none
    codec.outbox_in(core.outbox, documents["outbox"])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
