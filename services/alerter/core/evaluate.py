"""From batches to breaches: fold calls into windows, and say which thresholds they are over.

Windows run on the metrics' own time, where no call is later than its commit (a producer's clock that is ahead cannot push others
out of a window). A window is judged when calls of its series arrive; silence neither raises nor keeps a condition true. While
catching up calls only fill the windows, and what is still true at the end is judged then. Knows nothing of alerts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.alerter.core.metrics import CALL_STALE_MS, KINDS, QUANTILES, Aggregation, Metric
from services.alerter.core.model import Candidate, Fingerprint, Reason, Severity
from services.alerter.core.plan import Judge, Plan, Sheet, columns_needed, judge_of, where_any
from services.alerter.core.series import SeriesTable
from services.alerter.core.support import supports_alert
from services.alerter.core.thresholds import Threshold, Thresholds
from services.alerter.core.windows import Rows, SlidingWindow
from shared.batch import Batch, Series
from shared.timespan import span_text

Ids = NDArray[np.int64]
Values = NDArray[np.float64]

#: The columns of a batch that any threshold can watch.
COLUMNS: Final = tuple(kind.column for kind in KINDS.values() if kind.column is not None)
#: Worst first: a series that is over both thresholds is judged by the critical one.
SEVERITIES: Final = (Severity.CRITICAL, Severity.WARNING)


class Breach(NamedTuple):
    """A value over a threshold; `held` says why it can be no alert, None that it can."""

    candidate: Candidate
    held: Reason | None


class Seen(NamedTuple):
    """What was seen of a series: one call, or a window's value over `calls` calls up to `ts_ms`."""

    number: int
    ts_ms: int
    value: float
    calls: int = 1
    failures: int = 0

    @classmethod
    def of(cls, rows: Rows, values: Values, row: int) -> Seen:
        """One row by itself."""
        return cls(int(rows.ids[row]), int(rows.ts[row]), float(values[row]))


