"""What all tools of a server did together, counted once more from their minutes.

After a rebuild, for which tools are read one after the other, an event of the server is told by that alone if its row was lost as
well. Within a minute calls and failures are taken to be spread evenly. `servers` judges, `rebuilding` says for which events.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from services.detector.core.engine import Engine
from services.detector.core.kernels.error_mixture import USUAL
from services.detector.core.metrics import MINUTE_MS
from services.detector.core.state.series import SeriesState, has_event
from shared.batch import Batch

#: Calls that are counted again at most, the latest.
MAX_CALLS: Final = 2_000_000


def recount(engine: Engine, server: str, since_ms: int) -> None:
    """Judge anew what the tools of a server did since a time; what happened waits among the servers' turns."""
    tools = [series for key, series in engine.series.items() if key.server == server]
    engine.servers.forget(server)
    if not tools:
        return
    batch = _of_minutes(tools, since_ms // MINUTE_MS)
    rates = np.array([series.run[USUAL] for series in tools])
    busy = np.array([has_event(series.run) for series in tools], np.uint8)
    engine.servers.judge(batch, tools, rates, busy, at_once=True)


def _of_minutes(tools: list[SeriesState], first: int) -> Batch:
    """The calls of the tools' minutes from `first` on as a batch, by time."""
    newest = max(series.newest_ts for series in tools) // MINUTE_MS
    rows = [series.minutes.between(first, newest) for series in tools]
    code = np.repeat(np.arange(len(tools)), [r.stop - r.start for r in rows])
    minute = np.concatenate([series.minutes.index[r] for series, r in zip(tools, rows, strict=True)])
    calls = np.concatenate([series.moments[r, 0, 0] for series, r in zip(tools, rows, strict=True)]).astype(np.int64)
    failures = np.concatenate([series.failures[r] for series, r in zip(tools, rows, strict=True)]).astype(np.int64)
    order = np.argsort(minute, kind="stable")
    fitting = np.cumsum(calls[order][::-1])[::-1] <= MAX_CALLS
    code, minute, calls, failures = (column[order][fitting] for column in (code, minute, calls, failures))
    of = np.repeat(np.arange(len(calls)), calls)
    place = np.arange(len(of)) - np.repeat(np.cumsum(calls) - calls, calls)
    ok = (place + 1) * failures[of] // calls[of] == place * failures[of] // calls[of]
    ts = minute[of] * MINUTE_MS + (2 * place + 1) * MINUTE_MS // (2 * calls[of])
    by_time = np.argsort(ts, kind="stable")
    return Batch(
        tuple(series.key for series in tools),
        code[of][by_time].astype(np.uint32),
        ts[by_time],
        np.zeros(len(of)),
        ok[by_time].astype(np.uint8),
    )
