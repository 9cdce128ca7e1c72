"""Calls with a fault in them, and what the detector's shell wrote of it."""

from __future__ import annotations

import json
from typing import Any

from perfmon.paths import DataDirectory
from shared.batch import Batch
from tests.unit.detector.detector_kit import HOUR, T0, batch, ordinary, times

NOW = T0 + 3 * HOUR
DAY_NAME = "2025-10-10"


def faulty(n: int = 320, at: int = 300, start: int = T0) -> Batch:
    values = ordinary(n)
    values[at : at + 10] *= 12
    return batch(times(n, start=start), values)


def lines(data: DataDirectory, day: str = DAY_NAME) -> list[dict[str, Any]]:
    path = data.anomalies / f"{day}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
