"""One thing to do, as the rules of `recommendations` give it and renderers show it."""

from __future__ import annotations

from dataclasses import dataclass

from services.reporter.core.text import Text


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One thing to do. `title` says what is wrong, `evidence` why we think so, `action` what to do first; `message` is what
    the failures say; `until_ms`: None while it goes on; `weight` ranks within a severity (failed calls, or ms lost).
    """

    severity: str
    metric: str
    server: str
    tool: str
    title: Text
    action: Text
    evidence: tuple[Text, ...] = ()
    since_ms: int | None = None
    message: str | None = None
    weight: float = 0.0
    until_ms: int | None = None
