"""supervisord's event listener protocol, byte for byte."""

from __future__ import annotations

import io

import pytest

from services.watchdog.protocol import acknowledge, next_event

HEADER = "ver:3.0 server:perfmon serial:21 pool:watchdog poolserial:10 eventname:{name} len:{length}\n"
PAYLOAD = "processname:ingest groupname:ingest from_state:RUNNING expected:0 pid:71"


def stream(name: str, payload: str) -> io.BytesIO:
    return io.BytesIO((HEADER.format(name=name, length=len(payload)) + payload).encode())


def test_an_event_is_asked_for_and_read() -> None:
    stdout = io.BytesIO()
    event = next_event(stream("PROCESS_STATE_EXITED", PAYLOAD), stdout)
    assert event is not None
    assert event.name == "PROCESS_STATE_EXITED"
    assert event.fields["processname"] == "ingest"
    assert stdout.getvalue() == b"READY\n"


def test_events_follow_each_other_on_one_stream() -> None:
    stdin = io.BytesIO(stream("TICK_5", "when:5").getvalue() + stream("TICK_5", "when:10").getvalue())
    found = [next_event(stdin, io.BytesIO()) for _ in range(3)]
    assert [event.fields["when"] if event else None for event in found] == ["5", "10", None]


def test_the_acknowledgement_is_what_supervisord_expects() -> None:
    stdout = io.BytesIO()
    acknowledge(stdout)
    assert stdout.getvalue() == b"RESULT 2\nOK"


@pytest.mark.parametrize(
    "raw", [b"", b"garbage\n", b"len:x\n", b"len:-1\n", b"eventname:TICK_5 len:100\nshort", b"len:99999999\n"]
)
def test_an_ended_or_garbled_stream_ends_the_watchdog(raw: bytes) -> None:
    assert next_event(io.BytesIO(raw), io.BytesIO()) is None
