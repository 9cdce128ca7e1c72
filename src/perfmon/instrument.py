"""Time your own calls: `@perfmon.track(server=...)` and `with perfmon.measure(server, tool)`, sync and async.

Exceptions are recorded and raised again untouched. Durations come from the performance counter, in ms with three decimals,
which is as fine as is stored. Without a producer given, one for the whole process is made on the first call; it buffers,
counts and never raises. Knows nothing of how metrics travel: that is `perfmon.producer`.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from perfmon.producer import Producer

_Function = TypeVar("_Function", bound=Callable[..., Any])

NS_PER_MS: Final = 1_000_000

_lock: Final = threading.RLock()  # reentrant: a signal handler may measure while its own thread makes the producer
_default: Producer | None = None


def default_producer() -> Producer:
    """The producer of the whole process, made when first asked for."""
    global _default  # noqa: PLW0603 - one a process is the point
    if _default is None:
        with _lock:
            if _default is None:
                made = Producer()
                _default = _default or made
    return _default


def set_default_producer(producer: Producer | None) -> Producer | None:
    """Use this producer for every `track` and `measure` that names none; returns the one before, which is not closed."""
    global _default
    with _lock:
        before, _default = _default, producer
    return before


class measure:  # noqa: N801 - reads as a word: `with measure(...)`
    """Records the block as one call of `tool` on `server`, sync (`with`) or async (`async with`).

    In the block: `call.fail("why")` records a failure without an exception, `call.call_id = "…"` names the call so that it is
    stored once. An instance may be entered again after it was left, not while it is entered.
    """

    def __init__(self, server: str, tool: str, *, call_id: str | None = None, producer: Producer | None = None) -> None:
        self.server = server
        self.tool = tool
        self.call_id = call_id
        self._producer = producer
        self._failure: str | BaseException | None = None
        self._failed = False
        self._started_ns = 0

    def fail(self, error: str | BaseException | None = None) -> None:
        """Record a failure, with this reason unless an exception leaves the block."""
        self._failed = True
        self._failure = error

    def __enter__(self) -> Self:
        self._failed, self._failure = False, None
        self._started_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        duration_ms = round((time.perf_counter_ns() - self._started_ns) / NS_PER_MS, 3)
        # A generator that its caller leaves early ends so; that is no failure.
        if error is not None and not isinstance(error, GeneratorExit):
            self.fail(error)
        producer = self._producer or default_producer()
        success = not self._failed
        producer.record(self.server, self.tool, duration_ms, success, self._failure, call_id=self.call_id)
        self._failure = None  # an exception kept here would keep every frame of its traceback

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


def track(
    server: str, tool: str | None = None, *, producer: Producer | None = None
) -> Callable[[_Function], _Function]:
    """Record every call of the decorated function as `tool` (its own name by default) of `server`.

    Works on functions, coroutine functions, generators and async generators; a generator's call lasts from its first step
    until it is exhausted or closed. The function's signature, result, exceptions and kind stay as they are.

    Raises: TypeError when used without parentheses.
    """
    if not isinstance(server, str):
        raise TypeError('write @track(server="...") with the server\'s name')

    def decorate(function: _Function) -> _Function:
        name = tool if tool is not None else getattr(function, "__name__", type(function).__name__)
        return cast("_Function", _wrapped(function, lambda: measure(server, name, producer=producer)))

    return decorate


def _wrapped(function: Callable[..., Any], measured: Callable[[], measure]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
            with measured():
                return await function(*args, **kwargs)

        return run_coroutine
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def run_async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            with measured():
                inner = function(*args, **kwargs)
                step = inner.asend(None)
                try:
                    while True:
                        value = await step
                        try:
                            step = inner.asend((yield value))
                        except GeneratorExit:
                            raise
                        except BaseException as thrown:  # noqa: BLE001 - what is thrown in belongs to the inner one
                            step = inner.athrow(thrown)
                except StopAsyncIteration:
                    return
                finally:
                    await inner.aclose()

        return run_async_generator
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def run_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with measured():
                return (yield from function(*args, **kwargs))

        return run_generator

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with measured():
            return function(*args, **kwargs)

    return run
