"""The producer under load: pipelined, bounded, slowed by credit, awaitable; and with nothing but pyzmq and msgpack installed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfmon import Producer
from perfmon.producer.buffer import Buffer
from perfmon.producer.columns import Block
from perfmon.producer.rows import Row
from tests.fakes.fake_ingest import FakeIngest

#: The longest that any condition here is waited for.
LIMIT_S = 20.0


def _durations(ingest: FakeIngest) -> list[float]:
    return [row["duration"] for row in ingest.stored]


def _row(number: float, size_bytes: int = 1) -> Row:
    return ("s", "t", number, True, None, None, None, None, 1, None, size_bytes)


# --- the buffer ---------------------------------------------------------------------------------------------------


def test_the_buffer_is_bounded_in_bytes_as_in_rows() -> None:
    buffer = Buffer(100, 1_000, block=False)
    for number in range(50):
        buffer.put(_row(number, 100))
    stats = buffer.stats()
    assert (stats.buffered, stats.buffered_bytes, stats.dropped_total) == (10, 1_000, 40)
    buffer.put_block(Block({}, 5_000, 600))
    stats = buffer.stats()
    assert (stats.buffered, stats.buffered_bytes, stats.dropped_total) == (5_004, 1_000, 46)
    buffer.put_block(Block({}, 7, 5_000))  # larger than all of it: alone it is taken, or it would never go
    assert buffer.stats().buffered == 7


def test_rows_and_blocks_are_taken_in_order_and_never_mixed() -> None:
    buffer = Buffer(100, 10_000, block=False)
    for number in range(3):
        buffer.put(_row(number))
    buffer.put_block(Block({"n": 9}, 9, 50))
    buffer.put(_row(3))
    taken = [buffer.take(2, 1_000) for _ in range(5)]
    shapes = [one and (one.ticket, one.items.rows if isinstance(one.items, Block) else len(one.items)) for one in taken]
    assert shapes == [(0, 2), (2, 1), (3, 9), (12, 1), None]
    assert buffer.stats().in_flight == 13


def test_settled_means_all_before_whatever_came_later_is_settled_first() -> None:
    buffer = Buffer(100, 10_000, block=False)
    buffer.put(_row(0))
    mark = buffer.mark
    buffer.refuse(50, "not these")
    first = buffer.take(1, 1_000)
    buffer.put(_row(1))
    second = buffer.take(1, 1_000)
    assert first is not None
    assert second is not None
    buffer.settle(second.ticket, acknowledged=1)
    assert not buffer.settled(mark)
    buffer.settle(first.ticket, acknowledged=1)
    assert buffer.settled(buffer.mark)
    assert buffer.stats().recorded_total == 52


def test_a_message_is_full_when_half_of_what_may_wait_does() -> None:
    buffer = Buffer(10, 1_000, block=False)
    for number in range(4):
        buffer.put(_row(number))
        assert not buffer.full_message(5_000, 100_000)
    buffer.put(_row(4))
    assert buffer.full_message(5_000, 100_000)


_operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 400)),
        st.tuples(st.just("put_block"), st.integers(1, 30)),
        st.tuples(st.just("take"), st.integers(1, 8)),
        st.tuples(
            st.sampled_from(["settle", "reject", "refuse", "reject_all", "close", "drop_rest"]), st.integers(0, 9)
        ),
    ),
    max_size=80,
)


@given(_operations)
def test_whatever_happens_every_row_is_counted_once_and_the_bounds_hold(operations: list[tuple[str, int]]) -> None:
    buffer, tickets, recorded = Buffer(10, 1_000, block=False), list[tuple[int, int]](), 0
    for what, number in operations:
        if what == "put":
            buffer.put(_row(0.0, number))
            recorded += 1
        elif what == "put_block":
            buffer.put_block(Block({}, number, number * 49))
            recorded += number
        elif what == "take" and (taken := buffer.take(number, 500)) is not None:
            rows = taken.items.rows if isinstance(taken.items, Block) else len(taken.items)
            tickets.append((taken.ticket, rows))
        elif what in ("settle", "reject") and tickets:
            ticket, rows = tickets.pop(number % len(tickets))
            buffer.settle(ticket, **{"acknowledged" if what == "settle" else "rejected": rows})
        elif what == "refuse":
            buffer.refuse(number, "refused")
            recorded += number
        elif what == "reject_all":
            buffer.reject_in_flight("internal")
            tickets.clear()
        elif what == "drop_rest":
            buffer.drop_rest()
            tickets.clear()
        elif what == "close" and number == 0:
            buffer.close()
        stats = buffer.stats()
        settled = stats.acknowledged_total + stats.rejected_total + stats.dropped_total
        assert sum(stats.rejected_by_reason.values()) == stats.rejected_total
        assert stats.recorded_total == recorded == settled + stats.in_flight + stats.buffered
        assert stats.buffered_bytes <= 1_000 or stats.buffered <= 30  # one block may be larger than all the room
        assert stats.in_flight == sum(rows for _, rows in tickets)
        assert buffer.settled(buffer.mark) == (stats.in_flight + stats.buffered == 0)


# --- the thread ---------------------------------------------------------------------------------------------------


def test_many_messages_are_under_way_at_once(ingest: FakeIngest, endpoint: str) -> None:
    ingest.holds = True
    with Producer(endpoint=endpoint, max_buffered=100_000) as producer:
        for number in range(30_000):
            producer.record("s", "t", number)
        ingest.wait_until(lambda: len(ingest.out()) >= 3)
        ingest.holds = False
        ingest.release(len(ingest.held))
        assert producer.flush(LIMIT_S)
        assert producer.stats().acknowledged_total == 30_000
    assert sorted(_durations(ingest)) == list(range(30_000))


def test_under_load_rows_travel_as_columns(ingest: FakeIngest, endpoint: str) -> None:
    with Producer(endpoint=endpoint, max_buffered=100_000) as producer:
        for number in range(20_000):
            producer.record("s", "t", number, number % 2 == 0, cpu=1.0)
        assert producer.flush(LIMIT_S)
    kinds = {body["kind"] for body in ingest.messages if len(body.get("rows", [0] * 16)) >= 16}
    assert kinds == {"batch"}
    assert len(ingest.messages) < 100
    assert ingest.stored[1] == {
        "mcpServer": "s",
        "toolName": "t",
        "timestamp": ingest.stored[1]["timestamp"],
        "duration": 1.0,
        "success": False,
        "resource": {"cpu": 1.0},
    }


def test_a_batch_of_columns_is_delivered_in_turn_with_the_rows_around_it(ingest: FakeIngest, endpoint: str) -> None:
    columns: dict[str, Any] = {"series": array("H", [0, 1] * 15_000), "ok": [True] * 30_000}
    with Producer(endpoint=endpoint) as producer:
        producer.record("s", "first", -1)
        taken = producer.record_batch(
            [("s", "a"), ("s", "b")], duration_ms=array("d", range(30_000)), errors={29_999: "late"}, **columns
        )
        producer.record("s", "last", 30_000)
        assert taken == 30_000
        assert producer.flush(LIMIT_S)
        assert producer.stats().acknowledged_total == 30_002
    assert _durations(ingest) == list(range(-1, 30_001))
    assert [row["toolName"] for row in ingest.stored[:3]] == ["first", "a", "b"]
    assert [row["duration"] for row in ingest.stored if "error" in row] == [29_999]


def test_columns_that_do_not_fit_are_counted_and_a_strict_producer_says_so(endpoint: str) -> None:
    columns: dict[str, Any] = {"series": [0, 0], "ok": [True], "duration_ms": [1.0, 2.0]}
    producer = Producer(endpoint=endpoint)
    assert producer.record_batch([("s", "t")], **columns) == 0
    stats = producer.stats()
    assert (stats.recorded_total, stats.rejected_total) == (1, 1)
    assert stats.rejected_by_reason == {"bad_batch": 1}
    assert "ok" in (stats.last_error or "")
    producer.close(0.0)
    strict = Producer(endpoint=endpoint, strict=True)
    with pytest.raises(ValueError, match="ok"):
        strict.record_batch([("s", "t")], **columns)
    strict.close(0.0)


def test_without_credit_the_producer_waits_and_the_host_is_slowed_if_it_wants_to(
    ingest: FakeIngest, endpoint: str
) -> None:
    ingest.credit = 0
    producer = Producer(endpoint=endpoint, max_buffered=10, on_full="block", probe_s=1_000.0)
    producer.record("s", "t", 0)
    assert producer.flush(LIMIT_S)
    through = threading.Event()

    def fill() -> None:
        for number in range(1, 1_000):
            producer.record("s", "t", number)
        through.set()

    thread = threading.Thread(target=fill)
    thread.start()
    assert not through.wait(0.1)
    assert len(ingest.messages) == 1
    stats = producer.stats()
    assert (stats.credit_bytes, stats.in_flight_bytes, stats.buffered) == (0, 0, 10)
    ingest.send_credit(100_000)
    assert through.wait(LIMIT_S)
    assert producer.flush(LIMIT_S)
    thread.join()
    producer.close()
    assert _durations(ingest) == list(range(1_000))


def test_a_lost_connection_is_noticed_before_its_answers_are_overdue(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfmon.producer.delivery.ACK_TIMEOUT_S", 1_000.0)
    monkeypatch.setattr("perfmon.producer.delivery.MAX_ACK_TIMEOUT_S", 1_000.0)
    ingest = FakeIngest(endpoint).start()
    ingest.holds = True
    with Producer(endpoint=endpoint) as producer:
        for number in range(100):
            producer.record("s", "t", number)
        ingest.wait_until(lambda: len(ingest.held) > 0)
        ingest.stop()
        ingest.held.clear()
        ingest.holds = False
        ingest.start()
        assert producer.flush(LIMIT_S)
        assert producer.stats().resent_total >= 1
    ingest.stop()
    assert _durations(ingest) == list(range(100))


# --- asyncio ------------------------------------------------------------------------------------------------------


def test_flushing_in_an_event_loop_needs_no_thread_and_lets_others_go_on(ingest: FakeIngest, endpoint: str) -> None:
    async def main() -> None:
        async with Producer(endpoint=endpoint) as producer:
            ingest.holds = True
            producer.record("s", "t", 1.0)
            assert not await producer.aflush(0.05)
            before = threading.active_count()
            flushing = [asyncio.create_task(producer.aflush(LIMIT_S)) for _ in range(50)]
            await asyncio.sleep(0)
            assert threading.active_count() == before
            ingest.holds = False
            ingest.release(1)
            assert all(await asyncio.gather(*flushing))

    asyncio.run(main())
    assert _durations(ingest) == [1.0]


def test_back_pressure_is_awaited_while_the_loop_goes_on(ingest: FakeIngest, endpoint: str) -> None:
    async def main() -> None:
        async with Producer(endpoint=endpoint, max_buffered=10, on_full="block", probe_s=1_000.0) as producer:
            ingest.credit = 0
            await producer.arecord("s", "t", 0)
            assert await producer.aflush(LIMIT_S)

            async def fill() -> None:
                for number in range(1, 500):
                    await producer.arecord("s", "t", number)

            filling = asyncio.create_task(fill())
            await asyncio.wait([filling], timeout=0.05)
            assert not filling.done()
            assert producer.stats().buffered == 10
            await asyncio.to_thread(ingest.send_credit, 100_000)
            await asyncio.wait_for(filling, LIMIT_S)
            columns = {"series": [0], "duration_ms": [500.0], "ok": [True]}
            assert await producer.arecord_batch([("s", "t")], **columns) == 1
            assert await producer.aflush(LIMIT_S)

    asyncio.run(main())
    assert _durations(ingest) == list(range(501))


def test_an_event_loop_that_is_gone_troubles_nobody(ingest: FakeIngest, endpoint: str) -> None:
    ingest.holds = True
    producer = Producer(endpoint=endpoint)
    producer.record("s", "t", 1.0)

    async def main() -> None:
        task = asyncio.create_task(producer.aflush(LIMIT_S))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    ingest.holds = False
    ingest.wait_until(lambda: bool(ingest.held or ingest.stored))
    ingest.release(len(ingest.held))
    assert producer.flush(LIMIT_S)
    producer.close()


# --- nothing else installed ---------------------------------------------------------------------------------------

BARE = """
import importlib.abc, sys
ALLOWED = {"zmq", "msgpack", "perfmon"}

class OnlyThese(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r} (it is not installed here)", name=name)

sys.meta_path.insert(0, OnlyThese())
for name in ("numpy", "msgspec", "psutil"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} could be imported")
import asyncio
import perfmon
import perfmon.instrument, perfmon.paths, perfmon.wire
producer = perfmon.Producer(endpoint=sys.argv[1])
with perfmon.measure("s", "measured", producer=producer):
    pass
for number in range(1000):
    producer.record("s", "t", number)
producer.record_batch([("s", "t")], series=[0], duration_ms=[1.0], ok=[True], cpu=[None])
assert asyncio.run(producer.aflush(20))
assert producer.stats().acknowledged_total == 1002, producer.stats()
producer.close()
"""


def test_the_sdk_works_with_only_pyzmq_and_msgpack_installed(ingest: FakeIngest, endpoint: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    command = [sys.executable, "-W", "error", "-c", BARE, endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(ingest.stored) == 1_002


def test_the_package_says_that_it_is_typed() -> None:
    import perfmon

    assert (Path(perfmon.__file__).parent / "py.typed").exists()
