"""Take secrets and personal data out of error messages, before they are stored anywhere.

Order matters: the specific patterns come before the general ones. What is replaced is named, so that a reader knows what kind
of thing stood there.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from perfmon.wire import MAX_ERROR_CHARS

#: Characters of a message that are looked at; what is beyond is cut before it costs time.
MAX_SCANNED_CHARS: Final = 4 * MAX_ERROR_CHARS

_KEY_NAMES: Final = (
    r"password|passwd|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|private[_-]?key|client[_-]?secret|auth[_-]?token"
    r"|refresh[_-]?token|session[_-]?id|credentials?"
)


class Rule(NamedTuple):
    """What is replaced by what. `signs`: one of them is in every message, folded, that `pattern` matches; the rule without
    any is that of keys with values, whose sign is a pattern itself.
    """

    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str


#: The sign of a key with a value, on a folded message.
_KEY_WITH_VALUE = re.compile(rf"(?:{_KEY_NAMES})[\"']?\s*[:=]")

RULES: Final = (
    Rule(
        ("-----begin",),
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.{0,4000}?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|$)", re.DOTALL
        ),
        "[private key]",
    ),
    Rule(("eyj",), re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}"), "[jwt]"),
    Rule(
        ("authorization",),
        re.compile(r"(?i)\b(authorization\s*[:=]\s*)(?:(?:bearer|basic|token)\s+)?[^\s,;\"']+"),
        r"\1[secret]",
    ),
    Rule(("bearer", "basic"), re.compile(r"(?i)\b(bearer|basic)\s+[\w.+/=~-]{8,}"), r"\1 [secret]"),
    Rule(
        ("@",),
        re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,20}://)[^\s/@:]{1,200}:[^\s/@]{1,200}@"),
        r"\1[credentials]@",
    ),
    Rule(
        (),
        re.compile(rf"(?i)((?:{_KEY_NAMES})[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&}}\])]+)"),
        r"\1[secret]",
    ),
    Rule(("akia", "asia"), re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "[aws key]"),
    Rule(
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}\b|\bgithub_pat_\w{20,}\b"),
        "[github token]",
    ),
    Rule(("xox",), re.compile(r"\bxox[abeoprs]-[\w-]{10,}"), "[slack token]"),
    Rule(
        ("sk-", "sk_", "pk_", "rk_"),
        re.compile(r"\bsk-[A-Za-z0-9_-]{16,}|\b(?:sk|pk|rk)_(?:live|test)_\w{10,}"),
        "[api key]",
    ),
    Rule(("aiza",), re.compile(r"\bAIza[\w-]{30,}"), "[api key]"),
    # From where a run of such characters begins, so that a long run is gone through once.
    Rule(("@",), re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b"), "[email]"),
)
_SIGNS: Final = tuple(dict.fromkeys(sign for rule in RULES for sign in rule.signs))
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
    text = _without_secrets(text)
    if _may_have_card(text):
        text = _CARD.sub(_card, text)
    if len(text) > MAX_ERROR_CHARS or len(message) > MAX_SCANNED_CHARS:
        return text[:MAX_ERROR_CHARS] + "…"
    return text


def _without_secrets(text: str) -> str:
    folded = text.lower() if text.isascii() else text.translate(_FOLD).lower()
    has_sign = folded.__contains__
    has_key = _KEY_WITH_VALUE.search(folded) is not None
    # Nearly all messages have none.
    if not has_key and not any(map(has_sign, _SIGNS)):
        return text
    for signs, pattern, replacement in RULES:
        if any(map(has_sign, signs)) if signs else has_key:
            text = pattern.sub(replacement, text)
    return text


def _may_have_card(text: str) -> bool:
    if not text.isascii():
        return True
    return len(text) - len(text.encode().translate(None, _DIGITS)) >= _CARD_DIGITS


def _card(match: re.Match[str]) -> str:
    digits = [int(c) for c in match.group() if c.isdigit()]
    # Luhn: only real card numbers, not ids and timestamps that happen to be long.
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return "[card]" if sum(doubled) % 10 == 0 else match.group()
