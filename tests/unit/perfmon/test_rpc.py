"""Questions and answers between real sockets: `perfmon.rpc` against `shared.rpc` in a service's loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from perfmon.paths import DataDirectory
from perfmon.rpc import AsyncRpcClient, RpcClient, RpcError, Unavailable, new_request_id
from perfmon.wire import PROTOCOL_MAJOR, PROTOCOL_MINOR, ok_reply, pack, request, unpack
from shared.consumer import StateNotSaved
from shared.rpc import MAX_WAITING, MUTATION_MEMORY, Refusal
from shared.runtime.service import Service
from shared.settings import Settings
from tests.kit import eventually


class Serving:
    """A service's loop in a thread, with a few methods."""

    def __init__(self, data: DataDirectory) -> None:
        self.service = Service("aggregator", data, Settings())
        self.calls: Counter[str] = Counter()
        self.release = threading.Event()
        rpc = self.service.rpc
        rpc.register("echo", lambda params: params)
        rpc.register("refuse", self._refuse)
        rpc.register("crash", self._crash)
        rpc.register("unpackable", lambda _: {"x": object()})
        rpc.register("slow", self._slow, slow=True)
        rpc.register("count", self._count, mutation=True)
        rpc.register("count_slow", self._count_slow, slow=True, mutation=True)
        rpc.register("refuse_once", self._refuse, mutation=True)
        rpc.register("crash_once", self._crash_once, mutation=True)
        self.service.serve()
        self.endpoint = data.endpoint("aggregator")
        self.thread = threading.Thread(target=self.service.run)
        self.thread.start()

    def stop(self) -> None:
        self.release.set()
        self.service.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def _refuse(self, params: dict[str, Any]) -> None:
        self.calls["refuse"] += 1
        raise Refusal("no_such_thing", "there is none; try `b`", nearest=["b"], given=params.get("x"))

    def _crash(self, _: dict[str, Any]) -> None:
        raise ZeroDivisionError("a secret of the inside")

    def _slow(self, params: dict[str, Any]) -> Any:
        self.calls["slow"] += 1
        self.release.wait(10)
        return params

    def _count(self, _: dict[str, Any]) -> int:
        self.calls["count"] += 1
        return self.calls["count"]

    def _count_slow(self, _: dict[str, Any]) -> int:
        self.calls["count_slow"] += 1
        self.release.wait(10)
        return self.calls["count_slow"]

    def _crash_once(self, _: dict[str, Any]) -> int:
        self.calls["crash_once"] += 1
        if self.calls["crash_once"] == 1:
            raise ZeroDivisionError
        return self.calls["crash_once"]


@pytest.fixture
def serving(data_directory: DataDirectory) -> Iterator[Serving]:
    made = Serving(data_directory)
    yield made
    made.stop()


@pytest.fixture
def client(serving: Serving) -> Iterator[RpcClient]:
    with RpcClient(serving.endpoint, timeout_s=10) as made:
        yield made


def test_a_question_is_answered(client: RpcClient) -> None:
    params = {"text": "ü", "list": [1, 2.5, None, True], "bytes": b"\0"}
    assert client.call("echo", params) == params
    assert client.call("echo") == {}


def test_ping_is_answered_by_every_service(client: RpcClient, data_directory: DataDirectory) -> None:
    ping = client.call("ping")
    assert (ping["service"], ping["ready"], ping["protocol"]) == ("aggregator", False, [PROTOCOL_MAJOR, PROTOCOL_MINOR])
    assert ping["dataDirectory"] == str(data_directory.root)


def test_a_refusal_comes_with_its_code_message_and_fields(client: RpcClient) -> None:
    with pytest.raises(RpcError) as refused:
        client.call("refuse", {"x": 5})
    assert refused.value.code == "no_such_thing"
    assert refused.value.message == "there is none; try `b`"
    assert refused.value.fields == {"nearest": ["b"], "given": 5}
    assert client.call("stats")["refused_total"] == 1


@pytest.mark.parametrize("method", ["crash", "unpackable"])
def test_a_failure_of_the_service_is_told_without_its_insides_and_it_goes_on(method: str, client: RpcClient) -> None:
    with pytest.raises(RpcError) as failed:
        client.call(method)
    assert failed.value.code == "internal_error"
    assert "secret" not in str(failed.value)
    assert client.call("stats")["failed_total"] == 1


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_told_as_one_and_the_change_may_be_tried_again(
    wrapped: bool, serving: Serving, client: RpcClient
) -> None:
    full: list[Exception] = [OSError(errno.ENOSPC, "No space left on device")]

    def change(_: dict[str, Any]) -> str:
        if full:
            error = full.pop()
            if wrapped:
                raise StateNotSaved("not saved") from error
            raise error
        return "changed"

    serving.service.rpc.register("change", change, mutation=True)
    with pytest.raises(RpcError, match="the disk is full") as failed:
        client.call("change", request_id="one")
    assert failed.value.code == "disk_full"
    assert client.call("change", request_id="one") == "changed"


