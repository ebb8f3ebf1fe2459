"""A run of nothing but a stimulus: over when the script is, cut when its time is, and set up wrongly when nothing comes through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from interpreter_world import Stack, World, stand_in

from resilience.load.stimulus_driver import StimulusError
from resilience.plan import load_text
from resilience.run import interpreter
from resilience.run.clock import sleep_until
from resilience.run.ending import Ending
from resilience.run.interpreter import RunOptions, run_plan

PLAN = """
version: 1
name: stimulated
lab: {gateways: 1}
phases: [{name: stimulus, duration: DURATION}]
stimulus: {calls: {http: {url: /x}}}
breakers: {pricing: {load: calls, observe: {wire: db}}}
expect: {conforms: {breaker: pricing, require: [R4]}}
"""
Play = Callable[[], Coroutine[Any, Any, None]]


class Stimulation:
    """A stand-in with one driver, which plays what a test tells it."""

    drivers = (None,)

    def __init__(self, play: Play) -> None:
        self.run = play


async def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, play: Play, duration: str
) -> tuple[Ending, World]:
    """A whole run against stand-ins, on the real clock."""
    world = World(folder / "run")
    stand_in(monkeypatch, world)
    monkeypatch.setattr(interpreter, "sleep_until", sleep_until)
    monkeypatch.setattr(interpreter, "LEAD_NS", 1)

    @contextlib.asynccontextmanager
    async def stimulation(*_: Any, **__: Any) -> AsyncIterator[Stimulation]:
        yield Stimulation(play)

    monkeypatch.setattr(interpreter, "stimulation", stimulation)
    loaded = load_text(PLAN.replace("DURATION", duration), source="plan", environment={})
    options = RunOptions(world.folder, folder / "state", seed=1, run_id="r")
    async with asyncio.timeout(20):
        ending = await run_plan(loaded, Stack(world), options, stop=world.stop, listen=world.listen)
    return ending, world


async def test_run_is_over_when_its_stimulus_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour was planned; no load worker was started; everything was healed and taken down."""
    played: list[str] = []

    async def play() -> None:
        played.append("script")

    ending, world = await run(tmp_path, monkeypatch, play, "1h")
    assert ending.reason == "completed"
    assert played == ["script"]
    assert world.done == ["up", "session", "heal all", "session closed", "down"]
    assert not [event for event in world.heard if event["kind"] == "stimulus"]


async def test_run_cuts_a_stimulus_that_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phase says how long it may take; the record says that it was cut."""
    ended: list[str] = []

    async def play() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    ending, world = await run(tmp_path, monkeypatch, play, "50ms")
    assert ending.reason == "completed"
    assert ended == ["cancelled"]
    assert [event["state"] for event in world.heard if event["kind"] == "stimulus"] == ["cut"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StimulusError("nothing arrived"), "setup_failed"), (RuntimeError("boom"), "crashed")],
)
async def test_run_ends_with_a_stimulus_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """At once, healed, with what to change."""

    async def play() -> None:
        raise error

    ending, world = await run(tmp_path, monkeypatch, play, "1h")
    assert (ending.reason, str(error) in ending.detail) == (reason, True)
    assert world.done[-3:] == ["heal all", "session closed", "down"]
