"""`track` and `measure`: what they record, and that they change nothing about what they wrap."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

import perfmon
from perfmon import Producer, measure, track
from perfmon.instrument import default_producer, set_default_producer


class Recorder(Producer):
    """Keeps what it is told instead of sending it."""

    def __init__(self) -> None:
        super().__init__(endpoint="ipc:///nowhere")
        self.calls: list[dict[str, Any]] = []

    def record(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override] # a recorder
        names = ("server", "tool", "duration_ms", "success", "error")
        found = dict(zip(names, args, strict=False)) | kwargs
        if isinstance(found["error"], BaseException):
            found["error"] = repr(found["error"])
        self.calls.append(found)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def _outcomes(recorder: Recorder) -> list[tuple[Any, ...]]:
    return [(call["server"], call["tool"], call["success"], call["error"]) for call in recorder.calls]


def test_a_function_is_recorded_under_its_own_name_and_stays_as_it_is(recorder: Recorder) -> None:
    @track(server="svc", producer=recorder)
    def add(one: int, two: int = 2) -> int:
        """Adds."""
        return one + two

    assert add(1, two=4) == 5
    assert (add.__name__, add.__doc__, str(inspect.signature(add))) == (
        "add",
        "Adds.",
        "(one: 'int', two: 'int' = 2) -> 'int'",
    )
    assert _outcomes(recorder) == [("svc", "add", True, None)]
    duration = recorder.calls[0]["duration_ms"]
    assert duration >= 0
    assert round(duration, 3) == duration


def test_an_exception_is_recorded_and_raised_untouched(recorder: Recorder) -> None:
    error = ValueError("no")

    @track(server="svc", tool="named", producer=recorder)
    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="no") as caught:
        fail()
    assert caught.value is error
    assert _outcomes(recorder) == [("svc", "named", False, "ValueError('no')")]


def test_a_coroutine_function_stays_one_and_is_timed_to_its_end(recorder: Recorder) -> None:
    @track(server="svc", producer=recorder)
    async def wait(fail: bool) -> str:
        await asyncio.sleep(0)
        if fail:
            raise KeyError("x")
        return "done"

    assert inspect.iscoroutinefunction(wait)
    assert asyncio.run(wait(False)) == "done"
    with pytest.raises(KeyError):
        asyncio.run(wait(True))
    assert _outcomes(recorder) == [("svc", "wait", True, None), ("svc", "wait", False, "KeyError('x')")]


def test_a_cancelled_coroutine_is_a_failure(recorder: Recorder) -> None:
    @track(server="svc", producer=recorder)
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert _outcomes(recorder) == [("svc", "forever", False, "CancelledError()")]


def test_a_generator_takes_values_and_exceptions_and_returns(recorder: Recorder) -> None:
    @track(server="svc", producer=recorder)
    def echo() -> Generator[str, str, str]:
        got = yield "ready"
        try:
            yield got
        except KeyError:
            yield "caught"
        return "end"

    assert inspect.isgeneratorfunction(echo)
    running = echo()
    assert recorder.calls == []
    assert (next(running), running.send("hello"), running.throw(KeyError())) == ("ready", "hello", "caught")
    with pytest.raises(StopIteration, match="end"):
        next(running)
    assert _outcomes(recorder) == [("svc", "echo", True, None)]


def test_a_generator_that_is_left_early_is_no_failure(recorder: Recorder) -> None:
    @track(server="svc", producer=recorder)
    def count() -> Generator[int, None, None]:
        yield from range(10)

    running = count()
    next(running)
    running.close()
    assert _outcomes(recorder) == [("svc", "count", True, None)]


def test_an_async_generator_takes_values_and_exceptions_and_is_closed(recorder: Recorder) -> None:
    closed: list[str] = []

    @track(server="svc", producer=recorder)
    async def echo(fail: bool = False) -> AsyncGenerator[str, str]:
        try:
            got = yield "ready"
            try:
                yield got
            except KeyError:
                yield "caught"
            if fail:
                raise OSError("late")
        finally:
            closed.append("inner")

    async def main() -> None:
        running = echo()
        assert [await anext(running), await running.asend("hello"), await running.athrow(KeyError())] == [
            "ready",
            "hello",
            "caught",
        ]
        assert [rest async for rest in running] == []
        early = echo()
        await anext(early)
        await early.aclose()
        with pytest.raises(OSError, match="late"):
            assert [step async for step in echo(fail=True)]

    assert inspect.isasyncgenfunction(echo)
    asyncio.run(main())
    assert closed == ["inner"] * 3
    assert [call["success"] for call in recorder.calls] == [True, True, False]


def test_methods_and_callable_objects_may_be_tracked(recorder: Recorder) -> None:
    class Tool:
        @track(server="svc", producer=recorder)
        def run(self) -> str:
            return "method"

        def __call__(self) -> str:
            return "object"

    assert Tool().run() == "method"
    assert track(server="svc", producer=recorder)(Tool())() == "object"
    assert [call["tool"] for call in recorder.calls] == ["run", "Tool"]


def test_a_decorator_without_parentheses_is_refused() -> None:
    with pytest.raises(TypeError, match="server="):
        track(lambda: None)  # type: ignore[arg-type] # the mistake


def test_a_block_is_recorded_and_may_fail_without_an_exception(recorder: Recorder) -> None:
    with measure("svc", "block", producer=recorder) as call:
        call.call_id = "id-1"
        call.fail("empty answer")
    with measure("svc", "block", producer=recorder):
        pass
    assert _outcomes(recorder) == [("svc", "block", False, "empty answer"), ("svc", "block", True, None)]
    assert [call["call_id"] for call in recorder.calls] == ["id-1", None]


def test_an_async_block_is_recorded(recorder: Recorder) -> None:
    async def main() -> None:
        async with measure("svc", "block", producer=recorder):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert _outcomes(recorder) == [("svc", "block", True, None)]


def test_a_block_entered_again_starts_anew(recorder: Recorder) -> None:
    block = measure("svc", "block", producer=recorder)
    with pytest.raises(ValueError, match="once"), block:
        raise ValueError("once")
    with block:
        pass
    assert [call["success"] for call in recorder.calls] == [False, True]


def test_an_exception_that_was_recorded_is_not_kept_alive(recorder: Recorder) -> None:
    class Held(Exception):
        pass

    block = measure("svc", "block", producer=recorder)
    held: list[weakref.ref[BaseException]] = []
    try:
        with block:
            raise Held
    except Held as error:
        held.append(weakref.ref(error))
    gc.collect()
    assert held[0]() is None


def test_the_default_producer_is_made_once_and_can_be_replaced(recorder: Recorder) -> None:
    before = set_default_producer(None)
    try:
        assert default_producer() is default_producer()
        made = set_default_producer(recorder)
        with measure("svc", "block"):
            pass
        assert made is not recorder
        assert len(recorder.calls) == 1
    finally:
        set_default_producer(before)


def test_the_package_offers_all_three() -> None:
    assert (perfmon.Producer, perfmon.track, perfmon.measure) == (Producer, track, measure)
