"""Names become files inside the tree, each series its own."""

from __future__ import annotations

import random
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core.lines import file_of
from services.ingest.core.placement import OVERFLOW, Placement
from shared.batch import Series, build

TS = 1_761_915_600_123
HOSTILE = [
    "../../x",
    "a/b",
    "/etc/passwd",
    "a\x00b",
    "x" * 300,
    "é" * 130,
    "line\nbreak",
    "-rf",
    "<script>alert(1)</script>",
    "CON",
    ".",
    "..",
    "...",
    ".hidden",
    " ",
    "%2E%2E",
    "~",
    "a~0123456789abcdef",
    "sub/dir",
    "\u202egnp.exe",
    "\x1b[31mred",
    "c:\\x",
    "x.jsonl",
    "漢字",
    "🙂",
]


def place(names: list[tuple[str, str]], placement: Placement) -> tuple[str, ...]:
    placed = placement.place(build([(server, tool, TS, 1.0, True) for server, tool in names]))
    assert placed.paths is not None
    return placed.paths


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_inside_the_tree(name: str, tmp_path: Path) -> None:
    for path in place([(name, "t"), ("s", name), (name, name)], Placement(100)):
        relative = PurePosixPath(file_of(20_000, path))
        assert len(relative.parts) == 3
        assert not relative.is_absolute()
        assert all(part not in {".", ".."} and not part.startswith(".") for part in relative.parts)
        assert all(len(part.encode()) <= 255 and part.isprintable() for part in relative.parts)
        target = tmp_path / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("x")
        assert target.resolve().is_relative_to(tmp_path.resolve())


@given(st.lists(st.tuples(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300)), max_size=20))
def test_no_two_series_share_a_file_even_where_case_is_folded(names: list[tuple[str, str]]) -> None:
    names = [pair for pair in names if not any("\ud800" <= c <= "\udfff" for c in "".join(pair))]
    paths = place(list(dict.fromkeys(names)), Placement(10_000))
    assert len({path.casefold() for path in paths}) == len(paths)
    for path in paths:
        folder, name = path.split("/")
        assert folder
        assert name
        assert not name.startswith(".")


def test_case_twins_get_a_hash_and_keep_it() -> None:
    placement = Placement(100)
    paths = place([("Files", "Read"), ("files", "Read"), ("Files", "read"), ("FILES", "READ")], placement)
    assert paths[0] == "Files/Read"
    assert paths[1].startswith("files~")
    assert paths[2].startswith("Files/read~")
    assert len({path.casefold() for path in paths}) == 4
    assert place([("FILES", "READ"), ("files", "Read")], placement) == (paths[3], paths[1])


def test_twins_of_long_names_are_told_apart() -> None:
    long = "a" * 300
    paths = place([("s", long), ("s", long.upper()), ("s", long + "b")], Placement(100))
    assert len({path.casefold() for path in paths}) == 3


def test_decisions_taken_back_from_files_are_repeated() -> None:
    rng = random.Random(7)
    names = [(rng.choice(["A", "a", "b"]), "".join(rng.choice("xXyY") for _ in range(3))) for _ in range(40)]
    first = Placement(30)
    placed = first.place(build([(s, t, TS, 1.0, True) for s, t in names]))
    assert placed.paths is not None
    known = dict(zip(placed.dictionary, placed.paths, strict=True))
    second = Placement(30)
    for series, path in sorted(known.items()):
        second.restore(series, path)
    again = second.place(build([(s.server, s.tool, TS, 1.0, True) for s in known if s != OVERFLOW]))
    assert again.paths is not None
    assert dict(zip(again.dictionary, again.paths, strict=True)) == {s: p for s, p in known.items() if s != OVERFLOW}


def test_a_placed_batch_is_not_placed_again() -> None:
    placed = Placement(100).place(build([("a", "b", TS, 1.0, True)]))
    assert Placement(1).place(placed) is placed


def test_the_cap_holds_and_known_series_stay_themselves() -> None:
    placement = Placement(2)
    place([("s", "a"), ("s", "b")], placement)
    batch = placement.place(build([("s", "c", TS, 1.0, True), ("s", "a", TS, 2.0, True), ("s", "d", TS, 3.0, True)]))
    assert [batch.dictionary[code] for code in batch.codes] == [OVERFLOW, Series("s", "a"), OVERFLOW]
    assert batch.paths == ("__overflow__/__overflow__", "s/a")
    assert placement.overflowed_total == 2
    assert len(placement) == 3


def test_forgotten_series_make_room() -> None:
    placement = Placement(1)
    place([("s", "a")], placement)
    placement.forget_all()
    assert place([("s", "b")], placement) == ("s/b",)
