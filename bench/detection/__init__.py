"""`perfmon bench detection`: how good and how fast the detector is."""

from __future__ import annotations

from bench.detection.report import run

__all__ = ["run"]
