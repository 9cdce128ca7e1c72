"""The machine that figures belong to, and the state of the code that made them."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

import psutil

from perfmon import __version__
from perfmon.paths import application_root

#: How long git may take to name the commit.
GIT_LIMIT_S: Final = 5.0
#: What a file system that keeps nothing on a disk is called.
MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})


def machine() -> dict[str, Any]:
    """What the figures were made on. `id` is the same for all runs on one machine with the same hardware."""
    facts = {"cores": os.cpu_count(), "cpu": _cpu(), "memoryGb": round(psutil.virtual_memory().total / 2**30)}
    name = "/".join(map(str, (platform.node(), platform.system(), platform.machine(), *facts.values())))
    return {
        "id": hashlib.sha256(name.encode()).hexdigest()[:12],
        **facts,
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def code() -> dict[str, Any]:
    """Version, and the commit when this is a checkout; `changed` when it has changes that are in no commit."""
    root = application_root()
    commit = _git(root, "rev-parse", "--short=12", "HEAD") if (root / ".git").exists() else None
    changed = commit is not None and bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    return {"version": __version__, "commit": commit, "changed": changed}


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on; "" when that can't be told."""
    best, found = "", ""
    for partition in psutil.disk_partitions(all=True):
        if folder.is_relative_to(partition.mountpoint) and len(partition.mountpoint) >= len(best):
            best, found = partition.mountpoint, partition.fstype
    return found


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _git(root: Path, *words: str) -> str | None:
    try:
        told = subprocess.run(
            ["git", *words], cwd=root, capture_output=True, text=True, timeout=GIT_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() if told.returncode == 0 else None
