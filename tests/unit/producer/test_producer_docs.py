"""The examples of docs/producer.md run as they stand."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import perfmon
import perfmon.producer
from perfmon.producer.address import ENDPOINT_VARIABLE, KEYS_VARIABLE
from perfmon.producer.api import CLOSE_TIMEOUT_S
from perfmon.producer.endings import EXIT_GRACE_S, EXIT_TIMEOUT_S
from perfmon.producer.sender import MAX_REFUSED_PAUSE_S, REFUSED_PAUSE_S
from tests.fakes.fake_ingest import FakeIngest

PAGE = Path(__file__).parents[3] / "docs" / "producer.md"


def test_the_examples_run_and_what_they_record_arrives(
    ingest: FakeIngest, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    monkeypatch.setenv(ENDPOINT_VARIABLE, endpoint)
    first, _, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(first, names)
    with perfmon.Producer() as producer:
        exec(second, names | {"producer": producer})
        assert producer.flush(20)
    assert [row["duration"] for row in ingest.stored] == [12.5, 31.0, 12.5, 3.0, 8.25]
    assert [row.get("error") for row in ingest.stored] == [None, "TimeoutError: no answer", None, None, "no answer"]


SIGNALLED = """
import os, signal, sys, perfmon
producer = perfmon.Producer(endpoint=sys.argv[1])
{handler}
producer.record("s", "t", 1.0)
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_the_handler_on_the_page_delivers_what_is_buffered(ingest: FakeIngest, endpoint: str) -> None:
    handler = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED.format(handler=handler), endpoint],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (143, "")
    ingest.wait_until(lambda: [row["duration"] for row in ingest.stored] == [1.0])


def test_the_page_names_every_field_of_the_figures_and_every_argument() -> None:
    page = PAGE.read_text()
    arguments = set(inspect.signature(perfmon.Producer.__init__).parameters) - {"self", "probe_s"}
    assert [name for name in arguments if f"`{name}=" not in page] == []
    assert [field.name for field in fields(perfmon.producer.ProducerStats) if f"`{field.name}`" not in page] == []
    call = set(inspect.signature(perfmon.Producer.record).parameters) - {"self", "server", "tool", "duration_ms"}
    assert [name for name in call - {"success", "error"} if f"`{name}`" not in page] == []


def test_the_page_states_the_time_outs_of_the_code() -> None:
    page = PAGE.read_text()
    flush = inspect.signature(perfmon.Producer.flush).parameters["timeout_s"].default
    assert f"| `flush(timeout_s)` | {flush:.0f} s |" in page
    assert f"| `close(timeout_s)` | {CLOSE_TIMEOUT_S:.0f} s |" in page
    assert f"| the end of the process | {EXIT_TIMEOUT_S:.0f} s |" in page
    assert f"; {EXIT_GRACE_S} s when no pipeline is there" in page
    assert f"after {REFUSED_PAUSE_S} s, doubled up to {MAX_REFUSED_PAUSE_S:.0f} s" in page


def test_every_argument_and_counter_that_the_page_names_exists() -> None:
    arguments = set(perfmon.Producer.__init__.__annotations__)
    for name in re.findall(r"`(\w+)=", PAGE.read_text()):
        assert name in arguments | {"server"}, name
