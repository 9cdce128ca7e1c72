"""The stages run on the product's own functions: all of them are told, and nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

STAGES = {
    "decode",
    "validate",
    "group and place",
    "encode",
    "journal",
    "acknowledge",
    "publish",
    "format",
    "append",
    "each consumer: decode",
    "detector: apply",
    "alerter: apply",
    "aggregator: apply",
}


def test_every_stage_is_told_for_every_mode(tmp_path: Path) -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "bench",
            "stages",
            "--quick",
            "--json",
            str(tmp_path / "out.json"),
            "--dir",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
    )
    assert told.returncode == 0, told.stdout + told.stderr
    stages, saving = json.loads((tmp_path / "out.json").read_text())["results"]
    assert {figure["what"] for figure in stages["figures"]} == STAGES
    for figure in stages["figures"]:
        assert set(figure["values"]) == {"batches of 10,000", "batches of 500", "rows of 500"}
        assert min(figure["values"].values()) >= 0
    assert {figure["what"] for figure in saving["figures"]} == {"detector", "alerter", "aggregator"}
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
