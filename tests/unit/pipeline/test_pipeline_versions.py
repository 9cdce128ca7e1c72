"""Which version gives way."""

from __future__ import annotations

import pytest

from perfmon.pipeline.versions import judge, release


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("0.1.0", "0.2.0"),
        ("0.9", "0.10"),
        ("1.0rc1", "1.0"),
        ("1.0a1", "1.0a2"),
        ("1.0", "1.0.post1"),
        ("1.0.1", "1.1"),
        ("nonsense", "0.1"),
    ],
)
def test_later_releases_are_newer(older: str, newer: str) -> None:
    assert release(older) < release(newer)


def test_trailing_zeros_and_local_parts_make_no_difference() -> None:
    assert release("1.0") == release("1.0.0") == release("1.0.0+local")


@pytest.mark.parametrize(
    ("ours", "theirs", "their_major", "verdict"),
    [
        ("0.1.0", "0.1.0", 1, "same"),
        ("0.2.0", "0.1.0", 1, "restart"),
        ("2.0.0", "0.1.0", 0, "restart"),
        ("0.1.0", "0.2.0", 1, "use"),
        ("0.1.0", "2.0.0", 2, "refuse"),
    ],
)
def test_the_newer_client_restarts_and_the_older_gives_way(
    ours: str, theirs: str, their_major: int, verdict: str
) -> None:
    assert judge(ours=ours, theirs=theirs, our_major=1, their_major=their_major) == verdict
