"""Queries and writes over real sockets, against services that answer, stay silent, come back, or are not there."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.rpc import RpcError, Unavailable
from perfmon.wire import Kind, ack_reply, error_reply, ok_reply, unpack_envelope
from services.gateway import clients, ingest_writer
from services.gateway.clients import Services

Body = dict[str, Any]
Answer = Callable[[Body], list[bytes]]


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    found = DataDirectory(tmp_path / "data")
    found.create()
    return found


@contextmanager
def served(endpoint: str, answer: Answer) -> Iterator[list[Body]]:
    """A ROUTER in a thread; `answer` gives the replies to each message."""
    messages: list[Body] = []
    stop, bound = threading.Event(), threading.Event()

    def run() -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.linger = 0
            router.bind(endpoint)
            bound.set()
            while not stop.is_set():
                if router.poll(10):
                    sender, frame = router.recv_multipart()
                    body = unpack_envelope(frame).body
                    messages.append(body)
                    for reply in answer(body):
                        router.send_multipart([sender, reply])

    thread = threading.Thread(target=run)
    thread.start()
    assert bound.wait(5)
    try:
        yield messages
    finally:
        stop.set()
        thread.join(5)


def with_services(data: DataDirectory, use: Callable[[Services], Any]) -> Any:
    async def run() -> Any:
        services = Services(data)
        try:
            async with asyncio.timeout(20):
                return await use(services)
        finally:
            await services.close()

    return asyncio.run(run())


def stored(body: Body, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "stored": len(body["rows"]),
        "duplicates": 0,
        "rejected": [],
        "rejected_total": 0,
        "epoch": "e1",
        "entry": 7,
        "first_row": 2,
    }
    return ack_reply(producer=body["producer"], seq=body["seq"], cumulative=body["seq"], **fields | changes)


ROW = {"mcpServer": "a", "toolName": "b", "duration": 1.0, "success": True}


def test_a_metric_is_stored_when_ingest_says_so_and_its_entry_is_remembered(data):
    async def use(services: Services) -> Any:
        assert services.after_seq is None
        outcome = await services.store(ROW)
        return outcome, services.after_seq

    with served(data.endpoint("ingest.write"), lambda body: [stored(body)]) as messages:
        outcome, after_seq = with_services(data, use)
    assert outcome == ("e1", 7, 2, False)
    assert after_seq == 7
    assert messages[0]["kind"] == Kind.ROWS
    assert messages[0]["rows"] == [ROW]
    assert messages[0]["seq"] == 1


def test_many_writes_are_in_flight_at_once_each_under_its_own_sequence(data):
    held: list[Body] = []

    def answer(body: Body) -> list[bytes]:
        held.append(body)
        # Answered in the reverse of their order, and only when all are here.
        return [stored(one, entry=one["seq"]) for one in reversed(held)] if len(held) == 50 else []

    async def use(services: Services) -> Any:
        return await asyncio.gather(*(services.store(ROW | {"duration": float(n)}) for n in range(50)))

    with served(data.endpoint("ingest.write"), answer):
        outcomes = with_services(data, use)
    assert [one.entry for one in outcomes] == list(range(1, 51))


def test_a_lost_answer_is_asked_for_again_under_the_same_sequence(data, monkeypatch):
    monkeypatch.setattr(ingest_writer, "RESEND_AFTER_S", 0.01)
    answers = iter([[], [], "duplicate"])

    def answer(body: Body) -> list[bytes]:
        what = next(answers, "duplicate")
        return [] if what == [] else [stored(body, stored=0, duplicates=1, entry=0)]

    with served(data.endpoint("ingest.write"), answer) as messages:
        outcome = with_services(data, lambda services: services.store(ROW))
    assert not outcome.duplicate
    assert {body["seq"] for body in messages} == {1}


def test_a_call_id_that_was_known_is_a_duplicate(data):
    with served(data.endpoint("ingest.write"), lambda body: [stored(body, stored=0, duplicates=1, entry=0)]):
        assert with_services(data, lambda services: services.store(ROW)).duplicate


def test_a_refused_row_is_an_error_with_its_reason(data):
    rejected = {"stored": 0, "rejected": [(0, "timestamp_too_old")], "rejected_total": 1}
    with served(data.endpoint("ingest.write"), lambda body: [stored(body, **rejected)]), pytest.raises(RpcError) as why:
        with_services(data, lambda services: services.store(ROW))
    assert why.value.code == "timestamp_too_old"


def test_a_message_that_ingest_could_not_store_is_an_error(data):
    full = {"stored": 0, "error": ("journal_full", "the journal is full")}
    with served(data.endpoint("ingest.write"), lambda body: [stored(body, **full)]), pytest.raises(RpcError) as why:
        with_services(data, lambda services: services.store(ROW))
    assert why.value.code == "journal_full"


def test_a_write_before_ingest_is_there_arrives_when_it_comes(data):
    async def use(services: Services) -> Any:
        writing = asyncio.create_task(services.writer.write([ROW], patience_s=10))
        await asyncio.sleep(0)
        with served(data.endpoint("ingest.write"), lambda body: [stored(body)]):
            return await writing

    assert with_services(data, use).stored == 1


def test_a_write_that_nobody_acknowledges_is_given_up_and_never_called_stored(data, monkeypatch):
    monkeypatch.setattr(ingest_writer, "RESEND_AFTER_S", 0.01)

    async def use(services: Services) -> Any:
        with pytest.raises(Unavailable):
            await services.writer.write([ROW], patience_s=0.05)
        return services.after_seq

    with served(data.endpoint("ingest.write"), lambda _: []) as messages:
        assert with_services(data, use) is None
    assert len(messages) > 1


def test_an_answer_to_a_write_that_was_given_up_disturbs_nobody(data):
    late: list[Body] = []

    def answer(body: Body) -> list[bytes]:
        late.append(body)
        return [stored(one) for one in late] if len(late) > 1 else []

    async def use(services: Services) -> Any:
        with pytest.raises(Unavailable):
            await services.writer.write([ROW], patience_s=0.05)
        return await services.store(ROW)

    with served(data.endpoint("ingest.write"), answer):
        assert with_services(data, use).entry == 7


def reply_to(body: Body) -> list[bytes]:
    return [ok_reply(body["id"], {"method": body["method"], "params": body["params"]})]


def test_a_service_is_asked_and_its_refusals_are_errors(data):
    def answer(body: Body) -> list[bytes]:
        return reply_to(body) if body["method"] == "rollup" else [error_reply(body["id"], "bad", "no")]

    async def use(services: Services) -> Any:
        with pytest.raises(RpcError) as why:
            await services.ask("aggregator", "other")
        assert (why.value.code, why.value.message) == ("bad", "no")
        return await services.ask("aggregator", "rollup", {"x": 1})

    with served(data.endpoint("aggregator"), answer):
        assert with_services(data, use) == {"method": "rollup", "params": {"x": 1}}


def test_a_slow_query_is_waited_for_while_its_service_answers_pings(data, monkeypatch):
    monkeypatch.setattr(clients, "QUICK_S", 0.02)
    slow: list[Body] = []

    def answer(body: Body) -> list[bytes]:
        if body["method"] == "ping":
            return [ok_reply(body["id"], {}), *reply_to(slow[0])]
        slow.append(body)
        return []

    with served(data.endpoint("detector"), answer):
        found = with_services(data, lambda services: services.ask("detector", "anomalies", patience_s=20))
    assert found["method"] == "anomalies"


@pytest.mark.parametrize("there", [True, False])
def test_a_service_that_answers_nothing_is_unavailable_however_patient_the_query(data, monkeypatch, there):
    monkeypatch.setattr(clients, "QUICK_S", 0.02)
    monkeypatch.setattr(clients, "PING_S", 0.02)
    endpoint = data.endpoint("detector") if there else data.endpoint("elsewhere")
    with served(endpoint, lambda _: []), pytest.raises(Unavailable):
        with_services(data, lambda services: services.ask("detector", "anomalies", patience_s=1_000))


def test_a_mutation_whose_answer_was_lost_is_asked_for_again_under_the_same_id(data, monkeypatch):
    monkeypatch.setattr(clients, "QUICK_S", 0.02)
    mutations: list[Body] = []

    def answer(body: Body) -> list[bytes]:
        if body["method"] == "ping":
            return [ok_reply(body["id"], {})]
        mutations.append(body)
        return [] if len(mutations) == 1 else reply_to(body)

    with served(data.endpoint("alerter"), answer):
        with_services(
            data, lambda services: services.ask("alerter", "thresholds.set", {}, patience_s=0.1, mutation=True)
        )
    assert len({body["id"] for body in mutations}) == 1


def test_a_query_is_not_repeated(data, monkeypatch):
    monkeypatch.setattr(clients, "QUICK_S", 0.02)

    def answer(body: Body) -> list[bytes]:
        return [ok_reply(body["id"], {})] if body["method"] == "ping" else []

    with served(data.endpoint("aggregator"), answer) as messages, pytest.raises(Unavailable):
        with_services(data, lambda services: services.ask("aggregator", "rollup", patience_s=0.1))
    assert [body["method"] for body in messages].count("rollup") == 1


def test_ingest_is_alive_when_it_answers_even_with_a_refusal(data, monkeypatch):
    monkeypatch.setattr(clients, "QUICK_S", 0.5)
    alive = methodcaller("alive", "me")
    with served(data.endpoint("ingest"), reply_to) as messages:
        assert with_services(data, alive)
    assert messages[0]["params"] == {"who": "me"}
    with served(data.endpoint("ingest"), lambda body: [error_reply(body["id"], "unknown_method", "no")]):
        assert with_services(data, alive)
    monkeypatch.setattr(clients, "QUICK_S", 0.02)
    assert not with_services(data, alive)


def test_an_older_ingest_is_asked_on_its_one_socket_and_a_newer_one_on_that_for_requests_once_it_is_there(
    data, monkeypatch
):
    monkeypatch.setattr(clients, "QUICK_S", 0.5)

    async def use(services: Services) -> None:
        with served(data.endpoint("ingest.write"), reply_to) as older:
            assert await services.alive("me")
            with served(data.endpoint("ingest"), reply_to) as newer:
                assert await services.alive("me")
            assert (len(older), len(newer)) == (1, 1)

    with_services(data, use)


def test_a_service_is_ready_when_it_says_so(data, monkeypatch):
    monkeypatch.setattr(clients, "PING_S", 0.5)
    said: list[Any] = [{"ready": False}, {"ready": True}, {}, None]

    async def use(services: Services) -> list[bool]:
        return [await services.ready("detector") for _ in range(4)]

    with served(data.endpoint("detector"), lambda body: [ok_reply(body["id"], said.pop(0))]):
        assert with_services(data, use) == [False, True, False, False]
    monkeypatch.setattr(clients, "PING_S", 0.02)
    assert not with_services(data, lambda services: services.ready("alerter"))
