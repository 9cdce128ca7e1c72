"""Which of two versions is newer, and whether a client can talk to the pipeline it finds. Pure."""

from __future__ import annotations

import re
from typing import Literal

#: What to do with a pipeline that already runs.
Verdict = Literal["same", "restart", "use", "refuse"]

_NUMBER = re.compile(r"\d+")


def release(version: str) -> tuple[tuple[int, ...], int, int]:
    """A sortable form of a version: the release numbers, then final releases after their pre-releases."""
    head = re.match(r"\d+(?:\.\d+)*", version)
    if head is None:
        return ((), 0, 0)
    numbers = tuple(int(part) for part in head.group().split("."))
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    rest = version[head.end() :].split("+", maxsplit=1)[0]
    number = _NUMBER.search(rest)
    order = 1 if not rest else 2 if "post" in rest else 0
    return (numbers, order, int(number.group()) if number else 0)


def judge(*, ours: str, theirs: str, our_major: int, their_major: int) -> Verdict:
    """What a client of version `ours` does with a running pipeline of version `theirs`.

    A newer client restarts an older pipeline; an older client uses a newer one while the protocol's major version is the same.
    """
    if ours == theirs and our_major == their_major:
        return "same"
    if release(ours) > release(theirs):
        return "restart"
    return "use" if our_major == their_major else "refuse"
