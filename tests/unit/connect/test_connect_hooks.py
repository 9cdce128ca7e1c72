"""Hooks that post where nobody listens: found by doctor, said by up and run, never with the token."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perfmon.cli.hooks import check_hooks, notes_of
from perfmon.connect.entries import HOOK_EVENTS, hook_group
from perfmon.http_access import HttpAccess, load_or_create, own_ports
from perfmon.paths import DataDirectory


class Person:
    """A user with a project and a data directory of their own."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "project"
        self.data = DataDirectory(self.home / ".local" / "share" / "perfmon")
        self.local = self.project / ".claude" / "settings.local.json"
        self.shared = self.project / ".claude" / "settings.json"
        self.user = self.home / ".claude" / "settings.json"
        for folder in (self.local.parent, self.user.parent):
            folder.mkdir(parents=True)


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    found = Person(tmp_path.resolve())
    for name in ("CLAUDE_CONFIG_DIR", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(found.home))
    monkeypatch.chdir(found.project)
    return found


def post_to(path: Path, access: HttpAccess) -> None:
    """Settings as connect writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"hooks": {event: [hook_group(access.hook_url)] for event in HOOK_EVENTS}}))


def test_hooks_that_post_to_the_gateway_are_well(person: Person) -> None:
    post_to(person.local, load_or_create(person.data, port=7100))
    check = check_hooks(person.data)
    assert (check.verdict, check.found) == ("ok", "they post to port 7100")
    assert notes_of(person.data) == []


def test_no_hooks_are_no_problem(person: Person) -> None:
    assert check_hooks(person.data).verdict == "ok"


@pytest.mark.parametrize("which", ["local", "shared", "user"])
def test_a_port_that_moved_is_a_problem_that_names_both_ports_and_what_to_do(person: Person, which: str) -> None:
    path = getattr(person, which)
    post_to(path, load_or_create(person.data, port=7100))
    access = load_or_create(person.data, port=7200, left_port=7100)
    check = check_hooks(person.data)
    assert check.verdict == "problem"
    assert "Claude Code's hooks post to port 7100, the gateway listens on 7200" in check.found
    assert str(path) in check.found
    again = "perfmon connect claude-code" + (" --user" if which == "user" else "")
    assert check.advice == f"run `{again}` again"
    told = notes_of(person.data)
    assert "HTTP is on port 7200, for 7100 is taken" in told[0]
    assert check.found in told[1]
    assert access.token not in str((check, told))


def test_another_token_is_a_problem_too_and_is_not_shown(person: Person) -> None:
    access = load_or_create(person.data, port=7100)
    post_to(person.local, HttpAccess("127.0.0.1", 7100, "x" * 32))
    check = check_hooks(person.data)
    assert check.verdict == "problem"
    assert "another token" in check.found
    assert not any(token in str(check) for token in (access.token, "x" * 32))


def test_a_moved_configuration_is_looked_into(person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "elsewhere"))
    post_to(tmp_path / "elsewhere" / "settings.json", load_or_create(person.data, port=7100))
    load_or_create(person.data, port=7200)
    assert check_hooks(person.data).verdict == "problem"


def test_the_users_hooks_may_post_to_the_users_own_pipeline_from_a_workspace_with_another(person: Person) -> None:
    workspace = DataDirectory(person.project / ".performance-data")
    load_or_create(workspace, port=7200)
    post_to(person.user, load_or_create(person.data, port=7100))
    assert check_hooks(workspace).verdict == "ok"


def test_the_workspace_of_a_data_directory_is_looked_into_from_anywhere(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = DataDirectory(person.project / ".performance-data")
    post_to(person.local, load_or_create(workspace, port=7100))
    load_or_create(workspace, port=7200)
    monkeypatch.chdir(person.home)
    assert check_hooks(workspace).verdict == "problem"


def test_hooks_without_a_gateway_that_ever_ran_are_a_problem(person: Person) -> None:
    post_to(person.local, HttpAccess("127.0.0.1", 7100, "x" * 32))
    assert "no gateway has run" in check_hooks(person.data).found


def test_a_port_of_the_data_directorys_own_is_said(person: Person) -> None:
    port = own_ports(person.data)[0]
    load_or_create(person.data, port=port)
    assert f"HTTP is on port {port}, this data directory's own" in notes_of(person.data)[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "\xff",
        '{"hooks": 3}',
        '{"hooks": {"PostToolUse": {}}}',
        '{"hooks": {"PostToolUse": [3, {"hooks": 4}, {"hooks": [5, {"type": "http"}]}]}}',
        '{"hooks": {"PostToolUse": [{"hooks": [{"type": "http", "url": "http://[x/hooks/claude-code/y"}]}]}}',
        '{"hooks": {"PostToolUse": [{"hooks": [{"type": "http", "url": "https://example.com/other"}]}]}}',
    ],
)
def test_settings_of_another_shape_have_no_hooks_of_ours(person: Person, text: str) -> None:
    person.local.write_bytes(text.encode("latin-1"))
    assert check_hooks(person.data).verdict == "ok"


def test_a_pipe_in_the_place_of_settings_holds_nothing_up(person: Person) -> None:
    os.mkfifo(person.local)
    assert check_hooks(person.data).verdict == "ok"


def test_a_port_that_is_no_number_is_a_problem(person: Person) -> None:
    load_or_create(person.data, port=7100)
    hook = {"type": "http", "url": "http://127.0.0.1:port/hooks/claude-code/x"}
    person.local.write_text(json.dumps({"hooks": {"PostToolUse": [{"hooks": [hook]}]}}))
    assert check_hooks(person.data).verdict == "problem"
