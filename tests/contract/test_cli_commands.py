"""The commands' promises: names, options, exit codes, what they print for programs, how little `mcp` and `wrap` import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import perfmon
from perfmon.cli.doctor import check_claude
from perfmon.cli.foreground import claude_lines
from perfmon.connect.entries import hook_group
from perfmon.http_access import load_or_create
from perfmon.paths import SERVICES, DataDirectory

COMMANDS = ("up", "down", "status", "doctor", "init", "run", "mcp", "bench")


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `perfmon …` in another process."""
    return subprocess.run(
        [sys.executable, "-m", "perfmon", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", "NO_COLOR": "1", **environment},
    )


@pytest.mark.parametrize("words", [["--data-dir", "{}"], ["--data={}"]])
def test_the_data_directory_may_be_named_before_the_command(words: list[str], tmp_path: Path) -> None:
    place = tmp_path / "data"
    told = run(*(word.format(place) for word in words), "status", "--json", cwd=tmp_path)
    assert json.loads(told.stdout)["dataDirectory"] == str(place)
    both = run("--data-dir", str(tmp_path / "other"), "status", "--json", "--data-dir", str(place))
    assert json.loads(both.stdout)["dataDirectory"] == str(place)


def test_every_command_is_listed_and_explains_itself() -> None:
    listed = run("--help")
    assert listed.returncode == 0
    for command in COMMANDS:
        assert command in listed.stdout
        explained = run(command, "--help")
        assert explained.returncode == 0, explained.stderr
        assert "usage" in explained.stdout.lower()


def test_the_version_is_the_packages() -> None:
    assert run("--version").stdout.split() == ["perfmon", perfmon.__version__]


def test_what_the_package_offers_is_listed_before_it_is_used() -> None:
    code = "import perfmon, sys; print(*dir(perfmon)); print('zmq' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, imported = told.stdout.splitlines()
    assert {"Producer", "measure", "track", "__version__"} <= set(listed.split())
    assert imported == "False"


def test_unknown_commands_and_options_are_refused_with_2(tmp_path: Path) -> None:
    assert run("upp").returncode == 2
    assert run("status", "--nope").returncode == 2
    refused = run("mcp", "--nope", cwd=tmp_path)
    assert refused.returncode == 2
    assert "unknown argument '--nope'" in refused.stderr


def test_status_without_a_pipeline_exits_3_makes_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    told = run("status", "--data-dir", str(tmp_path / "none"))
    assert told.returncode == 3
    assert "`perfmon up` starts one" in told.stdout
    assert not (tmp_path / "none").exists()


def test_status_as_json_has_every_figure_of_every_service(tmp_path: Path) -> None:
    told = run("status", "--json", "--data-dir", str(tmp_path / "none"))
    body = json.loads(told.stdout)
    assert body["ready"] is False
    assert body["runtimeDirectory"] == str(DataDirectory((tmp_path / "none").resolve()).runtime)
    assert [process["service"] for process in body["processes"]] == list(SERVICES)
    assert set(body["processes"][0]) == {
        "service",
        "ready",
        "state",
        "pid",
        "uptimeS",
        "pssMb",
        "cpuPercent",
        "seq",
        "lag",
        "drops",
        "parked",
        "version",
        "epoch",
    }


def test_doctor_exits_1_on_a_problem_and_advises(tmp_path: Path) -> None:
    told = run("doctor", "--data-dir", str(tmp_path / "none"), HOME=str(tmp_path))
    assert told.returncode == 1
    assert "PROBLEM  services" in told.stdout
    assert "perfmon connect claude-code" in told.stdout
    checks = json.loads(run("doctor", "--json", "--data-dir", str(tmp_path / "none")).stdout)
    assert all(check["advice"] for check in checks if check["verdict"] != "ok")


def test_doctor_finds_a_directory_that_others_can_enter(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve() / "data")
    data.create()
    data.journal.chmod(0o755)
    told = run("doctor", "--data-dir", str(data.root))
    assert f"chmod 700 {data.journal}" in told.stdout


def test_doctor_finds_a_link_and_a_torn_line(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve() / "data")
    data.create()
    data.logs.rmdir()
    data.logs.symlink_to(tmp_path)
    day = data.metrics / "2026-01-01" / "server"
    day.mkdir(parents=True)
    (day / "tool.jsonl").write_text('{"a": 1}\n{"torn\n{"b": 2}\n')
    told = run("doctor", "--data-dir", str(data.root))
    assert "is a symbolic link" in told.stdout
    assert "unparsable lines in tool.jsonl" in told.stdout


def test_down_without_a_pipeline_is_no_error(tmp_path: Path) -> None:
    told = run("down", "--data-dir", str(tmp_path / "none"))
    assert told.returncode == 0
    assert "No pipeline runs" in told.stdout
    assert not (tmp_path / "none").exists()


def test_init_makes_a_private_directory_that_sessions_below_find(tmp_path: Path) -> None:
    told = run("init", str(tmp_path))
    assert told.returncode == 0
    made = tmp_path / ".performance-data"
    assert made.stat().st_mode & 0o777 == 0o700
    assert (made / ".gitignore").read_text() == "*\n"
    assert "exists already" in run("init", str(tmp_path)).stdout
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    environment = {"PERFMON_DATA_DIR": ""}
    found = json.loads(run("status", "--json", cwd=below, **environment).stdout)
    assert found["dataDirectory"] == str(made.resolve())


def test_init_refuses_what_is_not_a_folder_or_not_safe(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run("init", str(tmp_path / "file")).returncode == 1
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".performance-data").symlink_to(tmp_path / "elsewhere")
    refused = run("init", str(tmp_path))
    assert refused.returncode == 1
    assert "symbolic link" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("entry", ["main", "mcp_main"])
def test_mcp_becomes_the_gateway_without_importing_what_it_does_not_need(entry: str, tmp_path: Path) -> None:
    arguments = ["perfmon", "mcp"] if entry == "main" else ["performance-monitor-mcp"]
    code = f"""
import json, runpy, sys
def instead(name, **kwargs):
    heavy = {{module.split(".")[0] for module in sys.modules}} & {{"typer", "rich", "click", "psutil", "zmq", "mcp", "numpy"}}
    print(json.dumps([name, sys.argv, sys.path[0], sorted(heavy)]))
runpy.run_module = instead
sys.argv = {arguments!r}
from perfmon import cli
cli.{entry}()
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    name, argv, first, heavy = json.loads(told.stdout)
    assert name == "services.gateway"
    assert argv[1:] == ["--stdio"]
    assert (Path(first) / "supervisord.conf").is_file()
    assert heavy == []


@pytest.mark.parametrize("option", [["--data", "{}"], ["--data={}"], ["--data-dir", "{}"]])
def test_mcp_takes_the_data_directory(option: list[str], tmp_path: Path) -> None:
    words = [word.format(tmp_path) for word in option]
    code = f"""
import os, runpy
runpy.run_module = lambda name, **kwargs: print(os.environ["PERFMON_DATA_DIR"])
from perfmon.cli.mcp import run
run({words!r})
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(tmp_path)


def test_claude_code_is_told_a_command_that_exists_and_the_data_directory_where_it_matters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "\n".join(claude_lines(DataDirectory(tmp_path)))
    assert f"-e PERFMON_DATA_DIR={tmp_path}" in said
    entry = json.loads(next(line for line in said.splitlines() if "mcpServers" in line))
    assert Path(entry["mcpServers"]["perfmon"]["command"]).exists()
    assert entry["mcpServers"]["perfmon"]["args"][-1] == "mcp"
    assert entry["mcpServers"]["perfmon"]["env"] == {"PERFMON_DATA_DIR": str(tmp_path)}
    own = Path(entry["mcpServers"]["perfmon"]["command"])
    connect = next(line.strip() for line in said.splitlines() if " connect claude-code" in line)
    assert connect.startswith(f"{own} ")
    assert own.is_absolute()
    assert connect.endswith(f"connect claude-code --data {tmp_path}")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    said = "\n".join(claude_lines(DataDirectory(tmp_path / "perfmon")))
    assert "PERFMON_DATA_DIR" not in said


def test_the_connect_command_works_as_it_is_printed_from_any_folder(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve() / "some data")
    connect = next(line.strip() for line in claude_lines(data) if " connect claude-code" in line)
    anywhere = tmp_path / "anywhere"
    anywhere.mkdir()
    bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    told = subprocess.run(
        ["/bin/sh", "-c", f"{connect} --dry-run"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=anywhere,
        env=bare,
    )
    assert told.returncode == 0, told.stderr
    assert f'"PERFMON_DATA_DIR": "{data.root}"' in told.stdout


def test_doctor_says_that_hooks_post_to_a_port_that_the_gateway_left(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path.resolve() / "data")
    access = load_or_create(data, port=7100)
    settings = tmp_path / ".claude" / "settings.local.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps({"hooks": {"PostToolUse": [hook_group(access.hook_url)]}}))
    load_or_create(data, port=7200)
    told = run("doctor", "--data-dir", str(data.root), cwd=tmp_path, HOME=str(tmp_path / "home"), CLAUDE_CONFIG_DIR="")
    assert told.returncode == 1
    assert "PROBLEM  hooks" in told.stdout
    assert "hooks post to port 7100, the gateway listens on 7200" in told.stdout
    assert "run `perfmon connect claude-code` again" in told.stdout
    assert access.token not in told.stdout


@pytest.mark.parametrize(
    ("entry", "ours"),
    [
        ({"command": "/x/bin/perfmon", "args": ["mcp"]}, True),
        ({"command": "uvx", "args": ["performance-monitor-mcp"]}, True),
        ({"command": "perfmon", "args": ["wrap", "--", "x"]}, False),
        ({"command": "x", "args": None}, False),
        ("nonsense", False),
    ],
)
def test_doctor_recognises_our_entry_in_claude_codes_configuration(entry: object, ours: bool, tmp_path: Path) -> None:
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": {"perf": entry}}))
    assert (check_claude(tmp_path / "home", tmp_path).verdict == "ok") is ours
    (tmp_path / ".mcp.json").unlink()
    (tmp_path / ".claude.json").write_text(json.dumps({"projects": {"/p": {"mcpServers": {"perf": entry}}}}))
    assert (check_claude(tmp_path, tmp_path / "project").verdict == "ok") is ours


@pytest.mark.parametrize("text", ["", "[]", "{", '{"mcpServers": 3}', '{"projects": {"x": null}}'])
def test_doctor_survives_a_broken_claude_configuration(text: str, tmp_path: Path) -> None:
    (tmp_path / ".claude.json").write_text(text)
    assert check_claude(tmp_path, tmp_path).verdict == "warning"
