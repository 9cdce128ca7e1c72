"""Settings: figures with limits, the environment before the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfmon.paths import DataDirectory
from shared.settings import Settings, SettingsError, load_settings


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path)
    made.config.mkdir()
    return made


def write(data: DataDirectory, value: object) -> None:
    (data.config / "settings.json").write_text(json.dumps(value))


def test_without_a_file_the_defaults_hold(data: DataDirectory) -> None:
    settings = load_settings(data)
    assert settings == Settings()
    assert settings.raw_retention_hours == 24
    assert settings.append_rows == 100
    assert settings.append_interval_s == 1.0
    assert settings.max_series == 10_000


def test_the_environment_wins_over_the_file(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write(data, {"max_series": 5, "append_rows": 7})
    monkeypatch.setenv("PERFMON_MAX_SERIES", "9")
    settings = load_settings(data)
    assert (settings.max_series, settings.append_rows) == (9, 7)


@pytest.mark.parametrize(
    "value",
    [
        {"unknown": 1},
        {"max_series": 0},
        {"max_series": "many"},
        {"max_series": 1e300},
        {"append_interval_s": "NaN"},
        {"append_interval_s": 0},
        {"log_level": "loud"},
        {"http_port": 70_000},
        {"command": "rm -rf /"},
        [],
        5,
        None,
        "x",
    ],
)
def test_a_setting_that_is_none_is_refused_by_name(data: DataDirectory, value: object) -> None:
    write(data, value)
    with pytest.raises(SettingsError) as refused:
        load_settings(data)
    if isinstance(value, dict):
        assert next(iter(value)) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"\0" * 10])
def test_a_file_that_is_not_json_is_refused(data: DataDirectory, content: bytes) -> None:
    (data.config / "settings.json").write_bytes(content)
    with pytest.raises(SettingsError):
        load_settings(data)


def test_a_bad_value_in_the_environment_is_refused(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFMON_SWEEP_INTERVAL_S", "often")
    with pytest.raises(SettingsError, match="sweep_interval_s"):
        load_settings(data)


def test_every_setting_says_what_it_means_and_has_limits() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.metadata or name == "log_level", name


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().max_series = 5  # type: ignore[misc]  # the point of the test
