"""Anomalies that belong together are one incident, and its likely cause follows from what began first."""

from __future__ import annotations

import contextlib
from itertools import permutations

import numpy as np

from services.detector.core.answers.answer import answer, parse_query
from services.detector.core.events import Book, Event, event_id
from services.detector.core.incidents.causes import likely, rank
from services.detector.core.incidents.evidence import gather
from services.detector.core.incidents.incidents import MAX_MEMBERS, Incidents, belong_together, incident_id, summary
from services.detector.core.incidents.messages import MAX_CLASSES, MAX_SERIES, Messages, Said, class_of
from services.detector.core.metrics import (
    ERROR_RATE_SPIKE,
    RESOURCE_LEAK,
    RESOURCE_SPIKE,
    RESPONSE_TIME_SPIKE,
    THROUGHPUT_CHANGE,
)
from services.detector.core.telling import narrative, remarks
from shared.batch import Batch, Series
from tests.unit.detector.detector_kit import DAY, HOUR, MINUTE, T0, batch, feed, make_watch, ordinary, stored, times

METRIC_OF = {
    RESPONSE_TIME_SPIKE: ("response_time", "ms"),
    ERROR_RATE_SPIKE: ("error_rate", "%"),
    RESOURCE_SPIKE: ("memory", "MB"),
    RESOURCE_LEAK: ("memory", "MB"),
    THROUGHPUT_CHANGE: ("calls", "calls/min"),
}


def event(
    start_ms: int, tool: str = "tool", server: str = "server", kind: str = RESPONSE_TIME_SPIKE, *,
    minutes: float = 5, value: float = 900.0, level: int = 3, **more: object,
) -> Event:  # fmt: skip
    metric, unit = METRIC_OF[kind]
    last_ms = start_ms + int(minutes * MINUTE)
    name = event_id(Series(server, tool), kind, metric, start_ms)
    found = Event(
        name, server, tool, kind, metric, unit, "auto", start_ms, last_ms, start_ms, value, value, 100.0, 80.0, 130.0,
        20, 20, level, 0.99, "warning", last_ms,
    )  # fmt: skip
    found.evidence = {"otherTools": 4, **more}
    return found


def joined(*events: Event) -> Incidents:
    book = Book()
    incidents = Incidents(book)
    for one in events:
        book.add(one)
        incidents.join(one)
    return incidents


def names(*events: Event) -> set[str]:
    return {str(one.incident["id"]) for one in events}


def test_metrics_of_one_tool_at_one_time_are_one_incident() -> None:
    slow, hungry = event(T0), event(T0 - 3 * MINUTE, kind=RESOURCE_SPIKE, minutes=20)
    joined(slow, hungry)
    assert len(names(slow, hungry)) == 1
    assert (slow.incident["role"], hungry.incident["role"]) == ("effect", "cause")
    assert "3 min before its calls became slow" in slow.incident["likelyCause"]["sentence"]


def test_tools_of_a_server_that_begin_within_minutes_are_one_incident_and_others_are_not() -> None:
    first, second, later = event(T0, "a"), event(T0 + 4 * MINUTE, "b"), event(T0 + 3 * HOUR, "c")
    joined(first, second, later)
    assert len(names(first, second)) == 1
    assert later.incident["role"] == "alone"
    assert names(later) != names(first)


def test_an_anomaly_alone_has_an_incident_of_its_own() -> None:
    alone = event(T0)
    joined(alone)
    assert alone.incident["role"] == "alone"
    assert alone.incident["id"] == incident_id(alone)
    assert alone.incident["id"].startswith("incident-20251010-")
    assert len(alone.incident["id"].rpartition("-")[2]) == 4


def test_the_same_anomalies_in_the_same_order_are_the_same_incident() -> None:
    def once() -> list[dict[str, object]]:
        found = [event(T0 + i * MINUTE, f"t{i}") for i in range(5)]
        joined(*found)
        return [one.incident for one in found]

    assert once() == once()


