"""The examples of docs/producer.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import perfmon
from perfmon.producer.address import ENDPOINT_VARIABLE, KEYS_VARIABLE
from tests.fakes.fake_ingest import FakeIngest

PAGE = Path(__file__).parents[3] / "docs" / "producer.md"


def test_the_examples_run_and_what_they_record_arrives(
    ingest: FakeIngest, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(first, names)
    with perfmon.Producer() as producer:
        exec(second, names | {"producer": producer})
        assert producer.flush(20)
    assert [row["duration"] for row in ingest.stored] == [12.5, 31.0, 12.5, 3.0, 8.25]
    assert [row.get("error") for row in ingest.stored] == [None, "TimeoutError: no answer", None, None, "no answer"]


def test_every_argument_and_counter_that_the_page_names_exists() -> None:
    arguments = set(perfmon.Producer.__init__.__annotations__)
    for name in re.findall(r"`(\w+)=", PAGE.read_text()):
        assert name in arguments | {"server"}, name
