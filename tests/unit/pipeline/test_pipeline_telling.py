"""What is told of two looks at the services, and what a ping's answer must hold."""

from __future__ import annotations

from typing import Any

import pytest

from perfmon.pipeline.ask import read_answer
from perfmon.pipeline.foreground import Seen, changes


def test_a_service_that_becomes_ready_is_told_once() -> None:
    now = {"ingest": Seen(10, ready=True)}
    assert changes({}, now) == ["ingest is ready (pid 10)"]
    assert changes(now, now) == []


def test_another_pid_is_a_restart() -> None:
    before = {"ingest": Seen(10, ready=True)}
    assert changes(before, {"ingest": Seen(11, ready=True)}) == ["ingest was restarted and is ready (pid 11)"]


def test_silence_and_catching_up_are_told_apart() -> None:
    before = {"ingest": Seen(10, ready=True)}
    assert changes(before, {"ingest": Seen()}) == ["ingest does not answer"]
    assert changes(before, {"ingest": Seen(10, ready=False)}) == ["ingest is not ready (pid 10)"]


def test_fatal_is_told_once() -> None:
    fatal = {"ingest": Seen(state="FATAL")}
    assert "FATAL" in changes({}, fatal)[0]
    assert changes(fatal, fatal) == []


GOOD = {"pid": 1, "startedMs": 2, "protocol": [1, 0], "ready": True, "version": "1", "epoch": "e", "seq": 3}


def test_a_complete_answer_is_read() -> None:
    answer = read_answer("ingest", GOOD)
    assert answer is not None
    assert (answer.pid, answer.ready, answer.protocol, answer.seq) == (1, True, (1, 0), 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": None},
        {"pid": True},
        {"startedMs": "x"},
        {"protocol": None},
        {"protocol": [1]},
        {"protocol": ["1", "0"]},
    ],
)
def test_an_answer_without_what_makes_it_one_is_none(wrong: dict[str, Any]) -> None:
    assert read_answer("ingest", GOOD | wrong) is None


def test_odd_optional_fields_are_read_as_unknown() -> None:
    answer = read_answer("ingest", GOOD | {"epoch": 7, "seq": "x", "ready": "yes"})
    assert answer is not None
    assert (answer.epoch, answer.seq, answer.ready) == (None, None, False)
