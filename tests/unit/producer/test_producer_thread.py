"""The producer against a small ingest: nothing lost, nothing doubled, nothing raised, nobody blocked."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zmq

from perfmon import Producer
from perfmon.paths import DataDirectory
from perfmon.producer.rejections import MAX_REASONS, added
from perfmon.wire import unpack
from tests.fakes.fake_ingest import FakeIngest

#: The longest that any condition here is waited for.
LIMIT_S = 20.0


def _durations(ingest: FakeIngest) -> list[float]:
    return [row["duration"] for row in ingest.stored]


def test_every_record_is_stored_once_and_in_order(ingest: FakeIngest, endpoint: str) -> None:
    with Producer(endpoint=endpoint) as producer:
        for number in range(5_000):
            producer.record("server", "tool", number)
        assert producer.flush(LIMIT_S)
        stats = producer.stats()
    assert _durations(ingest) == list(range(5_000))
    assert (stats.recorded_total, stats.acknowledged_total) == (5_000, 5_000)
    assert (stats.buffered, stats.in_flight, stats.dropped_total, stats.rejected_total) == (0, 0, 0, 0)


def test_many_threads_may_record(ingest: FakeIngest, endpoint: str) -> None:
    with Producer(endpoint=endpoint) as producer:
        threads = [
            threading.Thread(target=lambda: [producer.record("s", "t", number) for number in range(500)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert producer.flush(LIMIT_S)
    assert sorted(_durations(ingest)) == sorted(list(range(500)) * 8)


def test_a_lost_answer_is_sent_again_and_stored_once(ingest: FakeIngest, endpoint: str) -> None:
    ingest.script = ["silent"]
    with Producer(endpoint=endpoint) as producer:
        producer.record("s", "t", 1.0)
        assert producer.flush(LIMIT_S)
        stats = producer.stats()
    assert _durations(ingest) == [1.0]
    assert [body["seq"] for body in ingest.messages] == [1, 1]
    assert (stats.resent_total, stats.acknowledged_total, stats.duplicates_total) == (1, 1, 1)


def test_what_is_refused_for_now_is_tried_until_it_is_stored(ingest: FakeIngest, endpoint: str) -> None:
    ingest.script = ["journal_full", "disk_full", "unavailable"]
    with Producer(endpoint=endpoint) as producer:
        for number in range(3_000):
            producer.record("s", "t", number)
        assert producer.flush(LIMIT_S)
        assert producer.stats().acknowledged_total == 3_000
    assert sorted(_durations(ingest)) == list(range(3_000))
    # How many messages were out when the first was refused depends on how fast it was.
    sequences = [body["seq"] for body in ingest.messages]
    assert sequences[0] == 1
    assert len(sequences) == len(set(sequences)) + 3


def test_what_is_refused_for_good_is_counted_and_the_rest_goes_on(ingest: FakeIngest, endpoint: str) -> None:
    ingest.script = ["bad_message"]
    with Producer(endpoint=endpoint) as producer:
        producer.record("s", "t", 1.0)
        assert producer.flush(LIMIT_S)
        producer.record("s", "t", 2.0)
        assert producer.flush(LIMIT_S)
        stats = producer.stats()
    assert _durations(ingest) == [2.0]
    assert (stats.rejected_total, stats.acknowledged_total, stats.last_error) == (1, 1, "refused: bad_message")
    assert stats.rejected_by_reason == {"bad_message": 1}


def test_rejected_rows_are_counted_beside_the_stored(ingest: FakeIngest, endpoint: str) -> None:
    ingest.refuse_row = lambda row: "bad_duration" if row["duration"] < 0 else None
    with Producer(endpoint=endpoint) as producer:
        for duration in (1.0, -1.0, 2.0):
            producer.record("s", "t", duration)
        assert producer.flush(LIMIT_S)
        stats = producer.stats()
    assert _durations(ingest) == [1.0, 2.0]
    assert (stats.acknowledged_total, stats.rejected_total, stats.last_error) == (2, 1, "bad_duration")


def test_rejected_rows_are_counted_by_reason_as_far_as_ingest_names_them(ingest: FakeIngest, endpoint: str) -> None:
    ingest.refuse_row = lambda row: "bad_duration" if row["duration"] < 0 else "odd" if row["duration"] % 2 else None
    with Producer(endpoint=endpoint) as producer:
        for duration in (1.0, -1.0, 2.0, 3.0):
            producer.record("s", "t", duration)
        producer.record("s" * 2_000, "t", 1.0)
        producer.record("s", "t", object())  # type: ignore[arg-type] # no number
        assert producer.flush(LIMIT_S)
        early = producer.stats()
        for _ in range(30):
            producer.record("s", "t", -1.0)
        assert producer.flush(LIMIT_S)
        stats = producer.stats()
    assert early.rejected_by_reason == {"name_too_long": 1, "not_packable": 1, "bad_duration": 1, "odd": 2}
    assert stats.rejected_by_reason["bad_duration"] >= 21
    assert sum(stats.rejected_by_reason.values()) == stats.rejected_total == 35
    assert early.rejected_total == 5


def test_reasons_that_are_told_apart_are_bounded() -> None:
    tally: dict[str, int] = {}
    for number in range(1_000):
        tally = added(tally, {f"reason {number}": 2}, 3)
    assert len(tally) <= MAX_REASONS + 1
    assert sum(tally.values()) == 3_000
    assert added({"a": 1}, {"a: detail": 1, "b": 1}, 2) == {"a": 2, "b": 1}


def test_a_pipeline_that_comes_late_gets_everything(endpoint: str) -> None:
    with Producer(endpoint=endpoint) as producer:
        producer.record("s", "t", 1.0)
        assert not producer.flush(0.0)
        ingest = FakeIngest(endpoint).start()
        assert producer.flush(LIMIT_S)
        ingest.stop()
    assert _durations(ingest) == [1.0]


def test_a_pipeline_that_restarts_loses_and_doubles_nothing(endpoint: str) -> None:
    ingest = FakeIngest(endpoint).start()
    with Producer(endpoint=endpoint) as producer:
        producer.record("s", "t", 0)
        assert producer.flush(LIMIT_S)
        ingest.stop()
        producer.record("s", "t", 1)
        ingest.start()
        producer.record("s", "t", 2)
        assert producer.flush(LIMIT_S)
    ingest.stop()
    assert _durations(ingest) == [0, 1, 2]


def test_without_a_pipeline_the_oldest_are_dropped_and_counted(endpoint: str) -> None:
    producer = Producer(endpoint=endpoint, max_buffered=100)
    for number in range(5_000):
        producer.record("s", "t", number)
    stats = producer.stats()
    assert stats.buffered == 100
    assert stats.dropped_total + stats.buffered + stats.in_flight == stats.recorded_total == 5_000
    producer.close(0.0)
    stats = producer.stats()
    assert (stats.dropped_total, stats.buffered, stats.in_flight) == (5_000, 0, 0)


def test_a_blocking_producer_waits_for_room(endpoint: str) -> None:
    producer = Producer(endpoint=endpoint, max_buffered=10, on_full="block")
    through = threading.Event()

    def fill() -> None:
        for number in range(1_200):
            producer.record("s", "t", number)
        through.set()

    thread = threading.Thread(target=fill)
    thread.start()
    assert not through.wait(0.05)
    ingest = FakeIngest(endpoint).start()
    assert through.wait(LIMIT_S)
    assert producer.flush(LIMIT_S)
    thread.join()
    producer.close()
    ingest.stop()
    assert _durations(ingest) == list(range(1_200))


def test_closing_lets_a_blocked_thread_go(endpoint: str) -> None:
    producer = Producer(endpoint=endpoint, max_buffered=1, on_full="block")
    thread = threading.Thread(target=lambda: [producer.record("s", "t", number) for number in range(2_000)])
    thread.start()
    producer.close(0.0)
    thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_a_closed_producer_counts_what_it_no_longer_takes(ingest: FakeIngest, endpoint: str) -> None:
    producer = Producer(endpoint=endpoint)
    producer.close()
    producer.close()
    producer.record("s", "t", 1.0)
    assert producer.stats().dropped_total == 1
    assert producer.flush(LIMIT_S)
    assert ingest.messages == []


def test_nothing_a_host_passes_raises(ingest: FakeIngest, endpoint: str) -> None:
    with Producer(endpoint=endpoint) as producer:
        for server, tool, duration in [(None, object(), "x"), ("\ud800", "\ud800", 1), ("s", "t", float("nan"))]:
            producer.record(server, tool, duration, "maybe", object(), cpu="x", ts_ms="y", call_id=3)  # type: ignore[arg-type] # hostile
        producer.record("s", "t", 7.0)
        assert producer.flush(LIMIT_S)
    assert _durations(ingest)[-1] == 7.0


def test_a_strict_producer_says_what_is_wrong(ingest: FakeIngest, endpoint: str) -> None:
    producer = Producer(endpoint=endpoint, strict=True)
    with pytest.raises(ValueError, match="duration_ms"):
        producer.record("s", "t", -1)
    producer.close()
    with pytest.raises(RuntimeError, match="closed"):
        producer.record("s", "t", 1)


def test_constructor_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="on_full"):
        Producer(on_full="explode")  # type: ignore[arg-type] # refused
    with pytest.raises(ValueError, match="max_buffered"):
        Producer(max_buffered=0)


def test_fire_and_forget_pushes(endpoint: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.bind(endpoint)
    with Producer(endpoint=endpoint, acknowledged=False) as producer:
        for number in range(10):
            producer.record("s", "t", number)
        assert producer.flush(LIMIT_S)
        assert producer.stats().sent_total == 10
        rows = []
        while len(rows) < 10:
            assert pull.poll(LIMIT_S * 1000)
            rows += unpack(pull.recv())["rows"]
    pull.close()
    context.term()
    assert [row["duration"] for row in rows] == list(range(10))


def test_in_asyncio_recording_and_flushing_work(ingest: FakeIngest, endpoint: str) -> None:
    async def main() -> bool:
        async with Producer(endpoint=endpoint) as producer:
            producer.record("s", "t", 1.0)
            return await producer.aflush(LIMIT_S)

    assert asyncio.run(main())
    assert _durations(ingest) == [1.0]


def test_a_forgotten_producer_still_delivers(ingest: FakeIngest, endpoint: str) -> None:
    Producer(endpoint=endpoint).record("s", "t", 1.0)
    gc.collect()
    ingest.wait_until(lambda: _durations(ingest) == [1.0])


def test_producer_ids_are_readable_and_distinct(endpoint: str) -> None:
    one, two = Producer(name="my app/é", endpoint=endpoint), Producer(name="x" * 500, endpoint=endpoint)
    assert one.producer_id.startswith("my_app__-")
    assert len(two.producer_id) < 128
    assert one.producer_id != two.producer_id


def _run(script: str, endpoint: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, endpoint],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **env},
    )


def test_what_a_process_recorded_is_delivered_when_it_ends(ingest: FakeIngest, endpoint: str) -> None:
    script = "import sys, perfmon; perfmon.Producer(endpoint=sys.argv[1]).record('s', 't', 1.0)"
    done = _run(script, endpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ingest.wait_until(lambda: _durations(ingest) == [1.0])


def test_a_process_without_a_pipeline_ends_quietly(endpoint: str) -> None:
    script = (
        "import sys, perfmon; p = perfmon.Producer(endpoint=sys.argv[1]);"
        "q = perfmon.Producer(endpoint=sys.argv[1], acknowledged=False);"
        "p.record('s', 't', 1.0); q.record('s', 't', 1.0)"
    )
    done = _run(script, endpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORKING = """
