"""Names as nobody should give them, through the real door to files, queries and reports: the true name comes back everywhere,
nothing lies outside the tree, and what cannot be a name is refused with its reason.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import time
import unicodedata
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import pytest

from perfmon.paths import DataDirectory
from perfmon.wire import Kind, encode_batch, unpack
from tests.chaos.hostile import Text, pack
from tests.kit import ServiceProcess, Writer, row, stored_by_file

pytestmark = pytest.mark.pipeline

LONG = "x" * 300

#: What is taken as it is.
TRUE_NAMES: Final = {
    "parent folders": "../../x",
    "absolute": "/etc/passwd",
    "a dot": ".",
    "two dots": "..",
    "hidden": ".hidden",
    "dots at the end": "name...",
    "backslashes": "..\\..\\x",
    "NUL": "a\0b",
    "newline": "a\nb",
    "carriage return": "a\r\nb",
    "escape": "\x1b[31mred",
    "bell and delete": "\x07\x7f",
    "an option": "-rf",
    "a long option": "--help",
    "a tag": "<script>alert(1)</script>",
    "an entity": "&lt;b&gt;&amp;",
    "quotes": "\"'`$(id)`;|&",
    "markdown": "[x](javascript:alert(1))|*_#`",
    "a device": "CON",
    "a device with an end": "nul.txt",
    "a blank": " ",
    "blanks around": "  x  ",
    "a tab": "\t",
    "a percent sign": "%",
    "percent-encoded": "%2e%2e%2f",
    "encoded once": "a%2Fb",
    "what that stands for": "a/b",
    "encoded twice": "a%252Fb",
    "a format": "%s%n{0}{name}",
    "right to left": "\u202ereversed\u202c",
    "bidi isolates": "\u2066x\u2069",
    "Arabic": "اسم",
    "zero width": "a\u200bb",
    "a byte order mark": "\ufeffname",
    "line separators": "a\u2028b\u2029c",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "full width": "\uff0e\uff0e\uff0f",
    "an emoji family": "👩‍👩‍👧‍👦",
    "beyond the first plane": "\U0001f4a9" * 60,
    "no character": "\uffff",
    "300 characters": LONG,
    "another 300 with the same beginning": LONG[:-1] + "y",
    "130 e acute": "é" * 130,
    "the longest": "é" * 512,
    "the longest of letters": "z" * 1_024,
    "a number": "0",
    "true": "true",
    "null": "null",
    "our suffix": "read.jsonl",
    "our hash": "x~0123456789abcdef",
    "lower case": "twin",
    "upper case": "TWIN",
    "mixed case": "Twin",
    "sharp s": "straße",
    "its upper case": "STRASSE",
    "the Kelvin sign": "\u212a",
    "almost reserved": "__Overflow__",
}

#: What is refused, packed as text, with the reason.
REFUSED: Final = {
    "empty": (b"", "name_empty"),
    "reserved": (b"__overflow__", "name_reserved"),
    "1,025 bytes": (b"x" * 1_025, "name_too_long"),
    "very long": (b"x" * 1_000_000, "name_too_long"),
    "a lone surrogate": (b"\xed\xa0\x80", "name_not_utf8"),
    "a surrogate pair": (b"\xed\xa0\xbd\xed\xb2\xa9", "name_not_utf8"),
    "latin-1": (b"caf\xe9", "name_not_utf8"),
    "overlong": (b"\xc0\xae\xc0\xae/", "name_not_utf8"),
    "cut": ("é".encode()[:1], "name_not_utf8"),
}

#: Invisible or directing characters, which no report shows as they are.
_UNSEEN: Final = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataDirectory]:
    made = DataDirectory((tmp_path_factory.mktemp("names") / "data").resolve())
    made.create()
    yield made
    shutil.rmtree(made.runtime, ignore_errors=True)


@pytest.fixture(scope="module")
def services(data: DataDirectory) -> Iterator[dict[str, ServiceProcess]]:
    """The pipeline without gateway and detector, with every name written once as a server, as a tool and as both."""
    made = {name: ServiceProcess(name, data) for name in ("ingest", "aggregator", "alerter", "reporter")}
    for process in made.values():
        process.wait_ready(60)
    with Writer(data) as writer:
        for name in TRUE_NAMES.values():
            ack = writer.write(row(name, "server"), row("tool", name), row(name, name))
            assert (ack["stored"], ack["rejected"]) == (3, []), name
        head = made["ingest"].call("flush")["seq"]
    for name in ("aggregator", "alerter"):
        made[name].eventually(lambda stats: stats["seq"] >= head, f"{name} has read all")
    yield made
    for process in reversed(made.values()):
        process.clean_up()


def series() -> set[tuple[str, str]]:
    names = TRUE_NAMES.values()
    return {("server", name) for name in names} | {(name, "tool") for name in names} | {(name, name) for name in names}


def written(data: DataDirectory) -> dict[tuple[str, str], set[str]]:
    """Series → the files that hold it."""
    found: dict[tuple[str, str], set[str]] = {}
    for path, records in stored_by_file(data).items():
        for record in records:
            found.setdefault((record["mcpServer"], record["toolName"]), set()).add(path)
    return found


@pytest.mark.usefixtures("services")
def test_every_true_name_comes_back_from_the_files_and_each_series_has_its_own(data: DataDirectory) -> None:
    found = written(data)
    assert set(found) >= series()
    paths = [path for files in found.values() for path in files]
    assert all(len(files) == 1 for files in found.values())
    assert len(paths) == len({path.casefold() for path in paths}), "two files differ in case alone"
    assert len(paths) == len({unicodedata.normalize("NFKC", path) for path in paths})


@pytest.mark.usefixtures("services")
def test_nothing_lies_outside_the_tree_and_every_file_name_is_plain(data: DataDirectory) -> None:
    assert {entry.name for entry in data.root.parent.iterdir()} <= {
        "data",
        "home",
        *(f"{name}.log" for name in ("ingest", "aggregator", "alerter", "reporter")),
    }
    for folder, folders, files in os.walk(data.metrics):
        for name in (*folders, *files):
            path = Path(folder, name)
            assert re.fullmatch(r"[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*", name), name
            assert len(name.encode()) <= 255
            mode = path.lstat().st_mode
            assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600)
            assert stat.S_ISDIR(mode) or stat.S_ISREG(mode)
    depths = {len(path.relative_to(data.metrics).parts) for path in data.metrics.rglob("*.jsonl") if path.is_file()}
    assert depths == {3}


@pytest.mark.parametrize("kind", [Kind.ROWS, Kind.BATCH])
@pytest.mark.parametrize("field", ["server", "tool"])
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.usefixtures("services")
def test_what_is_no_name_is_refused_and_its_neighbours_are_stored(
    data: DataDirectory, name: str, field: str, kind: Kind
) -> None:
    text, reason = REFUSED[name]
    pair = (Text(text), "neighbour") if field == "server" else ("neighbour", Text(text))
    now = time.time_ns() // 1_000_000
    if kind is Kind.ROWS:
        good = row("neighbour", "neighbour")
        body: dict[str, Any] = {"rows": [good, good | {"mcpServer": pair[0], "toolName": pair[1]}, good]}
    else:
        columns = encode_batch(
            [("neighbour", "neighbour")] * 2, series=[0, 1, 0], ts=[now] * 3, duration=[1.0] * 3, ok=[True] * 3
        )
        body = unpack(columns)
        body["dictionary"][1] = list(pair)
    with Writer(data) as writer:
        ack = writer.ask(pack({"v": 1, "kind": str(kind)} | body))
    assert ack["rejected"] == [[1, reason]]
    assert ack["stored"] == 2


@pytest.mark.parametrize("name", TRUE_NAMES)
def test_queries_by_the_true_name_find_it_and_it_alone(services: dict[str, ServiceProcess], name: str) -> None:
    true = TRUE_NAMES[name]
    now = time.time_ns() // 1_000_000
    window = {"startMs": now - 3_600_000, "endMs": now + 60_000, "by": "tool"}
    asked = services["aggregator"].call("rollup", window | {"mcpServer": true, "toolName": true})
    assert [(found["mcpServer"], found["toolName"], found["count"]) for found in asked["rows"]] == [(true, true, 1)]
    asked = services["aggregator"].call("rollup", window | {"mcpServer": true})
    assert {found["toolName"] for found in asked["rows"]} == {true, "tool"}


def test_every_service_knows_the_series_by_their_true_names(services: dict[str, ServiceProcess]) -> None:
    listed = services["aggregator"].call("series", {})["series"]
    assert {(server, tool) for server, tool, _ in listed} >= series()
    windows = services["alerter"].call("windows", {})["series"]
    assert {(one["mcpServer"], one["toolName"]) for one in windows} >= series()


@pytest.mark.parametrize(("name", "form"), list(zip(TRUE_NAMES, cycle(["markdown", "html", "json"]), strict=False)))
def test_reports_show_it_harmlessly(
    services: dict[str, ServiceProcess], name: str, form: str, data: DataDirectory
) -> None:
    now = time.time_ns() // 1_000_000
    params = {"startMs": now - 3_600_000, "endMs": now + 60_000, "format": form, "mcpServer": TRUE_NAMES[name]}
    answer = services["reporter"].call("report", params, timeout_s=15)
    path = data.root / answer["path"]
    assert path.resolve().parent == data.reports.resolve()
    text = path.read_text()
    assert not [c for c in text if unicodedata.category(c) in _UNSEEN and c not in "\n\t"]
    if form == "json":
        json.loads(text)
    if form == "html":
        assert "<script>alert" not in text
        assert 'href="javascript:' not in text


def test_the_names_survive_a_restart_and_the_loss_of_the_journal(
    services: dict[str, ServiceProcess], data: DataDirectory
) -> None:
    before = written(data)
    services["ingest"].terminate()
    services["ingest"] = ServiceProcess("ingest", data).wait_ready()
    assert services["ingest"].stats()["series"] >= len(series())
    services["ingest"].terminate()
    for segment in data.journal.iterdir():
        segment.unlink()
    services["ingest"] = ServiceProcess("ingest", data).wait_ready()
    with Writer(data) as writer:
        for name in TRUE_NAMES.values():
            assert writer.write(row(name, "server"), row("tool", name), row(name, name))["stored"] == 3
    services["ingest"].call("flush")
    assert written(data) == before, "a series went to another file than before"
