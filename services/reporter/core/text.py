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
#: Characters of another service's sentence.
MAX_SAID_CHARS: Final = 400

#: A type or metric of the detector, a unit, a range of figures.
_TERM: Final = re.compile(
    r"(?:response_time|error_rate|resource|throughput|cpu|memory|disk_io|duration|calls)(?:_(?:spike|shift|leak|step|change|rate))?"
    r"|ms|s|%|MB|KB|calls/min|[0-9][0-9.e+]{0,20}-[0-9][0-9.e+]{0,20}"
)


class Untrusted(NamedTuple):
    """A name, a condition or a message that a monitored server chose; never to be shown unescaped."""

    value: str


class Said(NamedTuple):
    """A sentence of another service, with names from monitored servers in it; never to be shown unescaped, nor as a name."""

    value: str


#: Our words as `str`, theirs as `Untrusted` and `Said`, in reading order.
Text: TypeAlias = "tuple[str | Untrusted | Said, ...]"


def plain(text: Text) -> str:
    """The sentence for JSON and logs: names in quotes, harmless and cut at 200 characters."""
    return join(text, str, lambda value: f'"{visible(value)}"', spoken)


def join(text: Text, ours: Callable[[str], str], theirs: Callable[[str], str], said: Callable[[str], str]) -> str:
    """The sentence with each part put through the function of its kind."""
    kinds = {Untrusted: theirs, Said: said}
    return "".join(ours(part) if isinstance(part, str) else kinds[type(part)](part.value) for part in text)


def visible(value: str) -> str:
    """Untrusted text with control characters and bidi marks escaped, cut at 200 characters; `(unnamed)` for none."""
    return shown(value, MAX_UNTRUSTED_CHARS) or "(unnamed)"


def spoken(value: str) -> str:
    """A sentence of another service with control characters and bidi marks escaped, cut at 400 characters."""
    return shown(value, MAX_SAID_CHARS)


def term(value: str) -> str | Untrusted:
    """A word of the services' own vocabulary, such as `resource_leak`, `ms` or `120-160`, as ours; anything else untrusted."""
    return value.replace("_", " ") if _TERM.fullmatch(value) else Untrusted(value)


def tool_of(server: str, tool: str) -> Text:
    """`tool of server`, both quoted."""
    return (Untrusted(tool), " of ", Untrusted(server)) if tool else (Untrusted(server),)
