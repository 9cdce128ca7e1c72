"""One group commit: what is stored, in which entry, and what each sender is told."""

from __future__ import annotations

from typing import Any

import pytest

from perfmon.wire import Kind, encode_batch, pack, unpack_envelope
from perfmon.wire.limits import MAX_ENTRY_BYTES, MAX_FRAME_BYTES
from perfmon.wire.messages import batch_columns
from services.ingest.core.frames import read
from services.ingest.core.ingest import ENTRY_BYTES, Answer, IngestCore, Message, Plan
from services.ingest.core.placement import OVERFLOW
from shared.batch import Series, decode
from shared.settings import Settings
from shared.timespan import HOUR_MS

NOW = 1_761_915_600_123
GOOD: dict[str, Any] = {"mcpServer": "files", "toolName": "read", "duration": 12.5, "success": True}


def core(**settings: Any) -> IngestCore:
    return IngestCore(Settings(**settings))


def rows(*listed: Any, sender: Any = "a", **envelope: Any) -> Message:
    return Message(sender, Kind.ROWS, {"rows": list(listed), **envelope})


def acks(answers: list[Answer]) -> list[dict[str, Any]]:
    return [unpack_envelope(answer.frame).body for answer in answers]


def commit(at: IngestCore, *messages: Message, last_seq: int = 10, now_ms: int = NOW) -> list[dict[str, Any]]:
    return acks(at.committed(at.plan(messages, now_ms), "epoch", last_seq))


def durations(plan: Plan) -> list[list[float]]:
    return [batch.duration.tolist() for batch in plan.entries]


def test_messages_that_wait_together_become_one_entry_in_order() -> None:
    plan = core().plan([rows(GOOD | {"duration": 1}), rows(GOOD | {"duration": 2}, GOOD | {"duration": 3})], NOW)
    assert durations(plan) == [[1, 2, 3]]
    assert plan.entries[0].dictionary == (Series("files", "read"),)
    assert plan.entries[0].paths == ("files/read",)


def test_each_sender_is_told_where_its_rows_stand() -> None:
    first, second = commit(core(), rows(GOOD, GOOD), rows(GOOD, sender="b"), last_seq=7)
    assert (first["stored"], first["entry"], first["firstRow"], first["epoch"]) == (2, 7, 0, "epoch")
    assert (second["stored"], second["entry"], second["firstRow"]) == (1, 7, 2)


def test_rows_beyond_an_entry_go_to_the_next_one() -> None:
    def batch(n: int) -> Message:
        frame = encode_batch([("f", "r")], series=[0] * n, ts=[NOW] * n, duration=[1.0] * n, ok=[True] * n)
        return Message("a", Kind.BATCH, unpack_envelope(frame).body)

    half = ENTRY_BYTES // 100
    answers = commit(core(), batch(half), batch(half), batch(half), batch(100_000), batch(1), last_seq=4)
    assert [(ack["entry"], ack["firstRow"]) for ack in answers] == [(1, 0), (1, half), (2, 0), (3, 0), (4, 0)]


def test_an_entry_of_the_longest_messages_can_be_read_again() -> None:
    at = core()
    long = [GOOD | {"success": False, "error": "漢" * 1_000}] * 5_200
    messages = [rows(*long), rows(*long)]
    plan = at.plan(messages, NOW)
    bodies = [batch.encode() for batch in plan.entries]
    assert sum(map(len, bodies)) > 1.5 * MAX_FRAME_BYTES
    assert [len(decode(body)) for body in bodies] == [5_200, 5_200]
    single = core().plan([rows(*(long * 2))], NOW)
    assert MAX_FRAME_BYTES < len(single.entries[0].encode()) < MAX_ENTRY_BYTES
    assert len(decode(single.entries[0].encode())) == 10_400


def test_a_message_that_comes_again_is_a_duplicate_and_acknowledged_alike() -> None:
    at = core()
    [first] = commit(at, rows(GOOD, GOOD, producer="p", seq=1))
    [again] = commit(at, rows(GOOD, GOOD, producer="p", seq=1))
    assert (first["stored"], first["duplicates"], first["cumulative"]) == (2, 0, 1)
    assert (again["stored"], again["duplicates"], again["cumulative"]) == (0, 2, 1)
    assert at.stored_total == 2
    assert at.duplicates_total == 2


