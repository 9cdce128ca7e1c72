"""`perfmon bench`: hands over to the benchmarks, which come with the application tree."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import typer

from perfmon.paths import application_root

_PASS_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def register(app: typer.Typer) -> None:
    """Add `bench`."""

    @app.command("bench", context_settings=_PASS_ON, add_help_option=False)
    def bench(context: typer.Context) -> None:
        """Measure this machine: throughput, latency, memory, start-up; perfmon bench --help lists the benchmarks."""
        # First on the path, so that neither the working directory nor PYTHONPATH can put another `bench` before ours.
        sys.path.insert(0, str(application_root()))
        raise typer.Exit(import_module("bench.command").main(context.args, program="perfmon bench"))
