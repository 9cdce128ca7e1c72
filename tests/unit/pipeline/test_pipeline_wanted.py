"""Settings are looked at before anything starts, and compared with those of a pipeline that runs."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from perfmon.cli.app import build
from perfmon.paths import DataDirectory, application_root
from perfmon.pipeline import launch
from perfmon.pipeline.errors import BadSettings
from perfmon.pipeline.record import Record, read_record, write_record
from perfmon.pipeline.spawn import settings_for
from perfmon.pipeline.wanted import Wanted, differences, wanted_settings
from shared.settings import Settings


@pytest.fixture(autouse=True)
def no_settings_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_settings_that_services_would_start_with_are_known_before(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFMON_MAX_SERIES", "5")
    assert settings_for(data_directory) == Wanted(Settings(max_series=5).model_dump(), ["max_series"])


def test_an_application_without_them_is_not_asked(tmp_path: Path) -> None:
    assert wanted_settings(sys.executable, tmp_path, os.environ) is None


def test_a_variable_that_is_no_setting_is_told_once_with_the_nearest(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PERFMON_MAX_SERIE", "5")
    monkeypatch.setenv("PERFMON_DATA_DIR", str(data_directory.root))
    with caplog.at_level(logging.WARNING):
        assert settings_for(data_directory) == Wanted(Settings().model_dump(), [])
    assert caplog.messages == ["PERFMON_MAX_SERIE is no setting; did you mean PERFMON_MAX_SERIES?"]


def test_up_says_what_is_wrong_with_each_setting_and_starts_nothing(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFMON_MAX_SERIES", "abc")
    monkeypatch.setenv("PERFMON_INGEST_TCP", "garbage")
    done = CliRunner().invoke(build(), ["up", "--data", str(data_directory.root)])
    assert done.exit_code == 2
    lines = done.output.splitlines()
    assert lines[0] == "perfmon: PERFMON_MAX_SERIES is 'abc', but has to be a whole number from 1 to 1,000,000"
    assert lines[1].startswith("perfmon: PERFMON_INGEST_TCP is 'garbage', but has to be `off` or tcp://")
    assert len(lines) == 2
    assert read_record(data_directory) is None


def test_a_tcp_port_without_keys_is_refused_before_anything_starts(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFMON_INGEST_TCP", "tcp://127.0.0.1:7078")
    with pytest.raises(BadSettings, match="keys"):
        wanted_settings(
            sys.executable, application_root(), {**os.environ, "PERFMON_DATA_DIR": str(data_directory.root)}
        )


def test_settings_other_than_those_a_pipeline_runs_with_are_told(data_directory: DataDirectory) -> None:
    write_record(data_directory, Record("1", "up", 1, "secret", None, Settings().model_dump()))
    assert launch._other_settings(data_directory, Wanted(Settings().model_dump(), [])) == []
    [note] = launch._other_settings(data_directory, Wanted(Settings(max_series=5).model_dump(), ["max_series"]))
    assert "max_series 5 (runs with 10000)" in note


def test_defaults_and_settings_that_one_side_lacks_are_no_difference() -> None:
    wanted = Wanted({"new": 1, "same": 2, "default": 3}, ["new", "same"])
    assert differences(wanted, {"old": 3, "same": 2, "default": 4}) == []
