"""Answers `explain`: one anomaly, from the book while it is there, else as the database has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from services.detector.core.events import Event
from services.detector.core.telling.explanation import MAX_POINTS, finite
from services.detector.core.telling.remarks import listed_ids, whole
from services.detector.shell.state import DetectorState
from shared.names import nearest, shown
from shared.rpc import Refusal

#: Longest name of an anomaly that is looked for, and what one is made of.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
#: Columns of the text.
WIDTHS: Final = (20, 400)
#: Anomalies that are listed when a part fits several, and among which the nearest are sought.
MAX_LISTED: Final = 5
MAX_NEAR: Final = 500
LATEST: Final = "latest"
#: How whole ids begin.
BEGINNING: Final = "anomaly-"

Turn = Callable[[], AbstractContextManager[None]]


class Explaining:
    """The handler."""

    def __init__(self, state: DetectorState, turn: Turn) -> None:
        self._state = state
        self._turn = turn

    def explain(self, params: dict[str, Any]) -> dict[str, Any]:
        """{id, width?=80, ascii?=false, points?: [[epoch ms, value]]} → {anomaly, explanation, text, wanted}; only reads.

        `id`: an anomaly's, its beginning or end (or the beginning of its last part) that fits one alone, or `latest`.
        `points`: the figure by minute, for anomalies whose minutes the detector no longer has; `wanted` says of which.
        """
        name, width, points = params.get("id"), params.get("width", 80), None
        if not isinstance(name, str):
            raise Refusal("bad_parameter", "id: an anomaly's id, its beginning or end, or `latest`", field="id")
        if type(width) is not int or not WIDTHS[0] <= width <= WIDTHS[1]:
            raise Refusal("bad_parameter", f"width: a whole number from {WIDTHS[0]} to {WIDTHS[1]}", field="width")
        if params.get("points") is not None:
            points = finite(params["points"])
            if points is None:
                raise Refusal("bad_parameter", f"points: at most {MAX_POINTS} of [epoch ms, number]", field="points")
        event = self._one(name.strip())
        with self._turn():
            watch = self._state.watch
            event = watch.book.events.get(event.id, event)
            return whole(watch, event, points=points, width=width, ascii_only=params.get("ascii") is True)

    def _one(self, name: str) -> Event:
        if name == LATEST:
            return self._latest()
        found = self._found(name) if _NAME.fullmatch(name) else []
        exact = [event for event in found if event.id == name]
        if len(exact or found) == 1:
            return (exact or found)[0]
        if found:
            raise Refusal(
                "ambiguous",
                f"{shown(name)} fits several anomalies; more of the id tells them apart",
                fits=listed_ids(found[:MAX_LISTED]),
            )
        raise self._unknown(name)

    def _found(self, name: str) -> list[Event]:
        """The anomalies whose id begins or ends so, latest first, a few at most."""
        with self._turn():
            booked = {e.id: e for e in self._state.watch.book.events.values() if _fits(e.id, name)}
        stored = {e.id: e for e in self._state.database.named(name, MAX_LISTED + 1)}
        return sorted((stored | booked).values(), key=lambda e: (-e.start_ms, e.id))

    def _latest(self) -> Event:
        with self._turn():
            booked = [e for e in self._state.watch.book.events.values() if e.stored]
        stored, _ = self._state.database.recent(0, None, 1)
        known = [*booked, *stored]
        if not known:
            raise Refusal("unknown_anomaly", "no anomaly has been found so far")
        return max(known, key=lambda e: (e.start_ms, e.id))

    def _unknown(self, name: str) -> Refusal:
        with self._turn():
            known = {e.id: e for e in self._state.watch.book.events.values() if e.stored}
        known |= {e.id: e for e in self._state.database.recent(0, None, MAX_NEAR)[0]}
        # What tells anomalies apart is the end of their names; who gives no more is not answered by the beginning.
        whole_names = {n if name.startswith(BEGINNING) else n.rpartition("-")[2]: n for n in sorted(known)}
        near = [known[whole_names[n]] for n in nearest(name, list(whole_names), 3)]
        return Refusal("unknown_anomaly", f"no anomaly is called {shown(name)}", nearest=listed_ids(near))


def _fits(anomaly_id: str, name: str) -> bool:
    return anomaly_id.startswith(name) or anomaly_id.rpartition("-")[2].startswith(name) or anomaly_id.endswith(name)
