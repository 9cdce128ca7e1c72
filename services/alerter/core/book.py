"""The alerts: open ones by fingerprint, resolved ones until they are archived. Every change goes through `put`."""

from __future__ import annotations

from collections.abc import Iterable

from services.alerter.core.model import Alert, Fingerprint


class AlertBook:
    """Alerts by id. Holds at most one open alert a fingerprint."""

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self._by_id: dict[str, Alert] = {}
        self._open: dict[Fingerprint, str] = {}
        self._last_resolved: dict[Fingerprint, str] = {}
        self.changed: set[str] = set()
        for alert in sorted(alerts, key=lambda a: (a.resolved_ms or 0, a.alert_id)):
            self.put(alert)
        self.changed.clear()

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, alert: Alert) -> None:
        """Add an alert or replace its earlier self."""
        fingerprint = alert.fingerprint
        standing = self._open.get(fingerprint)
        if alert.is_open:
            if standing not in (None, alert.alert_id):
                raise ValueError(f"{standing} is open for the same condition")
            self._open[fingerprint] = alert.alert_id
        else:
            if standing == alert.alert_id:
                del self._open[fingerprint]
            self._last_resolved[fingerprint] = alert.alert_id
        self._by_id[alert.alert_id] = alert
        self.changed.add(alert.alert_id)

    def forget(self, alert_id: str) -> None:
        """Drop a resolved alert."""
        alert = self._by_id.pop(alert_id)
        if alert.is_open:
            raise ValueError(f"{alert_id} is open")
        if self._last_resolved.get(alert.fingerprint) == alert_id:
            del self._last_resolved[alert.fingerprint]
        self.changed.add(alert_id)

    def get(self, alert_id: str) -> Alert | None:
        """The alert of an id."""
        return self._by_id.get(alert_id)

    def ids(self) -> list[str]:
        """All known ids."""
        return list(self._by_id)

    def open_for(self, fingerprint: Fingerprint) -> Alert | None:
        """The open alert of a condition and series."""
        return self._by_id.get(self._open.get(fingerprint, ""))

    def resolved_for(self, fingerprint: Fingerprint) -> Alert | None:
        """The alert of a condition and series that was resolved last."""
        return self._by_id.get(self._last_resolved.get(fingerprint, ""))

    def opened(self) -> list[Alert]:
        """Open alerts in the order in which they were created."""
        return sorted((self._by_id[alert_id] for alert_id in self._open.values()), key=_age)

    def closed(self) -> list[Alert]:
        """Resolved alerts that are still here, in the order in which they were created."""
        return sorted((alert for alert in self._by_id.values() if not alert.is_open), key=_age)


def _age(alert: Alert) -> tuple[int, int, str]:
    return alert.created_ms, len(alert.alert_id), alert.alert_id
