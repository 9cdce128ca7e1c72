"""The true cause of what spreads ranks first among the candidates of its incident, and what is named is mostly right."""

from __future__ import annotations

import numpy as np

from bench.detection import causes
from bench.detection.causes import FIRST_SEED, HISTORY, KINDS, Answer, Truth, is_true, judge, make, shares
from services.detector.core.incidents.candidates import Cause

SEEDS = range(FIRST_SEED, FIRST_SEED + 2)


def test_the_true_cause_ranks_first_in_most_cases_and_a_cause_that_is_named_is_mostly_the_true_one() -> None:
    found = shares([judge(kind, seed) for kind in KINDS.values() for seed in SEEDS])
    assert found["found"] == 100.0
    assert found["first"] >= 90.0
    assert found["named"] >= 70.0
    assert found["right"] >= 90.0


def test_a_fault_begins_after_the_history_and_is_the_same_for_the_same_seed() -> None:
    for kind in KINDS.values():
        one, again = make(5), make(5)
        before = make(5).minutes
        assert kind(one) == kind(again)
        for name in ("rate", "latency", "failing", "cpu", "memory"):
            np.testing.assert_array_equal(getattr(one.minutes, name), getattr(again.minutes, name))
            np.testing.assert_array_equal(
                getattr(one.minutes, name)[:, :HISTORY], getattr(before, name)[:, :HISTORY], err_msg=name
            )


def test_a_candidate_is_true_when_its_kind_and_its_tool_are() -> None:
    moved = Cause("", "memory", 0, 0.9, 0.9, "memory of “tool-00” rose from 5 to 9 MB since 08:00Z")
    assert is_true(moved, Truth(("memory",), "tool-00"), {})
    assert not is_true(moved, Truth(("memory",), "tool-01"), {})
    assert not is_true(moved, Truth(("cpu",), "tool-00"), {})
    assert is_true(Cause("", "server", 0, 0.9, 0.9, "5 of 5 tools"), Truth(("server",)), {})


def test_shares_count_what_is_named_apart_from_what_ranks_first() -> None:
    answers = [
        Answer(True, True, True, []),
        Answer(True, True, None, []),
        Answer(True, False, False, []),
        Answer(False, False, None, []),
    ]
    assert shares(answers) == {"found": 75.0, "first": 50.0, "named": 50.0, "right": 50.0}
    assert causes.CASES >= 10
