"""A pipeline is started when none runs, waited for within bounds, and started again when it dies."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.gateway import gate as gates
from services.gateway.gate import NoPipeline, PipelineGate


class World:
    """A pipeline that can be told to start, to fail, to hang and to die."""

    def __init__(self) -> None:
        self.starts = 0
        self.running = False
        self.failure: Exception | None = None
        self.ready_services: set[str] = set()
        self.killed = False
        self.held = threading.Event()
        self.held.set()

    def ensure(self) -> None:
        self.starts += 1
        assert self.held.wait(10)
        if self.failure is not None:
            raise self.failure
        self.running = True
        self.killed = False

    async def alive(self) -> bool:
        return self.running

    async def ready(self, service: str) -> bool:
        return service in self.ready_services


def scenario(play: Callable[[World, PipelineGate], Awaitable[None]], **options: Any) -> World:
    world = World()

    async def run() -> None:
        gate = PipelineGate(world.ensure, world.alive, world.ready, lambda: world.killed, **options)
        try:
            async with asyncio.timeout(10):
                await play(world, gate)
        finally:
            world.held.set()
            await gate.close()

    asyncio.run(run())
    return world


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_nothing_is_started_before_it_is_wanted():
    async def play(world: World, gate: PipelineGate) -> None:
        gate.suspect()
        await asyncio.sleep(0)

    assert scenario(play).starts == 0


def test_a_call_starts_a_pipeline_and_passes_when_it_is_ready():
    async def play(world: World, gate: PipelineGate) -> None:
        await gate.passed(["ingest"])
        assert world.running
        await gate.passed(["ingest"])

    assert scenario(play).starts == 1


def test_many_calls_start_one_pipeline():
    async def play(world: World, gate: PipelineGate) -> None:
        gate.begin()
        gate.begin()
        await asyncio.gather(*(gate.passed(["ingest"]) for _ in range(50)))

    assert scenario(play).starts == 1


def test_a_waiting_client_is_told_that_the_pipeline_starts(monkeypatch):
    monkeypatch.setattr(gates, "PROGRESS_EVERY_S", 0)
    monkeypatch.setattr(gates, "LOOK_EVERY_S", 0.001)
    told: list[str] = []

    async def play(world: World, gate: PipelineGate) -> None:
        world.held.clear()

        async def progress(_: float, message: str) -> None:
            told.append(message)
            if len(told) == 3:
                world.held.set()

        await gate.passed(["ingest"], progress)

    scenario(play)
    assert told[:3] == ["starting the pipeline"] * 3


def test_a_call_does_not_wait_for_services_that_it_does_not_need(monkeypatch):
    monkeypatch.setattr(gates, "LOOK_EVERY_S", 0.001)

    async def play(world: World, gate: PipelineGate) -> None:
        world.held.clear()
        world.ready_services = {"ingest"}
        await gate.passed(["ingest"])
        waiting = asyncio.create_task(gate.passed(["ingest", "aggregator"]))
        await gate.passed(["ingest"])
        assert not waiting.done()
        world.held.set()
        await waiting

    assert scenario(play).starts == 1


def test_a_start_that_fails_is_told_with_its_reason():
    async def play(world: World, gate: PipelineGate) -> None:
        world.failure = RuntimeError("no space left")
        with pytest.raises(NoPipeline, match="no space left"):
            await gate.passed(["ingest"])

    scenario(play)


def test_a_call_after_a_failed_start_tries_again():
    async def play(world: World, gate: PipelineGate) -> None:
        world.failure = RuntimeError("no space left")
        with pytest.raises(NoPipeline):
            await gate.passed(["ingest"])
        world.failure = None
        await gate.passed(["ingest"])
        assert world.running

    assert scenario(play).starts == 2


def test_a_start_that_takes_too_long_is_not_waited_for_for_ever():
    async def play(world: World, gate: PipelineGate) -> None:
        world.held.clear()
        with pytest.raises(NoPipeline, match="still starting"):
            await gate.passed(["ingest"])

    scenario(play, start_patience_s=0.01)


def test_some_services_missing_does_not_shut_out_the_others():
    async def play(world: World, gate: PipelineGate) -> None:
        world.failure = RuntimeError("reporter: FATAL")
        world.running = True
        await gate.passed(["ingest"])

    scenario(play)


def test_a_pipeline_that_died_is_started_again_at_the_first_suspicion():
    async def play(world: World, gate: PipelineGate) -> None:
        await gate.passed(["ingest"])
        world.running = False
        gate.suspect()
        await until(lambda: world.starts == 2 and world.running)
        await gate.passed(["ingest"])

    assert scenario(play).starts == 2


def test_a_dead_pipeline_is_noticed_without_a_call(monkeypatch):
    monkeypatch.setattr(gates, "CHECK_EVERY_S", 0.001)

    async def play(world: World, gate: PipelineGate) -> None:
        gate.begin()
        await until(lambda: world.running)
        world.running, world.killed = False, True
        await until(lambda: world.running)
        await gate.passed(["ingest"])

    assert scenario(play).starts >= 2


def test_a_supervisor_that_was_killed_is_replaced_while_its_orphans_still_answer(monkeypatch):
    monkeypatch.setattr(gates, "CHECK_EVERY_S", 0.001)

    async def play(world: World, gate: PipelineGate) -> None:
        await gate.passed(["ingest"])
        world.killed = True
        await until(lambda: world.starts == 2)

    scenario(play)


def test_a_pipeline_that_was_stopped_on_purpose_stays_down_until_a_tool_is_called(monkeypatch):
    monkeypatch.setattr(gates, "CHECK_EVERY_S", 0.001)

    async def play(world: World, gate: PipelineGate) -> None:
        await gate.passed(["ingest"])
        world.running = False
        await until(lambda: not gate._open)
        for _ in range(100):
            await asyncio.sleep(0)
        assert world.starts == 1
        await gate.passed(["ingest"])
        assert world.running

    assert scenario(play).starts == 2


def test_a_pipeline_that_answers_is_left_alone(monkeypatch):
    monkeypatch.setattr(gates, "CHECK_EVERY_S", 0.001)
    looks = 0

    async def play(world: World, gate: PipelineGate) -> None:
        nonlocal looks

        async def alive() -> bool:
            nonlocal looks
            looks += 1
            return True

        gate._alive = alive
        gate.begin()
        await until(lambda: looks > 5)

    assert scenario(play).starts == 1


def test_calls_after_a_suspicion_wait_for_what_is_seen():
    async def play(world: World, gate: PipelineGate) -> None:
        await gate.passed(["ingest"])
        world.running = False
        world.held.clear()
        gate.suspect()
        waiting = asyncio.create_task(gate.passed(["ingest"]))
        await until(lambda: world.starts == 2)
        assert not waiting.done()
        world.held.set()
        await waiting
        assert world.running

    scenario(play)


def test_a_suspicion_that_was_wrong_costs_a_look():
    async def play(world: World, gate: PipelineGate) -> None:
        await gate.passed(["ingest"])
        gate.suspect()
        gate.suspect()
        await gate.passed(["ingest"])

    assert scenario(play).starts == 1
