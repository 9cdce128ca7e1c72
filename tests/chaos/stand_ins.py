"""Consumers that do nothing but say that they are as far as the journal."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from perfmon.paths import CONSUMERS, DataDirectory
from perfmon.rpc import RpcClient, RpcError

#: How often they tell how far they are.
TELL_EVERY_S = 0.05


class StandIns:
    """Tell ingest, for each consumer, that it is as far as the journal, so that segments are dropped without any consumer."""

    def __init__(self, data: DataDirectory) -> None:
        self._endpoint = data.endpoint("ingest.write")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stand-ins", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.wait(TELL_EVERY_S):
            try:
                with RpcClient(self._endpoint, timeout_s=0.3) as ingest:
                    head = ingest.call("ping")
                    for name in CONSUMERS:
                        ingest.call("progress", {"service": name, "epoch": head["epoch"], "seq": head["seq"]})
            except RpcError:
                continue  # it is dead just now
