"""Windows that the detector's state does not reach: stored anomalies from the database, and the calls that are still in the JSONL
files gone through once more by a detector of its own.

That is done by a thread, one past at a time, in bounded calls, bytes and time; the latest pasts are kept for a while. Who asks
waits for a moment; then the answer says that the past is still being read. Where nothing tells of a window any more, coverage
says so.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, Final

import structlog

from perfmon.paths import DataDirectory
from services.detector.core.answers.answer import Query
from services.detector.core.answers.past import WARM_MS, Known, Replay
from services.detector.core.events import BOOK_MS, Event, from_record
from services.detector.core.metrics import LEVELS, MINUTE_MS
from services.detector.core.watch import Watch
from services.detector.shell.history import Span, calls_of, first_ts_of
from services.detector.shell.state import sweep_every_ms
from shared.database import open_readonly
from shared.settings import Settings
from shared.store.raw import metric_files
from shared.timespan import iso

#: Calls of one past; of more the tools that come last are left out.
MAX_CALLS: Final = 1_000_000
#: How long a past is worked on, and how long who asks waits for it.
MAX_WORK_S: Final = 60.0
PATIENCE_S: Final = 2.5
#: Pasts kept (each takes up to `core.past.BUDGET_BYTES`), and for how long.
MAX_KEPT: Final = 1
KEPT_S: Final = 120.0
#: Rest between two steps, so that the stream has its turn.
REST_S: Final = 0.001
#: Stored anomalies read for one answer, the latest.
MAX_STORED: Final = 20_000
#: A window that begins this little before what the state knows is not worth a look.
NEARLY_MS: Final = 5 * MINUTE_MS
#: What is asked to exactly now ends in this minute; pasts that differ by less are the same.
_GRAIN_MS: Final = MINUTE_MS


#: What coverage says of a past.
NOTHING_KEPT: Final = "no calls of that time are kept; only stored anomalies are known"
STILL_READ: Final = "calls of that time are still being read; ask again in a moment"


class _Work:
    """A past under way or done."""

    def __init__(self, wanted: Span) -> None:
        self.wanted = wanted
        self.done = threading.Event()
        self.replayed: Watch | None = None
        self.note: dict[str, Any] = {}
        self.finished_s = 0.0


class Past:
    """Answers what is known of a window beyond the state. From any thread."""

    def __init__(
        self, data: DataDirectory, database: Path, settings: Settings, *, patience_s: float = PATIENCE_S
    ) -> None:
        self._data = data
        self._database = database
        self._max_series = settings.max_series
        self._sweep_every_ms = sweep_every_ms(settings)
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._kept: dict[Span, _Work] = {}
        self._probed: dict[tuple[int, int], tuple[float, bool]] = {}
        self._stopping = threading.Event()

    def known(self, query: Query, reaches_ms: int, now_ms: int) -> Known:
        """What is known of a query's window beyond a state that reaches back to a time."""
        stored = self._stored(query) if query.start_ms < now_ms - BOOK_MS else []
        note: dict[str, Any] = {"storedAnomalies": len(stored)} if stored else {}
        if query.start_ms >= min(reaches_ms - NEARLY_MS, now_ms):
            return Known(stored, None, note)
        end_ms = min(query.end_ms, now_ms)
        if not self._has_calls(query.start_ms, min(reaches_ms, end_ms)):
            # A window that only begins before the first call ever is the usual case, and `since` says so.
            return Known(stored, None, note | ({"past": NOTHING_KEPT} if stored or end_ms < reaches_ms else {}))
        # The named methods need all of the window, events only where the state has none.
        end_ms = min(end_ms, reaches_ms) if query.method == "auto" else end_ms
        start_ms, end_ms = query.start_ms // _GRAIN_MS * _GRAIN_MS, -(-end_ms // _GRAIN_MS) * _GRAIN_MS
        work = self._begun(Span(start_ms, end_ms, query.server, query.tool))
        if work is None or not work.done.wait(self._patience_s):
            return Known(stored, None, note | {"past": STILL_READ})
        return Known(stored, work.replayed, note | work.note)

    def stop(self) -> None:
        """Let go of what is under way."""
        self._stopping.set()

    def _begun(self, wanted: Span) -> _Work | None:
        """The work on a past, begun if it was not; None while another has its turn."""
        with self._lock:
            if wanted in self._kept:
                return self._kept[wanted]
            if not all(work.done.is_set() for work in self._kept.values()):
                return None
            while len(self._kept) >= MAX_KEPT:
                del self._kept[min(self._kept, key=lambda key: self._kept[key].finished_s)]
            work = self._kept[wanted] = _Work(wanted)
        threading.Thread(target=self._run, args=(work,), name="past", daemon=True).start()
        return work

    def _run(self, work: _Work) -> None:
        try:
            self._live_again(work)
        except (OSError, MemoryError) as error:
            structlog.get_logger().warning("past_not_read", reason=str(error))
            work.note = {"past": "the calls could not be read"}
        finally:
            work.finished_s = time.monotonic()
            work.done.set()
        self._stopping.wait(KEPT_S)
        with self._lock:
            if self._kept.get(work.wanted) is work:
                del self._kept[work.wanted]

    def _live_again(self, work: _Work) -> None:
        wanted, until_s = work.wanted, time.monotonic() + MAX_WORK_S
        span = Span(wanted.start_ms - WARM_MS, wanted.end_ms, wanted.server, wanted.tool)
        calls, left_out = calls_of(self._data, span, MAX_CALLS, self._stopping.is_set)
        if not len(calls):
            work.note = {"past": NOTHING_KEPT}
            return
        replay = Replay(calls, wanted.end_ms, self._max_series, self._sweep_every_ms)
        reached_ms = wanted.start_ms
        for now_ms in replay.steps():
            reached_ms = now_ms
            if self._stopping.wait(REST_S) or time.monotonic() > until_s:
                break
        whole = reached_ms > int(calls.ts[-1])
        work.replayed = replay.watch
        work.note = {
            "past": "calls kept in files, gone through once more" + ("" if whole else f", up to {iso(reached_ms)}"),
            "pastFrom": iso(max(wanted.start_ms, int(calls.ts[0]))),
            "pastCalls": len(calls),
        } | ({"toolsNotRead": left_out} if left_out else {})

    def _has_calls(self, start_ms: int, end_ms: int) -> bool:
        """Whether the files hold calls of a span; looked up at most once a minute."""
        key = (start_ms // _GRAIN_MS, end_ms // _GRAIN_MS)
        now_s = time.monotonic()
        probed = self._probed.get(key)
        if probed is not None and now_s - probed[0] < KEPT_S / 2:
            return probed[1]
        found = any(
            (ts := first_ts_of(path)) is not None and ts < end_ms - MINUTE_MS
            for path in metric_files(self._data.metrics, start_ms, end_ms)
        )
        self._probed = {k: v for k, v in self._probed.items() if now_s - v[0] < KEPT_S / 2} | {key: (now_s, found)}
        return found

    def _stored(self, query: Query) -> list[Event]:
        """The stored anomalies of a window; of faint ones those of the last two days are kept."""
        level = max(LEVELS[query.sensitivity], 1)
        connection = open_readonly(self._database)
        try:
            rows = connection.execute(
                "SELECT record FROM event WHERE level >= ? AND start_ms <= ? AND (last_ms >= ? OR open = 1) "
                "ORDER BY start_ms DESC LIMIT ?",
                (level, query.end_ms, query.start_ms, MAX_STORED),
            ).fetchall()
        finally:
            connection.close()
        return [from_record(json.loads(row[0])) for row in rows]