def test_a_refusal_that_cannot_be_packed_does_not_end_the_service(serving: Serving, client: RpcClient) -> None:
    def refuse(_: dict[str, Any]) -> None:
        raise Refusal("bad", "lone \ud800 surrogate")

    serving.service.rpc.register("refuse_oddly", refuse)
    with pytest.raises(RpcError) as failed:
        client.call("refuse_oddly")
    assert failed.value.code == "internal_error"
    assert client.call("echo", {"a": 1}) == {"a": 1}


def test_an_unknown_method_is_refused_with_the_known_ones(client: RpcClient) -> None:
    with pytest.raises(RpcError, match=r"known: .*echo.*ping") as refused:
        client.call("ecko")
    assert refused.value.code == "unknown_method"


def test_ping_and_quick_questions_are_answered_while_a_slow_one_runs(serving: Serving, client: RpcClient) -> None:
    with RpcClient(serving.endpoint) as other:
        other._socket.send(request("slow-1", "slow", {"a": 1}))
        eventually(lambda: serving.calls["slow"] == 1)
        assert client.call("ping")["service"] == "aggregator"
        assert client.call("echo", {"b": 2}) == {"b": 2}
        assert not other._socket.poll(0)
        serving.release.set()
        assert unpack(other._socket.recv())["result"] == {"a": 1}


def test_too_many_slow_questions_are_refused_not_queued_for_ever(serving: Serving) -> None:
    with RpcClient(serving.endpoint, timeout_s=10) as client:
        for number in range(MAX_WAITING):
            client._socket.send(request(f"s{number}", "slow"))
        with pytest.raises(RpcError) as refused:
            client.call("slow")
        assert refused.value.code == "busy"
        serving.release.set()
        eventually(lambda: serving.calls["slow"] == MAX_WAITING)


def test_a_mutation_repeated_with_its_id_is_done_once(serving: Serving, client: RpcClient) -> None:
    assert [client.call("count", request_id="same") for _ in range(3)] == [1, 1, 1]
    assert client.call("count", request_id="other") == 2
    with RpcClient(serving.endpoint) as another:
        assert another.call("count", request_id="same") == 1


def test_a_slow_mutation_repeated_while_it_runs_is_done_once_and_both_are_answered(serving: Serving) -> None:
    with RpcClient(serving.endpoint) as one, RpcClient(serving.endpoint) as two:
        one._socket.send(request("same", "count_slow"))
        eventually(lambda: serving.calls["count_slow"] == 1)
        two._socket.send(request("same", "count_slow"))
        assert two.call("echo", {"x": 1}, timeout_s=10) == {"x": 1}
        serving.release.set()
        assert unpack(one._socket.recv())["result"] == 1
        assert unpack(two._socket.recv())["result"] == 1
        assert two.call("count_slow", request_id="same") == 1
    assert serving.calls["count_slow"] == 1


def test_a_refused_mutation_is_answered_from_memory_and_a_failed_one_tried_again(
    serving: Serving, client: RpcClient
) -> None:
    for _ in range(2):
        with pytest.raises(RpcError, match="there is none"):
            client.call("refuse_once", request_id="r")
    assert serving.calls["refuse"] == 1
    with pytest.raises(RpcError) as failed:
        client.call("crash_once", request_id="c")
    assert failed.value.code == "internal_error"
    assert client.call("crash_once", request_id="c") == 2


def test_the_memory_of_mutations_is_bounded(serving: Serving, client: RpcClient) -> None:
    client.call("count", request_id="first")
    for number in range(MUTATION_MEMORY):
        client._socket.send(request(f"n{number}", "count"))
        client._socket.recv()  # at once: a peer that reads nothing is sent no more than its queue holds
    assert client.call("count", request_id=f"n{MUTATION_MEMORY - 1}") == MUTATION_MEMORY + 1
    assert client.call("count", request_id="first") == MUTATION_MEMORY + 2


def test_nobody_there_is_unavailable_within_the_time_out(tmp_path: Path) -> None:
    with RpcClient(f"ipc://{tmp_path}/nobody", timeout_s=0.05) as client, pytest.raises(Unavailable) as gone:
        client.call("ping")
    assert gone.value.code == "unavailable"
    assert "nobody did not answer `ping` within 0.05 s" in str(gone.value)


def test_a_question_to_nobody_is_not_asked_later(tmp_path: Path, data_directory: DataDirectory) -> None:
    with RpcClient(data_directory.endpoint("aggregator"), timeout_s=0.05) as client:
        with pytest.raises(Unavailable):
            client.call("count")
        serving = Serving(data_directory)
        eventually(lambda: client.call("ping"))
        assert serving.calls["count"] == 0
        serving.stop()


