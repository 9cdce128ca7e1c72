"""What the chaos suite records is what docs/reliability.md shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.reliability import DIRECTORY_VARIABLE, record, records
from tests.chaos.report import render

CLEAN = {"lost": 0, "doubled": 0, "unparsable": 0}


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))


def test_a_case_recorded_again_replaces_its_figures() -> None:
    record("kill/ingest", kills=3, acknowledged=10, **CLEAN)
    record("kill/ingest", kills=200, acknowledged=1_000_000, **CLEAN, worst_back_s=0.456)
    (kept,) = records()
    assert (kept.kills, kept.acknowledged, kept.worst_back_s) == (200, 1_000_000, 0.456)


def test_the_page_has_a_table_for_each_group_and_says_what_was_lost_in_all() -> None:
    record("kill/ingest", does="It dies.", kills=2, acknowledged=1_500, **CLEAN, worst_back_s=0.25)
    record("fault/disk full", acknowledged=500, lost=1, doubled=2, unparsable=3, note="It was full.")
    page = render(records(), cores=2)
    assert "| ingest | 1 | 2 | 1,500 | 0 | 0 | 0 | 0.25 s |" in page
    assert "| disk full | 1 |  | 500 | 1 | 2 | 3 |  |" in page
    assert "2 cases, 2 kills, 2,000 metrics acknowledged, 1 lost, 2 doubled, 3 unparsable" in page
    assert page.index("## kill -9 at random moments") < page.index("## Faults")
    assert "- **disk full**: It was full." in page
