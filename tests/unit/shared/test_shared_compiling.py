"""Modules imported in processes of their own: ours and no others, all of them, and none of the processes stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.compiling import compile_apart

#: Bounds a test, not how long it takes.
LONG_S = 60.0


def importing(module: str, then: str) -> tuple[str]:
    """A share whose process does something more."""
    return (f"{module}\n{then}",)


def test_modules_of_our_tree_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert compile_apart(("services.ingest.core.reasons", "shared.names"), timeout_s=LONG_S)


def test_what_lies_in_the_working_directory_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "__init__.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert compile_apart(("shared.names",), timeout_s=LONG_S)


def test_one_that_fails_is_told_and_the_others_come_to_their_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = tmp_path / "done"
    slow = importing("pathlib, numpy", f"pathlib.Path({str(done)!r}).touch()")
    assert not compile_apart(("no_such_module",), slow, timeout_s=LONG_S)
    assert done.exists()
    assert "no_such_module" in capfd.readouterr().err


def test_one_that_takes_too_long_is_ended() -> None:
    assert not compile_apart(importing("time", "time.sleep(1000)"), timeout_s=0.01)
