"""The watchdog's decisions as timelines: events in, actions out."""

from __future__ import annotations

import itertools

import pytest

from services.watchdog.core import (
    FIRST_PAUSE_MS,
    HEALTHY_AFTER_MS,
    LONGEST_PAUSE_MS,
    MISSES_TO_KILL,
    MISSES_TO_KILL_WORKING,
    START_GRACE_MS,
    Action,
    AskStates,
    IdleSeen,
    Kill,
    ProcessChanged,
    RoundEnded,
    ShutdownBegan,
    Start,
    StopPipeline,
    Watchdog,
)

ROUND_MS = 5_000
NAMES = ("ingest", "detector")
ALL = frozenset(NAMES)


def running(now_ms: int = 0) -> Watchdog:
    """A watchdog that saw both services start and answer."""
    watchdog = Watchdog(NAMES, now_ms)
    for name in NAMES:
        watchdog.handle(ProcessChanged(name, "STARTING"), now_ms)
        watchdog.handle(ProcessChanged(name, "RUNNING"), now_ms)
    assert watchdog.handle(RoundEnded(ALL), now_ms) == []
    return watchdog


def rounds(watchdog: Watchdog, answered: frozenset[str], start_ms: int, count: int) -> list[tuple[int, Action]]:
    """What was done in `count` rounds from `start_ms` on, with its time."""
    return [
        (now_ms, action)
        for now_ms in range(start_ms, start_ms + count * ROUND_MS, ROUND_MS)
        for action in watchdog.handle(RoundEnded(answered), now_ms)
    ]


def test_a_service_that_stops_answering_is_killed_after_three_rounds() -> None:
    done = rounds(running(), frozenset({"detector"}), ROUND_MS, MISSES_TO_KILL)
    assert [(at, action.name) for at, action in done if isinstance(action, Kill)] == [(15_000, "ingest")]


def test_one_that_works_gets_two_minutes() -> None:
    watchdog = running()
    event = RoundEnded(frozenset({"detector"}), working=frozenset({"ingest"}))
    done = [(n, action) for n in range(1, 30) for action in watchdog.handle(event, n * ROUND_MS)]
    assert [n for n, _ in done] == [MISSES_TO_KILL_WORKING]


def test_one_that_stops_working_is_killed_at_once() -> None:
    watchdog = running()
    for n in range(1, 6):
        assert watchdog.handle(RoundEnded(frozenset({"detector"}), frozenset({"ingest"})), n * ROUND_MS) == []
    assert len(watchdog.handle(RoundEnded(frozenset({"detector"})), 6 * ROUND_MS)) == 1


def test_one_answer_in_between_starts_the_count_again() -> None:
    watchdog = running()
    assert rounds(watchdog, frozenset({"detector"}), 5_000, MISSES_TO_KILL - 1) == []
    assert watchdog.handle(RoundEnded(ALL), 15_000) == []
    assert rounds(watchdog, frozenset({"detector"}), 20_000, MISSES_TO_KILL - 1) == []


def test_a_service_that_answers_is_left_alone_however_long_it_is_not_ready() -> None:
    assert rounds(running(), ALL, ROUND_MS, 5_000) == []


def test_a_service_that_never_answered_has_a_grace_to_compile() -> None:
    watchdog = Watchdog(("detector",), 0)
    watchdog.handle(ProcessChanged("detector", "STARTING"), 0)
    watchdog.handle(ProcessChanged("detector", "RUNNING"), 2_000)
    done = rounds(watchdog, frozenset(), ROUND_MS, 30)
    assert done[0] == (START_GRACE_MS, Kill("detector", "runs but left 18 pings unanswered"))


