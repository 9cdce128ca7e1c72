"""The life of a pipeline: start it, find it, ask how it is, stop it.

Owns supervisord's configuration as rendered for a data directory, the locks that make ten sessions start one pipeline, the
record of the one that runs, and what is known from the outside of each process. Knows nothing of what a service does beyond
`ping` and `stats`. Light on purpose: stdio gateways import it, so each part is imported when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfmon.pipeline.errors import IncompatiblePipeline, LaunchFailed, NotReady, PipelineError
    from perfmon.pipeline.launch import died, ensure_running
    from perfmon.pipeline.observe import status
    from perfmon.pipeline.report import PipelineReport, ServiceStatus
    from perfmon.pipeline.shutdown import stop

__all__ = [
    "IncompatiblePipeline",
    "LaunchFailed",
    "NotReady",
    "PipelineError",
    "PipelineReport",
    "ServiceStatus",
    "died",
    "ensure_running",
    "status",
    "stop",
]

_HOMES = {
    "IncompatiblePipeline": "errors",
    "LaunchFailed": "errors",
    "NotReady": "errors",
    "PipelineError": "errors",
    "PipelineReport": "report",
    "ServiceStatus": "report",
    "died": "launch",
    "ensure_running": "launch",
    "status": "observe",
    "stop": "shutdown",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'perfmon.pipeline' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"perfmon.pipeline.{home}"), name)
