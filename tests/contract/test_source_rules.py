"""The source keeps the repository's own rules: whoever is let off one says why, on the line."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("services", "shared", "src", "bench", "tests") for path in (ROOT / folder).rglob("*.py")
)
#: What lets a line off a rule; whatever else its comment says is the reason.
LEAVE = re.compile(
    r"(ruff: *)?noqa(: *[A-Z]+\d+(, *[A-Z]+\d+)*)?|type: *ignore(\[[\w, -]*\])?|pragma: *no (cover|branch)"
)
REASON = re.compile(r"\w{3}|\w+ \w+")


def unreasoned_comments(path: Path) -> Iterator[int]:
    text = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline) if LEAVE.search(text) else ():
        let_off = token.type == tokenize.COMMENT and LEAVE.search(token.string)
        if let_off and not REASON.search(LEAVE.sub("", token.string)):
            yield token.start[0]


def unreasoned_skips(path: Path) -> Iterator[int]:
    """Tests that are passed over, or expected to fail, without a word: `pytest.skip()`, `pytest.mark.skip` and their like."""
    text = path.read_text()
    tree = ast.parse(text if "skip" in text or "xfail" in text else "")
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in {"skip", "skipif", "xfail"}):
            continue
        if ast.unparse(node.value) not in {"pytest", "pytest.mark", "mark"}:
            continue
        call = called.get(id(node))
        words = [] if call is None else [key.value for key in call.keywords if key.arg == "reason"]
        if call is not None and node.attr != "skipif" and ast.unparse(node.value) == "pytest":
            words += call.args[:1]
        if not any(not isinstance(word, ast.Constant) or word.value for word in words):
            yield node.lineno


def test_every_ignored_finding_says_why() -> None:
    assert len(SOURCES) > 100
    assert [f"{path.relative_to(ROOT)}:{line}" for path in SOURCES for line in unreasoned_comments(path)] == []


def test_every_test_that_is_skipped_says_why() -> None:
    assert [f"{path.relative_to(ROOT)}:{line}" for path in SOURCES for line in unreasoned_skips(path)] == []


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("x = 1  # NOQA", True),
        ("x = 1  # NOQA: S608", True),
        ("x = 1  # NOQA: S608, C901 -", True),
        ("x = 1  # IGNORE[arg-type]", True),
        ("x = 1  # IGNORE[arg-type]  # NOQA: S608", True),
        ("x = 1  # pragma: no cover", True),
        ("x = 1  # NOQA: S608 - constants", False),
        ("x = 1  # IGNORE[misc, valid-type]  # whatever it gives", False),
        ("x = 1  # IGNORE[misc] # NOQA: S608 - a reason for both", False),
        ("x = '# NOQA'", False),
    ],
)
def test_a_reason_is_more_than_a_code(line: str, refused: bool, tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(line.replace("NOQA", "no" + "qa").replace("IGNORE", "type: " + "ignore") + "\n")
    assert list(unreasoned_comments(path)) == [1] * refused


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("pytest.skip()", True),
        ("pytest.skip('')", True),
        ("pytest.mark.skip", True),
        ("pytest.mark.skipif(True)", True),
        ("pytest.mark.xfail(strict=True)", True),
        ("pytest.skip('no browser')", False),
        ("pytest.skip(f'no {browser}')", False),
        ("pytest.mark.skipif(True, reason='no browser')", False),
        ("file.skip(3)", False),
    ],
)
def test_a_skip_without_words_is_found(line: str, refused: bool, tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_text(line + "\n")
    assert list(unreasoned_skips(path)) == [1] * refused