def test_a_service_that_hangs_again_and_again_is_killed_less_and_less_often() -> None:
    watchdog = running()
    done = [at for at, action in rounds(watchdog, frozenset({"detector"}), ROUND_MS, 1_000) if isinstance(action, Kill)]
    pauses = [later - earlier for earlier, later in itertools.pairwise(done)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_MS


def test_after_a_healthy_while_the_next_hang_counts_as_the_first() -> None:
    watchdog = running()
    rounds(watchdog, frozenset({"detector"}), ROUND_MS, 400)
    healthy_from = 400 * ROUND_MS
    rounds(watchdog, ALL, healthy_from, HEALTHY_AFTER_MS // ROUND_MS + 2)
    silent_from = healthy_from + HEALTHY_AFTER_MS + 2 * ROUND_MS
    done = rounds(watchdog, frozenset({"detector"}), silent_from, MISSES_TO_KILL)
    assert [type(action) for _, action in done] == [Kill]


def test_what_supervisord_gave_up_is_started_again_with_growing_pauses() -> None:
    watchdog = running()
    watchdog.handle(ProcessChanged("ingest", "FATAL"), 1_000)
    starts = []
    for now_ms in range(ROUND_MS, 3_600_000, ROUND_MS):
        for action in watchdog.handle(RoundEnded(frozenset({"detector"})), now_ms):
            assert isinstance(action, Start)
            starts.append(now_ms)
            watchdog.handle(ProcessChanged("ingest", "STARTING"), now_ms)
            watchdog.handle(ProcessChanged("ingest", "FATAL"), now_ms)
    assert starts[0] <= 1_000 + FIRST_PAUSE_MS + ROUND_MS
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 2 * FIRST_PAUSE_MS
    assert pauses[-1] == LONGEST_PAUSE_MS


@pytest.mark.parametrize("state", ["STOPPED", "STOPPING", "EXITED", "BACKOFF"])
def test_what_an_operator_stopped_or_supervisord_is_restarting_is_left_alone(state: str) -> None:
    watchdog = running()
    watchdog.handle(ProcessChanged("ingest", state), 1_000)
    assert rounds(watchdog, frozenset({"detector"}), ROUND_MS, 100) == []


def test_a_restarted_service_gets_a_new_grace() -> None:
    watchdog = running()
    rounds(watchdog, frozenset({"detector"}), ROUND_MS, 2)
    watchdog.handle(ProcessChanged("ingest", "EXITED"), 11_000)
    watchdog.handle(ProcessChanged("ingest", "STARTING"), 11_100)
    watchdog.handle(ProcessChanged("ingest", "RUNNING"), 13_100)
    assert rounds(watchdog, frozenset({"detector"}), 15_000, 15) == []


def test_a_watchdog_that_came_late_asks_for_the_states() -> None:
    watchdog = Watchdog(NAMES, 0)
    assert watchdog.handle(RoundEnded(frozenset()), ROUND_MS) == [AskStates()]
    for name in NAMES:
        watchdog.handle(ProcessChanged(name, "FATAL"), ROUND_MS)
    assert {type(action) for action in watchdog.handle(RoundEnded(frozenset()), 3 * ROUND_MS)} == {Start}


def test_nothing_is_done_once_a_shutdown_began() -> None:
    watchdog = running()
    watchdog.handle(ShutdownBegan(), 1_000)
    assert rounds(watchdog, frozenset(), ROUND_MS, 100) == []


def test_an_idle_pipeline_is_stopped_once() -> None:
    watchdog = running()
    assert watchdog.handle(IdleSeen(idle_ms=50_000, limit_ms=60_000), 100_000) == []
    done = watchdog.handle(IdleSeen(idle_ms=60_000, limit_ms=60_000), 110_000)
    assert [type(action) for action in done] == [StopPipeline]
    assert watchdog.handle(IdleSeen(idle_ms=60_000, limit_ms=60_000), 120_000) == []


def test_a_pipeline_that_was_just_started_is_wanted_however_old_its_data() -> None:
    assert running().handle(IdleSeen(idle_ms=10**12, limit_ms=60_000), 59_999) == []


def test_other_programs_are_none_of_its_business() -> None:
    watchdog = running()
    watchdog.handle(ProcessChanged("watchdog", "FATAL"), 1_000)
    assert rounds(watchdog, ALL, ROUND_MS, 10) == []