def test_in_whatever_order_they_are_found_they_are_the_same_group() -> None:
    for order in permutations(range(3)):
        found = [event(T0 + i * 9 * MINUTE, f"t{i}") for i in range(3)]
        joined(*(found[i] for i in order))
        assert len(names(*found)) == 1


def test_an_incident_that_bridges_two_takes_the_name_of_the_older() -> None:
    early, late, between = event(T0, "a"), event(T0 + 18 * MINUTE, "b"), event(T0 + 9 * MINUTE, "c")
    joined(early, late, between)
    assert names(early, late, between) == {incident_id(early)}
    assert late.incident["members"] == 3


def test_two_servers_at_one_moment_are_a_coincidence_and_three_are_not() -> None:
    two = [event(T0, server="s1"), event(T0 + MINUTE, server="s2")]
    joined(*two)
    assert len(names(*two)) == 2
    three = [event(T0 + i * MINUTE, server=f"s{i}") for i in range(3)]
    joined(*three)
    assert len(names(*three)) == 1
    cause = three[0].incident["likelyCause"]
    assert cause["kind"] == "shared"
    assert {one.incident["role"] for one in three} == {"effect"}


def test_servers_that_are_struck_by_different_things_at_one_moment_are_no_incident() -> None:
    failing, loaded = (
        event(T0, server="s1", kind=ERROR_RATE_SPIKE),
        event(T0 + MINUTE, server="s2", kind=THROUGHPUT_CHANGE),
    )
    hungry = event(T0 + 2 * MINUTE, server="s3", kind=RESOURCE_SPIKE)
    joined(failing, loaded, hungry)
    assert len(names(failing, loaded, hungry)) == 3
    assert likely(rank([failing, loaded, hungry])) is None
    slow = [event(T0 + i * 1_000, server=f"t{i}") for i in range(2)]
    joined(failing, *slow)
    assert len(names(failing, *slow)) == 1, "calls that wait for what fails elsewhere are slow"
    (shared,) = (cause for cause in rank([failing, hungry, *slow]) if cause.kind == "shared")
    assert "anomalies on 3 of 4 servers began within" in shared.sentence


def test_memory_of_two_tools_of_one_server_is_that_of_one_process_and_neither_causes_the_other() -> None:
    first, second = (event(T0 + i * 5 * MINUTE, "ab"[i], kind=RESOURCE_LEAK, minutes=300) for i in range(2))
    joined(first, second)
    assert len(names(first, second)) == 1
    assert first.incident["likelyCause"] is second.incident["likelyCause"] is None
    slow = event(T0 + 6 * MINUTE, "a", minutes=60)
    cause = likely(rank([first, second, slow]))
    assert cause is not None
    assert (cause.anomaly, cause.kind) == (first.id, RESOURCE_LEAK)


def test_where_anomalies_begin_all_day_long_three_servers_at_one_moment_are_no_incident() -> None:
    noise = [event(T0 - DAY + i * 2 * MINUTE, server=f"noisy{i % 40}") for i in range(700)]
    three = [event(T0 + i * MINUTE, server=f"s{i}") for i in range(3)]
    joined(*noise, *three)
    assert len(names(*three)) == 3


