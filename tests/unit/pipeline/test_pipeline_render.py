"""The rendered configuration, read back by supervisord's own parser."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from perfmon.paths import SERVICES
from perfmon.pipeline.errors import UnrenderablePath
from perfmon.pipeline.render import Places, render

TEMPLATE = (Path(__file__).parents[3] / "supervisord.conf").read_text()
ODD = ["plain", "with space", "100% odd", "%(here)s", "%%", 'a"b', "it's", "comma,semi;colon", "a=b", "ü – 漢"]


def places(folder: Path) -> Places:
    for name in ("app", "logs", "run", "data"):
        (folder / name).mkdir(parents=True)
    return Places(
        application=folder / "app",
        logs=folder / "logs",
        runtime=folder / "run",
        data_root=folder / "data",
        interpreter=str(folder / "bin" / "python"),
        password="secret",
        variables={"PERFMON_DATA_DIR": str(folder / "data")},
    )


def parsed(tmp_path: Path, where: Places) -> ServerOptions:
    config = tmp_path / "rendered.conf"
    config.write_text(render(TEMPLATE, where))
    options = ServerOptions()
    options.realize(["-c", str(config)])
    return options


def programs(options: ServerOptions) -> dict[str, object]:
    return {item.name: item for group in options.process_group_configs for item in group.process_configs}


@pytest.mark.parametrize("name", ODD)
def test_supervisord_reads_back_exactly_the_paths_that_were_rendered(tmp_path: Path, name: str) -> None:
    where = places(tmp_path / name)
    options = parsed(tmp_path, where)
    assert options.logfile == str(where.logs / "supervisord.log")
    assert options.server_configs[0]["file"] == str(where.socket)
    for service in SERVICES:
        program = programs(options)[service]
        assert program.environment["PERFMON_DATA_DIR"] == str(where.data_root)
        assert program.environment["PYTHONPATH"] == str(where.application)
        assert program.stdout_logfile == str(where.logs / f"{service}.log")
        assert program.directory == str(where.application)
        assert shlex.split(program.command) == [where.interpreter, "-m", f"services.{service}"]


@pytest.mark.parametrize("name", ["a ;b", "a #b", "new\nline", "tab\there", "both\"and'"])
def test_a_path_that_the_format_cannot_hold_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnrenderablePath, match="choose another place"):
        render(TEMPLATE, places(tmp_path / name))


def test_the_password_is_asked_for_and_known_to_the_watchdog_alone(tmp_path: Path) -> None:
    options = parsed(tmp_path, places(tmp_path / "x"))
    assert options.server_configs[0]["password"] == "secret"
    assert options.server_configs[0]["chmod"] == 0o600
    holders = [name for name, item in programs(options).items() if "secret" in item.environment.values()]
    assert holders == ["watchdog"]


def test_programs_start_in_the_order_of_the_stream_and_come_back_always(tmp_path: Path) -> None:
    found = programs(parsed(tmp_path, places(tmp_path / "x")))
    services = sorted((item for name, item in found.items() if name != "watchdog"), key=lambda item: item.priority)
    assert [item.name for item in services] == list(SERVICES)
    for item in found.values():
        assert item.umask == 0o077
        assert item.autorestart.__name__ == "RestartUnconditionally"


def test_rendering_keeps_every_setting_that_it_does_not_own(tmp_path: Path) -> None:
    before = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    before.read_string(TEMPLATE)
    after = configparser.RawConfigParser()
    after.read_string(render(TEMPLATE, places(tmp_path / "x")))
    assert after.sections() == before.sections()
    for section in before.sections():
        for key in ("stopwaitsecs", "startretries", "priority", "events", "stopsignal"):
            assert after.get(section, key, fallback=None) == before.get(section, key, fallback=None)


def test_the_template_names_no_environment_variable() -> None:
    assert "%(ENV_" not in TEMPLATE


def test_the_template_names_the_services_of_the_product() -> None:
    found = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    found.read_string(TEMPLATE)
    named = [section.removeprefix("program:") for section in found.sections() if section.startswith("program:")]
    assert named == list(SERVICES)
