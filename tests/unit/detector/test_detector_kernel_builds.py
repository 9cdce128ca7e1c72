"""Kernels are compiled ahead, once, elsewhere than in the detector's own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.detector import kernel_builds
from services.detector.kernel_builds import build_kernels

#: Compiles nothing, and says which modules it was asked for.
FAKE_SHARES = (("json",), ("csv",))


def test_what_was_built_once_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_builds, "_SHARES", FAKE_SHARES)
    assert build_kernels(tmp_path)
    assert not build_kernels(tmp_path)


def test_a_build_that_fails_is_left_to_the_detector_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernel_builds, "_SHARES", (("json",), ("no_such_module",)))
    assert build_kernels(tmp_path)
    assert "no_such_module" in capfd.readouterr().err
    assert build_kernels(tmp_path)


def test_a_cache_that_cannot_be_written_to_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_builds, "_SHARES", FAKE_SHARES)
    assert build_kernels(tmp_path / "absent")


def test_a_build_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_builds, "TIMEOUT_S", 0.01)
    monkeypatch.setattr(kernel_builds, "_SHARES", (("time\nimport time; time.sleep(1000)",),))
    assert build_kernels(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_detector_that_is_stopped_while_kernels_are_built_leaves_no_process_behind(tmp_path: Path) -> None:
    code = "import os; print(os.getpid(), flush=True); import time; time.sleep(1000)"
    script = f"""
from pathlib import Path
from services.detector import kernel_builds
kernel_builds._SHARES = (("time\\n" + {code!r},),)
kernel_builds.build_kernels(Path({str(tmp_path)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as detector:
        assert detector.stdout is not None
        child = int(detector.stdout.readline())
        detector.terminate()
        assert detector.wait() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_together_the_processes_compile_every_kernel_that_the_detector_has() -> None:
    """A kernel that none of them imports would be compiled in the detector, which then keeps the compiler's memory."""
    listing = "import sys; print(*(name for name in sys.modules if name.startswith('services.detector.core')))"
    modules = ", ".join(module for share in kernel_builds._SHARES for module in share)
    ahead = _modules(f"import {modules}; {listing}")
    detector = _modules(f"import services.detector.shell.service; {listing}")
    with_kernels = {name for name in detector if "@compiled(" in _file(name).read_text()}
    assert with_kernels
    assert with_kernels <= ahead


def _modules(code: str) -> set[str]:
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def _file(module: str) -> Path:
    path = Path(kernel_builds.__file__).parents[2].joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
