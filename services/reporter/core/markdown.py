"""Untrusted text made inert in Markdown: inline, in table cells, and fenced.

Owns the escaping alone. Letters, digits and ordinary signs stay as they are, so that `create_goal` still reads so; whatever
could open markup, a link, HTML, a code span, a table cell or a line is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from services.reporter.core.text import Text, join, spoken, visible

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;"}
#: What can open markup: code, emphasis, links, images, strike-through, maths, cells, schemes, quotes; `www.` of autolinks. A
#: colon before a space or in a time opens nothing, nor do a `>` behind another word and a `(` but behind a `]`: conditions and
#: sentences stay readable.
_SPECIAL: Final = re.compile(
    r"[\\`*\[\]{}~|$!#^]|(?<![0-9]):(?! )|:(?![0-9 ])|(?<! )>|(?<![0-9A-Za-z_])_+|_+(?![0-9A-Za-z_])|(?<=[wW]{3})\."
)


def escaped(value: str) -> str:
    """Untrusted text for a sentence or a table cell: one line, no markup."""
    return _inert(visible(value))


def sentence(text: Text) -> str:
    """A sentence of ours with escaped names in bold."""
    return join(text, str, lambda value: f"**{escaped(value)}**", lambda value: _inert(spoken(value)))


def fenced(value: str) -> str:
    """Untrusted text as a code block that nothing in it can close."""
    body = visible(value)
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> str:
    """A GFM table of cells that are escaped already; `right` names the right-aligned columns by their letters a, b, c…"""
    marks = ["---:" if chr(97 + column) in right else "---" for column in range(len(heads))]
    lines = [heads, marks, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _inert(value: str) -> str:
    cleaned = _SPECIAL.sub(lambda match: "".join("\\" + c for c in match.group()), value)
    return "".join(_ENTITIES.get(c, c) for c in cleaned)
