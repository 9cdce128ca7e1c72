"""What people are told, whatever a monitored server calls itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from alerter_timeline import T0, Timeline

from services.alerter.core import lifecycle
from services.alerter.core.messages import Style, compose
from services.alerter.core.model import Fingerprint, Told


def _alert(server: str = "s", tool: str = "t"):
    timeline = Timeline()
    timeline.calls(0, 40, failed=3)
    alert = timeline.only()
    named = replace(alert.candidate, fingerprint=Fingerprint("error_rate", server, tool))
    return replace(alert, candidate=named)


@pytest.mark.parametrize("style", list(Style))
def test_a_message_says_what_since_when_how_bad_and_how_to_acknowledge(style):
    message = compose(_alert(), Told.RAISED, style, T0 + 5_000)
    body = message.body.replace("&quot;", '"')
    for part in (
        "error_rate",
        "7.5 %",
        "5 %",
        "2025-10-31T13:00:00Z",
        'acknowledge_alert(alertId="alert-20251031-001"',
        "3 of 40 calls failed over 5 min",
    ):
        assert part in body
    assert message.subject == "[CRITICAL] s / t: error_rate > 5 %"


def test_a_resolved_message_says_how_long_it_lasted():
    alert = lifecycle.true_again(_alert(), replace(_alert().candidate, ts_ms=T0 + 7_200_000))
    resolved = lifecycle.resolved(alert, T0 + 30 * 3_600_000)
    message = compose(resolved, Told.RESOLVED, Style.PLAIN, T0 + 30 * 3_600_000)
    assert message.subject.startswith("[RESOLVED")
    assert "Lasted: 2 h, from 2025-10-31T13:00:00Z to 2025-10-31T15:00:00Z" in message.body
    assert "Acknowledge" not in message.body


HOSTILE = [
    "<users/all>",
    "<https://evil.example|click>",
    "`` ` ``<users/all>",
    "a\r\nBcc: everyone@example.com",
    "\x1b[31mred\u202e",
    "<script>alert(1)</script>",
    "x" * 1024,
    "*bold* _it_",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_no_markup_no_header_and_no_mention(name):
    alert = _alert(server=name, tool=name)
    chat = compose(alert, Told.RAISED, Style.CHAT, T0)
    assert "<" not in chat.body
    assert chat.body.count("`") == 4
    for style in Style:
        message = compose(alert, Told.ESCALATED, style, T0)
        assert message.subject.isprintable()
        assert len(message.subject) < 300
        assert len(message.body) < 2_000
        assert all(c.isprintable() or c == "\n" for c in message.body)
    html = compose(alert, Told.RAISED, Style.HTML, T0).body
    assert "<script" not in html
    assert "<users" not in html


@pytest.mark.parametrize("name", ["anomaly-20251031-1f3a5c7e9b2d", "x; rm -r ~", "-x", "x`\n<users/all>"])
def test_a_message_says_how_its_anomaly_is_explained_until_it_is_over(name):
    timeline = Timeline()
    details = {"currentValue": 742.123456, "expectedRange": "213.4-226.6", "metric": "memory", "unit": "MB"}
    timeline.anomaly(0, id=name, anomalyType="resource_leak", details=details)
    chat = compose(timeline.only(), Told.RAISED, Style.CHAT, T0).body
    assert "Value: 742 MB, usual up to 226.6 MB" in chat
    assert ("Explained by: `perfmon explain anomaly-20251031-1f3a5c7e9b2d`" in chat) == name.startswith("anomaly")
    assert "rm -r" not in chat
    assert "<" not in chat
    over = compose(lifecycle.resolved(timeline.only(), T0 + 9), Told.RESOLVED, Style.PLAIN, T0 + 9).body
    assert "Lasted: seen once, at 2025-10-31T13:00:00Z" in over
    assert "Worst value: 742 MB" in over
    assert "perfmon explain" not in over