def test_a_late_answer_is_not_taken_for_the_next_one(serving: Serving, client: RpcClient) -> None:
    with pytest.raises(Unavailable):
        client.call("slow", {"late": True}, timeout_s=0.05)
    serving.release.set()
    assert client.call("echo", {"late": False}) == {"late": False}


@contextlib.contextmanager
def odd_service(path: Path, answer: Callable[[bytes], list[bytes]]) -> Iterator[str]:
    """A ROUTER that answers one question with whatever frames it likes; its endpoint."""
    endpoint = f"ipc://{path}/odd"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(endpoint)

    def run() -> None:
        identity, frame = router.recv_multipart()
        for reply in answer(frame):
            router.send_multipart([identity, reply])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield endpoint
    finally:
        thread.join(10)
        router.close(linger=0)
        context.term()


def test_junk_and_other_peoples_answers_are_passed_over(tmp_path: Path) -> None:
    def answer(frame: bytes) -> list[bytes]:
        wanted = unpack(frame)["id"]
        return [
            b"junk",
            b"",
            pack({"v": 9, "kind": "reply", "id": wanted, "ok": True, "result": "newer"}),
            pack({"v": 1, "kind": "ack", "id": wanted, "ok": True, "result": "no reply"}),
            ok_reply("somebody-else", "not mine"),
            ok_reply(wanted, "mine"),
        ]

    with odd_service(tmp_path, answer) as endpoint, RpcClient(endpoint, timeout_s=10) as client:
        assert client.call("ping") == "mine"


@pytest.mark.parametrize("error", [None, "text", {}, {"code": 5}])
def test_an_answer_of_an_odd_shape_is_an_error_not_a_crash(error: object, tmp_path: Path) -> None:
    def answer(frame: bytes) -> list[bytes]:
        return [pack({"v": 1, "kind": "reply", "id": unpack(frame)["id"], "error": error})]

    with (
        odd_service(tmp_path, answer) as endpoint,
        RpcClient(endpoint, timeout_s=10) as client,
        pytest.raises(RpcError) as refused,
    ):
        client.call("ping")
    assert isinstance(refused.value.code, str)


def test_request_ids_are_never_the_same() -> None:
    assert len({new_request_id() for _ in range(10_000)}) == 10_000


def test_many_questions_of_one_loop_are_answered_each_with_its_own(serving: Serving) -> None:
    async def ask() -> list[Any]:
        client = AsyncRpcClient(serving.endpoint, timeout_s=10)
        try:
            return await asyncio.gather(*(client.call("echo", {"n": number}) for number in range(200)))
        finally:
            await client.close()
            await client.close()

    assert asyncio.run(ask()) == [{"n": number} for number in range(200)]


def test_an_async_question_is_refused_times_out_and_the_next_one_is_answered(serving: Serving) -> None:
    async def ask() -> None:
        client = AsyncRpcClient(serving.endpoint, timeout_s=10)
        try:
            with pytest.raises(RpcError) as refused:
                await client.call("refuse", {"x": 1})
            assert refused.value.fields["given"] == 1
            with pytest.raises(Unavailable):
                await client.call("slow", {"late": True}, timeout_s=0.05)
            serving.release.set()
            assert await client.call("echo", {"late": False}) == {"late": False}
            assert client._waiting == {}
        finally:
            await client.close()

    asyncio.run(ask())


def test_an_async_question_to_nobody_is_unavailable(tmp_path: Path) -> None:
    async def ask() -> None:
        client = AsyncRpcClient(f"ipc://{tmp_path}/nobody")
        with pytest.raises(Unavailable):
            await client.call("ping", timeout_s=0.05)
        await client.close()

    asyncio.run(ask())


def test_a_callback_that_fails_ends_the_loop_and_everything_is_closed(data_directory: DataDirectory) -> None:
    service = Service("reporter", data_directory, Settings())
    stopped = []
    service.serve()
    service.on_stop(lambda: stopped.append("first"))
    service.on_stop(lambda: stopped.append("second"))

    def fail() -> None:
        raise ZeroDivisionError

    service.call_soon(fail)
    with pytest.raises(ZeroDivisionError):
        service.run()
    assert stopped == ["second", "first"]
    assert service.context.closed


def test_timers_and_callbacks_of_other_threads_run_on_the_loop(data_directory: DataDirectory) -> None:
    service = Service("reporter", data_directory, Settings())
    seen: list[int] = []

    def note() -> None:
        seen.append(threading.get_ident())

    service.every(0.001, note)

    def hand_over() -> None:
        service.call_soon(note)
        while len(seen) < 5:
            time.sleep(0.001)
        service.call_soon(service.stop)

    helper = threading.Thread(target=hand_over)
    helper.start()
    assert service.run() == 0
    helper.join()
    assert set(seen) == {threading.get_ident()}
