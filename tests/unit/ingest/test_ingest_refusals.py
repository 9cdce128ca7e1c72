"""Rows that were not stored are counted by what becomes of them."""

from __future__ import annotations

from typing import Any

from perfmon.wire import Kind
from services.ingest.core.ingest import IngestCore, Message
from shared.settings import Settings

NOW = 1_761_915_600_123
GOOD: dict[str, Any] = {"mcpServer": "files", "toolName": "read", "duration": 12.5, "success": True}
NAMELESS = GOOD | {"toolName": ""}


def rows(sender: str | None, *listed: Any, **envelope: Any) -> Message:
    return Message(sender, Kind.ROWS, {"rows": list(listed), **envelope})


def counted(at: IngestCore) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Lost, refused for good, to come again."""
    return dict(at.refusals.lost), dict(at.refusals.for_good), dict(at.refusals.come_again)


def test_what_nobody_is_told_of_is_lost_and_counted_in_rows() -> None:
    at = IngestCore(Settings())
    messages = [rows(None, GOOD, NAMELESS, NAMELESS), rows(None, *[GOOD] * 5, producer="", seq=1), rows(None, GOOD)]
    at.committed(at.plan(messages, NOW), "epoch", 1)
    at.lose("not_msgpack")
    assert counted(at) == ({"name_empty": 2, "bad_producer": 5, "not_msgpack": 1}, {}, {})


def test_what_an_acknowledgement_refuses_is_not_lost() -> None:
    at = IngestCore(Settings())
    messages = [rows("a", GOOD, NAMELESS), rows("a", *[GOOD] * 3, producer="", seq=1)]
    at.committed(at.plan(messages, NOW), "epoch", 1)
    assert counted(at) == ({}, {"name_empty": 1, "bad_producer": 3}, {})


def test_what_a_full_disk_refuses_comes_again_unless_nobody_was_told() -> None:
    at = IngestCore(Settings())
    messages = [rows("a", GOOD, NAMELESS), rows("a", GOOD, producer="", seq=1), rows(None, GOOD, GOOD, NAMELESS)]
    at.failed(at.plan(messages, NOW), "epoch", "disk_full", "no room")
    lost, for_good, again = counted(at)
    assert lost == {"disk_full": 2, "name_empty": 1}
    assert for_good == {"bad_producer": 1}
    assert again == {"disk_full": 2}


def test_what_is_turned_away_unread_is_counted_alike() -> None:
    at = IngestCore(Settings())
    at.turn_away(rows("a", GOOD, GOOD), "journal_full")
    at.turn_away(Message(None, Kind.BATCH, {"n": 70}), "journal_full")
    at.turn_away(Message(None, Kind.BATCH, {"n": "many"}), "journal_full")
    assert counted(at) == ({"journal_full": 71}, {}, {"journal_full": 2})
