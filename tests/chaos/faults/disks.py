"""Small disks that fill up and file systems that become read-only, where this user may mount any."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs on a folder. `close` unmounts it."""

    def __init__(self, folder: Path, size: str) -> None:
        if os.getuid() != 0:
            pytest.skip("only root can mount a small file system")
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        done = _mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder))
        if done.returncode != 0:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")

    def resize(self, size: str) -> None:
        """Give it more room, or less."""
        self._remount(f"size={size}")

    def read_only(self, value: bool) -> None:
        """Only while nobody has a file open for writing."""
        self._remount("ro" if value else "rw")

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Take all the space that is left but this."""
        filler = self.folder / "filler"
        with filler.open("ab", buffering=0) as file:
            for size in (65_536, 4_096):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError:
                    continue
        if leave_bytes:
            os.truncate(filler, max(0, filler.stat().st_size - leave_bytes))

    def free(self) -> None:
        """Give back what `fill` took."""
        (self.folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)

    def _remount(self, options: str) -> None:
        done = _mount("-o", f"remount,{options}", str(self.folder))
        assert done.returncode == 0, done.stderr


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