def test_a_message_twice_in_one_commit_is_stored_once() -> None:
    at = core()
    message = rows(GOOD, producer="p", seq=1)
    plan = at.plan([message, message], NOW)
    assert durations(plan) == [[12.5]]
    assert [ack["stored"] for ack in acks(at.committed(plan, "e", 1))] == [1, 0]


def test_sequences_out_of_order_are_all_stored_and_the_cumulative_waits_for_the_gap() -> None:
    at = core()
    answers = commit(at, *(rows(GOOD, producer="p", seq=seq) for seq in (1, 4, 2)))
    assert [ack["stored"] for ack in answers] == [1, 1, 1]
    assert answers[-1]["cumulative"] == 2
    [third] = commit(at, rows(GOOD, producer="p", seq=3))
    assert (third["stored"], third["cumulative"]) == (1, 4)


def test_a_sequence_far_below_the_latest_is_refused_not_guessed() -> None:
    at = core()
    commit(at, rows(GOOD, producer="p", seq=5_000))
    [ack] = commit(at, rows(GOOD, producer="p", seq=1))
    assert ack["error"]["code"] == "stale_sequence"
    assert ack["stored"] == 0


def test_a_message_of_refused_rows_alone_is_settled_too() -> None:
    at = core()
    [ack] = commit(at, rows(7, producer="p", seq=1), last_seq=0)
    assert (ack["stored"], ack["rejected"], ack["rejectedTotal"], ack["cumulative"]) == (
        0,
        [[0, "row_not_a_map"]],
        1,
        1,
    )
    assert (ack["entry"], at.refused_total["row_not_a_map"]) == (0, 1)


def test_a_refused_message_leaves_its_sequence_open() -> None:
    at = core()
    [ack] = commit(at, Message("a", Kind.ROWS, {"rows": 5, "producer": "p", "seq": 1}))
    assert ack["error"]["code"] == "bad_batch"
    [ack] = commit(at, rows(GOOD, producer="p", seq=1))
    assert ack["stored"] == 1


def test_a_refused_message_does_not_touch_its_neighbours() -> None:
    at = core()
    bad = [Message("x", "metrics", {}), rows(GOOD, producer=5, seq=1), Message("x", Kind.BATCH, {"n": "many"})]
    answers = commit(at, rows(GOOD), *bad, rows(GOOD))
    assert [ack["stored"] for ack in answers] == [1, 0, 0, 0, 1]
    assert [ack["error"]["code"] for ack in answers[1:4]] == ["unknown_kind", "bad_producer", "bad_batch"]


@pytest.mark.parametrize(
    ("producer", "seq", "told"),
    [
        ("p", 2**63 - 1, ("p", 2**63 - 1)),
        ("p", 2**63, ("p", 2**63)),
        ("p", 2**64 - 1, ("p", 2**64 - 1)),
        ("p", 0, ("p", 0)),
        ("p", -(2**63), ("p", -(2**63))),
        ("p", None, ("p", None)),
        ("p", 1.0, ("p", None)),
        ("p", True, ("p", None)),
        (None, 7, (None, 7)),
        (5, 7, (None, 7)),
        ("", 7, (None, 7)),
        ("p" * 129, 7, (None, 7)),
    ],
)
@pytest.mark.parametrize("kind", [Kind.ROWS, Kind.BATCH])
def test_an_answer_says_whose_it_is_as_far_as_that_can_be_repeated(
    kind: Kind, producer: Any, seq: Any, told: tuple[Any, Any]
) -> None:
    columns = batch_columns([("f", "r")], series=[0], ts=[NOW], duration=[1.0], ok=[True])
    fields = {"rows": [GOOD]} if kind is Kind.ROWS else columns
    frame = pack({"v": 1, "kind": kind, **fields, "producer": producer, "seq": seq})
    [ack] = commit(core(), Message("a", *read(frame)))
    assert (ack["producer"], ack["seq"]) == told
    assert (ack.get("error") or {}).get("code") == (None if seq == 2**63 - 1 else "bad_producer")


