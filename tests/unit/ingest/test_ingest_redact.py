"""Secrets and personal data never leave the door."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmon.wire import MAX_ERROR_CHARS
from services.ingest.core import redact as redaction
from services.ingest.core.redact import MAX_SCANNED_CHARS, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


@pytest.mark.parametrize(
    ("message", "secret"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEowCutHere", "MIIEowCutHere"),
        (f"token {JWT} expired", "dozjgNryP4J3jVmNHl0w5N"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("sent bearer abc.def-ghi_jkl", "abc.def-ghi_jkl"),
        ("connect postgres://admin:s3cr3t@db:5432/x failed", "s3cr3t"),
        ("password=hunter2", "hunter2"),
        ("PASSWORD: 'hunter 2 long'", "hunter 2 long"),
        ('{"api_key": "abc123def"}', "abc123def"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("client-secret: zzz111", "zzz111"),
        ("db_passwd=top", "top"),
        ("refresh_token=r3fr3sh", "r3fr3sh"),
        ("sessionId: 8f2b", "8f2b"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789 bad", "ghp_abcdefghijkl"),
        ("github_pat_11ABCDEFG0123456789abcdef", "11ABCDEFG0123456789"),
        ("xoxb-123456789012-abcdefghij", "123456789012-abcdefghij"),
        ("sk-" + "abcdEFGH0123456789", "abcdEFGH0123"),
        ("sk_live_4eC39HqLyjWDarjtT1", "4eC39HqLyjWDarjtT1"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "AIzaSyA1234567890"),
        ("user jane.doe+x@example.co.uk not found", "jane.doe"),
        ("x" * 70 + "@example.com", "xxx@example"),
        ("y" * 60 + "_token=t0k3n", "t0k3n"),
        ("card 4111 1111 1111 1111 declined", "4111 1111"),
        ("card 4111-1111-1111-1111 declined", "1111-1111"),
    ],
)
def test_a_secret_is_replaced_by_what_it_was(message: str, secret: str) -> None:
    shown = redact(message)
    assert secret not in shown
    assert "[" in shown


@pytest.mark.parametrize(
    "message",
    [
        "ENOENT: no such file or directory, open '/srv/data/x.json'",
        "timeout after 30000 ms",
        "TypeError: Cannot read properties of undefined (reading 'map')",
        "request 1761915600123 of 12345678901234567 failed",
        "the bear or basic things",
        "see https://example.com:8080/path?q=1",
        "",
        "ünïcödé ✓ 漢字",
    ],
)
def test_an_ordinary_message_is_kept_as_it_is(message: str) -> None:
    assert redact(message) == message


def test_what_surrounds_a_secret_is_kept() -> None:
    assert redact("login failed, password=hunter2, retry") == "login failed, password=[secret], retry"
    assert redact("mail to bob@example.com bounced") == "mail to [email] bounced"


def test_a_long_message_is_cut_and_marked() -> None:
    shown = redact("x" * 1_000_000)
    assert shown == "x" * MAX_ERROR_CHARS + "…"
    assert redact("y" * MAX_ERROR_CHARS) == "y" * MAX_ERROR_CHARS


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "password",
        "password ",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "a@",
        "1 ",
        "=",
        "x.",
        "://",
        '"',
        "\n",
        "sk-",
    ],
)
def test_only_the_beginning_of_a_huge_message_is_looked_at(piece: str) -> None:
    assert len(redact(piece * 1_000_000)) <= MAX_ERROR_CHARS + 1
    assert redact(piece * MAX_SCANNED_CHARS + "z" * 10_000_000) == redact(piece * MAX_SCANNED_CHARS + "z")


def test_a_secret_that_the_cut_runs_through_is_not_shown_in_part() -> None:
    for left in range(1, len(JWT)):
        key = "k" * (MAX_SCANNED_CHARS - left - 53)
        shown = redact(f"-----BEGIN PRIVATE KEY-----{key}-----END PRIVATE KEY----- {JWT} x")
        assert shown.startswith("[private key]")
        assert "eyJzdWIi" not in shown


def test_lone_surrogates_are_replaced() -> None:
    assert redact("a\udc80b\ud800") == "a?b?"


_PIECES = st.sampled_from(
    [
        *(
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----BEGIN",
            "eyJhbGciOiJIUzI1NiJ9",
            ".eyJzdWIiOiIxMjM0",
            "dozjgNryP4J3jVm",
        ),
        *(
            "Authorization",
            "AUTHORİZATION",
            "bearer",
            "BaSıC",
            "baſic",
            "dXNlcjpwYXNz",
            "postgres://",
            "admin:s3cr3t@db",
        ),
        *("password", "PAſſWORD", "api_\N{KELVIN SIGN}ey", "api-key", "ACCESSKEY", "sess", "ion_id", "credential", "s"),
        *(
            "AKIAIOSFODNN7EXAMPLE",
            "ASIA",
            "ghp_",
            "gho_abcdefghijklmnopqrstuv",
            "github_pat_",
            "a" * 20,
            "xoxb-",
            "12345-abcde",
        ),
        *("sk-", "sk_live_", "rk_test_", "AIza", "b" * 30, "bob", "@", "example.com", "4111", "1111111111111", "٤١١١"),
        *(" ", ":", "=", '"', "'", "-", "_", ".", "\n", "\u2003", "é", "word"),
    ]
)


@given(st.lists(_PIECES, max_size=12).map("".join))
@settings(max_examples=400, deadline=None)
def test_a_rule_that_was_passed_over_would_have_changed_nothing(message: str) -> None:
    text = message
    for _, pattern, replacement in redaction.RULES:
        text = pattern.sub(replacement, text)
    assert redact(message) == redaction._CARD.sub(redaction._card, text)


def test_the_glance_takes_every_letter_for_the_one_that_the_patterns_take_it_for() -> None:
    letters = re.compile("[a-z]", re.IGNORECASE)
    for point in range(0x80, sys.maxunicode + 1):
        character = chr(point)
        if letters.match(character):
            [folded] = character.translate(redaction._FOLD).lower()
            assert re.match(folded, character, re.IGNORECASE)
            assert folded.isascii()
