"""Every setting of the pipeline: its default, its limits and what it means.

Read from the environment (`PERFMON_<NAME>`), then from the data directory's `config/settings.json`, which may have come with
someone's clone and therefore holds figures alone: nothing there runs a command, names a URL or opens a port off loopback. What
does (`OWN_ALONE`) is taken from the environment or from `settings.json` in the user's own config directory.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perfmon.paths import DataDirectory, UnsafeDirectory, user_config_directory
from perfmon.plain_file import read_plain
from shared.names import near, shown
from shared.settings_words import no_setting, refused

PREFIX = "PERFMON_"
#: Every setting there is fits into a few KB.
MAX_FILE_BYTES: Final = 1024 * 1024
#: Settings that open a port: never read from a data directory.
OWN_ALONE: Final = frozenset({"ingest_tcp"})
#: Variables that begin as settings do and are none: of the data directory, of producers, and of the tests.
OTHER_VARIABLES: Final = (
    "PERFMON_DATA_DIR",
    "PERFMON_INGEST_ENDPOINT",
    "PERFMON_CURVE_KEYS",
    "PERFMON_PUBLIC_SERVERS",
)


class SettingsError(ValueError):
    """Settings that are unknown or out of range; each of `faults` names one, what was given and what is accepted."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Settings(BaseModel):
    """The settings of one pipeline; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    raw_retention_hours: int = Field(
        24, ge=1, le=24 * 365, description="Hours that JSONL metrics are kept (whole UTC days)."
    )
    minute_retention_hours: int = Field(48, ge=2, le=24 * 90, description="Hours that minute rollups are kept.")
    hourly_retention_days: int = Field(30, ge=1, le=3650, description="Days that hourly aggregates are kept.")
    daily_retention_days: int = Field(365, ge=1, le=36500, description="Days that daily aggregates are kept.")
    anomaly_retention_days: int = Field(90, ge=1, le=3650, description="Days that anomalies are kept.")
    alert_archive_days: int = Field(30, ge=1, le=3650, description="Days after which resolved alerts are archived.")
    max_series: int = Field(
        10_000, ge=1, le=1_000_000, description="Tools that get a series; more are counted together."
    )
    resolve_after_hours: float = Field(24.0, gt=0, le=24 * 30, description="Hours a condition stays clear to resolve.")
    escalate_after_minutes: float = Field(
        60.0, gt=0, le=7 * 1440, description="Minutes without acknowledgement to escalate."
    )
    dedup_minutes: float = Field(60.0, ge=0, le=7 * 1440, description="Minutes after a resolution without a new alert.")
    max_alerts_per_server_per_hour: int = Field(
        5, ge=1, le=10_000, description="New alerts a server may raise in an hour."
    )
    sweep_interval_s: float = Field(
        300.0, ge=1, le=86_400, description="Seconds between sweeps of the detector; whole minutes."
    )
    append_rows: int = Field(100, ge=1, le=1_000_000, description="Metrics that are appended to JSONL at once.")
    append_interval_s: float = Field(1.0, gt=0, le=60, description="Seconds after which fewer are appended too.")
    checkpoint_interval_s: float = Field(
        5.0, gt=0, le=300, description="Seconds between checkpoints of the JSONL view."
    )
    checkpoint_mb: int = Field(24, ge=1, le=4096, description="Journal MB after which a checkpoint comes sooner.")
    segment_mb: int = Field(64, ge=1, le=4096, description="MB of a journal segment.")
    journal_max_mb: int = Field(
        2048, ge=8, le=1_000_000, description="MB of journal at which laggards lose their place."
    )
    call_id_hours: int = Field(48, ge=1, le=24 * 30, description="Hours in which a repeated callId is stored once.")
    max_call_ids: int = Field(2_000_000, ge=1000, le=100_000_000, description="Call ids that are remembered.")
    http_port: int = Field(7077, ge=1, le=65535, description="Preferred port of the HTTP gateway on 127.0.0.1.")
    ingest_tcp: str = Field(
        "off",
        pattern=r"^(off|tcp://(\*|[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4})$",
        description="Where producers off the machine connect, such as tcp://0.0.0.0:7078; needs `perfmon keys init`.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Level of the services' logs.")


def load_settings(data: DataDirectory) -> Settings:
    """The settings of a data directory; the environment wins over its settings.json, and that over the user's own.

    Raises: SettingsError.
    """
    own = user_config_directory() / "settings.json"
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for found, place in ((_own(own), str(own)), (_from_file(data), "config/settings.json")):
        merged |= found
        origins |= {name: f"{name} in {place}" for name in found}
    for name in Settings.model_fields:
        text = os.environ.get(PREFIX + name.upper())
        if text is not None:
            merged[name] = text
            origins[name] = PREFIX + name.upper()
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        faults = [(str(fault["loc"][0]), fault) for fault in error.errors()]
        told = [refused(fault, Settings.model_fields, origins[name]) for name, fault in faults]
        raise SettingsError(*told) from error


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """A sentence on each variable that begins as a setting does and means nothing, with the nearest that does."""
    known = [
        *(name.upper() for name in Settings.model_fields),
        *(name.removeprefix(PREFIX) for name in OTHER_VARIABLES),
    ]
    given = (name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX))
    return [
        no_setting(PREFIX + shown(name), [PREFIX + meant for meant in near(name, known, 1)])
        for name in sorted(given)
        if name not in known
    ]


def _from_file(data: DataDirectory) -> dict[str, Any]:
    path = data.config / "settings.json"
    found = _object_in(path)
    for name in OWN_ALONE & found.keys():
        raise SettingsError(
            f"setting {name} opens a port: set {PREFIX}{name.upper()}, or {name} in your own settings.json"
        )
    return found


def _own(path: Path) -> dict[str, Any]:
    found = _object_in(path)
    if found and (path.stat().st_uid != os.getuid() or stat.S_IMODE(path.stat().st_mode) & 0o022):
        raise SettingsError(f"{path} can be written by others")
    return found


def _object_in(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_plain(path, MAX_FILE_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, UnsafeDirectory) as error:
        raise SettingsError(f"{path.name} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path.name} is not JSON") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path.name} is a JSON object of settings")
    return found
