"""Whether a pipeline runs behind a stdio gateway, and that one is started when none does.

Owns the waiting of tool calls for a pipeline that starts. How one is started is `perfmon.pipeline`'s business: `ensure` blocks
and raises, so it runs in a thread of its own. Before `begin` nothing is touched, so that `tools/list` is answered first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import structlog

#: Pause between two looks at a pipeline that runs; a dead supervisord is noticed within it.
CHECK_EVERY_S: Final = 15.0
#: How long a tool call waits for a pipeline that starts; the first start ever compiles kernels.
START_PATIENCE_S: Final = 20.0
#: How long a tool call waits for a new attempt after one that failed.
RETRY_PATIENCE_S: Final = 1.5
#: How often a call that waits looks for the services that it needs.
LOOK_EVERY_S: Final = 0.25
#: How often a waiting client is told that we are at it.
PROGRESS_EVERY_S: Final = 1.0

Progress = Callable[[float, str], Awaitable[None]]

HOW_TO_SEE_WHY: Final = (
    "`perfmon status` shows each process, `perfmon doctor` says what is wrong, `perfmon up` starts the pipeline."
)


class NoPipeline(RuntimeError):
    """No pipeline to be had; the message says why, as far as it is known."""


class Gate(Protocol):
    """What the MCP server asks before a tool runs."""

    def begin(self) -> None:
        """Look after the pipeline from now on; idempotent."""

    async def passed(self, needs: Sequence[str], progress: Progress | None = None) -> None:
        """Return when the services in `needs` run. Raises: NoPipeline."""

    def suspect(self) -> None:
        """A service did not answer: look now."""


class OpenGate:
    """For the gateway that is itself part of the pipeline."""

    def begin(self) -> None:
        """Nothing to look after."""

    async def passed(self, needs: Sequence[str], progress: Progress | None = None) -> None:
        """At once."""

    def suspect(self) -> None:
        """Its supervisor looks after the others."""


class PipelineGate:
    """Starts a pipeline when none answers, and again when it dies.

    `ensure` starts one or finds it running, blocking until all of it is ready; `alive` asks the pipeline that is known; `ready`
    tells whether a service is, so that a call need not wait for those that it does not need.
    """

    def __init__(
        self,
        ensure: Callable[[], Any],
        alive: Callable[[], Awaitable[bool]],
        ready: Callable[[str], Awaitable[bool]],
        *,
        start_patience_s: float = START_PATIENCE_S,
    ) -> None:
        self._ensure = ensure
        self._alive = alive
        self._ready = ready
        self._start_patience_s = start_patience_s
        self._open = False
        self._failure: str | None = None
        self._settled = asyncio.Event()
        self._look = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    def begin(self) -> None:
        """Look after the pipeline from now on; idempotent."""
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def suspect(self) -> None:
        """A service did not answer: look now."""
        self._look.set()

    async def passed(self, needs: Sequence[str], progress: Progress | None = None) -> None:
        """Return when a pipeline runs, or those of its services that are needed.

        Raises: NoPipeline when one cannot be had, or not soon enough.
        """
        if self._open:
            return
        self.begin()
        patience_s = self._start_patience_s
        if self._failure is not None:
            patience_s = RETRY_PATIENCE_S
            self._failure = None
            self._settled.clear()
            self._look.set()
        try:
            async with asyncio.timeout(patience_s):
                if await self._wait(needs, progress):
                    return
        except TimeoutError:
            raise NoPipeline(f"the pipeline is still starting after {patience_s:g} s") from None
        if self._failure is not None:
            raise NoPipeline(self._failure)

    async def close(self) -> None:
        """Stop looking; the pipeline runs on."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _wait(self, needs: Sequence[str], progress: Progress | None) -> bool:
        """Until the start has settled; True as soon as what is needed is there."""
        began_s = told_s = asyncio.get_running_loop().time()
        while not self._settled.is_set():
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._settled.wait()
            except TimeoutError:
                if all(await asyncio.gather(*(self._ready(service) for service in needs))):
                    return True
                now_s = asyncio.get_running_loop().time()
                if progress is not None and now_s - told_s >= PROGRESS_EVERY_S:
                    told_s = now_s
                    await progress(round(now_s - began_s, 1), "starting the pipeline")
        return False

    async def _keep(self) -> None:
        known = False
        while True:
            if not (known and await self._alive()):
                known = await self._start()
            try:
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()

    async def _start(self) -> bool:
        if self._open:
            self._open = False
            self._settled.clear()
        try:
            await in_thread(self._ensure)
        except Exception as error:  # noqa: BLE001 - whatever keeps the pipeline from starting is what callers are told
            self._failure = f"{type(error).__name__}: {error}"
            self._log.warning("pipeline_not_started", reason=self._failure)
            # Some services may be missing: what the others can answer is still answered.
            self._open = await self._alive()
        else:
            self._open = True
        if self._open:
            self._failure = None
        self._settled.set()
        return self._open


async def in_thread(work: Callable[[], Any]) -> Any:
    """The result of blocking work in a daemon thread, which never keeps the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - handed over to whoever waits
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # the loop has ended; nobody waits any more

    threading.Thread(target=run, name="pipeline", daemon=True).start()
    return await future
