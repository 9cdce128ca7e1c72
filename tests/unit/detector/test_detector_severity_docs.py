"""What `docs/detection.md` says of the severity of failures is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from services.detector.core import severity
from services.detector.core.kernels import burn
from services.detector.core.metrics import MINUTE_MS

_NAMES = {"5 min": burn.FIVE_MINUTES, "30 min": burn.HALF_HOUR, "1 h": burn.HOUR, "6 h": burn.SIX_HOURS}
_SHARES = {"half": 0.5, "14.4 %": 0.144}
TEXT = (Path(__file__).parents[3] / "docs" / "detection.md").read_text().split("## Severity")[1].split("\n## ")[0]


def test_the_docs_name_the_burn_rates_of_each_severity() -> None:
    rows = re.findall(
        r"\| `(\w+)` \| ([\d.]+) in (\d+ \w+) and (\d+ \w+) \| (half|[\d.]+ %).*?and ([\d.]+) in 5 min", TEXT
    )
    told = [(s, float(times), _NAMES[long], _NAMES[short]) for s, times, long, short, _, _ in rows]
    assert sorted(told) == sorted(found for found in severity.BURNS if found[0] != "info")
    assert sorted((s, _SHARES[share], float(times)) for s, *_, share, times in rows) == sorted(severity.OUTRIGHT)


def test_the_docs_name_what_a_critical_one_takes() -> None:
    assert severity.CRITICAL_FAILURES_MIN == 5
    assert severity.CRITICAL_LASTS_MS == 3 * MINUTE_MS
    assert "before five failures, and before three minutes" in " ".join(TEXT.split())
    assert f"{severity.WARNING_TIMES} times the end" in TEXT
    assert f"above {severity.CRITICAL_TIMES:.0f} times" in TEXT