import os, sys, perfmon
producer = perfmon.Producer(endpoint=sys.argv[1])
for n in range(2000):
    producer.record("parent", "t", n)
parents_id = producer.producer_id
child = os.fork()
if child == 0:
    fresh = producer.stats()
    ok = (fresh.recorded_total, fresh.buffered, fresh.in_flight) == (0, 0, 0) and producer.producer_id != parents_id
    for n in range(50):
        producer.record("child", "t", n)
    ok = ok and producer.flush(20) and producer.stats().acknowledged_total == 50
    os._exit(0 if ok else 1)
_, status = os.waitpid(child, 0)
assert producer.flush(20) and producer.producer_id == parents_id
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_sends_its_own_and_never_its_parents(ingest: FakeIngest, endpoint: str) -> None:
    done = _run(FORKING, endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    by_server = {
        name: [row["duration"] for row in ingest.stored if row["mcpServer"] == name] for name in ("parent", "child")
    }
    assert by_server == {"parent": list(range(2000)), "child": list(range(50))}
    assert len({body["producer"] for body in ingest.messages}) == 2


POOLED = """
import multiprocessing, sys, perfmon
producer = perfmon.Producer(endpoint=sys.argv[1])
producer.record("s", "t", 0)
def work(n):
    producer.record("s", "t", n)
if __name__ == "__main__":
    processes = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in (1, 2, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
"""


def test_what_a_worker_process_recorded_is_delivered_when_it_ends(ingest: FakeIngest, endpoint: str) -> None:
    done = _run(POOLED, endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    ingest.wait_until(lambda: sorted(_durations(ingest)) == [0, 1, 2, 3])


def test_sockets_in_a_directory_of_someone_else_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "perfmon-0" / "abc"
    monkeypatch.setattr(DataDirectory, "runtime", property(lambda _self: runtime))
    runtime.parent.mkdir()
    (tmp_path / "theirs").mkdir()
    runtime.symlink_to(tmp_path / "theirs")
    ingest = FakeIngest(f"ipc://{tmp_path}/theirs/ingest.write").start()
    with Producer(tmp_path / "data") as producer:
        producer.record("s", "t", 1.0)
        assert not producer.flush(0.3)
        assert producer.stats().last_error == "no_pipeline"
        runtime.unlink()
        (tmp_path / "theirs").rename(runtime)
        assert producer.flush(LIMIT_S)
    ingest.stop()
    assert _durations(ingest) == [1.0]


def test_a_working_directory_that_is_gone_does_not_raise(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); import perfmon;"
        "p = perfmon.Producer(); p.record('s', 't', 1.0); p.close(0.0); sys.exit(p.stats().dropped_total != 1)"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    assert _run(script, str(gone), PERFMON_DATA_DIR="").returncode == 0
