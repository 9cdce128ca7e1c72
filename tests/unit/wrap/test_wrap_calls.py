"""Finding tool calls in the two streams of a server: bytes in, finished calls out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfmon.wrap.calls import MAX_PENDING, CallWatcher, Direction, Finished, Started

UP, DOWN = Direction.TO_SERVER, Direction.TO_CLIENT
MS = 1_000_000


def _line(*messages: Any, end: bytes = b"\n") -> bytes:
    return b"".join(json.dumps(message).encode() + end for message in messages)


def _request(request_id: Any, tool: str = "echo", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": {"name": tool, **params}}


def _result(request_id: Any, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "result": {"content": [], **result}}


def _failed(request_id: Any, *texts: str) -> dict[str, Any]:
    return _result(request_id, isError=True, content=[{"type": "text", "text": text} for text in texts])


class Scene:
    """A watcher and what it has said, with a clock that moves a millisecond a message."""

    def __init__(self, name: str | None = None) -> None:
        self.watcher = CallWatcher("command", name=name)
        self.now_ns = 0
        self.finished: list[Finished] = []

    def say(self, direction: Direction, data: bytes) -> None:
        self.now_ns += MS
        self._keep(self.watcher.feed(direction, data, self.now_ns))

    def up(self, *messages: Any) -> None:
        self.say(UP, _line(*messages))

    def down(self, *messages: Any) -> None:
        self.say(DOWN, _line(*messages))

    def end(self) -> None:
        self._keep(self.watcher.finish(self.now_ns))

    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(event.call.tool, event.error) for event in self.finished]

    def _keep(self, events: list[Any]) -> None:
        self.finished += [event for event in events if isinstance(event, Finished)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_call_lasts_from_the_last_byte_of_its_request_to_the_last_of_its_response() -> None:
    watcher = CallWatcher("command")
    request, response = _line(_request(1)), _line(_result(1))
    assert watcher.feed(UP, request[:10], 1 * MS) == []
    (started,) = watcher.feed(UP, request[10:], 2 * MS)
    assert isinstance(started, Started)
    assert watcher.feed(DOWN, response[:-1], 5 * MS) == []
    (finished,) = watcher.feed(DOWN, response[-1:], 7 * MS)
    assert isinstance(finished, Finished)
    assert (finished.call.started_ns, finished.ended_ns, finished.error) == (2 * MS, 7 * MS, None)
    assert finished.call == started.call


def test_number_and_text_ids_are_kept_apart(scene: Scene) -> None:
    scene.up(_request(1, "number"), _request("1", "text"))
    scene.down(_result("1"))
    scene.down(_failed(1, "no"))
    assert scene.outcomes() == [("text", None), ("number", "tool_error: no")]


def test_an_id_may_be_used_again_after_its_response(scene: Scene) -> None:
    for _ in range(3):
        scene.up(_request(0))
        scene.down(_result(0))
    assert scene.outcomes() == [("echo", None)] * 3


def test_an_id_used_again_before_its_response_ends_the_call_before(scene: Scene) -> None:
    scene.up(_request(1, "first"))
    scene.up(_request(1, "second"))
    scene.down(_result(1))
    assert scene.outcomes() == [("first", "no response before its id was used again"), ("second", None)]


def test_a_batch_is_many_messages(scene: Scene) -> None:
    scene.up([_request(1, "a"), {"jsonrpc": "2.0", "method": "notifications/initialized"}, _request(2, "b")])
    scene.down([_result(2), {"jsonrpc": "2.0", "method": "notifications/message"}, _failed(1)])
    assert scene.outcomes() == [("b", None), ("a", "tool_error")]


def test_a_jsonrpc_error_is_a_failure_with_code_and_message(scene: Scene) -> None:
    scene.up(_request(1), _request(2), _request(3))
    scene.down({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "Invalid params"}})
    scene.down({"jsonrpc": "2.0", "id": 2, "error": "just text"})
    scene.down({"jsonrpc": "2.0", "id": 3, "error": {}})
    assert [error for _, error in scene.outcomes()] == [
        "jsonrpc_error -32602: Invalid params",
        "jsonrpc_error: just text",
        "jsonrpc_error",
    ]


def test_the_first_text_of_a_tools_own_error_is_its_message(scene: Scene) -> None:
    scene.up(_request(1), _request(2), _request(3))
    scene.down(_failed(1, "first", "second"))
    scene.down(_result(2, isError=True, content=[{"type": "image"}, {"type": "text", "text": "after"}]))
    scene.down(_result(3, isError=True, content="odd"))
    assert [error for _, error in scene.outcomes()] == ["tool_error: first", "tool_error: after", "tool_error"]


def test_a_cancelled_call_is_a_failure_and_its_late_response_is_ignored(scene: Scene) -> None:
    scene.up(_request("c", "slow"))
    scene.up({"method": "notifications/cancelled", "params": {"requestId": "c", "reason": "user pressed escape"}})
    scene.down(_result("c"))
    assert scene.outcomes() == [("slow", "cancelled: user pressed escape")]


def test_cancelling_something_else_changes_nothing(scene: Scene) -> None:
    scene.up(_request(1))
    scene.up({"method": "notifications/cancelled", "params": {"requestId": "1"}})
    scene.up({"method": "notifications/cancelled", "params": None})
    scene.down(_result(1))
    assert scene.outcomes() == [("echo", None)]


def test_calls_never_answered_fail_at_the_exit(scene: Scene) -> None:
    scene.up(_request(1, "a"), _request(2, "b"))
    scene.down(_result(2))
    scene.end()
    assert scene.outcomes() == [("b", None), ("a", "no response before exit")]


def test_requests_of_the_server_are_not_responses(scene: Scene) -> None:
    scene.up(_request(1))
    scene.down({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {}})
    assert scene.outcomes() == []
    scene.down(_result(1))
    assert scene.outcomes() == [("echo", None)]


def test_a_call_that_asks_for_more_input_has_not_ended(scene: Scene) -> None:
    scene.up(_request(1, "ask", _meta={"claudecode/toolUseId": "toolu_1"}))
    scene.down(_result(1, resultType="input_required"))
    scene.up(_request(2, "ask", _meta={"claudecode/toolUseId": "toolu_1"}))
    scene.down(_result(2, resultType="complete"))
    assert scene.outcomes() == [("ask", None)]


@pytest.mark.parametrize(
    ("meta", "call_id"),
    [
        ({"claudecode/toolUseId": "toolu_01"}, "toolu_01"),
        ({"progressToken": 3, "example.com/toolUseId": "x"}, "x"),
        ({"claudecode/toolUseId": 5}, None),
        ({"claudecode/toolUseId": ""}, None),
        ({"claudecode/toolUseId": "x" * 300}, None),
        ({"progressToken": 3}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_clients_own_id_of_the_call_is_kept(scene: Scene, meta: object, call_id: str | None) -> None:
    scene.up(_request(1, _meta=meta))
    scene.down(_result(1))
    assert scene.finished[0].call.call_id == call_id


def test_a_server_is_called_by_the_name_given_then_its_own_then_its_commands() -> None:
    for response in (
        {"id": 0, "result": {"serverInfo": {"name": "own", "version": "1"}}},
        {"id": 0, "result": {"_meta": {"io.modelcontextprotocol/serverInfo": {"name": "own"}}}},
    ):
        scene, named = Scene(), Scene("given")
        for one in (scene, named):
            one.up({"id": 0, "method": "initialize"})
            one.down(response)
        assert (scene.watcher.server_name, named.watcher.server_name) == ("own", "given")
    assert Scene().watcher.server_name == "command"


def test_a_failed_discovery_and_then_a_handshake_give_the_name(scene: Scene) -> None:
    scene.up({"id": 0, "method": "server/discover"})
    scene.down({"id": 0, "error": {"code": -32601, "message": "Method not found"}})
    scene.up({"id": 1, "method": "initialize"})
    scene.down({"id": 1, "result": {"serverInfo": {"name": "own"}}})
    assert scene.watcher.server_name == "own"
    assert scene.outcomes() == []


def test_calls_that_overlap_know_it_and_others_do_not(scene: Scene) -> None:
    scene.up(_request(1))
    scene.down(_result(1))
    scene.up(_request(2), _request(3))
    scene.down(_result(3))
    scene.down(_result(2))
    scene.up(_request(4))
    scene.down(_result(4))
    assert [event.overlapped for event in scene.finished] == [False, True, True, False]


@pytest.mark.parametrize(
    "noise",
    [
        b"not json at all\n",
        b"\xff\xfe\x00binary\x00\n",
        b"\r\n\n\n   \n",
        b'null\n42\n"text"\n[]\n[[]]\n[1,null]\n{}\n',
        b"[" * 100_000 + b"\n",
        b'{"id": 1' + b"\n",
        b"9" * 10_000 + b"\n",
        b'{"id": true, "result": {}}\n{"id": 1.5, "result": {}}\n{"id": null, "result": {}}\n{"id": {}, "result": {}}\n',
        "﻿{}\n".encode(),
    ],
)
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_noise_is_passed_over(scene: Scene, noise: bytes, direction: Direction) -> None:
    scene.up(_request(1))
    scene.say(direction, noise)
    scene.down(_result(1))
    assert scene.outcomes() == [("echo", None)]


def test_lines_may_end_with_a_carriage_return(scene: Scene) -> None:
    scene.say(UP, _line(_request(1), end=b"\r\n"))
    scene.say(DOWN, _line(_result(1), end=b"\r\n"))
    assert scene.outcomes() == [("echo", None)]


def test_escaped_slashes_and_names_are_read_as_json(scene: Scene) -> None:
    scene.say(UP, b'{"id":1,"method":"tools\\/call","params":{"name":"caf\\u00e9"}}\n')
    scene.down(_result(1))
    assert scene.outcomes() == [("café", None)]


@pytest.mark.parametrize("params", [None, [], {}, {"name": 5}, {"name": ""}, "text"])
def test_a_call_without_a_tools_name_is_counted_and_not_recorded(scene: Scene, params: object) -> None:
    scene.up({"id": 1, "method": "tools/call", "params": params})
    scene.end()
    assert scene.outcomes() == []
    assert scene.watcher.unobserved_total == 1


def test_a_call_without_an_id_is_a_notification_and_not_a_call(scene: Scene) -> None:
    scene.up({"method": "tools/call", "params": {"name": "x"}})
    scene.end()
    assert (scene.outcomes(), scene.watcher.unobserved_total) == ([], 0)


def test_a_server_that_never_answers_does_not_grow_the_watcher(scene: Scene) -> None:
    for number in range(MAX_PENDING + 50):
        scene.up(_request(number))
    assert scene.watcher.pending == MAX_PENDING
    assert scene.watcher.unobserved_total == 50


def test_after_a_gap_what_was_under_way_is_counted_and_the_next_line_counts_again(scene: Scene) -> None:
    scene.up(_request(1))
    scene.say(DOWN, b'{"id":1,"resu')
    scene.watcher.gap(DOWN)
    scene.say(DOWN, b'of a line","id":2}\n')
    assert (scene.watcher.pending, scene.watcher.unobserved_total) == (0, 1)
    scene.up(_request(2))
    scene.down(_result(2))
    assert scene.outcomes() == [("echo", None)]


BIG = "x" * (5 * 1024 * 1024)


@pytest.mark.parametrize(
    "request_line",
    [
        {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "big", "arguments": {"a": BIG}}},
        {"method": "tools/call", "params": {"name": "big", "arguments": {"name": BIG}}, "jsonrpc": "2.0", "id": 7},
        {"method": "tools/call", "params": {"_meta": {"progressToken": 1}, "name": "big", "a": BIG}, "id": 7},
    ],
)
@pytest.mark.parametrize(
    ("response_line", "error"),
    [
        ({"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": BIG}], "isError": False}}, None),
        ({"result": {"content": [{"text": BIG}], "isError": True}, "jsonrpc": "2.0", "id": 7}, "tool_error"),
        ({"id": 7, "result": {"isError": True, "content": [BIG]}}, "tool_error"),
        ({"result": {"content": [BIG + '"isError":true', {"id": 8}]}, "id": 7}, None),
        ({"id": 7, "error": {"code": 1, "message": BIG}}, "jsonrpc_error: too long to read"),
    ],
)
def test_lines_too_long_to_parse_are_told_by_their_ends(
    scene: Scene, request_line: dict[str, Any], response_line: dict[str, Any], error: str | None
) -> None:
    for direction, message in ((UP, request_line), (DOWN, response_line)):
        data = _line(message)
        for at in range(0, len(data), 1 << 20):
            scene.say(direction, data[at : at + (1 << 20)])
    assert scene.outcomes() == [("big", error)]


def test_the_clients_id_is_found_at_the_end_of_a_request_too_long_to_parse(scene: Scene) -> None:
    scene.up(_request(1, "big", arguments={"a": BIG}, _meta={"claudecode/toolUseId": "toolu_5"}))
    scene.down(_result(1))
    assert scene.finished[0].call.call_id == "toolu_5"


def test_a_request_too_long_to_parse_whose_tool_cannot_be_told_is_counted(scene: Scene) -> None:
    scene.up({"id": 1, "method": "tools/call", "params": {"arguments": {"name": BIG}, "name": "big"}})
    assert (scene.watcher.pending, scene.watcher.unobserved_total) == (0, 1)


def test_a_long_line_that_is_no_message_is_passed_over(scene: Scene) -> None:
    scene.up(_request(1))
    scene.say(DOWN, b"\x00" * len(BIG) + b"\n")
    scene.down(_result(1))
    assert scene.outcomes() == [("echo", None)]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(1, 400), max_size=30), order=st.permutations(range(6)))
def test_however_the_bytes_are_cut_the_calls_are_the_same(cuts: list[int], order: list[int]) -> None:
    watcher = CallWatcher("command")
    requests = _line(*[_request(number, f"tool{number}") for number in range(6)])
    responses = _line(*[_result(number) for number in order])
    seen: list[str] = []
    for direction, data in ((UP, requests), (DOWN, responses)):
        at = 0
        for size in [*cuts, len(data)]:
            events = watcher.feed(direction, data[at : at + size], at)
            seen += [event.call.tool for event in events if isinstance(event, Finished)]
            at += size
    assert seen == [f"tool{number}" for number in order]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(Direction), st.binary(max_size=60)), max_size=20))
def test_no_bytes_make_the_watcher_fail(pieces: list[tuple[Direction, bytes]]) -> None:
    watcher = CallWatcher("command")
    for direction, data in [(UP, _line(_request(1))), *pieces]:
        watcher.feed(direction, data, 0)
    watcher.finish(0)