def test_a_leak_is_felt_hours_later_by_its_tool_and_a_resource_for_half_an_hour_by_others() -> None:
    leak = event(T0, kind=RESOURCE_LEAK, minutes=5 * 60)
    assert belong_together(leak, event(T0 + 4 * HOUR))
    assert not belong_together(event(T0, minutes=5 * 60), event(T0 + 4 * HOUR))
    assert belong_together(leak, event(T0 + HOUR // 2, "other"))
    assert not belong_together(event(T0, minutes=5 * 60), event(T0 + HOUR // 2, "other"))
    assert not belong_together(leak, event(T0 + 4 * HOUR, "other"))
    assert not belong_together(leak, event(T0, "other", server="elsewhere"))


def test_one_that_followed_in_another_tool_is_no_evidence() -> None:
    assert likely(rank([event(T0, "a", kind=RESOURCE_SPIKE), event(T0 + 9 * MINUTE, "b")])) is None
    several = [event(T0 + 9 * MINUTE, tool) for tool in "bcd"]
    cause = likely(rank([event(T0, "a", kind=RESOURCE_SPIKE), *several]))
    assert cause is not None
    assert cause.kind == RESOURCE_SPIKE


def test_what_began_a_minute_or_two_apart_began_together() -> None:
    found = [
        event(T0 + i * MINUTE // 2, f"t{i}", kind=RESOURCE_SPIKE if i == 0 else RESPONSE_TIME_SPIKE) for i in range(5)
    ]
    cause = likely(rank(found))
    assert cause is not None
    assert cause.kind == "server"


def test_faint_anomalies_are_told_their_incident_but_make_none() -> None:
    faint, slow = event(T0, "a", level=1), event(T0 + MINUTE, "b")
    incidents = joined(faint, slow)
    assert slow.incident["role"] == "alone"
    assert incidents.place(faint)["id"] == slow.incident["id"]


def test_an_incident_takes_no_more_members_than_it_may() -> None:
    found = [event(T0 + i * 1_000, f"t{i}") for i in range(MAX_MEMBERS + 20)]
    incidents = joined(*found)
    assert max(len(incidents.members(name)) for name in names(*found)) <= MAX_MEMBERS


def test_where_something_always_goes_wrong_a_day_is_not_one_incident() -> None:
    found = [event(T0 + i * 8 * MINUTE, f"t{i % 7}", minutes=1) for i in range(60)]
    joined(*found)
    groups = {name: [one for one in found if one.incident["id"] == name] for name in names(*found)}
    assert all(max(e.start_ms for e in group) - min(e.start_ms for e in group) <= HOUR for group in groups.values())
    assert 7 <= len(groups) <= 9


def test_a_restart_finds_the_incidents_in_the_events() -> None:
    first = event(T0, "a")
    book = Book()
    book.add(first)
    Incidents(book).join(first)
    again, second = Incidents(book), event(T0 + MINUTE, "b")
    book.add(second)
    again.join(second)
    assert names(first, second) == {incident_id(first)}
    assert first.incident["members"] == 2


def test_what_leaves_the_book_leaves_the_incidents() -> None:
    one = event(T0)
    incidents = joined(one)
    incidents._book.dirty.clear()
    incidents._book.forget_before(T0 + DAY)
    incidents.forget()
    assert incidents.members(incident_id(one)) == []
    assert not incidents._members
    assert not incidents._slots


def test_the_cause_is_what_came_first_and_the_sentence_says_who_followed() -> None:
    leak = event(T0, "search", kind=RESOURCE_SPIKE, minutes=30)
    slow = [event(T0 + (6 + i) * MINUTE, f"t{i}") for i in range(3)]
    own = event(T0 + 6 * MINUTE, "search")
    cause = likely(rank([leak, own, *slow]))
    assert cause is not None
    assert cause.anomaly == leak.id
    assert cause.sentence == (
        "memory of “search” rose since 00:00Z, 6 min before its calls became slow; 3 of 4 other tools of the server followed"
    )
    assert 0.4 <= cause.confidence <= 0.95


def test_nothing_is_called_likely_when_two_candidates_are_as_good() -> None:
    assert likely(rank([event(T0, "a"), event(T0, "b")])) is None


def test_many_tools_at_once_point_to_the_server_and_not_to_one_of_them() -> None:
    found = [event(T0 + i * 5_000, f"t{i}") for i in range(5)]
    cause = likely(rank(found))
    assert cause is not None
    assert (cause.kind, cause.anomaly) == ("server", "")
    assert cause.sentence.startswith("5 of 5 tools of “server” went wrong within")


def test_one_that_went_wrong_long_before_does_not_hide_that_the_others_began_together() -> None:
    stray = event(T0 - 50 * MINUTE, "t0", kind=RESOURCE_SPIKE, minutes=60)
    cause = likely(rank([stray, *(event(T0 + i * 5_000, f"t{i}") for i in range(5))]))
    assert cause is not None
    assert (cause.kind, cause.since_ms) == ("server", T0)


def saying(message: str, *, new: bool = True) -> list[dict[str, object]]:
    return [{"message": message, "count": 8, "of": 9, "new": new}]


def test_tools_that_fail_with_the_same_new_message_have_what_they_call_as_their_cause() -> None:
    gone = saying("connection to # refused")
    two = [event(T0 + i * 4 * MINUTE, f"t{i}", kind=ERROR_RATE_SPIKE, said=gone) for i in range(2)]
    joined(*two)
    cause = two[0].incident["likelyCause"]
    assert (cause["kind"], cause["anomaly"]) == ("message", None)
    assert cause["sentence"] == (
        "2 tools of “server” fail with “connection to # refused” since 00:00Z, which none of them said before: what they all call"
    )
    assert {one.incident["role"] for one in two} == {"effect"}
    assert "likely cause" in narrative.summary(two[1])


def test_a_server_of_which_some_tools_say_the_same_is_told_with_what_they_say() -> None:
    found = [event(T0 + i * 5_000, f"t{i}") for i in range(3)]
    found += [event(T0 + i * 5_000, f"t{i}", kind=ERROR_RATE_SPIKE, said=saying("disk full")) for i in (3, 4)]
    cause = likely(rank(found))
    assert cause is not None
    assert (cause.kind, cause.anomaly) == ("server", "")
    assert cause.sentence == (
        "5 of 5 tools of “server” went wrong within 20 s, and 2 tools fail with “disk full”, which none of them said before: "
        "the server itself or what all of them depend on"
    )


def test_a_message_that_some_tools_said_before_is_not_called_new_to_all_of_them() -> None:
    known = (False, True, False, True)
    found = [
        event(T0 + i * 5_000, f"t{i}", kind=ERROR_RATE_SPIKE, said=saying("upstream: HTTP #", new=new))
        for i, new in enumerate(known)
    ]
    cause = likely(rank(found))
    assert cause is not None
    assert "4 tools of “server” fail with “upstream: HTTP #” since 00:00Z" in cause.sentence
    assert "which 2 of them never said before" in cause.sentence
    assert "none of them" not in cause.sentence


def test_messages_that_differ_or_were_known_name_no_cause_and_no_effect() -> None:
    for said in ((saying("refused"), saying("no such file")), (saying("refused", new=False),) * 2):
        two = [event(T0 + i * MINUTE, f"t{i}", kind=ERROR_RATE_SPIKE, said=one) for i, one in enumerate(said)]
        joined(*two)
        assert [one.incident["likelyCause"] for one in two] == [None, None]
        assert {one.incident["role"] for one in two} == {"member"}


def test_servers_that_fail_with_the_same_new_message_share_a_cause_whenever_they_began() -> None:
    gone = saying("upstream timeout")
    found = [event(T0 + i * 3 * MINUTE, server=f"s{i}", kind=ERROR_RATE_SPIKE, said=gone) for i in range(4)]
    cause = likely(rank(found))
    assert cause is not None
    assert cause.kind == "shared"
    assert "4 tools fail with “upstream timeout”, which none of them said before" in cause.sentence


def test_a_change_found_by_half_hours_is_ranked_by_the_minute_in_which_it_began() -> None:
    load = {"calls_per_minute": {"before": 5.0, "during": 60.0, "sinceMs": T0}}
    surge = event(T0 - 20 * MINUTE, "a", kind=THROUGHPUT_CHANGE, minutes=60, changes=load)
    cause = likely(rank([surge, *(event(T0 + (5 + 4 * i) * MINUTE, tool) for i, tool in enumerate("abc"))]))
    assert cause is not None
    assert (cause.kind, cause.since_ms) == (THROUGHPUT_CHANGE, T0)


def test_an_explanation_lists_candidates_other_than_the_anomaly_itself_and_begins_with_none_as_an_alternative() -> None:
    watch = make_watch()
    for at, tool in enumerate("ab"):
        ok = np.ones(400, np.uint8)
        ok[300 + 8 * at : 340] = 0
        feed(watch, batch(times(400), ordinary(400), ok, key=Series("server", tool)))
    first, second = stored(watch, ERROR_RATE_SPIKE)
    assert first.incident["role"] == second.incident["role"] == "member"
    for one, other in ((first, second), (second, first)):
        told = remarks.whole(watch, one)
        assert [cause["anomaly"] for cause in told["explanation"]["causes"]] == [other.id]
        at = next(i for i, line in enumerate(told["text"]) if "none stands out; the candidates:" in line)
        assert told["text"][at + 1].strip().startswith("(0.")


def test_what_was_advised_for_one_tool_alone_is_not_said_any_more_once_another_is_in_the_same_trouble() -> None:
    watch, ok = make_watch(), np.ones(400, np.uint8)
    ok[300:340] = 0
    for at, tool in enumerate(("a", "b", "idle")):
        values = ok if tool != "idle" else np.ones(400, np.uint8)
        feed(watch, batch(times(400, start=T0 + at * MINUTE), ordinary(400), values, key=Series("server", tool)))
    first, second = stored(watch, ERROR_RATE_SPIKE)
    assert [one["tool"] for one in first.evidence["siblings"]] == ["b"]
    assert [one["tool"] for one in second.evidence["siblings"]] == ["a"]
    assert any("this one was first" in advice for advice in first.recommendations)
    assert not any("Only this tool" in advice for one in (first, second) for advice in one.recommendations)


def test_fewer_calls_cause_nothing() -> None:
    drop = event(T0, kind=THROUGHPUT_CHANGE, value=0.0, minutes=30)
    failing = event(T0 + MINUTE, kind=ERROR_RATE_SPIKE)
    cause = likely(rank([drop, failing]))
    assert cause is None or cause.anomaly != drop.id


def test_load_that_rose_before_is_the_likely_cause_of_an_anomaly_alone() -> None:
    load = {"calls_per_minute": {"before": 4.0, "during": 40.0, "sinceMs": T0 - 5 * MINUTE}}
    slow = event(T0, changes=load)
    joined(slow)
    assert slow.incident["role"] == "alone"
    assert slow.incident["likelyCause"]["kind"] == "calls_per_minute"
    assert "5 min before its calls became slow" in slow.incident["likelyCause"]["sentence"]


def test_hostile_names_and_messages_are_quoted_and_escaped_in_causes() -> None:
    said = [{"message": "gone” now\x1b[31m obey", "count": 9, "of": 10, "new": True}]
    failing = event(T0, "ba“d\u202e", kind=ERROR_RATE_SPIKE, said=said)
    found = rank([failing, event(T0 + 2 * MINUTE, "x\n2. do")])
    text = " ".join(cause.sentence for cause in found)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n" not in text
    assert "“ba'd\\u202e” began to fail" in text


def test_an_answer_lists_its_incidents() -> None:
    watch = make_watch()
    slow = ordinary(400)
    slow[300:320] *= 12
    for key in (Series("server", "a"), Series("server", "b")):
        feed(watch, batch(times(400), slow, key=key))
    first, second = stored(watch)
    assert first.incident["id"] == second.incident["id"]
    found = answer(watch, parse_query({"endMs": T0 + 2 * HOUR, "detail": "full"}, T0), contextlib.nullcontext)
    (incident,) = found["summary"]["incidents"]
    assert (incident["id"], incident["members"], incident["servers"]) == (first.incident["id"], 2, ["server"])
    assert incident["since"] == first.start_ms
    for row in found["anomalies"]:
        assert row["incident"]["id"] == incident["id"]
        assert row["summary"].startswith("“")
        assert row["explanation"]["part"] == "calls"
        assert set(row["explanation"]["bands"]) == {"high", "medium", "low"}
        assert row["explanation"]["chart"]
    named = answer(watch, parse_query({"endMs": T0 + 2 * HOUR, "method": "z-score"}, T0), contextlib.nullcontext)
    assert {row["incident"]["id"] for row in named["anomalies"]} == {incident["id"]}
    assert summary([], watch.incidents) == []


def failures(n: int, message: str, tool: str = "tool", at: int = T0) -> Batch:
    key = (Series("server", tool),)
    texts = {i: message.replace("{i}", str(i)) for i in range(n)}
    return Batch(key, np.zeros(n, np.uint32), times(n, 1_000, at), np.ones(n), np.zeros(n, np.uint8), errors=texts)


def test_messages_are_of_one_class_whatever_numbers_and_quotes_they_hold() -> None:
    assert class_of('connect to 10.0.0.7:5432 "db-a" failed (0x7f3a)') == class_of(
        'connect to 10.0.0.9:5433 "db-b" failed (0xabcdef)'
    )
    assert class_of("timeout") != class_of("refused")


def test_what_failing_calls_say_is_counted_during_an_event_and_known_as_new() -> None:
    messages = Messages()
    messages.note(failures(3, "not found {i}"))
    messages.note(failures(8, "refused by 10.0.0.{i}", at=T0 + HOUR))
    (said,) = messages.during(Series("server", "tool"), T0 + HOUR, T0 + 2 * HOUR)
    assert (said.message, said.count, said.of, said.new) == ("refused by #", 8, 8, True)
    assert messages.during(Series("server", "other"), 0, T0 + DAY) == []


def test_messages_are_bounded_whatever_comes() -> None:
    messages = Messages()
    for i in range(MAX_SERIES + 50):
        messages.note(failures(1, "x", tool=f"t{i}"))
    assert len(messages._of) == MAX_SERIES
    words = Batch(
        (Series("server", "tool"),), np.zeros(500, np.uint32), times(500), np.ones(500), np.zeros(500, np.uint8),
        errors={i: "x" * (i % 90 + 1) for i in range(500)},
    )  # fmt: skip
    for _ in range(5):
        messages.note(words)
    kept = messages._of[Series("server", "tool")]
    assert len(kept.first_ms) <= MAX_CLASSES
    messages.note(failures(1, "\x00" * 10_000))


def test_only_what_began_within_minutes_is_the_same_trouble_however_long_it_lasts() -> None:
    watch = make_watch()
    feed(watch, batch(times(600), ordinary(600)))
    (series,) = watch.engine.series.values()
    ours = event(T0 + 8 * MINUTE)
    since_long = event(T0 - 2 * HOUR, "lasting", minutes=200)
    just_before = event(T0 + 6 * MINUTE, "near")
    found = gather(ours, series, iter((just_before, since_long)), 3)
    assert [sibling.tool for sibling in found.siblings] == ["near"]


def test_what_a_stray_failure_says_is_no_evidence_of_slow_calls_and_what_many_say_is() -> None:
    said = [Said("TimeoutError", 1, 1, new=False)]
    for failing, expected in ((1, ()), (100, tuple(said))):
        watch, ok = make_watch(), np.ones(600, np.uint8)
        ok[500 : 500 + failing] = 0
        feed(watch, batch(times(600), ordinary(600), ok))
        (series,) = watch.engine.series.values()
        slow = event(int(times(600)[490]), "tool", minutes=25)
        assert gather(slow, series, iter(()), 1, said).said == expected
        stray = event(int(times(600)[490]), "tool", kind=ERROR_RATE_SPIKE, minutes=25)
        assert gather(stray, series, iter(()), 1, said).said == tuple(said)
