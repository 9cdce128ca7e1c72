"""Settings: figures with limits, the environment before the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfmon.paths import DATA_DIRECTORY_VARIABLE, DataDirectory
from perfmon.producer.address import ENDPOINT_VARIABLE, KEYS_VARIABLE
from shared.settings import OTHER_VARIABLES, Settings, SettingsError, load_settings, unknown_variables


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
    with pytest.raises(SettingsError, match="PERFMON_SWEEP_INTERVAL_S"):
        load_settings(data)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("max_series", "many", "'many', but has to be a whole number from 1 to 1,000,000"),
        ("append_interval_s", "0", "'0', but has to be a number above 0, at most 60"),
        ("log_level", "loud", "'loud', but has to be one of debug, info, warning, error"),
        ("ingest_tcp", "x\x1b", r"'x\x1b', but has to be `off` or tcp://ADDRESS:PORT, such as tcp://0.0.0.0:7078"),
    ],
)
def test_a_refusal_says_what_was_given_and_what_is_wanted(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"PERFMON_{name.upper()}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings(data)
    assert str(refused.value) == f"PERFMON_{name.upper()} is {told}"


def test_all_refusals_are_told_at_once_with_their_places(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    write(data, {"max_serie": 5, "append_rows": 0})
    monkeypatch.setenv("PERFMON_HTTP_PORT", "0")
    with pytest.raises(SettingsError) as refused:
        load_settings(data)
    assert sorted(fault.split(",")[0] for fault in refused.value.faults) == [
        "PERFMON_HTTP_PORT is '0'",
        "append_rows in config/settings.json is 0",
        "max_serie in config/settings.json is no setting; did you mean max_series?",
    ]


def test_every_setting_says_what_it_means_and_has_limits() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.metadata or name == "log_level", name


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().max_series = 5  # type: ignore[misc]  # the point of the test


def test_a_variable_that_is_no_setting_is_told_with_the_nearest_one() -> None:
    known = [*(f"PERFMON_{name.upper()}" for name in Settings.model_fields), *OTHER_VARIABLES]
    assert unknown_variables([*known, "HOME", "perfmon_max_series"]) == []
    assert unknown_variables(["PERFMON_HTTP_PROT", "PERFMON_XYZZY", "PERFMON_CURVE_KEY", "PERFMON_A\x1b[1m"]) == [
        "PERFMON_A\\x1b[1m is no setting",
        "PERFMON_CURVE_KEY is no setting; did you mean PERFMON_CURVE_KEYS?",
        "PERFMON_HTTP_PROT is no setting; did you mean PERFMON_HTTP_PORT?",
        "PERFMON_XYZZY is no setting",
    ]


def test_every_variable_that_is_no_setting_is_one_that_is_read() -> None:
    assert {DATA_DIRECTORY_VARIABLE, ENDPOINT_VARIABLE, KEYS_VARIABLE} <= set(OTHER_VARIABLES)
