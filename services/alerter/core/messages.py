"""What people are told: a subject, and a body for a chat, a plain mail or an HTML mail.

Names, tools and acknowledgements' notes are untrusted: control characters, line breaks and bidi marks are escaped
(`shared.names.shown`), in a chat names stand in code spans and cannot be a mention, a link or markup, in HTML everything is
escaped. Pure text; knows no channel's address.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from services.alerter.core.model import Alert, Told
from services.alerter.core.statement import amount, brief, value_words
from shared.conditions import spaced
from shared.names import shown
from shared.timespan import iso_seconds, span_text

#: Characters of a name in a subject line.
SUBJECT_NAME_CHARS: Final = 60
#: Characters of any one untrusted text in a body.
BODY_TEXT_CHARS: Final = 200
#: An id that may stand in a command which somebody pastes into a shell.
_PASTABLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Style(StrEnum):
    """How a channel shows text."""

    CHAT = "chat"
    PLAIN = "plain"
    HTML = "html"


class Message(NamedTuple):
    """`subject` is one line of at most about 250 characters."""

    subject: str
    body: str


def compose(alert: Alert, told: Told, style: Style, now_ms: int) -> Message:
    """The message about an event of an alert."""
    subject = f"[{_headline(alert, told)}] {_short(alert.fingerprint.server)} / {_short(alert.fingerprint.tool)}: "
    subject += spaced(alert.candidate.text)
    facts = _facts(alert, told, now_ms)
    if style is Style.HTML:
        return Message(subject, _html(alert, told, facts))
    quote = _code if style is Style.CHAT else _plain
    title = f"*{_headline(alert, told)}* {spaced(alert.candidate.text)}" if style is Style.CHAT else subject
    return Message(subject, "\n".join([title, *(f"{name}: {_shown_fact(fact, quote)}" for name, fact in facts)]))


class _Fact(NamedTuple):
    text: str
    untrusted: bool = False


def _headline(alert: Alert, told: Told) -> str:
    word = alert.severity.upper()
    return {
        Told.RAISED: word,
        Told.UPGRADED: f"{word}, was a warning",
        Told.ESCALATED: f"{word}, ESCALATED: nobody acknowledged it",
        Told.RESOLVED: f"RESOLVED, was {alert.severity}",
    }[told]


def _facts(alert: Alert, told: Told, now_ms: int) -> list[tuple[str, _Fact]]:
    candidate = alert.candidate
    unit = candidate.unit
    facts = [
        ("Server", _Fact(candidate.fingerprint.server, untrusted=True)),
        ("Tool", _Fact(candidate.fingerprint.tool, untrusted=True)),
    ]
    if told is Told.RESOLVED:
        clear = span_text(max(0, now_ms - alert.last_true_ms))
        facts += [
            ("Lasted", _Fact(_lasted(alert))),
            ("Resolved", _Fact("its threshold was changed"))
            if alert.resolved_by_change
            else ("Clear for", _Fact(clear)),
            ("Worst value", _Fact(amount(brief(alert.peak_value, candidate.threshold), unit))),
        ]
    else:
        facts += [
            ("Value", _Fact(value_words(alert))),
            ("Judged by", _Fact("; ".join(part for part in (candidate.judged, _worse_by(alert)) if part))),
            ("Since", _Fact(f"{iso_seconds(alert.ts_ms)}, last seen {iso_seconds(alert.last_true_ms)}")),
        ]
    facts.append(("Alert", _Fact(alert.alert_id)))
    explained = [name for name in alert.anomaly_ids if _PASTABLE.fullmatch(name)]
    if explained and told is not Told.RESOLVED:
        facts.append(("Explained by", _Fact(f"perfmon explain {explained[-1]}", untrusted=True)))
    if alert.acknowledgement is not None:
        facts.append(("Acknowledged by", _Fact(alert.acknowledgement.by, untrusted=True)))
    elif told is not Told.RESOLVED:
        how = f'acknowledge_alert(alertId="{alert.alert_id}", acknowledgedBy="your name")'
        facts.append(("Acknowledge", _Fact(f"ask Claude Code to call {how}")))
    return facts


def _lasted(alert: Alert) -> str:
    start, end = iso_seconds(alert.ts_ms), iso_seconds(alert.last_true_ms)
    if start == end:
        return f"seen once, at {start}"
    return f"{span_text(max(0, alert.last_true_ms - alert.ts_ms))}, from {start} to {end}"


def _worse_by(alert: Alert) -> str:
    return f"{alert.severity} by an {alert.worse_by}" if alert.worse_by else ""


def _short(name: str) -> str:
    return shown(name, SUBJECT_NAME_CHARS)


def _shown_fact(fact: _Fact, quote: Callable[[str], str]) -> str:
    return quote(fact.text) if fact.untrusted else fact.text


def _plain(text: str) -> str:
    return shown(text, BODY_TEXT_CHARS)


def _code(text: str) -> str:
    # `<users/all>` mentions everybody and `<url|text>` is a link; inside a code span a backtick would end it.
    safe = shown(text, BODY_TEXT_CHARS).replace("`", "'").replace("<", "‹").replace(">", "›")
    return f"`{safe}`"


def _html(alert: Alert, told: Told, facts: list[tuple[str, _Fact]]) -> str:
    rows = "".join(
        f"<tr><th align='left'>{html.escape(name)}</th><td>{html.escape(_plain(fact.text))}</td></tr>"
        for name, fact in facts
    )
    title = html.escape(f"{_headline(alert, told)}: {spaced(alert.candidate.text)}")
    return f"<p><b>{title}</b></p><table cellpadding='4'>{rows}</table>"
