"""What is still to be told, to whom, and when to try again.

An entry is one message to one channel; it is born in the same transaction as the event it tells of and lives until the
channel took it (at least once: a crash after sending and before saving sends it again) or it is given up. A failing channel
waits longer and longer, and tries its least tried message first, so that one message no server accepts blocks no other.
Sending is the shell's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from services.alerter.core.messages import Message, Style, compose
from services.alerter.core.model import Alert, Severity, Told

#: Pause after the first failure of a channel; it doubles up to the longest.
FIRST_PAUSE_MS: Final = 5 * 1000
LONGEST_PAUSE_MS: Final = 15 * 60 * 1000
#: A message older than this is given up: by then it is history, and `get_active_alerts` tells it better.
GIVE_UP_MS: Final = 24 * 60 * 60 * 1000
#: Messages that wait for one channel; beyond it the oldest is given up.
MAX_WAITING: Final = 1_000
#: Messages handed to a channel in one go.
TAKE: Final = 20


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """What the core knows of a channel: its name, how it shows text, and from which severity it is told."""

    name: str
    style: Style
    min_severity: Severity


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to one channel. `key` is the same for the same event of the same alert and channel."""

    key: str
    channel: str
    alert_id: str
    told: Told
    message: Message
    created_ms: int
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How a channel fares. last_error is redacted before it comes here."""

    delivered_total: int = 0
    failed_total: int = 0
    given_up_total: int = 0
    failures_in_a_row: int = 0
    next_ms: int = 0
    last_error: str | None = None
    last_error_ms: int | None = None
    last_delivered_ms: int | None = None


class Outbox:
    """Entries in the order of their birth."""

    def __init__(self) -> None:
        self.rules: dict[str, ChannelRule] = {}
        self.entries: dict[str, Entry] = {}
        self.channels: dict[str, ChannelState] = {}

    def configure(self, rules: Iterable[ChannelRule]) -> None:
        """The channels that there are; what waits for one that is gone is dropped."""
        self.rules = {rule.name: rule for rule in rules}
        self.entries = {key: entry for key, entry in self.entries.items() if entry.channel in self.rules}
        self.channels = {name: self.channels.get(name, ChannelState()) for name in self.rules}
        for name, state in self.channels.items():
            # whoever changed the configuration wants to see whether it works now
            self.channels[name] = replace(state, next_ms=0)

    def tell(self, alert: Alert, told: Told, now_ms: int) -> None:
        """Queue an event of an alert for every channel that wants its severity."""
        for rule in self.rules.values():
            if rule.min_severity.worse_than(alert.severity):
                continue
            key = f"{alert.alert_id}/{told}/{alert.severity}/{rule.name}"
            message = compose(alert, told, rule.style, now_ms)
            self.entries.setdefault(key, Entry(key, rule.name, alert.alert_id, told, message, now_ms))
            self._bound(rule.name, now_ms)

    def hush(self, alert_id: str) -> None:
        """Somebody acknowledged it: what asks for attention and was not sent yet is not sent any more."""
        asking = (Told.RAISED, Told.UPGRADED, Told.ESCALATED)
        self.entries = {
            key: entry for key, entry in self.entries.items() if entry.alert_id != alert_id or entry.told not in asking
        }

    def due(self, channel: str, now_ms: int) -> list[Entry]:
        """The messages to try now, the least tried first; empty while the channel pauses."""
        # A pause that would last longer than any began under a clock that has been set back since.
        if now_ms < self.channels[channel].next_ms <= now_ms + LONGEST_PAUSE_MS:
            return []
        waiting = [entry for entry in self.entries.values() if entry.channel == channel]
        return sorted(waiting, key=lambda entry: (entry.attempts, entry.created_ms))[:TAKE]

    def delivered(self, key: str, now_ms: int) -> None:
        """The channel took a message."""
        entry = self.entries.pop(key, None)
        if entry is None or entry.channel not in self.channels:
            return
        state = self.channels[entry.channel]
        self.channels[entry.channel] = replace(
            state,
            delivered_total=state.delivered_total + 1,
            failures_in_a_row=0,
            next_ms=0,
            last_error=None,
            last_delivered_ms=now_ms,
        )

    def failed(self, key: str, error: str, now_ms: int) -> None:
        """The channel did not take a message, as far as we know."""
        entry = self.entries.get(key)
        if entry is None or entry.channel not in self.channels:
            return
        self.entries[key] = replace(entry, attempts=entry.attempts + 1)
        state = self.channels[entry.channel]
        self.channels[entry.channel] = replace(
            state,
            failed_total=state.failed_total + 1,
            failures_in_a_row=state.failures_in_a_row + 1,
            next_ms=now_ms + pause_ms(state.failures_in_a_row + 1),
            last_error=error,
            last_error_ms=now_ms,
        )

    def tick(self, now_ms: int) -> bool:
        """Give up what is too old; whether anything was."""
        old = [entry for entry in self.entries.values() if now_ms - entry.created_ms > GIVE_UP_MS]
        for entry in old:
            self._give_up(entry, now_ms)
        return bool(old)

    def waiting(self, channel: str) -> int:
        """How many messages wait for a channel."""
        return sum(entry.channel == channel for entry in self.entries.values())

    def _bound(self, channel: str, now_ms: int) -> None:
        waiting = [entry for entry in self.entries.values() if entry.channel == channel]
        for entry in waiting[: max(0, len(waiting) - MAX_WAITING)]:
            self._give_up(entry, now_ms)

    def _give_up(self, entry: Entry, now_ms: int) -> None:
        del self.entries[entry.key]
        state = self.channels.get(entry.channel)
        if state is not None:
            gone = f"given up after {entry.attempts} attempts: {entry.told} of {entry.alert_id}"
            self.channels[entry.channel] = replace(
                state,
                given_up_total=state.given_up_total + 1,
                last_error=state.last_error or gone,
                last_error_ms=now_ms,
            )


def pause_ms(failures: int) -> int:
    """The pause after so many failures in a row."""
    return min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << min(failures - 1, 20))
