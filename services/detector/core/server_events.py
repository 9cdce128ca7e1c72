"""Events of a server read off its row: the tool with most failures gives its name, the evidence says that it is not alone.

Owns that translation and the name such events are known by; decides nothing about their life (`watch`).
"""

from __future__ import annotations

from typing import Any, Final

from services.detector.core.events import Book, Event, event_id
from services.detector.core.kernels.error_mixture import START
from services.detector.core.metrics import ERROR_RATE_SPIKE, SERVER_ERRORS
from services.detector.core.readings import update
from services.detector.core.servers import Failing, Servers, Turn
from shared.batch import Series

_METRIC: Final = "error_rate"
#: Tools that the evidence names.
MAX_TOOLS: Final = 10


def is_of_server(event: Event) -> bool:
    """Whether an event is about all tools of a server together."""
    return event.found_as == SERVER_ERRORS


def from_turn(turn: Turn) -> Event:
    """The event that a server's row shows."""
    key, start_ms = Series(turn.server, turn.tools[0].tool), int(turn.row[START])
    event = Event(
        event_id(key, SERVER_ERRORS, _METRIC, start_ms), key.server, key.tool, ERROR_RATE_SPIKE, _METRIC, "%", "auto",
        start_ms, start_ms, start_ms, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0.0, found_as=SERVER_ERRORS,
    )  # fmt: skip
    follow_turn(event, turn)
    return event


def follow_turn(event: Event, turn: Turn) -> None:
    """Let an event follow its row."""
    update(event, turn.row)
    if turn.tools:
        event.evidence |= _tools(turn.tools)


def follow(event: Event, servers: Servers) -> bool:
    """Let an event under way follow its row; whether it still is."""
    row = servers.row_of(event.server, event.start_ms)
    if row is None:
        return False
    points = event.points
    update(event, row)
    if event.points != points:
        event.evidence |= _tools(servers.failing(event.server, event.start_ms))
    return True


def open_event(book: Book, server: str) -> Event | None:
    """The event of a server under way."""
    under_way = (event for event in book.of_server(server) if event.end_ms is None and is_of_server(event))
    return next(under_way, None)


def _tools(tools: tuple[Failing, ...]) -> dict[str, Any]:
    named = [{"tool": t.tool, "calls": t.calls, "failures": t.failures} for t in tools[:MAX_TOOLS]]
    return {"scope": "server", "toolsAffected": len(tools), "tools": named}
