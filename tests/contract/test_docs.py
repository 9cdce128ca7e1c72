"""The documentation says what the code does: every setting, tool, socket, command, reason and alert state is named."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from perfmon import __version__
from perfmon.paths import SERVICES
from perfmon.producer.messages import build_message
from perfmon.wire import PROTOCOL_MAJOR, PROTOCOL_MINOR, Kind, limits
from services.ingest.core.duplicates import WINDOW
from services.ingest.core.reasons import REASONS
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "docs/protocol.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
ARCHITECTURE = (ROOT / "docs/ARCHITECTURE.md").read_text()
README = (ROOT / "README.md").read_text()
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
RESOURCE_LIMITS = (limits.MAX_CPU_PERCENT, limits.MAX_MEMORY_MB, limits.MAX_DISK_IO_KB)
TOOLS = (
    "track_performance",
    "get_metrics",
    "detect_anomalies",
    "set_alert_threshold",
    "get_active_alerts",
    "acknowledge_alert",
    "generate_report",
    "get_dashboard",
)


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    for name, field in Settings.model_fields.items():
        assert f"| `{name}` | {field.default} | {field.description} |" in OPERATIONS


def test_no_setting_is_documented_that_does_not_exist() -> None:
    table = OPERATIONS.split("| setting | default | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(Settings.model_fields)


def test_every_kind_of_message_is_in_the_protocol() -> None:
    for kind in Kind:
        assert f"`{kind}`" in PROTOCOL


def test_the_reasons_in_the_protocol_are_those_of_the_code() -> None:
    section = PROTOCOL.split("### Reasons")[1].split("\n## ")[0]
    of_frames = {"frame_too_large", "too_many_frames", "not_msgpack", "not_a_map", "no_envelope", "unsupported_version"}
    assert set(re.findall(r"`(\w+)`", section)) == set(REASONS) | of_frames | {"not_packable"}


def test_what_the_producer_does_not_send_has_the_same_names() -> None:
    good = ("s", "t", 1.0, True, None, None, None, None, 1, None, 1)
    for at, value in ((0, "s" * 1_025), (9, "c" * (limits.MAX_CALL_ID_BYTES + 1)), (8, 2**70)):
        reason = build_message([(*good[:at], value, *good[at + 1 :])]).reason  # type: ignore[list-item] # one field is odd
        assert reason is not None
        assert reason.split(":")[0] in {*REASONS, "not_packable"}


def test_the_protocol_states_its_version_and_the_limits_of_the_code() -> None:
    assert f"Version **{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}**" in PROTOCOL
    assert f"at most {limits.MAX_FRAME_BYTES // 2**20} MiB" in PROTOCOL
    assert f"at most {limits.MAX_ROWS:,} maps" in PROTOCOL
    assert f"1–{limits.MAX_NAME_BYTES:,} bytes" in PROTOCOL
    assert f"cut at {limits.MAX_ERROR_CHARS:,} characters" in PROTOCOL
    assert f"1–{limits.MAX_CALL_ID_BYTES} bytes" in PROTOCOL
    assert f"1–{limits.MAX_PRODUCER_BYTES} bytes" in PROTOCOL
    assert f"{WINDOW - 1:,} below it is still taken, one that is {WINDOW:,} below" in PROTOCOL
    powers = [f"10{str(round(math.log10(limit))).translate(SUPERSCRIPTS)}" for limit in RESOURCE_LIMITS]
    assert f"from 0 to {powers[0]}, {powers[1]} and {powers[2]}" in PROTOCOL


def test_every_socket_is_in_the_protocol_and_every_process_in_the_architecture() -> None:
    for socket in ("ingest.push", "ingest.write", "stream", *SERVICES):
        assert f"`{socket}`" in PROTOCOL
    for service in (*SERVICES, "watchdog"):
        assert f"`{service}`" in ARCHITECTURE


def test_every_method_is_in_the_protocol_and_none_that_does_not_exist() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "services").rglob("*.py"))
    registered = set(re.findall(r'rpc\.register\(\s*"([\w.]+)"', sources))
    alerter = (ROOT / "services/alerter/shell/requests.py").read_text().split("# --- mutations")[0]
    registered |= set(re.findall(r'^\s+"([\w.]+)": self\.', alerter, re.MULTILINE))
    section = PROTOCOL.split("### Methods")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\|[^|]*\| `([\w.]+)` \{", section, re.MULTILINE))
    assert documented == registered - {"ping", "stats"}


def test_every_command_is_documented() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "perfmon", "--help"], capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^[│|]\s+([a-z]+)\s{2,}", shown, re.MULTILINE))
    documented = set(re.findall(r"^\| `perfmon (\w+)`", OPERATIONS, re.MULTILINE))
    assert documented == commands


def test_every_alert_state_is_documented() -> None:
    for state in ("active", "acknowledged", "escalated", "resolved"):
        assert f"`{state}`" in OPERATIONS


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_is_in_the_readme(tool: str) -> None:
    assert f"`{tool}`" in README


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
