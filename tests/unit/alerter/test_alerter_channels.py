"""`notifications.toml`: what names a command comes from the user's own directory alone, and secrets stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.alerter.core.messages import Message, Style
from services.alerter.core.model import Severity
from services.alerter.shell.channels import ChannelsError, call_for, load_channels, redacted

WEBHOOK = "https://chat.googleapis.com/v1/spaces/AAA/messages?key=secret-key&token=secret-token"
GOOD = f"""
[communications]
command = "node"
args = ["server.js"]
env = {{ SMTP_PASSWORD = "hunter22" }}

[[channel]]
type = "google_chat"
webhook_url = "{WEBHOOK}"

[[channel]]
type = "google_chat"
name = "team"
space = "spaces/AAA"
min_severity = "critical"

[[channel]]
type = "email"
to = "oncall@example.com"

[[channel]]
type = "email"
to = "boss@example.com"
via = "gmail"
min_severity = "warning"
"""


def _write(folder: Path, text: str, mode: int = 0o600) -> Path:
    folder.chmod(0o700)
    path = folder / "notifications.toml"
    path.write_text(text)
    path.chmod(mode)
    return folder


def test_channels_are_read_with_their_defaults(tmp_path):
    channels = load_channels(_write(tmp_path, GOOD))
    rules = {rule.name: (rule.style, rule.min_severity) for rule in channels.rules()}
    assert rules == {
        "google_chat": (Style.CHAT, Severity.WARNING),
        "team": (Style.CHAT, Severity.CRITICAL),
        "email": (Style.PLAIN, Severity.CRITICAL),
        "email-2": (Style.HTML, Severity.WARNING),
    }


def test_each_channel_calls_the_real_tool_with_its_real_parameters(tmp_path):
    by_name = load_channels(_write(tmp_path, GOOD)).by_name
    message = Message("subject", "body")
    assert call_for(by_name["google_chat"], message) == (
        "send_google_chat_webhook",
        {"webhookUrl": WEBHOOK, "message": "body"},
    )
    assert call_for(by_name["team"], message) == (
        "send_google_chat_message",
        {"space": "spaces/AAA", "message": "body"},
    )
    assert call_for(by_name["email"], message) == (
        "send_email_smtp",
        {"to": "oncall@example.com", "subject": "subject", "body": "body", "isHtml": False},
    )
    assert call_for(by_name["email-2"], message) == (
        "send_email_gmail",
        {"to": "boss@example.com", "subject": "subject", "body": "body"},
    )


def test_no_file_is_no_channel(tmp_path):
    assert load_channels(tmp_path / "none").by_name == {}


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(tmp_path, mode):
    with pytest.raises(ChannelsError, match="chmod"):
        load_channels(_write(tmp_path, GOOD, mode))


def test_a_directory_that_others_can_write_is_refused(tmp_path):
    _write(tmp_path, GOOD)
    tmp_path.chmod(0o777)
    with pytest.raises(ChannelsError, match="directory"):
        load_channels(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "channel = 5",
        "[[channel]]\ntype='pager'",
        "[[channel]]\ntype='email'\nto='a@b'",
        "[communications]\ncommand='x'\n[[channel]]\ntype='google_chat'",
        "[communications]\ncommand='x'\n[[channel]]\ntype='google_chat'\nspace='a'\nwebhook_url='https://x/secret'",
        "[communications]\ncommand='x'\n[[channel]]\ntype='google_chat'\nwebhook_url='file:///secret'",
        "[communications]\ncommand='x'\n[[channel]]\ntype='email'\nto='a@b'\nshell='secret'",
        "[communications]\ncommand='x'\n[[channel]]\ntype='email'\nto='a@b'\nvia='fax'",
        "[communications]\ncommand=''",
        "not toml [",
        "[communications]\ncommand='x'\n" + "[[channel]]\ntype='email'\nto='a@b'\nname='twice'\n" * 2,
    ],
)
def test_a_wrong_file_is_refused_without_its_values(tmp_path, text):
    with pytest.raises(ChannelsError) as refused:
        load_channels(_write(tmp_path, text))
    assert "secret" not in str(refused.value)


def test_errors_are_redacted(tmp_path):
    secrets = load_channels(_write(tmp_path, GOOD)).secrets()
    shown = redacted(
        f'Error: {{"webhookUrl": "{WEBHOOK}"}} hunter22 at https://other.example/path?token=abc\n', secrets
    )
    for secret in ("secret-key", "secret-token", "hunter22", "token=abc", "\n"):
        assert secret not in shown
    assert "https://other.example/…" in shown
