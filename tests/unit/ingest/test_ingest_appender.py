"""A few rows are written by the loop, many by a thread; whoever asks for the files waits for both."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perfmon.paths import DataDirectory
from services.ingest import appender as appender_module
from services.ingest.appender import Appender
from tests.kit.ingest_store import NOW, IngestStore
from tests.kit.waiting import eventually

Told = list[OSError | None]


class Loop:
    """Stands for the service's loop: runs what threads hand over when told to turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.told: Told = []

    def turn(self) -> None:
        eventually(lambda: bool(self.soon), "a thread hands something over")
        self.soon.pop(0)()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def store(data: DataDirectory) -> Iterator[IngestStore]:
    store = IngestStore(data)
    yield store
    store.close()


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"mcpServer": "s", "toolName": f"t{n % 3}", "duration": n, "success": True, "timestamp": NOW}
        for n in range(count)
    ]


def appender(store: IngestStore, loop: Loop) -> Appender:
    return Appender(store.view, loop.soon.append, loop.told.append)


def lines(data: DataDirectory) -> int:
    return sum(path.read_bytes().count(b"\n") for path in data.metrics.rglob("*.jsonl"))


def test_a_few_rows_are_written_at_once(store: IngestStore, loop: Loop, data: DataDirectory) -> None:
    store.write(*rows(10))
    appender(store, loop).begin()
    assert (lines(data), loop.told, loop.soon) == (10, [None], [])


def test_many_rows_are_written_by_a_thread_that_the_loop_hears_of(
    store: IngestStore, loop: Loop, data: DataDirectory
) -> None:
    store.write(*rows(2_000))
    many = appender(store, loop)
    many.begin()
    assert many.busy
    assert loop.told == []
    loop.turn()
    assert not many.busy
    assert (lines(data), loop.told, store.view.pending_rows) == (2_000, [None], 0)


def test_while_a_thread_writes_more_is_taken_and_a_second_begin_does_nothing(
    store: IngestStore, loop: Loop, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, entered, go_on = os.pwrite, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> int:
        entered.set()
        assert go_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(os, "pwrite", slow)
    store.write(*rows(2_000))
    many = appender(store, loop)
    many.begin()
    assert entered.wait(30)
    store.write(*rows(600))
    many.begin()
    assert store.view.pending_rows == 2_600
    go_on.set()
    loop.turn()
    assert (lines(data), store.view.seq, store.view.pending_rows) == (2_000, 1, 600)
    many.begin()
    loop.turn()
    assert (lines(data), store.view.seq, store.view.pending_rows) == (2_600, 2, 0)


def test_finish_waits_for_the_thread_and_writes_the_rest(store: IngestStore, loop: Loop, data: DataDirectory) -> None:
    store.write(*rows(2_000))
    many = appender(store, loop)
    many.begin()
    store.write(*rows(700))
    many.finish()
    assert (lines(data), many.busy) == (2_700, False)
    eventually(lambda: bool(loop.soon), "the thread's word arrives")
    loop.turn()  # it comes late and changes nothing
    assert loop.told == [None, None]


def test_a_full_disk_is_told_and_tried_again(
    store: IngestStore, loop: Loop, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    store.write(*rows(2_000))
    many = appender(store, loop)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        many.begin()
        loop.turn()
    [told] = loop.told
    assert isinstance(told, OSError)
    assert store.view.pending_rows == 2_000
    many.begin()
    loop.turn()
    assert (lines(data), loop.told[1]) == (2_000, None)


def test_a_failure_of_our_own_is_raised_on_the_loop(
    store: IngestStore, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(*rows(2_000))
    many = appender(store, loop)
    monkeypatch.setattr(store.view, "append", lambda: 1 // 0)
    many.begin()
    with pytest.raises(ZeroDivisionError):
        loop.turn()


def test_under_a_load_the_compiled_formatter_is_loaded_and_writes_the_same(
    store: IngestStore, loop: Loop, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender_module, "COMPILE_ROWS", 1_000)
    many = appender(store, loop)
    store.write(*rows(900))
    many.begin()
    loop.turn()
    assert not store.view.formatter.compiled
    store.write(*rows(1_500))
    many.begin()
    loop.turn()
    eventually(lambda: store.view.formatter.compiled, "the kernel is loaded", timeout_s=120)
    store.write(*rows(1_500))
    many.begin()
    loop.turn()
    assert lines(data) == 3_900
    one = (data.metrics / "2025-10-31" / "s" / "t0.jsonl").read_bytes().splitlines()
    assert one[300:800] == one[800:1300]


def test_without_numba_the_plain_formatter_goes_on(
    store: IngestStore, loop: Loop, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ImportError("no numba here")

    monkeypatch.setattr(appender_module, "COMPILE_ROWS", 1_000)
    monkeypatch.setattr(store.view.formatter, "compile", broken)
    many = appender(store, loop)
    store.write(*rows(1_500))
    many.begin()
    loop.turn()
    assert lines(data) == 1_500