def test_the_refusal_of_a_message_of_rows_does_not_speak_of_columns_that_do_not_fit() -> None:
    [ack] = commit(core(), Message("a", Kind.ROWS, {"rows": None}))
    assert (
        ack["error"]["message"]
        == "a message is a list of rows, or columns that fit each other (`rows` is a list of maps)"
    )


def test_the_same_call_id_is_stored_once_in_a_message_in_a_commit_and_later() -> None:
    at = core()
    call = GOOD | {"callId": "toolu_1"}
    first, second = commit(at, rows(call, call, GOOD), rows(call))
    assert (first["stored"], first["duplicates"]) == (2, 1)
    assert (second["stored"], second["duplicates"]) == (0, 1)
    [third] = commit(at, rows(call), now_ms=NOW + HOUR_MS)
    assert (third["stored"], third["duplicates"], third["rejectedTotal"]) == (0, 1, 0)


def test_the_first_row_of_a_call_id_is_the_one_that_stays() -> None:
    plan = core().plan([rows(GOOD | {"duration": 1, "callId": "c"}, GOOD | {"duration": 2, "callId": "c"})], NOW)
    assert durations(plan) == [[1]]


def test_a_known_call_leaves_no_series_behind() -> None:
    at = core()
    commit(at, rows(GOOD | {"callId": "c"}))
    plan = at.plan([rows(GOOD | {"toolName": "other", "callId": "c"}, GOOD)], NOW)
    assert plan.entries[0].dictionary == (Series("files", "read"),)
    assert len(at.placement) == 1


def test_after_a_refused_commit_nothing_is_remembered() -> None:
    at = core()
    message = rows(GOOD | {"callId": "c"}, producer="p", seq=1)
    [ack] = acks(at.failed(at.plan([message], NOW), "epoch", "disk_full", "the disk is full"))
    assert ack["error"] == {"code": "disk_full", "message": "the disk is full"}
    assert (ack["stored"], ack["entry"], ack["cumulative"]) == (0, 0, None)
    assert at.stored_total == 0
    assert at.refused_total["disk_full"] == 1
    [ack] = commit(at, message)
    assert (ack["stored"], ack["duplicates"]) == (1, 0)


def test_fire_and_forget_is_counted_and_not_answered() -> None:
    at = core()
    assert commit(at, rows(GOOD, 7, sender=None)) == []
    assert at.stored_total == 1
    assert at.refused_total == {"row_not_a_map": 1}


def test_what_is_replayed_is_known_again() -> None:
    at = core()
    plan = at.plan([rows(GOOD | {"callId": "c"})], NOW)
    after_restart = core()
    after_restart.replayed(decode(plan.entries[0].encode()), NOW)
    [ack] = commit(after_restart, rows(GOOD | {"callId": "c"}))
    assert ack["duplicates"] == 1


def test_series_beyond_the_cap_are_counted_together_under_their_reserved_name() -> None:
    at = core(max_series=3)
    listed = [GOOD | {"toolName": f"tool{number}", "duration": number} for number in range(5)]
    plan = at.plan([rows(*listed, listed[0])], NOW)
    [batch] = plan.entries
    names = [batch.dictionary[code].tool for code in batch.codes]
    assert names == ["tool0", "tool1", "tool2", OVERFLOW.tool, OVERFLOW.tool, "tool0"]
    assert batch.duration.tolist() == [0, 1, 2, 3, 4, 0]
    assert at.placement.overflowed_total == 2
    batch.check()


@pytest.mark.parametrize("body", [{"n": 2**64 - 1}, {"n": 100_001}, {}, {"rows": 5}, {"n": -4}, {"n": "x"}])
def test_duplicates_of_a_message_without_a_count_are_none(body: dict[str, Any]) -> None:
    at = core()
    commit(at, rows(GOOD, producer="p", seq=1))
    [ack] = commit(at, Message("a", Kind.ROWS, {**body, "producer": "p", "seq": 1}))
    assert ack["duplicates"] == 0
