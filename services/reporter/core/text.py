"""Sentences that mix our words with words from monitored servers.

Owns the type that keeps the two apart until a renderer escapes each for its format. Knows no format but plain text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from shared.names import shown

#: Characters of a name or a message that are shown anywhere.
MAX_UNTRUSTED_CHARS: Final = 200

#: A type or metric of the detector, a unit, a range of figures.
_TERM: Final = re.compile(
    r"(?:response_time|error_rate|resource|throughput|cpu|memory|disk_io|duration|calls)(?:_(?:spike|shift|leak|change|rate))?"
    r"|ms|s|%|MB|KB|calls/min|[0-9][0-9.e+]{0,20}-[0-9][0-9.e+]{0,20}"
)


class Untrusted(NamedTuple):
    """A name, a condition or a message that a monitored server chose; never to be shown unescaped."""

    value: str


#: Our words as `str`, theirs as `Untrusted`, in reading order.
Text: TypeAlias = "tuple[str | Untrusted, ...]"


def plain(text: Text) -> str:
    """The sentence for JSON and logs: what is untrusted in quotes, harmless and cut at 200 characters."""
    return join(text, str, lambda value: f'"{visible(value)}"')


def join(text: Text, ours: Callable[[str], str], theirs: Callable[[str], str]) -> str:
    """The sentence with each part put through the function of its kind."""
    return "".join(theirs(part.value) if isinstance(part, Untrusted) else ours(part) for part in text)


def visible(value: str) -> str:
    """Untrusted text with control characters and bidi marks escaped, cut at 200 characters; `(unnamed)` for none."""
    return shown(value, MAX_UNTRUSTED_CHARS) or "(unnamed)"


def term(value: str) -> str | Untrusted:
    """A word of the services' own vocabulary, such as `resource_leak`, `ms` or `120-160`, as ours; anything else untrusted."""
    return value.replace("_", " ") if _TERM.fullmatch(value) else Untrusted(value)


def tool_of(server: str, tool: str) -> Text:
    """`tool of server`, both quoted."""
    return (Untrusted(tool), " of ", Untrusted(server)) if tool else (Untrusted(server),)
