"""A service whose clock and calls a test can spoil while it runs: `python -m tests.chaos.faults.service NAME`.

What is to go wrong lies as files in the folder named by CHAOS_CONTROL: `clock` holds ms that are added to the time of day; a file
named after a call (`pwrite`, `fsync`, `write`, `replace`) makes it fail with the errno that it names, or be `short`. SQLite's own
calls can't be reached from here (`shim` does).
"""

from __future__ import annotations

import ctypes
import errno
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTROL = "CHAOS_CONTROL"


class Control:
    """The folder of what is to go wrong, for the test and for the service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        return {CONTROL: str(self.folder)}

    def set(self, name: str, value: object) -> None:
        """From now on this goes wrong."""
        temporary = self.folder / f".{name}"
        temporary.write_text(str(value))
        temporary.replace(self.folder / name)

    def clear(self, name: str) -> None:
        """From now on it goes right again."""
        (self.folder / name).unlink(missing_ok=True)

    def get(self, name: str) -> str | None:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return None


def command(name: str) -> list[str]:
    """What starts a service so."""
    return [sys.executable, "-m", "tests.chaos.faults.service", name]


def spoil(control: Control) -> None:
    """Patch this process."""
    _spoil_clock(control)
    os.pwrite = _writing("pwrite", os.pwrite, control)
    os.write = _writing("write", os.write, control)
    os.fsync = _failing("fsync", os.fsync, control)
    os.rename = _failing("rename", os.rename, control)
    os.replace = _failing("replace", os.replace, control)
    _spoil_syncfs(control)


def _spoil_clock(control: Control) -> None:
    real_ns = time.time_ns

    def shifted_ns() -> int:
        return real_ns() + int(control.get("clock") or 0) * 1_000_000

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9


def _raise_if(name: str, control: Control) -> str | None:
    wanted = control.get(name)
    if wanted and wanted != "short":
        number = getattr(errno, wanted)
        raise OSError(number, os.strerror(number))
    return wanted


def _failing(name: str, real: Callable[..., Any], control: Control) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        _raise_if(name, control)
        return real(*arguments, **named)

    return call


def _writing(name: str, real: Callable[..., int], control: Control) -> Callable[..., int]:
    def call(descriptor: int, data: Any, *rest: int) -> int:
        short = _raise_if(name, control) == "short" and len(data) > 1 and descriptor > 2
        return real(descriptor, memoryview(data)[: len(data) // 2] if short else data, *rest)

    return call


def _spoil_syncfs(control: Control) -> None:
    real = ctypes.CDLL

    class Library(real):  # type: ignore[misc, valid-type]  # whatever ctypes gives here
        def __getattr__(self, name: str) -> Any:
            if name == "syncfs":
                _raise_if("fsync", control)
            return super().__getattr__(name)

    ctypes.CDLL = Library


if __name__ == "__main__":
    spoil(Control(Path(os.environ[CONTROL])))
    runpy.run_module(f"services.{sys.argv[1]}", run_name="__main__")
