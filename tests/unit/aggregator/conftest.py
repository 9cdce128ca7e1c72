"""No deadline for examples: the machine may be busy. Read before the tests, which take it as they are defined."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", parent=settings.default, deadline=None)
settings.load_profile("no-deadline")
