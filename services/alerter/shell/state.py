"""The alerter as a consumer of the journal: the core, its database, its views, its channels, under the consumer's lock.

Order of things: the core decides, the database has it, then the views show it, then people are told. A view that cannot be
written is tried again every second and holds up nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from perfmon.paths import DataDirectory
from services.alerter.core.engine import Core
from services.alerter.core.evaluate import Evaluator
from services.alerter.core.events import (
    Action,
    Announce,
    Archive,
    BatchCommitted,
    CaughtUp,
    Event,
    MessageDelivered,
    MessageFailed,
    SaveSoon,
    ThresholdsReplaced,
    Tick,
    WriteAlerts,
    WriteThresholds,
)
from services.alerter.core.limits import CannotDo, Limits
from services.alerter.core.model import Alert
from services.alerter.core.views import active_view
from services.alerter.shell import history
from services.alerter.shell.channels import NONE, Channels, ChannelsError, load_channels, stamp_of
from services.alerter.shell.database import FILE_NAME, AlerterDatabase, StateDamaged
from services.alerter.shell.notifier import Notifier
from services.alerter.shell.thresholds_file import ThresholdsFile
from shared.consumer import Entry, Position, StoreSnapshot
from shared.names import shown
from shared.settings import Settings
from shared.store.atomic import read_json, write_json
from shared.store.raw import TooManyRows, read_raw
from shared.timespan import HOUR_MS, MINUTE_MS

#: `active-alerts.json` follows mere changes of values this late.
VIEW_EVERY_MS: Final = 10_000
#: Rows that a rebuild reads back at the most; windows of more are built from the newest part.
REBUILD_ROWS: Final = 1_000_000

#: How long the end of the service waits for messages under way.
SEND_DRAIN_S: Final = 5.0

Connect = Callable[[Channels], Notifier]


def limits_of(settings: Settings) -> Limits:
    """The core's limits from the settings."""
    return Limits(
        resolve_after_ms=int(settings.resolve_after_hours * HOUR_MS),
        escalate_after_ms=int(settings.escalate_after_minutes * MINUTE_MS),
        quiet_ms=int(settings.dedup_minutes * MINUTE_MS),
        alerts_per_hour=settings.max_alerts_per_server_per_hour,
        archive_after_ms=settings.alert_archive_days * 24 * HOUR_MS,
    )


