"""The wheel, installed and run from a folder that holds other packages of the same names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfmon.paths import SERVICES

CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without any network."""
    folder = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment that has the wheel; its dependencies are those of the running one."""
    home = tmp_path_factory.mktemp("venv") / "fresh"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
    )
    # A path in a .pth file is searched, but .pth files found there are not followed: the checkout stays out.
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A user's folder with packages named as ours, which fail when they are taken for ours."""
    folder = tmp_path / "work"
    for name in ("shared", "services"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"MARK = 'the user's {name}'\n".replace("user's", "users"))
    (folder / "script.py").write_text(
        "import perfmon, services, shared\nprint(shared.MARK, '|', services.MARK, '|', perfmon.__file__)\n"
    )
    return folder


def environment(folder: Path, tmp_path: Path) -> dict[str, str]:
    """A hostile one; compiled kernels are shared between the tests of this run."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PERFMON_", "PYTHON"))}
    hostile = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error"}
    return (
        kept | hostile | {"PERFMON_DATA_DIR": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path.parent / "cache")}
    )


def run(folder: Path, tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, tmp_path),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture
def running(installed: Path, decoys: Path, tmp_path: Path) -> Iterator[Path]:
    """A pipeline started by the installed wheel from the decoys' folder."""
    up = run(decoys, tmp_path, str(installed / "perfmon"), "up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert "Started the pipeline" in up.stdout
        yield tmp_path / "data"
    finally:
        down = run(decoys, tmp_path, str(installed / "perfmon"), "down")
        assert "Stopped the pipeline" in down.stdout, down.stdout + down.stderr


def test_the_wheel_installs_one_name_and_carries_the_application(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"perfmon"}
    for wanted in ("supervisord.conf", "shared/__init__.py", *(f"services/{name}/__main__.py" for name in SERVICES)):
        assert f"perfmon/app/{wanted}" in names
    for wanted in ("__main__.py", "command.py", "generator.py", "thresholds.json"):
        assert f"perfmon/app/bench/{wanted}" in names
    left_out = ("perfmon/app/tests", "perfmon/app/bench/demo")
    assert not [name for name in names if "__pycache__" in name or name.startswith(left_out)]


def test_the_users_own_packages_stay_the_users(installed: Path, decoys: Path, tmp_path: Path) -> None:
    told = subprocess.run(
        [installed / "python", "script.py"],
        cwd=decoys,
        env={key: value for key, value in environment(decoys, tmp_path).items() if not key.startswith("PYTHON")},
        capture_output=True,
        text=True,
        check=True,
    )
    ours, theirs, where = (part.strip() for part in told.stdout.split("|"))
    assert (ours, theirs) == ("the users shared", "the users services")
    assert Path(where).is_relative_to(installed.parent)


def test_the_installed_pipeline_runs_from_its_own_tree_among_decoys(
    installed: Path, decoys: Path, tmp_path: Path, running: Path
) -> None:
    told = run(decoys, tmp_path, str(installed / "perfmon"), "status", "--json")
    assert told.returncode == 0, told.stdout + told.stderr
    body = json.loads(told.stdout)
    assert body["dataDirectory"] == str(running.resolve())
    for process in body["processes"]:
        if process["service"] in SERVICES and sys.platform == "linux":
            where = Path(f"/proc/{process['pid']}/cwd").readlink()
            assert where.is_relative_to(installed.parent.resolve())
            assert where.parts[-2:] == ("perfmon", "app")
    assert run(decoys, tmp_path, str(installed / "perfmon"), "up").stdout.startswith("The pipeline runs already")


def test_the_installed_stdio_gateway_answers_among_decoys(
    installed: Path, decoys: Path, tmp_path: Path, running: Path
) -> None:
    del running
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    lines = [hello, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    lines.append({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    client = subprocess.Popen(
        [installed / "performance-monitor-mcp"],
        cwd=decoys,
        env=environment(decoys, tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
    client.stdin.flush()
    answers = [json.loads(client.stdout.readline()) for _ in range(2)]
    _, err = client.communicate(timeout=60)
    assert client.returncode == 0, err
    assert len(answers[1]["result"]["tools"]) == 8


def test_the_installed_benchmarks_run_among_decoys(installed: Path, decoys: Path, tmp_path: Path) -> None:
    (decoys / "bench").mkdir()
    (decoys / "bench" / "__init__.py").write_text("raise RuntimeError('the users bench')\n")
    figures = tmp_path / "figures.json"
    words = ["bench", "ingest-latency", "--quick", "--only", "idle", "--json", str(figures), "--dir", str(tmp_path)]
    told = run(decoys, tmp_path, str(installed / "perfmon"), *words)
    assert told.returncode == 0, told.stdout + told.stderr
    (figure,) = json.loads(figures.read_text())["results"][0]["figures"]
    assert figure["values"]["lost"] == 0
    assert not list(tmp_path.glob("perfmon-bench-*"))
