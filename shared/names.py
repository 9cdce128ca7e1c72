"""Names of servers and tools as paths, and untrusted text as something safe to show.

Owns the one function that turns a name into a file name, and the one that makes text from monitored servers harmless. Both
are pure.
"""

from __future__ import annotations

import hashlib
import unicodedata
from difflib import get_close_matches
from typing import Final

#: A file name's bytes before it is cut and hashed (a file system's limit is 255, `.jsonl` and a hash must fit).
MAX_STEM_BYTES: Final = 200
#: Characters of untrusted text that are shown.
MAX_SHOWN_CHARS: Final = 200
#: How alike two names are (difflib's ratio) before one may be meant for the other.
ALIKE: Final = 0.6
#: Characters from which a name that is part of another may be meant for it.
MIN_PART_CHARS: Final = 3

#: In the place of a tool's name where all tools of a server are meant.
ALL_TOOLS: Final = "(all tools)"

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


def path_stem(name: str) -> str:
    """The file or folder name of a server or tool: letters, digits, `_ . -` stay, everything else is percent-encoded UTF-8, a
    leading dot too; over 200 bytes it is cut and a hash of the whole name appended. Never empty, never `.` or `..`.

    Raises: UnicodeEncodeError for lone surrogates, ValueError for the empty name.
    """
    if not name:
        raise ValueError("a name has at least one character")
    encoded = "".join(c if c in _PLAIN else "".join(f"%{byte:02X}" for byte in c.encode()) for c in name)
    if encoded[0] == ".":
        encoded = "%2E" + encoded[1:]
    if len(encoded) <= MAX_STEM_BYTES:
        return encoded
    return f"{encoded[: MAX_STEM_BYTES - 17]}~{name_hash(name)}"


def twin_stem(name: str) -> str:
    """The file name of a name that differs from an earlier one in case alone, which some file systems fold."""
    return f"{path_stem(name)[: MAX_STEM_BYTES - 17]}~{name_hash(name)}"


def name_hash(name: str) -> str:
    """16 hex digits that tell names apart."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def shown(text: str, limit: int = MAX_SHOWN_CHARS) -> str:
    """Untrusted text, safe for terminals and models: control characters (ANSI among them), bidi marks and lone surrogates
    escaped, cut at `limit` characters.
    """
    cut = text[:limit]
    safe = "".join(c if _is_harmless(c) else _escape(c) for c in cut)
    return safe + "…" if len(text) > limit else safe


def nearest(name: str, known: list[str], count: int = 3) -> list[str]:
    """The known names closest to one that is not known, best first."""
    folded = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(name.casefold(), list(folded), n=count, cutoff=0.0)
    return [folded[match] for match in close]


def near(name: str, known: list[str], count: int = 3) -> list[str]:
    """Those of `nearest` that a person could have meant: at least 60 % alike, or holding it; maybe none."""
    wanted, folded = name.casefold(), {candidate.casefold(): candidate for candidate in known}
    found = [folded[match] for match in get_close_matches(wanted, list(folded), n=count, cutoff=ALIKE)]
    if len(wanted) >= MIN_PART_CHARS:
        found += [candidate for candidate in sorted(known, key=len) if wanted in candidate.casefold()]
    return list(dict.fromkeys(found))[:count]


def _is_harmless(c: str) -> bool:
    return unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def _escape(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
