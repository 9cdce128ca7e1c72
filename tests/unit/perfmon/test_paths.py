"""Where things are: the same directory is the same place in every environment, and nothing leads out of it."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

import pytest

from perfmon.paths import (
    SERVICES,
    WHOSE_FILE,
    DataDirectory,
    UnsafeDirectory,
    private_directory,
    resolve_data_directory,
    user_cache_directory,
    user_config_directory,
    user_data_directory,
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PERFMON_DATA_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_an_explicit_directory_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERFMON_DATA_DIR", str(tmp_path / "env"))
    assert resolve_data_directory(tmp_path / "given").root == tmp_path / "given"
    assert resolve_data_directory().root == tmp_path / "env"


def test_the_nearest_workspace_above_is_used(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    assert resolve_data_directory(start=inner).root == tmp_path / "home" / ".local" / "share" / "perfmon"
    (tmp_path / ".performance-data").mkdir()
    assert resolve_data_directory(start=inner).root == tmp_path / ".performance-data"
    (tmp_path / "a" / "b" / ".performance-data").mkdir()
    assert resolve_data_directory(start=inner).root == tmp_path / "a" / "b" / ".performance-data"


def test_an_empty_variable_names_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERFMON_DATA_DIR", "")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/path")
    assert resolve_data_directory(start=tmp_path).root == tmp_path / "home" / ".local" / "share" / "perfmon"


def test_the_users_directories_follow_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable, directory in (
        ("XDG_DATA_HOME", user_data_directory),
        ("XDG_CONFIG_HOME", user_config_directory),
        ("XDG_CACHE_HOME", user_cache_directory),
    ):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert directory() == tmp_path / variable / "perfmon"


def test_the_sockets_of_a_directory_are_the_same_through_links_and_whatever_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    first = resolve_data_directory(real)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    second = resolve_data_directory(tmp_path / "link" / ".." / "link")
    assert first.runtime == second.runtime
    assert first.runtime != resolve_data_directory(tmp_path / "other").runtime
    assert first.endpoint("ingest.write") == f"ipc://{first.runtime}/ingest.write"


def test_every_endpoint_fits_an_ipc_path_however_long_the_directory_is(tmp_path: Path) -> None:
    data = DataDirectory(Path("/" + "/".join(["x" * 200] * 10)))
    for name in (*SERVICES, "ingest.write", "ingest.push", "stream", "watchdog"):
        assert len(data.endpoint(name).removeprefix("ipc://").encode()) <= 107


def test_a_created_directory_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        data = DataDirectory(tmp_path / "data")
        data.create()
        data.create()
    finally:
        os.umask(old)
    for path in [data.root, *data.root.rglob("*"), data.runtime, data.runtime.parent]:
        mode = path.stat().st_mode
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path
    assert (data.root / ".gitignore").read_text() == "*\n"
    assert (data.alerts / "history").is_dir()
    shutil.rmtree(data.runtime)


def test_a_gitignore_that_is_there_is_left_alone_and_a_link_not_followed(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.root.mkdir(mode=0o700)
    (data.root / ".gitignore").symlink_to(tmp_path / "victim")
    data.create()
    assert not (tmp_path / "victim").exists()
    (data.root / ".gitignore").unlink()
    (data.root / ".gitignore").write_text("mine\n")
    data.create()
    assert (data.root / ".gitignore").read_text() == "mine\n"
    shutil.rmtree(data.runtime)


def test_a_loose_directory_is_tightened(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    private_directory(loose)
    assert stat.S_IMODE(loose.stat().st_mode) == 0o700


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_is_no_directory_of_ours(dangling: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if not dangling:
        target.mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(UnsafeDirectory, match="symbolic link") as refused:
        private_directory(tmp_path / "link")
    assert refused.value.path == tmp_path / "link"
    assert target.exists() is not dangling


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnsafeDirectory, match="not a directory"):
        private_directory(tmp_path / "file")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65_534, 65_534)
    with pytest.raises(UnsafeDirectory, match="belongs to user 65534"):
        private_directory(tmp_path / "theirs")


@pytest.mark.parametrize("room", ["metrics", "journal", "state", "config", "alerts", "aggregates"])
def test_a_room_that_leads_away_is_refused(room: str, tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.root.mkdir()
    (tmp_path / "outside").mkdir()
    (data.root / room).symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeDirectory):
        data.create()
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_folder_in_the_place_of_a_socket_is_moved_aside_and_others_stay(tmp_path: Path) -> None:
    data = DataDirectory((tmp_path / "data").resolve())
    data.create()
    for name in ("stream", "numba"):
        (data.runtime / name / "inside").mkdir(parents=True)
    data.create()
    names = {path.name.partition(".set-aside")[0] for path in data.runtime.iterdir()}
    assert names == {"stream", "numba", WHOSE_FILE}
    assert not (data.runtime / "stream").exists()
    assert (data.runtime / "numba" / "inside").is_dir()
    shutil.rmtree(data.runtime)


def test_a_lock_with_a_second_name_is_given_up_unless_it_is_held(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    for name in ("victim", "held"):
        (tmp_path / name).write_text("precious")
        (data.locks / f"{name}.lock").hardlink_to(tmp_path / name)
    with (tmp_path / "held").open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        data.create()
    assert not (data.locks / "victim.lock").exists()
    assert (data.locks / "held.lock").exists()
    assert (tmp_path / "victim").read_text() == "precious"
    shutil.rmtree(data.runtime)
