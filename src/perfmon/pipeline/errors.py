"""What can go wrong with a pipeline, each with the facts a person needs next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class PipelineError(RuntimeError):
    """Base of all: the message says what happened and what to do."""


class UnrenderablePath(PipelineError):
    """A path that supervisord's configuration cannot hold; `path` is it."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r} {why}; supervisord's configuration cannot hold that, choose another place")
        self.path = path


class BadSettings(PipelineError):
    """Settings that no service would start with; a line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class LaunchFailed(PipelineError):
    """supervisord did not come up; `log` holds the last lines it wrote."""

    def __init__(self, message: str, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log = tuple(log)


class Busy(PipelineError):
    """Someone else has been starting or stopping this pipeline for too long; `holder` is the pid, if known."""

    def __init__(self, holder: int | None) -> None:
        who = "another process" if holder is None else f"pid {holder}"
        super().__init__(f"{who} is starting or stopping this pipeline and has not finished; try again")
        self.holder = holder


class NotReady(PipelineError):
    """Some services did not become ready; `logs` holds the last log lines of each."""

    def __init__(self, reasons: Mapping[str, str], logs: Mapping[str, Sequence[str]]) -> None:
        super().__init__("; ".join(f"{service}: {reason}" for service, reason in reasons.items()))
        self.reasons = dict(reasons)
        self.logs = {service: tuple(lines) for service, lines in logs.items()}


class IncompatiblePipeline(PipelineError):
    """The pipeline that runs speaks another major version of the protocol than this client."""

    def __init__(self, running: str, ours: str, protocol: int) -> None:
        super().__init__(
            f"the running pipeline is version {running} with protocol {protocol}, this is version {ours}: "
            "upgrade this installation, or stop the pipeline with the one that started it"
        )
        self.running = running
        self.protocol = protocol


class ControlError(PipelineError):
    """supervisord refused or did not answer; `code` is its fault code, None when it could not be reached."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
