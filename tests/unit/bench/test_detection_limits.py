"""The limits on detection name rows that its tables have, and each part is a module that runs."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest

from bench.detection import PARTS, run
from bench.detection.causes import KINDS
from bench.detection.faults import BURST, CLASSES, LEAK, SERVER_WIDE, SHIFT, SPIKE
from bench.detection.nab import run as run_nab
from bench.detection.nab_score import PROFILES
from bench.detection.null import PROCESSES
from bench.detection.simulated import REQUIRED, is_required
from bench.options import Options
from bench.thresholds import load
from services.detector.core.metrics import SENSITIVITIES

ROWS = {
    "causes": {"all", *KINDS},
    "recall": {REQUIRED, *(kind.name for kind in CLASSES)},
    "precision": set(SENSITIVITIES),
    "nab": set(PROFILES),
    "null, signal": set(PROCESSES),
    "null, auto": set(PROCESSES),
}


def test_limits_name_rows_that_exist() -> None:
    for limit in load():
        benchmark, _, table = limit.figure.benchmark.partition(": ")
        if benchmark == "detection" and table in ROWS:
            assert limit.figure.what in ROWS[table]


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_a_module(part: str) -> None:
    assert find_spec(f"bench.detection.{part}") is not None
    assert callable(import_module(f"bench.detection.{part}").run)


def test_only_the_parts_that_were_asked_for_run_and_labelled_series_only_with_a_folder() -> None:
    assert run(Options(only=("nothing of this name",))) == []
    assert run_nab(Options()) == []


def test_what_medium_must_find_is_what_the_requirement_says() -> None:
    required = {(kind.kind, kind.size) for kind in (*CLASSES, SERVER_WIDE) if is_required(kind)}
    assert required == {
        *((SPIKE, size) for size in (4.0, 10.0)),
        *((SHIFT, size) for size in (1.5, 2.0, 3.0)),
        *((BURST, size) for size in (10.0, 30.0, 100.0)),
        *((LEAK, size) for size in (3.0, 6.0)),
    }
