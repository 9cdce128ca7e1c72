"""The outbox: at least once, with back-off, each channel for itself."""

from __future__ import annotations

from alerter_timeline import RULES, T0, Timeline

from services.alerter.core.events import MessageDelivered, MessageFailed
from services.alerter.core.outbox import FIRST_PAUSE_MS, GIVE_UP_MS, LONGEST_PAUSE_MS, MAX_WAITING, pause_ms


def _critical(at_s: float = 0) -> Timeline:
    t = Timeline(resolve_after_ms=7 * GIVE_UP_MS)
    t.calls(at_s, 10, failed=10)
    return t


def _key(t: Timeline, channel: str) -> str:
    return next(key for key, entry in t.core.outbox.entries.items() if entry.channel == channel)


def test_a_delivered_message_leaves_and_is_counted():
    t = _critical()
    t.step(MessageDelivered(_key(t, "chat")), T0 + 5)
    assert t.waiting("chat") == []
    assert t.waiting("mail") == ["raised"]
    state = t.core.outbox.channels["chat"]
    assert (state.delivered_total, state.last_delivered_ms, state.last_error) == (1, T0 + 5, None)


def test_a_failed_message_waits_longer_each_time_and_holds_up_no_other_channel():
    t = _critical()
    outbox, key, now = t.core.outbox, _key(t, "chat"), T0
    for failures in range(1, 12):
        t.step(MessageFailed(key, "no route"), now)
        pause = outbox.channels["chat"].next_ms - now
        assert pause == pause_ms(failures)
        assert outbox.due("chat", now + pause - 1) == []
        now += pause
        assert [entry.key for entry in outbox.due("chat", now)] == [key]
    assert (pause_ms(1), pause_ms(1000)) == (FIRST_PAUSE_MS, LONGEST_PAUSE_MS)
    assert len(outbox.due("mail", T0)) == 1


def test_a_message_no_server_takes_does_not_block_the_next_one():
    t = _critical()
    poison = _key(t, "chat")
    t.step(MessageFailed(poison, "too strange"), T0)
    t.calls(1, 10, tool="other", failed=10)
    due = t.core.outbox.due("chat", T0 + 60_000)
    assert [entry.key for entry in due][-1] == poison
    assert len(due) == 2


def test_a_message_is_given_up_after_a_day_and_counted():
    t = _critical()
    t.tick((GIVE_UP_MS - 1) / 1000)
    assert "raised" in t.waiting("chat")
    t.tick(GIVE_UP_MS / 1000 + 1)
    assert "raised" not in t.waiting("chat")
    assert t.core.outbox.channels["chat"].given_up_total == 1


def test_a_channel_that_is_gone_takes_its_messages_along_and_a_new_one_starts_empty():
    t = _critical()
    t.core.outbox.configure(RULES[1:])
    assert list(t.core.outbox.channels) == ["mail"]
    assert {entry.channel for entry in t.core.outbox.entries.values()} == {"mail"}


def test_the_outbox_of_a_dead_channel_is_bounded():
    t = _critical()
    outbox, alert = t.core.outbox, t.only()
    from dataclasses import replace

    from services.alerter.core.model import Told

    for number in range(MAX_WAITING + 10):
        outbox.tell(replace(alert, alert_id=f"alert-20251031-{number:04d}"), Told.RAISED, T0)
    assert outbox.waiting("chat") == MAX_WAITING


def test_the_same_event_is_queued_once():
    from services.alerter.core.model import Told

    t = _critical()
    before = dict(t.core.outbox.entries)
    t.core.outbox.tell(t.only(), Told.RAISED, T0 + 1)
    assert t.core.outbox.entries == before
