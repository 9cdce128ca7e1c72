"""The answers to a set of questions, read once, by the question's name.

A question may have failed: then it reads as None, and `failures` has it. Knows nothing of what is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from services.reporter.core.answers import Alerts, Anomalies, Failure, Freshness, Rollup, Series
from services.reporter.core.questions import Question
from services.reporter.core.reading import read_alerts, read_anomalies, read_counters, read_rollup, read_series
from services.reporter.core.thresholds import Thresholds, read_thresholds

_Read = TypeVar("_Read")

_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "rollup": read_rollup,
    "series": read_series,
    "recent": read_anomalies,
    "alerts.list": read_alerts,
    "alerts.history": read_alerts,
    "thresholds.list": read_thresholds,
    "stats": read_counters,
}


@dataclass(frozen=True, slots=True)
class Answered:
    """`values`: by question, what its reader made of the answer; `failures`: by question, why there is none."""

    values: Mapping[str, Any] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)

    def __or__(self, other: Answered) -> Answered:
        return Answered({**self.values, **other.values}, {**self.failures, **other.failures})

    def rollup(self, name: str) -> Rollup | None:
        """The answer to a `rollup`."""
        return _kind(self.values.get(name), Rollup)

    def alerts(self, name: str) -> Alerts | None:
        """The answer to `alerts.list` or `alerts.history`."""
        return _kind(self.values.get(name), Alerts)

    @property
    def anomalies(self) -> Anomalies | None:
        """The answer to `recent`."""
        return _kind(self.values.get("anomalies"), Anomalies)

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that were set; the defaults when they could not be had."""
        return _kind(self.values.get("thresholds"), Thresholds) or Thresholds()

    @property
    def series(self) -> Series:
        """Every series with its last call; empty when it could not be had."""
        return _kind(self.values.get("series"), Series) or Series()

    @property
    def ingest(self) -> Mapping[str, int] | None:
        """The counters of the ingest."""
        return _kind(self.values.get("ingest"), dict)

    @property
    def freshness(self) -> Freshness:
        """How far the aggregator is, from the first of its answers that says so."""
        rollups = [value for value in self.values.values() if isinstance(value, Rollup)]
        return next((r.freshness for r in rollups if r.freshness != Freshness()), Freshness())

    def only(self, names: Iterable[str]) -> Answered:
        """These answers to be remembered: what they say of how far the aggregator was is left out."""
        kept = {name: self.values[name] for name in names if name in self.values}
        for name, value in kept.items():
            if isinstance(value, Rollup):
                kept[name] = replace(value, freshness=Freshness())
        return Answered(kept)


def read_one(question: Question, raw: object) -> Any:
    """What the reader of a question's method makes of its answer."""
    return _READERS[question.method](raw)


def sorted_out(read: Mapping[str, Any]) -> Answered:
    """Answers that were read, with the `Failure`s apart."""
    failures = {name: value for name, value in read.items() if isinstance(value, Failure)}
    return Answered({name: value for name, value in read.items() if name not in failures}, failures)


def read(questions: Mapping[str, Question], raw: Mapping[str, object]) -> Answered:
    """The raw answers to these questions, each put through the reader of its method; `Failure`s apart."""
    return sorted_out(
        {
            name: raw[name] if isinstance(raw[name], Failure) else read_one(question, raw[name])
            for name, question in questions.items()
            if name in raw
        }
    )


def _kind(value: object, kind: type[_Read]) -> _Read | None:
    return value if isinstance(value, kind) else None
