"""Thresholds compiled to arrays: for each way of judging and severity, the threshold of every series id at once.

Resolution happens here, once a series and change of thresholds, and not once a call. Knows no values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.alerter.core.metrics import KINDS, QUANTILES, Aggregation, Metric
from services.alerter.core.model import Severity
from services.alerter.core.thresholds import Threshold, Thresholds
from shared.batch import Series


class Judge(NamedTuple):
    """One way to come to a value. window_ms: None judges every call by itself."""

    metric: Metric
    aggregation: Aggregation
    window_ms: int | None

    @property
    def column(self) -> str | None:
        """The batch's column that is judged; None for the error rate."""
        return KINDS[self.metric].column

    @property
    def needs_distribution(self) -> bool:
        """Whether a percentile is asked for."""
        return self.aggregation in QUANTILES


class Sheet:
    """The thresholds of one judge and severity. limit: f64[capacity], NaN where none holds."""

    def __init__(self, capacity: int) -> None:
        self.limit = np.full(capacity, np.nan)
        self.rules: dict[int, Threshold] = {}

    def put(self, number: int, rule: Threshold) -> None:
        """Let a threshold hold for an id."""
        self.limit[number] = rule.value
        self.rules[number] = rule

    def drop(self, number: int) -> None:
        """Let none hold for an id."""
        if self.rules.pop(number, None) is not None:
            self.limit[number] = np.nan

    def grow(self, capacity: int) -> None:
        """Make room for ids below `capacity`."""
        if len(self.limit) < capacity:
            self.limit = np.concatenate([self.limit, np.full(capacity - len(self.limit), np.nan)])


class Plan:
    """Every sheet that any series needs."""

    def __init__(self, thresholds: Thresholds, capacity: int) -> None:
        self._thresholds = thresholds
        self._capacity = capacity
        self.sheets: dict[Judge, dict[Severity, Sheet]] = {}

    def grow(self, capacity: int) -> None:
        """Make room for ids below `capacity`."""
        if capacity <= self._capacity:
            return
        self._capacity = capacity
        for sheets in self.sheets.values():
            for sheet in sheets.values():
                sheet.grow(capacity)

    def place(self, number: int, series: Series) -> None:
        """Resolve all thresholds of a series under its id; whoever had the id before is forgotten."""
        for sheets in self.sheets.values():
            for sheet in sheets.values():
                sheet.drop(number)
        for rule in self._thresholds.holding(series.server, series.tool):
            self._sheet(judge_of(rule), rule.key.severity).put(number, rule)

    def _sheet(self, judge: Judge, severity: Severity) -> Sheet:
        sheets = self.sheets.setdefault(judge, {})
        if severity not in sheets:
            sheets[severity] = Sheet(self._capacity)
        return sheets[severity]


def judge_of(rule: Threshold) -> Judge:
    """How a threshold is judged."""
    return Judge(rule.key.metric, rule.aggregation, rule.window_ms)


def columns_needed(judges: list[Judge]) -> dict[int, dict[str, bool]]:
    """For each window length the columns that the judges look at, and whether any of them wants a percentile of it."""
    needed: dict[int, dict[str, bool]] = {}
    for judge in judges:
        if judge.window_ms is None:
            continue
        columns = needed.setdefault(judge.window_ms, {})
        if judge.column is not None:
            columns[judge.column] = columns.get(judge.column, False) or judge.needs_distribution
    return needed


def where_any(sheets: dict[Severity, Sheet], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """The lowest threshold of each id over the severities, f64[k]; inf where none holds."""
    lowest = np.full(len(ids), np.inf)
    for sheet in sheets.values():
        lowest = np.fmin(lowest, sheet.limit[ids])
    return lowest
