"""An application tree of stand-in services under the real supervisord.conf and the real watchdog."""

from __future__ import annotations

import shutil
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def build(folder: Path, **replaced: str) -> Path:
    """Make the tree in `folder`; `replaced` changes settings of every program (`startretries="1"`)."""
    shutil.copytree(Path(__file__).parent / "app", folder)
    shutil.copytree(CHECKOUT / "services" / "watchdog", folder / "services" / "watchdog")
    lines = (CHECKOUT / "supervisord.conf").read_text().splitlines()
    changed = [
        f"{key} = {replaced[key]}" if (key := line.split("=")[0].strip()) in replaced else line for line in lines
    ]
    (folder / "supervisord.conf").write_text("\n".join(changed) + "\n")
    return folder
