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
    """Starts a pipeline when none answers, and again when it dies; one that was stopped on purpose only when a tool is called.

    `ensure` starts one or finds it running, blocking until all of it is ready; `alive` asks the pipeline that is known; `ready`
    tells whether a service is, so that a call need not wait for those that it does not need; `died` tells a pipeline that was
    killed from one that was stopped.
    """

    def __init__(
        self,
        ensure: Callable[[], Any],
        alive: Callable[[], Awaitable[bool]],
        ready: Callable[[str], Awaitable[bool]],
        died: Callable[[], bool] = lambda: False,
        *,
        start_patience_s: float = START_PATIENCE_S,
    ) -> None:
        self._ensure = ensure
        self._alive = alive
        self._ready = ready
        self._died = died
        self._start_patience_s = start_patience_s
        self._open = False
        self._busy = False
        self._called = True
        self._failure: str | None = None
        #: Services that were ready during the start that is under way.
        self._seen: set[str] = set()
        self._settled = asyncio.Event()
        self._look = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    def begin(self) -> None:
        """Look after the pipeline from now on; idempotent."""
        if self._keeper is None:
            self._busy = True
            self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def suspect(self) -> None:
        """A service did not answer a call: look now, and let the next calls wait for what is seen."""
        self._open = False
        self._want()

    async def passed(self, needs: Sequence[str], progress: Progress | None = None) -> None:
        """Return when a pipeline runs, or those of its services that are needed.

        Raises: NoPipeline when one cannot be had, or not soon enough.
        """
        if self._open:
            return
        self.begin()
        patience_s = self._start_patience_s if self._failure is None else RETRY_PATIENCE_S
        if not self._busy:
            self._want()
        try:
            async with asyncio.timeout(patience_s):
                if await self._wait(needs, progress):
                    return
        except TimeoutError:
            raise NoPipeline(self._failure or f"the pipeline is still starting after {patience_s:g} s") from None
        if self._failure is not None:
            raise NoPipeline(self._failure)

    async def close(self) -> None:
        """Stop looking; the pipeline runs on."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def _want(self) -> None:
        self._busy = self._called = True
        self._settled.clear()
        self._look.set()

    async def _wait(self, needs: Sequence[str], progress: Progress | None) -> bool:
        """Until the start has settled; True as soon as what is needed is there."""
        began_s = told_s = asyncio.get_running_loop().time()
        while not self._settled.is_set():
            if self._seen.issuperset(needs):
                return True
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._settled.wait()
            except TimeoutError:
                for service in set(needs) - self._seen:
                    if await self._ready(service):
                        self._seen.add(service)
                now_s = asyncio.get_running_loop().time()
                if progress is not None and now_s - told_s >= PROGRESS_EVERY_S:
                    told_s = now_s
                    await progress(round(now_s - began_s, 1), "starting the pipeline")
        return False

    async def _keep(self) -> None:
        known = False
        while True:
            self._look.clear()
            called, self._called = self._called, False
            if known and not self._died() and await self._alive():
                self._settle(failure=None)
            elif called or self._died():
                known = await self._start()
            else:
                self._open = known = False  # stopped on purpose: the next call starts it again
            self._busy = self._look.is_set()
            try:
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self._look.wait()
            except TimeoutError:
                self._busy = True

    async def _start(self) -> bool:
        self._open = False
        self._seen.clear()
        self._settled.clear()
        failure = None
        try:
            await in_thread(self._ensure)
        except Exception as error:  # noqa: BLE001 - whatever keeps the pipeline from starting is what callers are told
            failure = f"{type(error).__name__}: {error}"
            self._log.warning("pipeline_not_started", reason=failure)
            # Some services may be missing: what the others can answer is still answered.
            failure = None if await self._alive() else failure
        self._settle(failure)
        return failure is None

    def _settle(self, failure: str | None) -> None:
        self._failure = failure
        self._open = failure is None
        self._settled.set()


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
