"""How far the required consumers are, and which of the journal may therefore be dropped."""

from __future__ import annotations

from perfmon.paths import CONSUMERS


class Progress:
    """The places that consumers reported in this epoch."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self.places: dict[str, int] = {}
        self.lost_places_total = 0

    def report(self, service: str, epoch: str, seq: int) -> bool:
        """Note a consumer's durable place; whether it is of this epoch and from a consumer we know."""
        if service not in CONSUMERS or epoch != self._epoch or seq < 0:
            return False
        self.places[service] = seq
        return True

    def droppable(self, checkpoint_seq: int) -> int:
        """Entries below this are needed by nobody: the view and all required consumers are past them."""
        if set(self.places) != set(CONSUMERS):
            return 0
        return min(checkpoint_seq, *self.places.values()) + 1

    def lagging(self, below: int) -> list[str]:
        """The consumers (those never heard of too) that lose their place if everything below `below` goes."""
        return [service for service in CONSUMERS if self.places.get(service, -1) + 1 < below]
