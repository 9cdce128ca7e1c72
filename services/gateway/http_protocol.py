"""HTTP connections, bounded: how many there are, and how long one may keep a request half sent.

uvicorn bounds neither, so whoever may connect could leave the process without descriptors. Knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Connections at once; a soft limit of 1,024 descriptors leaves room for it and for everything else.
MAX_CONNECTIONS: Final = 512
#: Seconds between two looks at a connection; one with the same unfinished request (or none) at both is closed.
LOOK_EVERY_S: Final = 15.0


class BoundedProtocol(H11Protocol):
    """One connection. One too many is closed at once; one that sends too slowly, after at most two looks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._look: asyncio.TimerHandle | None = None
        self._seen: object = self  # nothing that a request could be

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn types it
        """Count it."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._look = self.loop.call_later(LOOK_EVERY_S, self.look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look at it no more."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def look(self) -> None:
        """Close the connection if it waits for the same bytes as at the last look."""
        cycle = self.cycle
        waits = cycle is None or cycle.more_body or cycle.response_complete
        if waits and cycle is self._seen:
            self.transport.abort()
            return
        self._seen = cycle if waits else self
        self._look = self.loop.call_later(LOOK_EVERY_S, self.look)