class AlerterState:
    """A `shared.consumer.ConsumerState`; everything but `archived` is called under the consumer's lock.

    channel_error: why the channels' file is not used, for `channels`.
    """

    def __init__(
        self,
        data: DataDirectory,
        settings: Settings,
        config_folder: Path,
        connect: Connect = Notifier,
    ) -> None:
        self.channels = NONE
        self.channel_error: str | None = None
        self.view_failures_total = 0
        self._data = data
        self._limits = limits_of(settings)
        self._config_folder = config_folder
        self._connect = connect
        self._log = structlog.get_logger()
        self._active_path = data.alerts / "active-alerts.json"
        self._history = data.alerts / "history"
        self._database = AlerterDatabase(data.state / FILE_NAME)
        self._thresholds_file = ThresholdsFile(data.config)
        self._notifier: Notifier | None = None
        self._channels_stamp: tuple[int, ...] | None = None
        self.core = Core(self._limits)
        self._unarchived: list[str] = []
        self._thresholds_data: bytes | None = None
        self._active_dirty = True
        self._active_written_ms = 0
        self._shown: dict[str, Alert] = {}
        self._urgent = False
        self._sendable: set[str] = set()

    # --- the consumer's calls ---------------------------------------------------------------------------------------

    def load(self) -> Position | None:
        """Replace everything in memory by what is on disk."""
        now_ms = _now_ms()
        self.core = Core(self._limits)
        try:
            found = self._database.load(self.core, now_ms)
        except StateDamaged:
            self._database.replace()
            self.core = Core(self._limits)
            found = self._database.load(self.core, now_ms)
        if found.position is None:
            self._skip_known_ids()
        self._unarchived = [str(alert_id) for alert_id in found.notes.get("unarchived", [])]
        self._thresholds_file.digests = [str(digest) for digest in found.notes.get("thresholdFiles", [])]
        self._active_dirty, self._thresholds_data = True, None
        self._sendable = set(self.core.outbox.entries)
        self._follow_channels()
        self._configure_outbox()
        self._take_edited_thresholds(now_ms)
        if self._thresholds_file.missing():
            self._render_thresholds(now_ms)
        return found.position

    def apply(self, entry: Entry, now_ms: int, live: bool) -> bool:
        """Fold an entry in; True when alerts changed."""
        return self._do(BatchCommitted(entry.batch, entry.committed_ms or now_ms, live), now_ms)

    def caught_up(self, now_ms: int) -> None:
        """Judge what is true now that the head is reached."""
        self._urgent |= self._do(CaughtUp(), now_ms)

    def tick(self, now_ms: int) -> bool:
        """The clock's work, edited thresholds, and what could not be written or sent before."""
        self._take_edited_thresholds(now_ms)
        urgent = self._take_results(now_ms)
        self._follow_channels()
        urgent |= self._do(Tick(), now_ms)
        if not urgent and not self._urgent:
            self._show(now_ms)
        return urgent or self._urgent

    def save(self, position: Position) -> None:
        """Persist everything with the place in one transaction."""
        notes = {"unarchived": self._unarchived, "thresholdFiles": self._thresholds_file.digests}
        self._database.save(self.core, position, notes)
        self._urgent = False
        self._sendable = set(self.core.outbox.entries)

    def saved(self, now_ms: int) -> None:
        """Show it, then tell it."""
        self._show(now_ms)

    def rebuild(self, store: StoreSnapshot, reason: str) -> None:
        """Windows from the stored metrics; alerts, thresholds and the outbox stay as they are."""
        now_ms = _now_ms()
        core = self.core
        core.evaluator = Evaluator(core.thresholds)
        self._database.forget_windows()
        span_ms = max(core.evaluator.windows, default=0)
        while span_ms:
            try:
                rows = read_raw(
                    self._data, now_ms - span_ms, now_ms + HOUR_MS, max_rows=REBUILD_ROWS, sizes=store.sizes
                )
            except TooManyRows:
                span_ms //= 2
                continue
            core.evaluator.fold(rows.batch, now_ms)
            break
        self._log.info("windows_rebuilt", reason=reason, seq=store.position.seq, series=len(core.evaluator.series))

    def close(self) -> None:
        """Wait a little for what is being sent, so that it is not sent again; the consumer saves after this."""
        if self._notifier is not None:
            self._notifier.close(SEND_DRAIN_S)
            self._take_results(_now_ms())

    # --- commands and queries ---------------------------------------------------------------------------------------

    def perform(self, event: Event, now_ms: int) -> None:
        """Let a command happen; the caller holds the lock and saves before it answers.

        Raises: CannotDo, anomalies.BadAnomaly.
        """
        self._do(event, now_ms)

    def take_edits(self, now_ms: int) -> None:
        """Look for an edited thresholds file before it is written over."""
        self._take_edited_thresholds(now_ms)

    def archived(self, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """Archived alerts of a range, as views, those that are still in the core left out."""
        rows = history.read_history(self._history, start_ms, end_ms)
        return [row for row in rows if self.core.book.get(str(row.get("alertId"))) is None]

    # --- actions ----------------------------------------------------------------------------------------------------

    def _do(self, event: Event, now_ms: int) -> bool:
        actions = self.core.handle(event, now_ms)
        for action in actions:
            self._note(action, now_ms)
        return bool(actions)

    def _note(self, action: Action, now_ms: int) -> None:
        match action:
            case Announce():
                self._active_dirty = True
                alert = action.alert
                self._log.info(
                    "alert_told",
                    told=action.told.value,
                    alert_id=alert.alert_id,
                    server=shown(alert.fingerprint.server),
                    tool=shown(alert.fingerprint.tool),
                    condition=alert.candidate.text,
                    severity=alert.severity.value,
                    value=alert.candidate.value,
                )
            case WriteAlerts():
                self._active_dirty = True
            case Archive():
                self._unarchived.append(action.alert.alert_id)
            case WriteThresholds():
                self._render_thresholds(now_ms)
            case SaveSoon():
                pass

    def _show(self, now_ms: int) -> None:
        """Bring the views up to date with what is saved, and hand out what is to be sent."""
        try:
            self._write_views(now_ms)
        except OSError as error:
            self.view_failures_total += 1
            self._log.error("view_not_written", reason=str(error))
        self._dispatch(now_ms)

    def _write_views(self, now_ms: int) -> None:
        if self._unarchived:
            found = [self.core.book.get(alert_id) for alert_id in self._unarchived]
            history.archive(self._history, [alert for alert in found if alert is not None and not alert.is_open])
            self._unarchived = []
        if self._thresholds_data is not None:
            self._thresholds_file.write(self._thresholds_data)
            self._thresholds_data = None
        old = abs(now_ms - self._active_written_ms) >= VIEW_EVERY_MS
        if self._active_dirty or (old and self._values_changed()):
            opened = self.core.book.opened()
            write_json(self._active_path, active_view(opened, now_ms))
            self._active_dirty, self._active_written_ms = False, now_ms
            self._shown = {alert.alert_id: alert for alert in opened}

    def _values_changed(self) -> bool:
        return self._shown != {alert.alert_id: alert for alert in self.core.book.opened()}

    def _render_thresholds(self, now_ms: int) -> None:
        self._thresholds_data = self._thresholds_file.render(self.core.thresholds.chosen(), now_ms)
        self._urgent = True

    def _take_edited_thresholds(self, now_ms: int) -> None:
        edited = self._thresholds_file.edited(now_ms)
        if edited is not None:
            try:
                self._urgent |= self._do(ThresholdsReplaced(edited), now_ms)
            except CannotDo as error:
                self._log.error("thresholds_file_refused", reason=str(error))
                self._render_thresholds(now_ms)
        elif self._thresholds_data is None and self._thresholds_file.missing():
            self._render_thresholds(now_ms)

    def _skip_known_ids(self) -> None:
        """No state, but perhaps views of an earlier one: their ids are taken."""
        body = read_json(self._active_path)
        rows = body.get("alerts") if isinstance(body, dict) else None
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                self.core.ids.skip(str(row.get("alertId")))
        for alert_id in history.ids_in(self._history):
            self.core.ids.skip(alert_id)

    # --- channels ---------------------------------------------------------------------------------------------------

    def _follow_channels(self) -> None:
        """Read the channels when their file changed, but not while one is sending: its answer would be lost."""
        stamp = stamp_of(self._config_folder)
        if self._notifier is not None:
            if stamp == self._channels_stamp or self._notifier.busy:
                return
            self._notifier.close(0)
        self._channels_stamp = stamp
        self._open_channels()

    def _open_channels(self) -> None:
        """A file that is refused leaves the channels as they were."""
        try:
            self.channels, self.channel_error = load_channels(self._config_folder), None
            if self.channels.by_name:
                self._log.info("channels_read", channels=list(self.channels.by_name))
        except ChannelsError as error:
            self.channel_error = str(error)
            self._log.error("channels_refused", reason=self.channel_error)
        self._notifier = self._connect(self.channels)
        self._configure_outbox()

    def _configure_outbox(self) -> None:
        if self.channel_error is None or self.channels.by_name:
            self.core.outbox.configure(self.channels.rules())

    def _dispatch(self, now_ms: int) -> None:
        """Only what is on disk is told."""
        notifier = self._notifier
        for name in self.core.outbox.rules:
            if notifier is not None and name not in notifier.busy:
                due = [entry for entry in self.core.outbox.due(name, now_ms) if entry.key in self._sendable]
                notifier.dispatch(name, due)

    def _take_results(self, now_ms: int) -> bool:
        """Fold in what became of the messages that were handed out."""
        results = [] if self._notifier is None else self._notifier.results()
        for key, error in results:
            self._do(MessageDelivered(key) if error is None else MessageFailed(key, error), now_ms)
            if error is not None:
                self._log.warning("notification_failed", key=key, reason=error)
        return bool(results)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