class Evaluator:
    """The windows, and the thresholds compiled for the series in them. pending: ids with calls that were not judged yet."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.series = SeriesTable()
        self.windows: dict[int, SlidingWindow] = {}
        self.last_ts = np.zeros(self.series.capacity, np.int64)
        self._thresholds = thresholds
        self._plan = Plan(thresholds, self.series.capacity)
        self._last_dictionary: tuple[Series, ...] = ()
        self._last_numbers: Ids = np.empty(0, np.int64)
        self._last_released = 0
        self.pending: set[int] = set()
        self.replan()

    def replan(self) -> None:
        """Compile anew after the thresholds changed; windows that a new threshold needs begin empty."""
        self._plan = Plan(self._thresholds, self.series.capacity)
        for series, number in self.series.items():
            self._plan.place(number, series)
        self._match_windows()

    def fold(self, batch: Batch, committed_ms: int) -> Rows:
        """Put a batch into every window; its rows under series ids."""
        numbers = self._numbers_of(batch.dictionary)
        rows = Rows(
            numbers[batch.codes] if len(numbers) else np.empty(0, np.int64),
            np.minimum(batch.ts, committed_ms),
            batch.ok == 0,
            {name: column for name in COLUMNS if (column := batch.resource(name)) is not None},
        )
        if len(rows.ids):
            np.maximum.at(self.last_ts, rows.ids, rows.ts)
            for window in self._current_windows(committed_ms):
                window.add(rows)
            seen = np.bincount(batch.codes, minlength=len(numbers)) > 0
            self.pending.update(numbers[seen].tolist())
        return rows

    def _numbers_of(self, dictionary: tuple[Series, ...]) -> Ids:
        """The id of each series of a dictionary. The same dictionary comes again and again, so the last one is remembered."""
        if dictionary is not self._last_dictionary or self.series.released_total != self._last_released:
            self._last_numbers = np.fromiter(map(self.number_of, dictionary), np.int64, len(dictionary))
            self._last_dictionary, self._last_released = dictionary, self.series.released_total
        return self._last_numbers

    def judge_calls(self, rows: Rows, now_ms: int) -> Iterator[Breach]:
        """Calls over a threshold that judges each call: the newest one a series, metric and severity."""
        for judge, sheets in self._plan.sheets.items():
            values = rows.columns.get(judge.column or "")
            if judge.window_ms is not None or values is None:
                continue
            for severity, sheet in sheets.items():
                # Hardly ever is the largest value above the least limit.
                if not np.fmax.reduce(values, initial=-np.inf) > np.fmin.reduce(sheet.limit, initial=np.inf):
                    continue
                over = np.flatnonzero(values > sheet.limit[rows.ids])
                if len(over):
                    for row in _newest_of_each(rows, over):
                        yield self._call_breach(judge, severity, sheet, Seen.of(rows, values, row), now_ms)

    def judge_windows(self, now_ms: int) -> Iterator[Breach]:
        """What is true of the windows of every series that had calls since this was last asked."""
        ids = np.fromiter(self.pending, np.int64, len(self.pending))
        self.pending.clear()
        if not len(ids):
            return
        for judge, sheets in self._plan.sheets.items():
            if judge.window_ms is not None:
                yield from self._judge_window(judge, sheets, ids, now_ms)

    def contents(self, window_ms: int) -> list[tuple[Series, int, int]]:
        """Calls and failures of every series in a window."""
        window = self.windows[window_ms]
        listed = list(self.series.items())
        ids = np.asarray([number for _, number in listed], np.int64)
        calls, failures = window.calls_of(ids), window.failures_of(ids)
        return [(series, int(calls[k]), int(failures[k])) for k, (series, _) in enumerate(listed) if calls[k]]

    def release_idle(self) -> int:
        """Take back the ids of series of which no window knows a call; how many."""
        idle = np.ones(self.series.capacity, np.bool_)
        for window in self.windows.values():
            idle &= window.idle(self.series.capacity)
        gone = [number for _, number in self.series.items() if idle[number] and number not in self.pending]
        self.series.release(gone)
        self.last_ts[gone] = 0
        return len(gone)

    def restore(self, numbers: dict[int, Series]) -> None:
        """Give series the ids they had, before their slots are read back; nothing has an id yet."""
        self.series.restore(numbers)
        self._plan.grow(self.series.capacity)
        for series, number in self.series.items():
            self._plan.place(number, series)
        self._fit_windows()

    def number_of(self, series: Series) -> int:
        """The id of a series; a new one gets its place in windows and plan."""
        number = self.series.find(series)
        if number is not None:
            return number
        number = self.series.add(series)
        self._plan.grow(self.series.capacity)
        self._plan.place(number, series)
        self._fit_windows()
        return number

    def _fit_windows(self) -> None:
        capacity = self.series.capacity
        if len(self.last_ts) < capacity:
            self.last_ts = np.concatenate([self.last_ts, np.zeros(capacity - len(self.last_ts), np.int64)])
        for window in self.windows.values():
            window.grow(capacity)

    def _match_windows(self) -> None:
        """Have exactly the windows and columns that the thresholds need."""
        needed = windows_needed(self._thresholds)
        for window_ms in [window_ms for window_ms in self.windows if window_ms not in needed]:
            del self.windows[window_ms]
        for window_ms, columns in needed.items():
            self.windows.setdefault(window_ms, SlidingWindow(window_ms, columns)).ensure(columns)
        self._fit_windows()

    def _current_windows(self, at_ms: int) -> list[SlidingWindow]:
        for window_ms, window in list(self.windows.items()):
            if window.is_ahead(at_ms):  # the clock was set back; what it had counted is of no known time
                self.windows[window_ms] = SlidingWindow(window_ms, {})
                self._match_windows()
        return list(self.windows.values())

    def _call_breach(self, judge: Judge, severity: Severity, sheet: Sheet, call: Seen, now_ms: int) -> Breach:
        rule = sheet.rules[call.number]
        held = _held(rule, 1, 0, stale=now_ms - call.ts_ms > CALL_STALE_MS)
        return Breach(self._candidate(judge, severity, rule, call), held)

    def _judge_window(self, judge: Judge, sheets: dict[Severity, Sheet], ids: Ids, now_ms: int) -> Iterator[Breach]:
        window = self.windows[judge.window_ms or 0]
        ids = _candidates(judge, window, ids, where_any(sheets, ids))
        if not len(ids):
            return
        values, calls, failures = _values(judge, window, ids)
        for severity in SEVERITIES:
            sheet = sheets.get(severity)
            if sheet is None:
                continue
            for k in np.flatnonzero(values > sheet.limit[ids]).tolist():
                number = int(ids[k])
                rule, ts_ms = sheet.rules[number], int(self.last_ts[number])
                seen = Seen(number, ts_ms, float(values[k]), int(calls[k]), int(failures[k]))
                held = _held(rule, seen.calls, seen.failures, stale=now_ms - ts_ms > window.window_ms)
                yield Breach(self._candidate(judge, severity, rule, seen), held)

    def _candidate(self, judge: Judge, severity: Severity, rule: Threshold, seen: Seen) -> Candidate:
        series = self.series.name(seen.number)
        return Candidate(
            Fingerprint(judge.metric.value, series.server, series.tool),
            severity,
            rule.condition,
            _rounded(seen.value),
            rule.value,
            KINDS[judge.metric].unit,
            seen.ts_ms,
            _judged(judge, seen.calls, seen.failures),
            rule.threshold_id,
            calls=seen.calls,
            failures=seen.failures if judge.metric is Metric.ERROR_RATE else None,
            window_ms=judge.window_ms,
        )


def windows_needed(thresholds: Thresholds) -> dict[int, dict[str, bool]]:
    """The windows of all thresholds, whether any series falls under them yet or not."""
    return columns_needed([judge_of(rule) for rule in thresholds])


def _newest_of_each(rows: Rows, over: Ids) -> list[int]:
    """Of these rows the newest one of each series."""
    by_time = over[np.argsort(rows.ts[over], kind="stable")][::-1]
    _, first = np.unique(rows.ids[by_time], return_index=True)
    return [int(row) for row in by_time[first]]


def _candidates(judge: Judge, window: SlidingWindow, ids: Ids, lowest: Values) -> Ids:
    """The ids that can be over their lowest threshold at all, cheaply."""
    if judge.column is None:
        return ids[np.isfinite(lowest) & (window.failures_of(ids) > 0)]
    above = window.most_of(judge.column, ids) > lowest
    ids, lowest = ids[above], lowest[above]
    if judge.needs_distribution and len(ids):
        return ids[window.may_exceed(judge.column, ids, lowest, QUANTILES[judge.aggregation])]
    return ids


def _values(judge: Judge, window: SlidingWindow, ids: Ids) -> tuple[Values, Values, Values]:
    """Value, calls that count and failures of each id."""
    column = judge.column
    if column is None:
        calls, failures = window.calls_of(ids), window.failures_of(ids)
        return 100.0 * failures / np.maximum(calls, 1), calls, failures
    calls, none = window.measured_of(column, ids), np.zeros(len(ids))
    if judge.aggregation is Aggregation.MAX:
        return window.most_of(column, ids), calls, none
    if judge.aggregation is Aggregation.MIN:
        return window.least_of(column, ids), calls, none
    if judge.aggregation is Aggregation.AVG:
        return window.mean_of(column, ids), calls, none
    return window.quantile_of(column, ids, QUANTILES[judge.aggregation]), calls, none


def _held(rule: Threshold, calls: int, failures: int, *, stale: bool) -> Reason | None:
    if not rule.enabled:
        return Reason.DISABLED
    enough = calls >= rule.min_calls or (rule.min_failures is not None and failures >= rule.min_failures)
    if not enough or not _supported(rule, calls, failures):
        return Reason.NOT_ENOUGH_CALLS
    return Reason.STALE if stale else None


def _supported(rule: Threshold, calls: int, failures: int) -> bool:
    """Whether so many failures bear an alert; a user who said how many calls are enough is taken at their word."""
    if rule.key.metric is not Metric.ERROR_RATE or rule.min_failures is None:
        return True
    return supports_alert(failures, calls, rule.value)


def _judged(judge: Judge, calls: int, failures: int) -> str:
    if judge.window_ms is None:
        return "one call"
    over = f"over {span_text(judge.window_ms)}"
    if judge.metric is Metric.ERROR_RATE:
        return f"{failures} of {calls} calls failed {over}"
    return f"{judge.aggregation} of {calls} calls {over}"


def _rounded(value: float) -> float:
    """Six significant digits: what a person reads, and what a sketch is good for at the most."""
    return float(f"{value:.6g}")
