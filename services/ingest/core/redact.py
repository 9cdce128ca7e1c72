"""Take secrets and personal data out of error messages, before they are stored anywhere.

Order matters: the specific patterns come before the general ones. What is replaced is named, so that a reader knows what kind
of thing stood there.
"""

from __future__ import annotations

import re
from typing import Final

from perfmon.wire import MAX_ERROR_CHARS

#: Characters of a message that are looked at; what is beyond is cut before it costs time.
MAX_SCANNED_CHARS: Final = 4 * MAX_ERROR_CHARS

_KEY_NAMES: Final = (
    r"password|passwd|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|client[_-]?secret|auth[_-]?token"
    r"|refresh[_-]?token|session[_-]?id|credentials?"
)

_PATTERNS: Final = [
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,4000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|$)", re.DOTALL
        ),
        "[private key]",
    ),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}"), "[jwt]"),
    (re.compile(r"(?i)\b(authorization\s*[:=]\s*)(?:(?:bearer|basic|token)\s+)?[^\s,;\"']+"), r"\1[secret]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=~-]{8,}"), r"\1 [secret]"),
    (re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,20}://)[^\s/@:]{1,200}:[^\s/@]{1,200}@"), r"\1[credentials]@"),
    (
        re.compile(rf"(?i)([\"']?\b[\w-]{{0,40}}(?:{_KEY_NAMES})[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&}}\])]+)"),
        r"\1[secret]",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "[aws key]"),
    (re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bgithub_pat_\w{20,}\b"), "[github token]"),
    (re.compile(r"\bxox[abeoprs]-[\w-]{10,}"), "[slack token]"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{16,}|\b(?:sk|pk|rk)_(?:live|test)_\w{10,}"), "[api key]"),
    (re.compile(r"\bAIza[\w-]{30,}"), "[api key]"),
    (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b"), "[email]"),
]

#: A message, folded, that has none of these and no key with a value matches no pattern: told at a tenth of their cost.
_SIGNS: Final = (
    *("-----begin", "eyj", "authorization", "bearer", "basic", "@", "akia", "asia", "xox", "aiza"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "sk-", "sk_", "pk_", "rk_"),
)
_KEY_WITH_VALUE = re.compile(rf"(?:{_KEY_NAMES})[\"']?\s*[:=]")
#: Letters that match an ASCII one when case is ignored, and that `lower` does not make it.
_FOLD: Final = str.maketrans("İıſ\N{KELVIN SIGN}", "iisk")

#: Digits of the shortest card number.
_CARD_DIGITS: Final = 13
_DIGITS: Final = b"0123456789"
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


def redact(message: str) -> str:
    """The message without secrets, cut at MAX_ERROR_CHARS with a mark; lone surrogates are replaced."""
    text = message[:MAX_SCANNED_CHARS].encode("utf-8", "replace").decode()
    if len(message) > MAX_SCANNED_CHARS:
        # The cut may run through a secret, which no pattern then knows.
        text = text[: max(text.rfind(" "), MAX_ERROR_CHARS)]
    if _is_suspect(text):
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
    if _may_have_card(text):
        text = _CARD.sub(_card, text)
    if len(text) > MAX_ERROR_CHARS or len(message) > MAX_SCANNED_CHARS:
        return text[:MAX_ERROR_CHARS] + "…"
    return text


def _is_suspect(text: str) -> bool:
    folded = text.lower() if text.isascii() else text.translate(_FOLD).lower()
    return any(map(folded.__contains__, _SIGNS)) or _KEY_WITH_VALUE.search(folded) is not None


def _may_have_card(text: str) -> bool:
    if not text.isascii():
        return True
    return len(text) - len(text.encode().translate(None, _DIGITS)) >= _CARD_DIGITS


def _card(match: re.Match[str]) -> str:
    digits = [int(c) for c in match.group() if c.isdigit()]
    # Luhn: only real card numbers, not ids and timestamps that happen to be long.
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return "[card]" if sum(doubled) % 10 == 0 else match.group()
