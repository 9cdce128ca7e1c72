"""Telling people through communications-mcp: a real MCP server over stdio with the real tools, and the real alerter."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from perfmon.paths import DataDirectory
from services.alerter.shell.notifier import run_delivery
from tests.kit import ServiceProcess, Writer, eventually, row

FAKE = Path(__file__).parents[1] / "fakes" / "communications_mcp.py"
WEBHOOK = "https://chat.example/v1/spaces/A/messages?key=very-secret"
CHAT = ("send_google_chat_webhook", {"webhookUrl": WEBHOOK, "message": "hello"})
MAIL = ("send_email_smtp", {"to": "a@example.com", "subject": "s", "body": "b", "isHtml": False})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "sent.jsonl"


def _order(out: Path, calls: list[tuple[str, dict[str, Any]]], timeout_s: float = 30, **env: str) -> dict[str, Any]:
    env = {"FAKE_COMMUNICATIONS_OUT": str(out), **env}
    server = {"command": sys.executable, "args": [str(FAKE)], "env": env, "cwd": None}
    keyed = [[str(number), *call] for number, call in enumerate(calls)]
    return {"server": server, "timeout_s": timeout_s, "calls": keyed}


def _sent(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_several_messages_go_through_one_start_of_the_server(out):
    assert list(run_delivery(_order(out, [CHAT, MAIL]), 60)) == [("0", None), ("1", None)]
    assert _sent(out) == [
        {"tool": "send_google_chat_webhook", "arguments": {"webhookUrl": WEBHOOK, "message": "hello"}},
        {
            "tool": "send_email_smtp",
            "arguments": {"to": "a@example.com", "subject": "s", "body": "b", "isHtml": False},
        },
    ]


def test_an_error_of_the_tool_is_the_messages_error(out):
    ((key, error),) = run_delivery(_order(out, [CHAT], FAKE_COMMUNICATIONS_MODE="fail"), 60)
    assert key == "0"
    assert "could not send" in error


def test_a_tool_that_does_not_exist_fails_its_message_alone(out):
    answers = dict(run_delivery(_order(out, [("send_email", {}), CHAT]), 60))
    assert answers["0"]
    assert answers["1"] is None


def test_a_server_that_hangs_is_ended_with_all_it_started(out):
    answers = dict(run_delivery(_order(out, [CHAT], timeout_s=3, FAKE_COMMUNICATIONS_MODE="hang"), 60))
    assert "no answer within 3 s" in answers["0"]
    eventually(lambda: not _running(out), "the server is gone")


def test_a_client_that_hangs_itself_is_killed_with_its_server(out):
    assert list(run_delivery(_order(out, [CHAT], timeout_s=300, FAKE_COMMUNICATIONS_MODE="hang"), 4)) == []
    eventually(lambda: not _running(out), "client and server are gone")


def test_a_server_that_ends_in_the_middle_fails_the_message(out):
    answers = dict(run_delivery(_order(out, [CHAT], timeout_s=10, FAKE_COMMUNICATIONS_MODE="die"), 60))
    assert answers.get("0", "the delivery ended without an answer")


def test_a_command_that_does_not_exist_fails_the_message(out):
    order = _order(out, [CHAT])
    order["server"]["command"] = "/nonexistent/communications-mcp"
    assert dict(run_delivery(order, 60))["0"]


def _running(out: Path) -> list[int]:
    """Servers that write to this file."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FAKE_COMMUNICATIONS_OUT") == str(out):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


# --- the whole way: metrics in, messages out ------------------------------------------------------------------------


@pytest.fixture
def configured(data_directory: DataDirectory, out: Path, tmp_path: Path) -> Path:
    """The user's notifications.toml with a chat and a mail; the file that holds the fake server's mode."""
    mode = tmp_path / "mode"
    folder = data_directory.root.parent / "home" / ".config" / "perfmon"
    folder.mkdir(parents=True, mode=0o700)
    path = folder / "notifications.toml"
    path.write_text(
        f"""
[communications]
command = {json.dumps(sys.executable)}
args = [{json.dumps(str(FAKE))}]
env = {{ FAKE_COMMUNICATIONS_OUT = {json.dumps(str(out))}, FAKE_COMMUNICATIONS_MODE_FILE = {json.dumps(str(mode))} }}
timeout_s = 20

[[channel]]
type = "google_chat"
webhook_url = "{WEBHOOK}"

[[channel]]
type = "email"
to = "oncall@example.com"
"""
    )
    path.chmod(0o600)
    return mode


def _channel(alerter: ServiceProcess, name: str) -> dict[str, Any]:
    channels = alerter.call("channels")["channels"]
    return next(channel for channel in channels if channel["channel"] == name)


def _fail(writer: Writer, tool: str = "write", n: int = 6) -> None:
    writer.write(*[row(tool=tool, success=False, error="no such file") for _ in range(n)])


def test_a_critical_alert_reaches_the_chat_and_the_mail_with_its_id(start, ingest, writer, configured, out):
    alerter = start("alerter")
    _fail(writer)
    sent = eventually(lambda: len(_sent(out)) == 2 and _sent(out), "both were told", timeout_s=60)
    assert {entry["tool"] for entry in sent} == {"send_google_chat_webhook", "send_email_smtp"}
    (alert,) = alerter.call("alerts.list")["alerts"]
    for entry in sent:
        text = entry["arguments"].get("message") or entry["arguments"]["body"]
        assert alert["alertId"] in text
        assert "acknowledge_alert" in text
    eventually(lambda: _channel(alerter, "email")["delivered"] == 1, "the mail is noted")


def test_a_failing_channel_keeps_its_messages_over_a_kill_and_shows_no_secret(
    start: Callable[..., ServiceProcess], ingest, writer, configured, out
):
    configured.write_text("fail")
    alerter = start("alerter")
    _fail(writer)
    failed = eventually(
        lambda: (c := _channel(alerter, "google_chat"))["failed"] and c["lastError"] and c, "it failed", timeout_s=60
    )
    assert failed["pending"] == 1
    shown = json.dumps(alerter.call("channels")) + alerter.log_text()
    assert "very-secret" not in shown
    alerter.kill()
    configured.write_text("ok")
    alerter = start("alerter")
    eventually(lambda: len(_sent(out)) == 2, "told after the restart", timeout_s=60)
    eventually(lambda: _channel(alerter, "google_chat")["pending"] == 0, "and noted")
    assert alerter.call("alerts.list")["total"] == 1


def test_a_hanging_channel_delays_neither_alerts_nor_answers(start, ingest, writer, configured, out):
    configured.write_text("hang")
    alerter = start("alerter")
    _fail(writer)
    eventually(lambda: _running(out), "the server hangs", timeout_s=60)
    _fail(writer, tool="second")
    alerts = eventually(lambda: (a := alerter.call("alerts.list"))["total"] == 2 and a, "the second alert")
    answer = alerter.call("alerts.acknowledge", {"alertId": alerts["alerts"][0]["alertId"], "acknowledgedBy": "ada"})
    assert answer["alert"]["status"] == "acknowledged"
    assert alerter.terminate() == 0
    eventually(lambda: not _running(out), "nothing is left behind")
