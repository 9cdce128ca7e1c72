"""Whatever calls come, in whatever order, nothing fails on them, and every event is sound and can be told, kept and asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest

from services.detector.core.answers.answer import answer, parse_query
from services.detector.core.events import from_record, to_record
from services.detector.core.telling import narrative, remarks
from services.detector.core.timeline import Timeline
from services.detector.core.watch import Watch
from shared.batch import Batch, Series
from tests.unit.detector.detector_kit import HOUR, MINUTE, T0, make_watch

#: Minutes that pass between batches now and then, how late or early calls are, and what a batch's worst call may take.
PAUSES = [1, 1, 5, 30, 600, 2_000]
LATE_MS = [0, 0, 0, 0, 300_000, -200_000, 2_000_000]
EXTREMES = [0.0, 5e-324, 3.6e6, 8.64e7]
PACES = [0.0, 0.02, 0.2, 2.0, 20.0]
FAILING = [0.0, 0.001, 0.01, 0.1, 0.3, 1.0]


class Tools:
    """Some tools of some servers, of which anything may change at any time."""

    def __init__(self, rng: np.random.Generator) -> None:
        servers, tools = rng.integers(1, 4), rng.integers(1, 5)
        self.rng = rng
        self.keys = tuple(Series(f"s{i}", f"t{j}") for i in range(servers) for j in range(tools))
        n = len(self.keys)
        self.level, self.failing, self.pace = 10 ** rng.uniform(-1, 4, n), rng.choice(FAILING, n), rng.choice(PACES, n)

    def change(self) -> None:
        rng, at = self.rng, self.rng.integers(len(self.keys))
        what = rng.integers(4)
        if what == 0:
            self.level[at] *= 10 ** rng.uniform(-3, 3)
        elif what == 1:
            self.failing[at] = rng.choice(FAILING)
        elif what == 2:
            self.pace[at] = rng.choice(PACES)
        else:
            self.level *= rng.choice([0.2, 5.0])

    def calls(self, now_ms: int) -> Batch | None:
        rng = self.rng
        codes = np.repeat(np.arange(len(self.keys), dtype=np.uint32), rng.poisson(self.pace))
        rng.shuffle(codes)
        n = len(codes)
        if not n:
            return None
        duration = self.level[codes] * np.exp(rng.choice([0.0, 0.3, 1.5]) * rng.standard_normal(n))
        if rng.random() < 0.02:
            duration[rng.integers(n)] = rng.choice(EXTREMES)
        ok = (rng.random(n) >= self.failing[codes]).astype(np.uint8)
        memory = np.where(rng.random(n) < 0.9, 100.0 + self.level[codes] % 50 + rng.standard_normal(n), np.nan)
        cpu = np.clip(rng.normal(20.0, 10.0, n) + (60.0 if rng.random() < 0.05 else 0.0), 0.0, 100.0)
        return Batch(
            self.keys,
            codes,
            (now_ms - rng.integers(0, MINUTE, n) - rng.choice(LATE_MS, n)).astype(np.int64),
            np.minimum(duration, 1e9),
            ok,
            cpu=cpu,
            memory=memory if rng.random() < 0.8 else None,
            errors={int(row): f"oops {rng.integers(3)}" for row in np.flatnonzero(ok == 0)},
        )


def lived(seed: int, look: Callable[[Watch], None]) -> tuple[Watch, int]:
    """A watch and its time at the end of some hours or months; `look` is called after each batch."""
    rng = np.random.default_rng(seed)
    watch, tools, now_ms = make_watch(), Tools(rng), T0
    timeline = Timeline(watch, 5 * MINUTE)
    for _ in range(int(rng.integers(20, 200))):
        now_ms += MINUTE * int(rng.choice(PAUSES) if rng.random() < 0.1 else 1)
        if rng.random() < 0.04:
            tools.change()
        calls = tools.calls(now_ms)
        if calls is not None:
            timeline.take(calls, live=bool(rng.random() < 0.9), came_ms=now_ms)
        timeline.turn(now_ms)
        look(watch)
    return watch, now_ms


def assert_sound(watch: Watch) -> None:
    for event in watch.book.events.values():
        assert event.start_ms <= event.last_ms
        assert event.end_ms is None or event.start_ms <= event.end_ms
        assert event.points <= event.calls
        assert 0.0 <= event.confidence <= 1.0
        assert np.isfinite([event.value, event.typical, event.median, event.lower, event.upper]).all()


@pytest.mark.parametrize("seed", [9, 18, 82, 111, *range(201, 207)])
def test_whatever_calls_come_every_event_is_sound_and_can_be_told(seed: int) -> None:
    watch, now_ms = lived(seed, look=assert_sound)
    watch.caught_up(now_ms)
    for event in list(watch.book.events.values()):
        assert narrative.summary(event)
        assert remarks.whole(watch, event)["text"]
        assert from_record(to_record(event)) == event
    for method in ("auto", "z-score", "moving-avg", "percentile"):
        asked = {"endMs": now_ms, "lookbackMs": 6 * HOUR, "method": method, "detail": "full", "sensitivity": "high"}
        assert answer(watch, parse_query(asked, now_ms), contextlib.nullcontext)["summary"]["total"] >= 0
